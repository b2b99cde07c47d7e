"""The client of the identity provider, as the settings describe it."""

import asyncio
import json
import ssl
from pathlib import Path

import pytest

from clients.errors import Denied, Unreachable
from clients.identity.entra import Entra
from clients.identity.keycloak import Keycloak
from clients.identity.okta import Okta
from clients.identity.scim import Scim
from embedded.host.tls import authority, server_certificate
from tests.worker.test_identity_settings import ENTRA, ENTRA_CERTIFICATE, KEYCLOAK, OKTA, OKTA_APP, given
from tests.worker.test_settings import DIRECTORY, LEAST
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


TOKEN = {"MOORAGE_IDENTITY__TOKEN": "a-token"}


@pytest.mark.parametrize(
    ("environ", "kind"),
    [
        (DIRECTORY | TOKEN, Scim),
        (KEYCLOAK, Keycloak),
        (OKTA | TOKEN, Okta),
        (OKTA_APP, Okta),
        (ENTRA, Entra),
        (ENTRA_CERTIFICATE, Entra),
    ],
)
async def test_kind_chooses_the_client(environ: dict[str, str | None], kind: type) -> None:
    async with open_clients(load_settings(given(environ))) as clients:
        assert type(clients.directory) is kind


async def test_key_in_a_file_is_read_again_for_each_token(tmp_path: Path) -> None:
    """Ensures it for a key of several lines, which is no secret for a header."""
    file = tmp_path / "okta.pem"
    file.write_text(str(OKTA_APP["MOORAGE_IDENTITY__PRIVATE_KEY"]))
    file.chmod(0o600)
    environ = OKTA_APP | {
        "MOORAGE_IDENTITY__PRIVATE_KEY": None,
        "MOORAGE_IDENTITY__PRIVATE_KEY_FILE": str(file),
    }
    async with open_clients(load_settings(given(environ))) as clients:
        assert isinstance(clients.directory, Okta)
        assert clients.directory._credentials is not None
        proof = clients.directory._credentials._proof
        assert proof()["client_assertion"]
        file.write_text("not a key")
        with pytest.raises(Denied, match="private_key is no private key"):
            proof()
