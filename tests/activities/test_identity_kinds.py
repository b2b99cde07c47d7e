"""The port and the step of the group on each kind of directory; tests/keycloak has Keycloak."""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest

from clients.identity.client_assertion import ClientAssertion
from clients.identity.client_credentials import ClientCredentials
from clients.identity.entra import Entra, scope
from clients.identity.okta import SCOPE, Okta, token_url
from clients.identity.scim import Scim
from embedded.cloud_directories.controls import PEOPLE_PATH, SETTLE_PATH
from tests.support.cloud_directories import OKTA_TOKEN, Signer, okta_client
from tests.support.identity_contract import IdentityContract
from tests.support.identity_directories import TIMEOUT, Directory, becomes
from tests.support.identity_faults import SAME_TO_A_CLIENT, IdentityFaultMatrix
from tests.support.stand_ins import TLS, control, running_stand_ins

TOKEN = "a-token-of-the-directory"
#: User names and addresses of a directory of ten thousand people.
MANY = tuple(f"p{number}@login.example.com" for number in range(10_000))
ADDRESSES = tuple(f"p{number}@example.com" for number in range(10_000))
APP, KEY_ID, TENANT = "app-of-moorage", "key-1", "a-tenant"
_USER = "urn:ietf:params:scim:schemas:core:2.0:User"


class ScimDirectory(Directory):
    """A SCIM directory with unique names."""

    kind = "scim"
    add = remove = "group.patch"
    renews_credential = False
    secrets = (TOKEN,)

    def __init__(self, url: str) -> None:
        self.url = url

    def connect(self, timeout: timedelta = TIMEOUT, *, credential: str | None = None) -> Scim:
        return Scim(f"{self.url}/v2", credential or TOKEN, timeout=timeout, verify=TLS)

    async def add_person(self, user_name: str, email: str, *, active: bool = True) -> str:
        person = {
            "schemas": [_USER], "userName": user_name, "active": active, "emails": [{"value": email}]
        }  # fmt: skip
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(headers=headers, trust_env=False, verify=TLS, timeout=60) as http:
            answer = await http.post(f"{self.url}/v2/Users", json=person)
        assert answer.is_success, answer.text
        return str(answer.json()["id"])


class ScimWithDoubles(ScimDirectory):
    """A SCIM directory that allows several groups of one name."""

    has_unique_names = False
    faults_left_out = SAME_TO_A_CLIENT


class OktaStandIn(Directory):
    """The stand-in for Okta, whose searches lag; the client is a service app with a private key."""

    kind = "okta"
    find_user = "user.*"
    faults_left_out = SAME_TO_A_CLIENT

    def __init__(self, url: str, signer: Signer) -> None:
        self.url, self._key = url, signer.private_pem
        # One for all clients: to read a key of RSA takes longer than anything that a test asks for.
        self._assertion = self._assertion_of(APP)
        self.secrets = tuple(signer.private_pem.splitlines()[1:-1])

    def _assertion_of(self, client_id: str) -> ClientAssertion:
        return ClientAssertion(token_url(self.url), client_id, lambda: self._key, key_id=KEY_ID)

    def settle(self) -> None:
        control(self.url, "POST", SETTLE_PATH)

    def connect(self, timeout: timedelta = TIMEOUT, *, credential: str | None = None) -> Okta:
        endpoint = token_url(self.url)
        assertion = self._assertion_of(credential) if credential else self._assertion
        credentials = ClientCredentials(endpoint, APP, assertion, timeout=timeout, scope=SCOPE, verify=TLS)
        return Okta(self.url, credentials=credentials, timeout=timeout, verify=TLS)

    async def add_person(self, user_name: str, email: str, *, active: bool = True) -> str:
        status = "ACTIVE" if active else "SUSPENDED"
        people = [{"email": user_name, "status": status, "profile": {"email": email}}]
        await asyncio.to_thread(control, self.url, "PUT", PEOPLE_PATH, people)
        with okta_client(self.url) as http:
            user = await asyncio.to_thread(http.get, f"/api/v1/users/{user_name}")
        return str(user.json()["id"])


class EntraStandIn(Directory):
    """The stand-in for Entra ID, all reads of which lag; the client is an app with a certificate."""

    kind = "entra"
    has_unique_names, has_unique_marks = False, True
    create, find_group = "group.upsert", "group.[fg]*"
    faults_left_out = SAME_TO_A_CLIENT

    def __init__(self, url: str, signer: Signer) -> None:
        self.url, self._pem = url, signer.private_pem + signer.certificate_pem
        self._endpoint = f"{url}/{TENANT}/oauth2/v2.0/token"
        self._assertion = self._assertion_of(APP)
        self.secrets = tuple(signer.private_pem.splitlines()[1:-1])

    def _assertion_of(self, client_id: str) -> ClientAssertion:
        return ClientAssertion(self._endpoint, client_id, lambda: self._pem, needs_certificate=True)

    def settle(self) -> None:
        control(self.url, "POST", SETTLE_PATH)

    def connect(self, timeout: timedelta = TIMEOUT, *, credential: str | None = None) -> Entra:
        assertion = self._assertion_of(credential) if credential else self._assertion
        credentials = ClientCredentials(
            self._endpoint,
            APP,
            assertion,
            timeout=timeout,
            scope=scope("https://graph.microsoft.com"),
            verify=TLS,
        )
        return Entra(f"{self.url}/v1.0", credentials, timeout=timeout, verify=TLS)

    async def add_person(self, user_name: str, email: str, *, active: bool = True) -> str:
        people = [{"email": user_name, "mail": email, "accountEnabled": active}]
        await asyncio.to_thread(control, self.url, "PUT", PEOPLE_PATH, people)
        client = self.connect()

        async def is_there() -> bool:
            return bool(await client.users_by_address(user_name))

        await becomes(is_there, True)
        [user] = await client.users_by_address(user_name)
        await client.close()
        return user.id


