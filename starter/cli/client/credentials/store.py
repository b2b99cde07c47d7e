"""Keeps the tokens of a context: what is valid for weeks in the system's keyring, the rest in a private file.

The refresh token is in the keyring if there is one, otherwise in the file too. The access token, which is
valid for minutes, is in the file in any case: a keyring takes half as long to import as a whole command.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import msgspec

from clients.private_files import ensure_private_folder, read_private, write_private
from starter.cli.client.contexts import Context, canonical, locked_state
from starter.cli.errors import CliError, Code
from starter.cli.state_folder import state_folder

SERVICE = "moorage"
#: A keyring of a lower priority is a file without encryption, or none at all.
LOWEST_PRIORITY = 1
#: Tokens with hundreds of groups have some 12 KB.
_LONGEST = 100_000


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of one context, and where they are renewed. `expires_at` is in seconds since the epoch.

    `url` is the installation that the tokens are for. They are sent to no other, whatever the file of
    contexts says by then. `refresh_token` is empty if it is in the keyring, or if the issuer gave none.
    """

    url: str
    issuer: str
    client_id: str
    token_endpoint: str
    revocation_endpoint: str = ""
    access_token: str
    expires_at: float
    refresh_token: str = ""
    is_in_keyring: bool = False

    def __repr__(self) -> str:
        return f"Tokens(url={self.url!r}, issuer={self.issuer!r}, tokens hidden)"


def locked_tokens(context: Context, environ: Mapping[str, str] = os.environ) -> AbstractContextManager[Path]:
    """Hold the lock of the context's tokens: sign-in, renewal and sign-out change them in turn.

    Raises:
        CliError: another command keeps the lock.
    """
    return locked_state(f"sign-in-{context.name}", environ)


def load_tokens(context: Context, environ: Mapping[str, str] = os.environ) -> Tokens | None:
    """Return the tokens of the context; None if there are none, or if they are for another installation."""
    try:
        text = read_private(_file(context, environ), longest=_LONGEST)
        tokens = msgspec.json.decode(text, type=Tokens)
    except (OSError, RuntimeError, ValueError):
        return None
    return tokens if canonical(tokens.url) == canonical(context.url) else None


def refresh_token_of(context: Context, tokens: Tokens) -> str:
    """Return the refresh token; "" if there is none.

    Raises:
        CliError: it is in the keyring, and the keyring does not open.
    """
    if not tokens.is_in_keyring:
        return tokens.refresh_token
    try:
        import keyring

        return keyring.get_password(SERVICE, _keyring_name(context)) or ""
    except Exception as error:
        raise _keyring_failed(error) from None


def save_tokens(context: Context, tokens: Tokens, environ: Mapping[str, str] = os.environ) -> Tokens:
    """Keep the tokens, and return them as `load_tokens` will.

    Raises:
        CliError: they cannot be written.
    """
    if tokens.refresh_token and _put_into_keyring(context, tokens.refresh_token):
        tokens = msgspec.structs.replace(tokens, refresh_token="", is_in_keyring=True)
    else:
        tokens = msgspec.structs.replace(tokens, is_in_keyring=False)
    try:
        file = _file(context, environ)
        ensure_private_folder(file.parent.parent)
        ensure_private_folder(file.parent)
        write_private(file, msgspec.json.encode(tokens))
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CliError(Code.FAILED, f"cannot keep the tokens of {context.name}: {reason}") from None
    return tokens


def forget_tokens(context: Context, environ: Mapping[str, str] = os.environ) -> None:
    """Remove the tokens of the context. Fine if there are none."""
    tokens = load_tokens(context, environ)
    with suppress(OSError, RuntimeError):
        _file(context, environ).unlink(missing_ok=True)
    if tokens is not None and tokens.is_in_keyring:
        # A keyring that does not open keeps a token that the issuer has revoked, or that ends by itself.
        with suppress(Exception):
            import keyring

            keyring.delete_password(SERVICE, _keyring_name(context))


def _put_into_keyring(context: Context, refresh_token: str) -> bool:
    """Store it in the system's keyring; return whether there is a usable one."""
    # A keyring can fail in any way that its desktop can; the file is there for all of them.
    with suppress(Exception):
        import keyring

        if _priority(keyring.get_keyring()) >= LOWEST_PRIORITY:
            keyring.set_password(SERVICE, _keyring_name(context), refresh_token)
            return True
    return False


def _priority(backend: Any) -> float:
    return float(backend.priority)


def _keyring_name(context: Context) -> str:
    return f"{context.name} {canonical(context.url)}"


def _keyring_failed(error: Exception) -> CliError:
    message = f"the keyring of this system does not open ({type(error).__name__})"
    return CliError(Code.FAILED, message, next_steps=["unlock it, or sign in again: moorage login"])


def _file(context: Context, environ: Mapping[str, str]) -> Path:
    return state_folder(environ) / "credentials" / f"{context.name}.json"
