"""Authentication of bearer tokens: tokens of the file, and signed tokens of OpenID Connect issuers."""

import time
from collections import OrderedDict
from typing import Any

from starter.auth.oidc.issuers import Issuer
from starter.auth.oidc.verifier import (
    IssuerUnavailable,
    TokenRefused,
    TokenVerifier,
    VerifiedToken,
    looks_like_jwt,
)
from starter.auth.policy import Principal
from starter.auth.tokens import Tokens
from starter.config_files.reloading import Reloaded

__all__ = ["Authentication", "IssuerUnavailable", "TokenRefused"]

UNKNOWN = "the token is not known: ask the platform team for one"
UNKNOWN_OR_SIGN_IN = "the token is not known: sign in with moorage login, or ask the platform team for one"


#: How long the teams of a token count after its person has used it: a working day.
TEAMS_VALID_SECONDS = 12 * 3600.0
#: People whose teams are remembered.
MAX_SIGNED_IN = 10_000


class Authentication:
    """Authenticates callers by the current files of tokens and issuers."""

    def __init__(self, tokens: Reloaded[Tokens], issuers: Reloaded[tuple[Issuer, ...]] | None) -> None:
        self._tokens = tokens
        self._issuers = issuers
        self._verifier: TokenVerifier | None = None
        self._verified_issuers: tuple[Issuer, ...] = ()
        self._signed_in: OrderedDict[str, tuple[float, frozenset[str]]] = OrderedDict()

    async def principal_of(self, token: str) -> Principal:
        """Return the principal of the token.

        Raises:
            TokenRefused: the token is not valid, with a sentence that says why.
            IssuerUnavailable: it cannot be verified now, because the issuer does not give its keys.
        """
        verifier = self._current_verifier()
        if verifier is not None and looks_like_jwt(token):
            principal = await verifier.principal_of(token)
            self.remember_teams(principal)
            return principal
        known = self._tokens.current().principal_of(token)
        if known is None:
            raise TokenRefused(UNKNOWN if verifier is None else UNKNOWN_OR_SIGN_IN)
        return known

    async def verify_signed(self, token: str) -> VerifiedToken:
        """Return what a signed token of an issuer says; raise as `principal_of` does."""
        verified = await self._require_verifier().verify(token)
        self.remember_teams(verified.principal)
        return verified

    async def id_claims(self, token: str, issuer: Issuer) -> dict[str, Any]:
        """Return the claims of an ID token of this issuer for its client; raise as `principal_of` does."""
        return await self._require_verifier().id_claims(token, issuer)

    def _require_verifier(self) -> TokenVerifier:
        if (verifier := self._current_verifier()) is None:
            raise TokenRefused("this installation accepts tokens of no issuer")
        return verifier

    def teams_of(self, email: str) -> frozenset[str] | None:
        """Return the teams of a person; None if they have no token and have not signed in here lately.

        No directory can be asked: which teams a person is in is in their tokens only.
        """
        signed_in_at, teams = self._signed_in.get(email, (0.0, None))
        if teams is None or time.monotonic() - signed_in_at > TEAMS_VALID_SECONDS:
            return self._tokens.current().teams_of(email)
        return teams | (self._tokens.current().teams_of(email) or frozenset())

    def remember_teams(self, principal: Principal) -> None:
        """Remember the teams of a person who is signed in, for `teams_of`."""
        self._signed_in[principal.email] = time.monotonic(), frozenset(principal.teams)
        self._signed_in.move_to_end(principal.email)
        if len(self._signed_in) > MAX_SIGNED_IN:
            self._signed_in.popitem(last=False)

    def _current_verifier(self) -> TokenVerifier | None:
        """Return the verifier for the current file; a changed file forgets all verified tokens."""
        issuers = self._issuers.current() if self._issuers else ()
        if issuers != self._verified_issuers or (issuers and self._verifier is None):
            self._verified_issuers = issuers
            self._verifier = TokenVerifier(issuers) if issuers else None
        return self._verifier
