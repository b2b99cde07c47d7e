"""Finds the URL of the API and the token: from options, environment variables, or a running local stack."""

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from clients.private_files import read_private
from starter.cli.connection_options import ConnectionOptions
from starter.cli.errors import CliError, Code

#: Files that `moorage up` writes into its folder while it runs.
CONNECTION_FILE = "connection.json"
ENVIRONMENT_FILE = "environment"
#: File in the user's state folder that `moorage up` writes, so that commands find the stack from any folder.
POINTER_FILE = "moorage/running-stack.json"
DEFAULT_STATE = ".moorage"
#: Maximum size of such a file, in bytes; it has far less.
_LONGEST = 10_000

_HOW = "set MOORAGE_URL and MOORAGE_TOKEN (or MOORAGE_TOKEN_FILE), or start a local stack: moorage up"


@dataclass(frozen=True)
class Connection:
    """The URL of the API, and the token for it."""

    url: str
    token: str
    #: The authorities that must have signed its certificate, and the setting they come from; None: the
    #: system's.
    ca_file: Path | None = None
    ca_setting: str = ""

    def __repr__(self) -> str:
        return f"Connection(url={self.url!r}, token hidden)"


def find_connection(options: ConnectionOptions, environ: Mapping[str, str] = os.environ) -> Connection:
    """Return the connection from options, variables or a running stack, in this order.

    The token of a stack is sent only to that stack.
    """
    url = options.url or environ.get("MOORAGE_URL") or ""
    token = _read(options.token_file) if options.token_file else ""
    token = token or environ.get("MOORAGE_TOKEN", "").strip()
    if not token and (file := environ.get("MOORAGE_TOKEN_FILE")):
        token = _read(Path(file))
    if not url or not token:
        stack = _running_stack(environ)
        if stack and url in ("", stack.url):
            url, token = stack.url, token or stack.token
    if not url:
        raise CliError(Code.BAD_INPUT, "no URL of the API is set", next_steps=[_HOW])
    if not url.startswith(("http://", "https://")):
        raise CliError(Code.BAD_INPUT, f'"{url}" is not a URL: it must start with https://')
    _require_host(url)
    if not token:
        raise CliError(Code.BAD_INPUT, f"no token for {url} is set", next_steps=[_HOW])
    if not token.isascii() or not token.isprintable():
        raise CliError(Code.BAD_INPUT, "the token contains invalid characters")
    ca_file, setting = options.ca_file, "--ca-file"
    if ca_file is None and (named := environ.get("MOORAGE_CA_FILE")):
        ca_file, setting = Path(named), "MOORAGE_CA_FILE"
    return Connection(url.rstrip("/"), token, ca_file, setting if ca_file else "")


def _require_host(url: str) -> None:
    """Raise CliError unless the URL has a host that can be looked up, and a valid port."""
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")
        if parts.hostname and parts.port != 0:
            return
        reason = "it has no host" if not parts.hostname else "there is no port 0"
    except UnicodeError:
        reason = "its host has an empty part, or one that is too long"
    except ValueError as error:
        reason = str(error)
    raise CliError(Code.BAD_INPUT, f'"{url}" is not a URL: {reason}')


def _read(file: Path) -> str:
    try:
        # Remove a byte order mark, because editors on Windows write it.
        token = file.read_text(encoding="utf-8-sig").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise CliError(Code.BAD_INPUT, f"cannot read the token file {file}: {reason}") from None
    if len(lines := token.splitlines()) > 1:
        message = f"the token file {file} has {len(lines)} lines: it must contain only the token"
        raise CliError(Code.BAD_INPUT, message)
    return token


def stack_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of the running local stack; empty if none runs."""
    for folder in _stack_folders(environ):
        lines = (_private_text(folder / ENVIRONMENT_FILE) or "").splitlines()
        words = [shlex.split(line.removeprefix("export ")) for line in lines]
        if found := dict(word[0].split("=", 1) for word in words if len(word) == 1 and "=" in word[0]):
            return found
    return {}


def _running_stack(environ: Mapping[str, str]) -> Connection | None:
    """Return the connection to the running local stack, if there is one.

    A file that is not private to the user is ignored, so that a foreign folder cannot decide where a token is
    sent.
    """
    for folder in _stack_folders(environ):
        try:
            content = json.loads(_private_text(folder / CONNECTION_FILE) or "null")
            stack = Connection(str(content["url"]), str(content["token"]))
            if urlsplit(stack.url).hostname == "127.0.0.1":
                return stack
        except (ValueError, KeyError, TypeError):
            continue
    return None


def _stack_folders(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the possible state folders: MOORAGE_STATE, or the default and the last stack's."""
    if named := environ.get("MOORAGE_STATE"):
        yield Path(named)
        return
    yield Path(DEFAULT_STATE)
    home = environ.get("XDG_STATE_HOME") or (f"{environ['HOME']}/.local/state" if environ.get("HOME") else "")
    if home:
        try:
            content = json.loads(_private_text(Path(home) / POINTER_FILE) or "null")
            yield Path(content["folder"])
        except (ValueError, KeyError, TypeError):
            return


def _private_text(file: Path) -> str | None:
    """Return the text of a file that is private to this user; None for any other file."""
    try:
        return read_private(file, longest=_LONGEST)
    except (OSError, ValueError):
        return None
