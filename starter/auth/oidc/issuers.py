"""The file of OpenID Connect issuers: whose tokens the API accepts, and who they are for.

issuers:
  - url: https://sso.example.com/realms/acme    # `iss` of its tokens
    audience: moorage-api                        # `aud` of its tokens
    client_id: moorage                           # public client of `moorage login`
    team_prefix: team-                           # the group team-payments is the team payments
    platform_groups: [platform]
  - url: https://token.actions.githubusercontent.com
    audience: moorage-api
    robots:
      - claims: {repository: acme/shop, ref: refs/heads/main}
        email: ci-shop@example.com
        teams: [payments]
"""

import stat
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator

from clients.private_files import read_trusted_with_status
from contracts.types.models import Frozen, Printable
from starter.auth.tokens import read_email
from starter.config_files.yaml_source import Document, FileProblem, FilesUnusable
from worker.settings.types import ProtectedUrl

_Word = Annotated[Printable, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
#: Issuers of one installation: a company has one or two, and its CI systems have a few.
MAX_ISSUERS = 20


class Robot(Frozen):
    """A program whose tokens an issuer signs, such as a CI job; it needs no stored secret."""

    claims: dict[_Word, Annotated[str, StringConstraints(min_length=1, max_length=500)]] = Field(min_length=1)
    email: Annotated[str, AfterValidator(read_email)]
    teams: tuple[_Word, ...] = Field(min_length=1)


class Issuer(Frozen):
    """An OpenID Connect issuer, and which people and robots its tokens are for.

    `verified_claim` must be true in a person's token; None for issuers without one, such as Entra ID, whose
    addresses are the directory's own. `teams` is for groups whose name is not the team's.
    """

    url: ProtectedUrl
    audience: _Word
    client_id: _Word | None = None
    scopes: _Word = "openid email profile"
    ca_file: Path | None = None
    email_claim: _Word = "email"
    name_claim: _Word = "name"
    verified_claim: _Word | None = "email_verified"
    groups_claim: _Word = "groups"
    team_prefix: _Word | None = None
    teams: dict[_Word, _Word] = Field(default_factory=dict)
    platform_groups: tuple[_Word, ...] = ()
    robots: tuple[Robot, ...] = ()

    @model_validator(mode="after")
    def _is_for_someone(self) -> "Issuer":
        if not (self.team_prefix or self.teams or self.platform_groups or self.robots):
            raise ValueError("lets no one in: give it team_prefix, teams, platform_groups or robots")
        return self


class _File(Frozen):
    issuers: tuple[Issuer, ...] = Field(max_length=MAX_ISSUERS)


def load_issuers(file: Path) -> tuple[Issuer, ...]:
    """Load the issuers in `file`; raise FilesUnusable with every problem, also of the file mode."""
    problems: list[FileProblem] = []

    def read(file: Path) -> bytes:
        content, about = read_trusted_with_status(file)
        if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            mode = f"mode {stat.S_IMODE(about.st_mode):04o}"
            message = f"others may write it ({mode}) and so let themselves in: chmod 644"
            problems.append(FileProblem(file, 1, "", message))
        return content

    document = Document(file, read)
    try:
        issuers = _File.model_validate(document.content, extra="forbid").issuers
    except ValidationError as error:
        raise FilesUnusable([*problems, *document.problems_of(error, _File)]) from None
    urls: set[str] = set()
    for index, issuer in enumerate(issuers):
        if issuer.url in urls:
            path = ("issuers", index, "url")
            problems.append(document.problem(path, "the same issuer is further up: put both into one"))
        urls.add(issuer.url)
    if problems:
        raise FilesUnusable(problems)
    return issuers
