"""Authentication of bearer tokens: tokens of the file, and signed tokens of OpenID Connect issuers."""

from starter.auth.oidc.issuers import Issuer
from starter.auth.oidc.verifier import IssuerUnavailable, TokenRefused, TokenVerifier, looks_like_jwt
from starter.auth.policy import Principal
from starter.auth.tokens import Tokens
from starter.config_files.reloading import Reloaded

__all__ = ["Authentication", "IssuerUnavailable", "TokenRefused"]

UNKNOWN = "the token is not known: ask the platform team for one"
UNKNOWN_OR_SIGN_IN = "the token is not known: sign in with moorage login, or ask the platform team for one"


class Authentication:
    """Authenticates callers by the current files of tokens and issuers."""

    def __init__(self, tokens: Reloaded[Tokens], issuers: Reloaded[tuple[Issuer, ...]] | None) -> None:
        self._tokens = tokens
        self._issuers = issuers
        self._verifier: TokenVerifier | None = None
        self._verified_issuers: tuple[Issuer, ...] = ()

    async def principal_of(self, token: str) -> Principal:
        """Return the principal of the token.

        Raises:
            TokenRefused: the token is not valid, with a sentence that says why.
            IssuerUnavailable: it cannot be verified now, because the issuer does not give its keys.
        """
        verifier = self._current_verifier()
        if verifier is not None and looks_like_jwt(token):
            return await verifier.principal_of(token)
        principal = self._tokens.current().principal_of(token)
        if principal is None:
            raise TokenRefused(UNKNOWN if verifier is None else UNKNOWN_OR_SIGN_IN)
        return principal

    def _current_verifier(self) -> TokenVerifier | None:
        """Return the verifier for the current file; a changed file forgets all verified tokens."""
        issuers = self._issuers.current() if self._issuers else ()
        if issuers != self._verified_issuers or (issuers and self._verifier is None):
            self._verified_issuers = issuers
            self._verifier = TokenVerifier(issuers) if issuers else None
        return self._verifier
