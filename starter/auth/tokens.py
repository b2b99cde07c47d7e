"""Bearer tokens from a file, which identify callers. The file has only SHA-256 hashes, which give no access.

tokens:
  - sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    person: Ada Lovelace
    email: ada@example.com
    teams: [payments]
    role: developer        # or platform; developer if left out
"""

import hashlib
import hmac
import re
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from clients.private_files import read_trusted_with_status, write_private
from clients.safe_yaml import write_yaml
from contracts.types.models import Frozen, Printable
from starter.auth.policy import Principal, Role
from starter.config_files.yaml_source import Document, FileProblem, FilesUnusable

#: 256 random bits: such a token cannot be recovered from its plain SHA-256, whereas a password could be.
TOKEN_BYTES = 32
#: Advice for pods: a Secret's files have mode 0644 unless its volume sets another, and a pod cannot change
#: it.
_IN_A_POD = "; where a Secret is mounted, defaultMode: 0440 in its volume and fsGroup in the pod"
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: An e-mail address as browsers check it: HTML, 4.10.5.1.5. It also accepts directories in `.local` or
#: `.test`.
_EMAIL = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@"
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
EMAIL_LENGTH = 254


def read_email(text: str) -> str:
    """Return the address in lower case; raise ValueError with a sentence if it is not valid."""
    if len(text) > EMAIL_LENGTH or not _EMAIL.fullmatch(text):
        raise ValueError(f'"{text[:80]}" is not an e-mail address: write one like ada@example.com')
    return text.lower()


def _read_sha256(text: str) -> str:
    if not _SHA256.fullmatch(text):
        # The text may be the token itself, so the message must not repeat it.
        raise ValueError("is not a SHA-256 in hex: 64 of 0-9 a-f; never the token itself")
    return text


_Word = Annotated[Printable, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]


class _Entry(Frozen):
    sha256: Annotated[str, AfterValidator(_read_sha256)]
    person: _Word
    email: Annotated[str, AfterValidator(read_email)]
    teams: tuple[_Word, ...] = Field(min_length=1)
    role: Role = Role.DEVELOPER


class _File(Frozen):
    tokens: tuple[_Entry, ...]


class Tokens:
    """All valid tokens and the principals that they belong to."""

    def __init__(self, entries: Sequence[tuple[str, Principal]]) -> None:
        self._entries = [(bytes.fromhex(digest), principal) for digest, principal in entries]

    @property
    def people(self) -> tuple[str, ...]:
        """The e-mail addresses of all people with a token."""
        return tuple(principal.email for _, principal in self._entries)

    def teams_of(self, email: str) -> frozenset[str] | None:
        """Return the teams of the person in all their tokens; None if they have no token."""
        found = [principal.teams for _, principal in self._entries if principal.email == email]
        return frozenset(team for teams in found for team in teams) if found else None

    def principal_of(self, token: str) -> Principal | None:
        """Return the principal of the token, or None.

        The time that it takes does not reveal how much of a wrong token is correct.
        """
        digest = hashlib.sha256(token.encode()).digest()
        found = None
        for known, principal in self._entries:
            if hmac.compare_digest(known, digest):
                found = principal
        return found


def load_tokens(file: Path) -> Tokens:
    """Load the tokens in `file`; raise FilesUnusable with every problem, also of the file mode."""
    problems: list[FileProblem] = []

    def read(file: Path) -> bytes:
        content, about = read_trusted_with_status(file)
        problems.extend(_mode_problems(file, about.st_mode))
        return content

    document = Document(file, read)
    try:
        content = _File.model_validate(document.content, extra="forbid")
    except ValidationError as error:
        raise FilesUnusable([*problems, *document.problems_of(error, _File)]) from None
    seen: set[str] = set()
    for index, entry in enumerate(content.tokens):
        if entry.sha256 in seen:
            path = ("tokens", index, "sha256")
            problems.append(document.problem(path, "the same token stands further up: one token, one person"))
        seen.add(entry.sha256)
    if problems:
        raise FilesUnusable(problems)
    return Tokens(
        [
            (
                entry.sha256,
                Principal(person=entry.person, email=entry.email, teams=entry.teams, role=entry.role),
            )
            for entry in content.tokens
        ]
    )


def _mode_problems(file: Path, mode: int) -> list[FileProblem]:
    shown = f"mode {stat.S_IMODE(mode):04o}"
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        message = f"others may write it ({shown}) and so let themselves in: chmod 600{_IN_A_POD}"
    elif mode & stat.S_IROTH:
        message = f"everybody may read it ({shown}): chmod 600, or 640 for a group{_IN_A_POD}"
    else:
        return []
    return [FileProblem(file, 1, "", message)]


def new_token() -> str:
    """Create a random token."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def write_tokens(file: Path, tokens: Sequence[tuple[str, Principal]]) -> None:
    """Write a token file that only its owner can read; the write is atomic."""
    content = {
        "tokens": [
            {"sha256": hashlib.sha256(token.encode()).hexdigest()} | principal.model_dump(mode="json")
            for token, principal in tokens
        ]
    }
    write_private(file, write_yaml(content))