@contextmanager
def running_scim(folder: Path, kind: type[ScimDirectory]) -> Iterator[Directory]:
    options = {
        "database": folder / "directory.sqlite",
        "token": TOKEN,
        "allow_duplicate_groups": not kind.has_unique_names,
    }
    with running_stand_ins(directory=options) as [url]:
        yield kind(url)


@contextmanager
def running_okta(folder: Path) -> Iterator[Directory]:
    signer = Signer()
    options = {
        "database": folder / "okta.sqlite",
        "api_token": OKTA_TOKEN,
        "clients": [{"client_id": APP, "keys": [{**signer.public_jwk, "kid": KEY_ID}]}],
        "behaviour": {"lag": 0.3, "page_limit": 2, "rate_limit": 10**6},
    }
    with running_stand_ins(okta=options) as [url]:
        yield OktaStandIn(url, signer)


@contextmanager
def running_entra(folder: Path) -> Iterator[Directory]:
    signer = Signer()
    options = {
        "database": folder / "entra.sqlite",
        "tenant": TENANT,
        "apps": [{"client_id": APP, "certificates": [signer.certificate_pem]}],
        "behaviour": {"lag": 0.3, "page_limit": 2, "write_limit": 10**6},
    }
    with running_stand_ins(entra=options) as [url]:
        yield EntraStandIn(url, signer)


KINDS: dict[str, Callable[[Path], AbstractContextManager[Directory]]] = {
    "scim": partial(running_scim, kind=ScimDirectory),
    "scim with doubles": partial(running_scim, kind=ScimWithDoubles),
    "okta": running_okta,
    "entra": running_entra,
}


@pytest.fixture(scope="module", params=KINDS)
def directory(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Directory]:
    with KINDS[request.param](tmp_path_factory.mktemp("directory")) as directory:
        yield directory


class TestContract(IdentityContract):
    pass


@pytest.mark.slow
class TestFaults(IdentityFaultMatrix):
    pass


@contextmanager
def scim_of_many_people(folder: Path) -> Iterator[Directory]:
    """Start with a database that has them: to create each by a call takes longer than all else."""
    with running_scim(folder, ScimDirectory) as directory:
        asyncio.run(directory.add_person(MANY[0], ADDRESSES[0]))
    with closing(sqlite3.connect(folder / "directory.sqlite", isolation_level=None)) as rows:
        [(text,)] = rows.execute("SELECT document FROM resources WHERE name = ?", MANY[:1])
        users = [
            {**json.loads(text), "id": name, "userName": name, "emails": [{"value": address}]}
            for name, address in zip(MANY[1:], ADDRESSES[1:], strict=True)
        ]
        found = [(user["id"], "User", user["userName"], json.dumps(user)) for user in users]
        rows.execute("BEGIN")
        rows.executemany("INSERT INTO resources (id, type, name, document) VALUES (?, ?, ?, ?)", found)
        rows.execute("COMMIT")
    with running_scim(folder, ScimDirectory) as directory:
        yield directory


@contextmanager
def cloud_directory_of_many_people(
    folder: Path, running: Callable[[Path], AbstractContextManager[Directory]]
) -> Iterator[Directory]:
    with running(folder) as directory:
        people: list[dict[str, object]] = [
            {"email": name, "profile": {"email": address}} if directory.kind == "okta"
            else {"email": name, "mail": address}
            for name, address in zip(MANY, ADDRESSES, strict=True)
        ]  # fmt: skip
        control(directory.url, "PUT", PEOPLE_PATH, people)
        control(directory.url, "POST", SETTLE_PATH)
        yield directory


@pytest.mark.slow
@pytest.mark.parametrize(
    "running",
    [
        pytest.param(scim_of_many_people, id="scim"),
        pytest.param(partial(cloud_directory_of_many_people, running=running_okta), id="okta"),
        pytest.param(partial(cloud_directory_of_many_people, running=running_entra), id="entra"),
    ],
)
def test_person_among_ten_thousand_is_found_by_two_calls(
    running: Callable[[Path], AbstractContextManager[Directory]], tmp_path: Path
) -> None:
    with running(tmp_path) as directory:
        asyncio.run(among_many_people(directory))


async def among_many_people(directory: Directory) -> None:
    """Ensures the same calls as in the contract, where hardly anyone is there."""
    client = directory.connect()
    last = await client.find_user(MANY[-1])
    assert last
    assert last.user_name == MANY[-1]
    for asked, most in ((MANY[-1], 1), (ADDRESSES[-1], 2), (MANY[4711].upper(), 2), ("x" + MANY[-1], 2)):
        before = sum(directory.calls().values())
        user = await client.find_user(asked)
        assert sum(directory.calls().values()) - before <= most, asked
        assert (user is not None) is (not asked.startswith("x")), asked
    by_address = await client.find_user(ADDRESSES[-1])
    assert by_address == last
    await client.close()
