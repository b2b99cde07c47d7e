"""The session of a signed-in context: gives its access token, and renews it before it expires."""

import os
import time
from collections.abc import Callable, Mapping

import msgspec

from starter.cli.client.contexts import Context
from starter.cli.client.credentials.store import (
    Tokens,
    forget_tokens,
    load_tokens,
    locked_tokens,
    refresh_token_of,
    save_tokens,
)
from starter.cli.errors import CliError, Code

#: A token is renewed so long before its end: it must not expire on its way, and clocks differ a little.
EARLY_SECONDS = 30.0


class Session:
    """The sign-in of one context."""

    def __init__(
        self,
        context: Context,
        tokens: Tokens,
        *,
        environ: Mapping[str, str] = os.environ,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._context = context
        self._tokens = tokens
        self._environ = environ
        self._now = now

    @property
    def tokens(self) -> Tokens:
        """The tokens as they are known to this session."""
        return self._tokens

    def access_token(self, *, rejected: str = "", timeout: float | None = None) -> str:
        """Return a valid access token; renew it if it ends soon, or if it is the `rejected` one.

        Of several commands that need a new token at the same time, one gets it, and the others use it: a
        refresh token is good for one use.

        Raises:
            CliError: the sign-in has ended, or the issuer does not answer.
        """
        if self._is_usable(self._tokens, rejected):
            return self._tokens.access_token
        with locked_tokens(self._context, self._environ):
            current = load_tokens(self._context, self._environ)
            if current is None:
                raise signed_out(self._context)
            if not self._is_usable(current, rejected):
                try:
                    current = self._renew(current, timeout)
                except CliError as error:
                    # While the issuer does not answer, the last minute of the token is still good.
                    is_valid = current.access_token != rejected and self._now() < current.expires_at
                    if error.code is not Code.UNREACHABLE or not is_valid:
                        raise
            self._tokens = current
        return current.access_token

    def _is_usable(self, tokens: Tokens, rejected: str) -> bool:
        return tokens.access_token != rejected and self._now() < tokens.expires_at - EARLY_SECONDS

    def _renew(self, tokens: Tokens, timeout: float | None) -> Tokens:
        # Import it here: with a valid token, a command calls no issuer.
        from starter.cli.client.credentials.issuer import (
            TIMEOUT_SECONDS,
            GrantRefused,
            IssuerClient,
            lifetime_of,
        )

        refresh_token = refresh_token_of(self._context, tokens)
        if not refresh_token:
            raise self._ended(tokens)
        form = {
            "grant_type": "refresh_token",
            "client_id": tokens.client_id,
            "refresh_token": refresh_token,
        }
        seconds = TIMEOUT_SECONDS if timeout is None else min(timeout, TIMEOUT_SECONDS)
        try:
            with IssuerClient(tokens.issuer, ca_file=self._context.ca_file, timeout=seconds) as issuer:
                answer = issuer.grant(tokens.token_endpoint, form)
        except GrantRefused:
            raise self._ended(tokens) from None
        renewed = msgspec.structs.replace(
            tokens,
            access_token=str(answer["access_token"]),
            expires_at=self._now() + lifetime_of(answer),
            # An issuer that does not rotate refresh tokens gives none with a new access token.
            refresh_token=str(answer.get("refresh_token") or refresh_token),
        )
        return save_tokens(self._context, renewed, self._environ)

    def _ended(self, tokens: Tokens) -> CliError:
        forget_tokens(self._context, self._environ)
        message = f"your sign-in at {tokens.issuer} has ended"
        return CliError(Code.NOT_ALLOWED, message, next_steps=[f"moorage login {self._context.url}"])


def signed_out(context: Context) -> CliError:
    """Return the error of a context without tokens."""
    message = f"you are not signed in to {context.url}"
    return CliError(Code.NOT_ALLOWED, message, next_steps=[f"moorage login {context.url}"])
