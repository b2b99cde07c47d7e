"""The provider's keys, and the tokens that it signs with them: RS256, which every relying party accepts."""

import asyncio
import json
import secrets
from collections.abc import Callable
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

from embedded.openid.database import Database
from embedded.standin_options import Account, OpenIdOptions

ALGORITHM = "RS256"
#: Keys in the key set: the one that signs, and the one before it, whose tokens are still valid.
_KEYS = 2


class TokenSigner:
    """Signs access and ID tokens, and recognises its own."""

    def __init__(
        self, database: Database, options: OpenIdOptions, issuer: str, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._options = options
        self._issuer = issuer
        self._clock = clock
        self._cache: dict[str, RSAKey] = {}

    async def key_set(self) -> dict[str, Any]:
        """Return the public keys as a JWK set."""
        keys = [key.as_dict(private=False) for key in await self._keys()]
        return {"keys": [{**key, "use": "sig", "alg": ALGORITHM} for key in keys]}

    async def rotate(self) -> None:
        """Sign with a new key from now on."""
        # In a thread, because it takes a tenth of a second, and other stand-ins share the event loop.
        key_id = secrets.token_hex(8)
        key = await asyncio.to_thread(RSAKey.generate_key, 2048, {"kid": key_id})
        jwk = json.dumps(key.as_dict(private=True))
        self._database.run("INSERT INTO keys VALUES (?, ?, ?)", key_id, jwk, self._clock())

    async def access_token(self, session: Any, account: Account) -> str:
        """Return a token for the API, which has what the API needs to know about the person."""
        claims = {"aud": self._options.audience, "azp": self._options.client_id, "scope": session["scope"]}
        return await self._sign(session, claims | claims_of(account, session["scope"]))

    async def id_token(self, session: Any, account: Account, nonce: str) -> str:
        """Return a token for the client, which no API accepts."""
        claims = {"aud": self._options.client_id} | ({"nonce": nonce} if nonce else {})
        return await self._sign(session, claims | claims_of(account, session["scope"]))

    async def session_id_of(self, token: str) -> str | None:
        """Return the session of an access token of this provider that has not expired; None for any other."""
        try:
            keys = KeySet(list(await self._keys()))
            claims = jwt.decode(token, keys, algorithms=[ALGORITHM]).claims
        except (JoseError, ValueError, RecursionError):
            return None
        is_valid = claims.get("aud") == self._options.audience and self._clock() < claims.get("exp", 0)
        return str(claims["sid"]) if is_valid else None

    async def _sign(self, session: Any, claims: dict[str, Any]) -> str:
        now = int(self._clock())
        [key, *_] = await self._keys()
        common = {
            "iss": self._issuer,
            "iat": now,
            "exp": now + self._options.access_token_seconds,
            "jti": secrets.token_hex(8),
            "sid": session["id"],
        }
        header = {"alg": ALGORITHM, "kid": key.kid, "typ": "JWT"}
        return jwt.encode(header, common | claims, key, algorithms=[ALGORITHM])

    async def _keys(self) -> list[RSAKey]:
        """Return the keys, the newest first; create the first one when it is needed."""
        query = "SELECT id, jwk FROM keys ORDER BY created_at DESC, rowid DESC LIMIT ?"
        if not (rows := self._database.all(query, _KEYS)):
            await self.rotate()
            rows = self._database.all(query, _KEYS)
        # Reading a key checks its numbers, which takes longer than signing with it.
        read = (self._cache.get(row["id"]) or RSAKey.import_key(json.loads(row["jwk"])) for row in rows)
        self._cache = {str(key.kid): key for key in read}
        return list(self._cache.values())


def claims_of(account: Account, scope: str) -> dict[str, Any]:
    """Return what the scopes give about a person; the groups come with the address, as in Keycloak."""
    scopes = scope.split()
    claims: dict[str, Any] = {"sub": account.email}
    if "email" in scopes:
        claims |= {"email": account.email, "email_verified": account.is_email_verified}
        # As with Keycloak, the claim is absent for people without a group.
        claims |= {"groups": list(account.groups)} if account.groups else {}
    if "profile" in scopes:
        claims |= {"name": account.name, "preferred_username": account.email.partition("@")[0]}
    return claims
