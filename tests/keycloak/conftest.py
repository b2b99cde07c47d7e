"""One Keycloak for the whole suite, with the realm of deploy/keycloak and three people in it."""

import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from clients.identity.client_credentials import ClientCredentials, secret_proof
from clients.identity.keycloak import Keycloak, token_url
from clients.identity.scim import Scim
from tools.keycloak.server import Keycloak as Server
from tools.keycloak.server import running_keycloak

REALM = "acme"
DIRECTORY_CLIENT = "moorage-directory"
_ADMIN_TOKEN_SECONDS = 30.0
_TIMEOUT = timedelta(seconds=60)
SHIPPED_REALM = Path(__file__).parents[2] / "deploy" / "keycloak" / "realm.json"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder need Keycloak, which takes up to five minutes to start on a busy machine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.keycloak)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def directory_secret() -> str:
    return secrets.token_urlsafe(24)


@pytest.fixture(scope="session")
def admin_password() -> str:
    return secrets.token_urlsafe(24)


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, directory_secret: str, admin_password: str
) -> Iterator[Server]:
    text = SHIPPED_REALM.read_text().replace("${DIRECTORY_CLIENT_SECRET}", directory_secret)
    realm = {**json.loads(text), "sslRequired": "none", "scimApiEnabled": True}
    realm["groups"] = [{"name": "team-payments"}, {"name": "platform"}]
    realm["users"] = [
        *realm["users"],
        person("alice", groups=["/team-payments"]),
        person("bob", groups=["/team-payments", "/platform"]),
        person("carol"),
        person("mallory", enabled=False),
    ]
    log = tmp_path_factory.mktemp("keycloak") / "keycloak.log"
    with running_keycloak({REALM: realm}, log, admin_password=admin_password) as running:
        yield running


@pytest.fixture(scope="session")
async def admin(server: Server, admin_password: str) -> AsyncIterator[httpx.AsyncClient]:
    """The realm's Admin REST API with all rights, to arrange things and to look past our client."""
    form = {
        "grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": admin_password
    }  # fmt: skip

    class Renewed(httpx.Auth):
        requires_response_body = True
        token, renew_at = "", 0.0

        def auth_flow(self, request: httpx.Request) -> Any:
            # The token lives a minute. To check the password takes Keycloak a second of processor.
            if time.monotonic() >= self.renew_at:
                self.renew_at = time.monotonic() + _ADMIN_TOKEN_SECONDS
                answer = yield httpx.Request("POST", token_url(server.realm_url("master")), data=form)
                self.token = answer.json()["access_token"]
            request.headers["Authorization"] = f"Bearer {self.token}"
            yield request

    async with httpx.AsyncClient(
        base_url=f"{server.url}/admin/realms/{REALM}", auth=Renewed(), timeout=60, trust_env=False
    ) as client:
        yield client


@pytest.fixture
async def keycloak(server: Server, directory_secret: str) -> AsyncIterator[Keycloak]:
    """Our client, with the rights that the shipped realm gives it."""
    client = connect(server, directory_secret)
    yield client
    await client.close()


@pytest.fixture(scope="session")
async def scim_url(server: Server, admin: httpx.AsyncClient) -> str:
    """The realm's SCIM service, which takes tokens of the same client once they name it as an audience."""
    url = f"{server.realm_url(REALM)}/scim/v2"
    [client] = (await admin.get("/clients", params={"clientId": DIRECTORY_CLIENT})).json()
    mapper = {
        "name": "SCIM",
        "protocol": "openid-connect",
        "protocolMapper": "oidc-audience-mapper",
        "config": {"included.custom.audience": url, "access.token.claim": "true"},
    }
    path = f"/clients/{client['id']}/protocol-mappers/models"
    (await admin.post(path, json=mapper)).raise_for_status()
    return url


@pytest.fixture
async def scim(server: Server, scim_url: str, directory_secret: str) -> AsyncIterator[Scim]:
    """The SCIM client, with the same rights."""
    client = Scim(scim_url, credentials=_credentials(server, directory_secret), timeout=_TIMEOUT)
    yield client
    await client.close()


def connect(server: Server, secret: str) -> Keycloak:
    return Keycloak(server.realm_url(REALM), _credentials(server, secret), timeout=_TIMEOUT)


def _credentials(server: Server, secret: str) -> ClientCredentials:
    url = token_url(server.realm_url(REALM))
    return ClientCredentials(url, DIRECTORY_CLIENT, secret_proof(lambda: secret), timeout=_TIMEOUT)


def person(name: str, *, enabled: bool = True, groups: list[str] | None = None) -> dict[str, Any]:
    return {
        "username": name,
        "email": f"{name}@example.com",
        "emailVerified": True,
        "firstName": name.title(),
        "lastName": "Example",
        "enabled": enabled,
        "groups": groups or [],
        "credentials": [{"type": "password", "value": f"{name}-password", "temporary": False}],
    }
