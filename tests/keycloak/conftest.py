"""One Keycloak for the whole suite, with the realm of deploy/keycloak and three people in it."""

import json
import secrets
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from clients.identity.client_credentials import ClientCredentials, secret_proof
from clients.identity.keycloak import Keycloak, token_url
from tools.keycloak.server import Keycloak as Server
from tools.keycloak.server import running_keycloak

REALM = "acme"
DIRECTORY_CLIENT = "moorage-directory"
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
    realm = {**json.loads(text), "sslRequired": "none"}
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

        def auth_flow(self, request: httpx.Request) -> Any:
            # The token lives a minute, so each request gets a new one.
            answer = yield httpx.Request("POST", token_url(server.realm_url("master")), data=form)
            request.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
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


def connect(server: Server, secret: str) -> Keycloak:
    url, timeout = server.realm_url(REALM), timedelta(seconds=60)
    credentials = ClientCredentials(
        token_url(url), DIRECTORY_CLIENT, secret_proof(lambda: secret), timeout=timeout
    )
    return Keycloak(url, credentials, timeout=timeout)


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
