"""An OpenID Connect issuer on loopback, whose keys and misbehaviour a test sets."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from tests.support.keys import rsa_jwk

Key = RSAKey | ECKey | OctKey

RSA = rsa_jwk("rsa", 1)
EC = ECKey.generate_key("P-256", parameters={"kid": "ec", "use": "sig"})


@dataclass
class FakeIssuer:
    """Serves discovery and keys. `requests` has the path of each request that it got."""

    url: str = ""
    keys: list[Any] = field(default_factory=lambda: [RSA, EC])
    requests: list[str] = field(default_factory=list)
    discovery: dict[str, Any] = field(default_factory=dict)
    #: Sent instead of the key set, if it is set.
    key_set: bytes | None = None
    status: int = 200
    is_hanging: bool = False
    #: Set when a request arrives.
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)
    now: Callable[[], float] = time.time

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Claims of a valid token of alice; None leaves one out."""
        now = int(self.now())
        claims = {
            "iss": self.url,
            "aud": "moorage-api",
            "sub": "1",
            "exp": now + 300,
            "iat": now,
            "email": "alice@example.com",
            "email_verified": True,
            "name": "Alice Example",
            "groups": ["/team-payments", "all"],
        }
        return {name: value for name, value in {**claims, **changes}.items() if value is not None}

    def token(self, key: Key = RSA, alg: str = "RS256", kid: str | None = None, **changes: Any) -> str:
        header = {"alg": alg, "kid": kid if kid is not None else key.kid}
        return jwt.encode(header, self.claims(**changes), key, algorithms=[alg])

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        self.requests.append(path)
        self.is_asked.set()
        if self.is_hanging:
            await reader.read()
        elif path == "/.well-known/openid-configuration":
            document = {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.discovery}
            await self._answer(writer, json.dumps(document).encode())
        else:
            keys = {"keys": [key.as_dict(private=False) for key in self.keys]}
            await self._answer(
                writer, self.key_set if self.key_set is not None else json.dumps(keys).encode()
            )
        writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        head = f"HTTP/1.1 {self.status} x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        with suppress(ConnectionError):
            await writer.drain()


@asynccontextmanager
async def running_issuer() -> AsyncIterator[FakeIssuer]:
    issuer = FakeIssuer()
    server = await asyncio.start_server(issuer.handle, "127.0.0.1", 0)
    issuer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield issuer
    finally:
        server.close()
