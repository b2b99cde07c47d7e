"""The port and the step of the group on a real Keycloak, through a proxy that injects faults.

The adapter for Keycloak has all of it, that for SCIM the port: what befalls a call is the same for both.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response

from clients.identity.client_credentials import ClientCredentials, secret_proof
from clients.identity.keycloak import Keycloak, token_url
from clients.identity.protocol import IdentityProvider
from clients.identity.scim import Scim
from embedded.asgi_server import listening_socket
from embedded.faults import Fault, FaultInjector, Receive, Scope
from tests.keycloak.conftest import DIRECTORY_CLIENT, REALM, person
from tests.support.identity_contract import IdentityContract
from tests.support.identity_directories import TIMEOUT, Directory
from tests.support.identity_faults import IdentityFaultMatrix
from tests.support.stand_ins import TLS
from tools.keycloak.server import Keycloak as Server

_OPERATIONS = {
    ("POST", "/groups"): "group.create",
    ("GET", "/groups"): "group.find",
    ("DELETE", "/groups/*"): "group.delete",
    ("PUT", "/users/*/groups/*"): "member.add",
    ("DELETE", "/users/*/groups/*"): "member.remove",
    ("GET", "/users"): "user.find",
    ("POST", "/scim/v2/Groups"): "group.create",
    ("GET", "/scim/v2/Groups"): "group.find",
    ("GET", "/scim/v2/Groups/*"): "group.get",
    ("PATCH", "/scim/v2/Groups/*"): "group.patch",
    ("DELETE", "/scim/v2/Groups/*"): "group.delete",
    ("GET", "/scim/v2/Users"): "user.find",
}
#: More people than a client reads for one search. Keycloak takes 14 ms to import each.
MANY = 1000
_ID = re.compile(r"[0-9a-f-]{36}")
#: What a proxy passes on.
_HEADERS = ("authorization", "content-type", "location")


def operation_of(method: str, path: str) -> str | None:
    if path == f"/realms/{REALM}/protocol/openid-connect/token":
        return "token"
    _, found, resource = path.partition(f"/realms/{REALM}")
    return _OPERATIONS.get((method, _ID.sub("*", resource))) if found else None


class Proxy:
    """Passes calls to a server."""

    def __init__(self, server: httpx.AsyncClient) -> None:
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Any) -> None:
        request = Request(scope, receive)
        answer = await self._server.request(
            request.method,
            request.url.path,
            params=request.url.query,
            content=await request.body(),
            headers={name: request.headers[name] for name in _HEADERS if name in request.headers},
        )
        kept = {name: answer.headers[name] for name in _HEADERS if name in answer.headers}
        await Response(answer.content, answer.status_code, kept)(scope, receive, send)


class KeycloakDirectory(Directory):
    """The realm of the tests, behind the proxy."""

    kind = "keycloak"
    #: What happens before the server gets the call is the same for all kinds.
    faults_left_out = ("refused before it was done", "503", "page of a proxy", "too many requests")

    def __init__(self, url: str, secret: str, admin: httpx.AsyncClient, injector: FaultInjector) -> None:
        self.url, self._secret, self._admin, self._injector = url, secret, admin, injector
        self.secrets = (secret,)

    @property
    def realm(self) -> str:
        return f"{self.url}/realms/{REALM}"

    def connect(self, timeout: timedelta = TIMEOUT, *, credential: str | None = None) -> IdentityProvider:
        return Keycloak(self.realm, self.credentials(timeout, credential), timeout=timeout, verify=TLS)

    def credentials(self, timeout: timedelta, secret: str | None) -> ClientCredentials:
        proof = secret_proof(lambda: secret or self._secret)
        endpoint = token_url(self.realm)
        return ClientCredentials(endpoint, DIRECTORY_CLIENT, proof, timeout=timeout, verify=TLS)

    async def add_person(self, user_name: str, email: str, *, active: bool = True) -> str:
        account = {**person("ann", enabled=active), "username": user_name, "email": email}
        del account["credentials"]
        answer = await self._admin.post("/users", json=account)
        assert answer.is_success, answer.text
        return str(answer.headers["Location"].rpartition("/")[2])

    def faults(self, *faults: Fault) -> None:
        self._injector.faults = list(faults)

    def remaining_faults(self) -> list[Any]:
        # The injector is in this process: a call to it would wait for itself.
        return list(self._injector.faults)

    def calls(self) -> dict[str, int]:
        return {name: count for name, count in self._injector._calls.items() if name != self.token}


class KeycloakScim(KeycloakDirectory):
    """The same realm by its SCIM service, which Keycloak calls a preview."""

    kind = "scim"
    add = remove = "group.patch"
    #: It minds the case of addresses, and has few people: they are counted, and read in up to five pages.
    most_calls_for_unknown = 7

    def connect(self, timeout: timedelta = TIMEOUT, *, credential: str | None = None) -> IdentityProvider:
        credentials = self.credentials(timeout, credential)
        return Scim(f"{self.realm}/scim/v2", credentials=credentials, timeout=timeout, verify=TLS)


@asynccontextmanager
async def behind_a_proxy(
    kind: type[KeycloakDirectory], server: Server, secret: str, admin: httpx.AsyncClient
) -> AsyncIterator[KeycloakDirectory]:
    async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as http:
        injector = FaultInjector(Proxy(http), operation_of)
        with listening_socket() as sock:
            config = uvicorn.Config(injector, log_level=logging.CRITICAL, lifespan="off")
            proxy = uvicorn.Server(config)
            task = asyncio.create_task(proxy.serve(sockets=[sock]))
            url = f"http://127.0.0.1:{sock.getsockname()[1]}"
            yield kind(url, secret, admin, injector)
            proxy.should_exit = True
            await task


@pytest.fixture(scope="module")
async def directory(
    server: Server, directory_secret: str, admin: httpx.AsyncClient
) -> AsyncIterator[KeycloakDirectory]:
    async with behind_a_proxy(KeycloakDirectory, server, directory_secret, admin) as directory:
        yield directory


@pytest.fixture(scope="module")
async def scim_directory(
    server: Server, scim_url: str, directory_secret: str, admin: httpx.AsyncClient
) -> AsyncIterator[KeycloakDirectory]:
    async with behind_a_proxy(KeycloakScim, server, directory_secret, admin) as directory:
        yield directory


class TestContract(IdentityContract):
    """The contract, on Keycloak."""


class TestScimContract(IdentityContract):
    """The contract by Keycloak's SCIM service."""

    @pytest.fixture
    def directory(self, scim_directory: KeycloakDirectory) -> KeycloakDirectory:
        return scim_directory


class TestFaults(IdentityFaultMatrix):
    """The matrix of faults, on Keycloak."""


async def test_person_among_a_thousand_is_found_by_two_calls(
    directory: KeycloakDirectory, scim_directory: KeycloakDirectory, admin: httpx.AsyncClient
) -> None:
    """Ensures it last in this file: all other tests of it have a small realm."""
    users = [
        {"username": f"p{number}@login.example.com", "email": f"p{number}@example.com", "enabled": True}
        for number in range(MANY)
    ]
    (await admin.post("/partialImport", json={"users": users}, timeout=300)).raise_for_status()
    name, address = f"p{MANY - 1}@login.example.com", f"p{MANY - 1}@example.com"
    for each in (directory, scim_directory):
        client = each.connect()
        for asked in (name, address):
            assert await client.find_user(asked)
        for asked, most in ((name, 1), (address, 2), (name.upper(), 2), (f"x{address}", 2)):
            before = sum(each.calls().values())
            user = await client.find_user(asked)
            assert sum(each.calls().values()) - before <= most, (each.kind, asked)
            assert (user is not None) is (not asked.startswith("x")), (each.kind, asked)
        await client.close()
