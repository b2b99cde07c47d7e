"""Verification of OpenID Connect tokens: signature, issuer, audience and times."""

import base64
import binascii
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from starter.auth.oidc.claims import TokenRefused, principal_from_claims
from starter.auth.oidc.issuers import Issuer
from starter.auth.oidc.keys import IssuerKeys, IssuerUnavailable, PublicKey
from starter.auth.policy import Principal

#: The algorithms that we accept, by type of key. Never "none", and never HMAC, whose key would be public.
_RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_EC_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_OKP_ALGORITHMS = {"Ed25519": "EdDSA"}
#: How far clocks may be apart.
LEEWAY = timedelta(seconds=60)
#: A larger token is refused before it is parsed. Tokens with hundreds of groups have some 12 KB.
MAX_TOKEN_LENGTH = 16 * 1024
#: Verified tokens that are remembered: verification costs 0.1 ms, and a client sends the same token for
#: minutes. A remembered token is still refused when it expires.
REMEMBERED_TOKENS = 2000
#: How long a token is remembered, so that a key that the issuer has withdrawn is refused.
REMEMBERED_FOR = timedelta(minutes=1)

__all__ = ["IssuerUnavailable", "TokenRefused", "TokenVerifier", "VerifiedToken", "looks_like_jwt"]


@dataclass(frozen=True)
class VerifiedToken:
    """What a token says. `until`: when it is no longer accepted, in seconds since the epoch."""

    principal: Principal
    issuer: str
    until: float
    forget_at: float


class TokenVerifier:
    """Verifies tokens of several issuers."""

    def __init__(
        self,
        issuers: Sequence[Issuer],
        *,
        now: Callable[[], float] = time.time,
        keys_of: Callable[[Issuer], IssuerKeys] = IssuerKeys,
    ) -> None:
        self._issuers = {issuer.url: (issuer, keys_of(issuer)) for issuer in issuers}
        self._now = now
        self._verified: OrderedDict[bytes, VerifiedToken] = OrderedDict()

    async def principal_of(self, token: str) -> Principal:
        """Return the principal of the token; raise as `verify` does."""
        return (await self.verify(token)).principal

    async def verify(self, token: str) -> VerifiedToken:
        """Return what the token says.

        Raises:
            TokenRefused: it is not valid here, with the reason; the text never repeats the token.
            IssuerUnavailable: it cannot be verified, because the issuer does not give its keys.
        """
        if len(token) > MAX_TOKEN_LENGTH:
            raise TokenRefused(f"the token is longer than {MAX_TOKEN_LENGTH} characters")
        digest = hashlib.sha256(token.encode()).digest()
        now = self._now()
        if (known := self._verified.get(digest)) and now < min(known.until, known.forget_at):
            return known
        self._verified.pop(digest, None)
        issuer, claims = await self._signed_claims(token)
        until = self._check(claims, issuer.audience)
        principal = principal_from_claims(claims, issuer)
        verified = VerifiedToken(principal, issuer.url, until, now + REMEMBERED_FOR.total_seconds())
        self._verified[digest] = verified
        if len(self._verified) > REMEMBERED_TOKENS:
            self._verified.popitem(last=False)
        return verified

    async def id_claims(self, token: str, issuer: Issuer) -> dict[str, Any]:
        """Return the claims of an ID token of this issuer for its client; raise as `verify` does."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise TokenRefused(f"the ID token is longer than {MAX_TOKEN_LENGTH} characters")
        signer, claims = await self._signed_claims(token)
        if signer.url != issuer.url:
            raise TokenRefused("the ID token is from another issuer")
        self._check(claims, str(issuer.client_id))
        return claims

    async def _signed_claims(self, token: str) -> tuple[Issuer, dict[str, Any]]:
        """Return the issuer and the claims of the token, whose signature is then verified."""
        header, unverified = _parts(token)
        found = self._issuers.get(str(unverified.get("iss", "")).rstrip("/"))
        if found is None:
            raise TokenRefused("the token is from an issuer that this installation does not accept")
        issuer, keys = found
        key_id, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(key_id, str) or not isinstance(algorithm, str):
            raise TokenRefused("the token's header has no key id (kid) or no algorithm (alg)")
        key = await keys.find(key_id)
        if key is None:
            raise TokenRefused("the token is signed with a key that its issuer does not have")
        if algorithm not in _algorithms(key):
            raise TokenRefused("the token is signed with an algorithm that is not accepted")
        try:
            claims = jwt.decode(token, key, algorithms=[algorithm]).claims
        except (JoseError, ValueError, RecursionError):
            raise TokenRefused("the token's signature is not valid") from None
        if str(claims.get("iss", "")).rstrip("/") != issuer.url:
            raise TokenRefused("the token is from an issuer that this installation does not accept")
        return issuer, claims

    def _check(self, claims: dict[str, Any], expected: str) -> float:
        """Check audience and times; return when the token expires, in seconds since the epoch."""
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if expected not in audiences:
            raise TokenRefused(f"the token is for another service: its audience is not {expected}")
        now, leeway = self._now(), LEEWAY.total_seconds()
        expires = _number(claims, "exp")
        if expires is None:
            raise TokenRefused("the token has no end (exp)")
        if now >= expires + leeway:
            raise TokenRefused("the token has expired: sign in again")
        for name in ("nbf", "iat"):
            begins = _number(claims, name)
            if begins is not None and now < begins - leeway:
                raise TokenRefused(
                    "the token is not valid yet: compare the clocks of this machine and the issuer"
                )
        return expires + leeway


def looks_like_jwt(token: str) -> bool:
    """Return whether the text has the form of a signed JWT; tokens of the file never have it."""
    return token.count(".") == 2


def _algorithms(key: PublicKey) -> Sequence[str]:
    if isinstance(key, RSAKey):
        allowed: Sequence[str] = _RSA_ALGORITHMS
    else:
        table = _EC_ALGORITHMS if isinstance(key, ECKey) else _OKP_ALGORITHMS
        allowed = [table[key.curve_name]] if key.curve_name in table else []
    # A key that names its algorithm is good for no other (RFC 7517, 4.4).
    return [each for each in allowed if each == key.alg] if key.alg else allowed


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of the token, neither of which is verified yet."""
    parts = token.split(".")
    try:
        header, claims = (json.loads(_base64url(part)) for part in parts[:2])
    except (ValueError, RecursionError):
        header = claims = None
    if len(parts) != 3 or not isinstance(header, dict) or not isinstance(claims, dict):
        raise TokenRefused("the token is neither one of the file of tokens nor a signed JWT")
    return header, claims


def _base64url(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _number(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) > 1e12:
        raise TokenRefused(f"the token's claim {name} is no time")
    return float(value)
