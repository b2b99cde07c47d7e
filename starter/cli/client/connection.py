"""Finds the URL of the API and a credential for it: from options, variables, or the current context.

One rule holds for all of them: the credential of one installation is never sent to another URL.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from starter.cli.client.contexts import Context, Contexts, canonical, read_contexts, stack_connection
from starter.cli.client.credentials.session import Session, signed_out
from starter.cli.client.credentials.store import load_tokens
from starter.cli.connection_options import ConnectionOptions
from starter.cli.errors import CliError, Code

_HOW = (
    "sign in: moorage login URL",
    "or set MOORAGE_URL and MOORAGE_TOKEN (or MOORAGE_TOKEN_FILE), or start a local stack: moorage up",
)


@dataclass(frozen=True)
class Connection:
    """The URL of the API, and the credential for it: a fixed token, or a session of `moorage login`."""

    url: str
    token: str = ""
    #: The authorities that must have signed its certificate, and the setting they come from; None: the
    #: system's.
    ca_file: Path | None = None
    ca_setting: str = ""
    session: Session | None = field(default=None, compare=False)
    #: The name of the context, if there is one, and where the credential comes from, in words.
    context: str = field(default="", compare=False)
    source: str = field(default="", compare=False)

    def __repr__(self) -> str:
        return f"Connection(url={self.url!r}, token hidden)"

    def access_token(self, *, rejected: str = "", timeout: float | None = None) -> str:
        """Return a token that is valid now; see `Session.access_token`."""
        if self.session is None:
            return self.token
        return self.session.access_token(rejected=rejected, timeout=timeout)


def find_connection(
    options: ConnectionOptions, environ: Mapping[str, str] = os.environ, *, person: str = ""
) -> Connection:
    """Return the connection from options, variables or a context, in this order.

    Of several contexts of one URL, `person` is preferred, then the current one.
    """
    contexts = read_contexts(environ)
    context, url = _choose(options, contexts, environ, person)
    token, source = _given_token(options, environ, contexts.by_name.get(contexts.current))
    ca_file, setting = options.ca_file, "--ca-file"
    if ca_file is None and (named := environ.get("MOORAGE_CA_FILE")):
        ca_file, setting = Path(named), "MOORAGE_CA_FILE"
    if ca_file is None and context is not None and context.ca_file is not None:
        ca_file, setting = context.ca_file, f"context {context.name}"
    session = None
    if not token and context is not None:
        if context.stack is not None:
            found = stack_connection(context.stack)
            token, source = found[1] if found and context.matches(found[0]) else "", "the local stack"
        elif (tokens := load_tokens(context, environ)) is None:
            raise signed_out(context)
        else:
            session, source = Session(context, tokens, environ=environ), f"sign-in at {tokens.issuer}"
    if not token and session is None:
        # As for a sign-in that has ended: the API knows nothing of the caller.
        raise CliError(Code.NOT_ALLOWED, f"no token for {url} is set", next_steps=_HOW)
    if not token.isascii() or (token and not token.isprintable()):
        raise CliError(Code.BAD_INPUT, "the token contains invalid characters")
    return Connection(
        url.rstrip("/"),
        token,
        ca_file,
        setting if ca_file else "",
        session=session,
        context=context.name if context else "",
        source=source,
    )


def find_url(
    options: ConnectionOptions, environ: Mapping[str, str] = os.environ
) -> tuple[str, Context | None]:
    """Return the URL of the API without a credential, and the context for it if there is one."""
    context, url = _choose(options, read_contexts(environ), environ)
    return url.rstrip("/"), context


def _choose(
    options: ConnectionOptions, contexts: Contexts, environ: Mapping[str, str], person: str = ""
) -> tuple[Context | None, str]:
    """Return the context, if there is one for the URL, and the URL."""
    if options.context is not None:
        context = contexts.find(options.context)
        if options.url and not context.matches(options.url):
            message = f"--url and --context are two installations: {context.name} is {context.url}"
            raise CliError(Code.BAD_INPUT, message)
        return context, context.url
    current = contexts.by_name.get(contexts.current)
    if not (url := options.url or environ.get("MOORAGE_URL") or ""):
        if current is None:
            raise CliError(Code.BAD_INPUT, "no URL of the API is set", next_steps=_HOW)
        return current, current.url
    ensure_url(url)
    matching = [each for each in (current, *contexts.by_name.values()) if each and each.matches(url)]
    of_person = [each for each in matching if person and each.person == person]
    return next(iter(of_person or matching), None), url


def _given_token(
    options: ConnectionOptions, environ: Mapping[str, str], current: Context | None
) -> tuple[str, str]:
    """Return the token of the options or variables and where it is from; "" if there is none.

    The variables are for MOORAGE_URL, or for the current context if that is not set. They are not used for an
    installation that an option names instead.
    """
    if options.token_file:
        return _read(options.token_file), "--token-file"
    named = environ.get("MOORAGE_URL") or (current.url if current else "")
    if options.context or (options.url and named and canonical(options.url) != canonical(named)):
        return "", ""
    if token := environ.get("MOORAGE_TOKEN", "").strip():
        return token, "MOORAGE_TOKEN"
    if file := environ.get("MOORAGE_TOKEN_FILE"):
        return _read(Path(file)), "MOORAGE_TOKEN_FILE"
    return "", ""


def ensure_url(url: str) -> str:
    """Return the URL; raise CliError unless it has a host that can be looked up, and a valid port."""
    if not url.startswith(("http://", "https://")):
        raise CliError(Code.BAD_INPUT, f'"{url}" is not a URL: it must start with https://')
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")
        if parts.hostname and parts.port != 0:
            return url
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
