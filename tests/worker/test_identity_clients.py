"""The client of the identity provider, as the settings describe it."""

import asyncio
import json
import ssl
from pathlib import Path

import pytest

from clients.errors import Unreachable
from embedded.host.tls import authority, server_certificate
from tests.worker.test_settings import LEAST
from worker.client_factory import open_clients
from worker.settings.loading import load_settings


async def test_token_endpoint_is_trusted_by_its_own_address(tmp_path: Path) -> None:
    """Ensures it where the directory is an http:// neighbour and its token endpoint is behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server_certificate(tmp_path))
    requests: list[bytes] = []

    async def give_token(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        body = json.dumps({"access_token": "a-token", "token_type": "Bearer", "expires_in": 60}).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(give_token, "127.0.0.1", 0, ssl=context)
    identity = {
        "URL": "http://127.0.0.1:1/scim",
        "CLIENT_ID": "moorage",
        "CLIENT_SECRET": "planted-secret",
        "TOKEN_URL": f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/token",
        "CA_FILE": str(authority(tmp_path)),
    }
    settings = load_settings(LEAST | {f"MOORAGE_IDENTITY__{name}": value for name, value in identity.items()})
    async with server, open_clients(settings) as clients:
        assert clients.directory is not None
        with pytest.raises(Unreachable, match="cannot connect to"):
            await clients.directory.check()
    assert [request.split(b" ")[:2] for request in requests] == [[b"POST", b"/token"]]
