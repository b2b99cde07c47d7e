"""The Keycloak client against a real server, with no more rights than the shipped realm gives it."""

from uuid import uuid4

import httpx
import pytest

from clients.errors import AlreadyExists, Denied, NotFound
from clients.identity.client_credentials import ClientCredentials
from clients.identity.keycloak import OWNER_ATTRIBUTE, PAGE_SIZE, Keycloak
from tests.keycloak.conftest import connect, person
from tools.keycloak.server import Keycloak as Server

MARK = "k3x9q0vb/demo/0123456789abcdef0123"


@pytest.fixture
def name() -> str:
    return f"mrg-{uuid4().hex[:8]}"


@pytest.fixture
def mark() -> str:
    return f"k3x9q0vb/demo/{uuid4().hex[:20]}"


async def test_check_succeeds_with_the_shipped_rights(keycloak: Keycloak) -> None:
    await keycloak.check()


async def test_a_wrong_secret_is_denied_and_not_repeated_in_the_error(server: Server) -> None:
    client = connect(server, "not-the-secret")
    with pytest.raises(Denied) as refusal:
        await client.check()
    assert "not-the-secret" not in str(refusal.value)
    await client.close()


@pytest.mark.parametrize("address", ["alice@example.com", "ALICE@Example.COM", "alice"])
async def test_find_user_ignores_case_and_takes_user_names(keycloak: Keycloak, address: str) -> None:
    user = await keycloak.find_user(address)
    assert user is not None
    assert (user.user_name, user.email) == ("alice", "alice@example.com")


@pytest.mark.parametrize("address", ["no-one@example.com", "alic@example.com", "mallory@example.com", "a*"])
async def test_find_user_returns_none_for_unknown_partial_and_disabled_users(
    keycloak: Keycloak, address: str
) -> None:
    assert await keycloak.find_user(address) is None


async def test_users_by_address_has_disabled_users_too(keycloak: Keycloak) -> None:
    [user] = await keycloak.users_by_address("MALLORY@example.com")
    assert not user.is_active
    [user] = await keycloak.users_by_address("alice@example.com")
    assert user.is_active
    assert await keycloak.users_by_address("no-one@example.com") == []


async def test_a_created_group_is_found_by_mark_and_by_name(keycloak: Keycloak, name: str, mark: str) -> None:
    group = await keycloak.create_group(name, mark)
    assert await keycloak.group(group.id) == group
    assert await keycloak.groups_by_external_id(mark) == [group]
    assert await keycloak.groups_by_name(name) == [group]
    await keycloak.delete_group(group.id)
    assert await keycloak.groups_by_external_id(mark) == []


async def test_a_second_group_of_the_name_is_refused_and_another_case_is_another_group(
    keycloak: Keycloak, name: str, mark: str
) -> None:
    group = await keycloak.create_group(name, mark)
    with pytest.raises(AlreadyExists):
        await keycloak.create_group(name, MARK)
    other = await keycloak.create_group(name.upper(), MARK)
    assert await keycloak.groups_by_name(name) == [group]
    for each in (group, other):
        await keycloak.delete_group(each.id)


async def test_groups_of_others_are_neither_found_by_mark_nor_taken_for_ours(
    keycloak: Keycloak, admin: httpx.AsyncClient, name: str, mark: str
) -> None:
    """A stranger's group, one with two marks, and a subgroup of the name below a stranger's group."""
    attributes = {OWNER_ATTRIBUTE: [mark, "another"]}
    for body in ({"name": name}, {"name": f"{name}-two", "attributes": attributes}):
        (await admin.post("/groups", json=body)).raise_for_status()
    [parent] = (await admin.get("/groups", params={"search": f"{name}-two", "exact": "true"})).json()
    below = {"name": f"{name}-below", "attributes": {OWNER_ATTRIBUTE: [mark]}}
    (await admin.post(f"/groups/{parent['id']}/children", json=below)).raise_for_status()
    assert await keycloak.groups_by_external_id(mark) == []
    assert [group.external_id for group in await keycloak.groups_by_name(name)] == [None]
    assert await keycloak.groups_by_name(f"{name}-below") == []


async def test_membership_is_idempotent_in_both_directions(keycloak: Keycloak, name: str, mark: str) -> None:
    group = await keycloak.create_group(name, mark)
    users = [await keycloak.find_user(f"{who}@example.com") for who in ("alice", "carol")]
    ids = [user.id for user in users if user is not None]
    await keycloak.add_members(group.id, ids)
    await keycloak.add_members(group.id, ids)
    assert sorted(await keycloak.members(group.id)) == sorted(ids)
    for _ in range(2):
        await keycloak.remove_member(group.id, ids[0])
    assert await keycloak.members(group.id) == ids[1:]
    await keycloak.remove_member(group.id, str(uuid4()))
    await keycloak.delete_group(group.id)


async def test_what_does_not_exist_is_not_found(keycloak: Keycloak) -> None:
    unknown = str(uuid4())
    user = await keycloak.find_user("alice@example.com")
    assert user is not None
    for call in (
        keycloak.group(unknown),
        keycloak.members(unknown),
        keycloak.delete_group(unknown),
        keycloak.add_members(unknown, [user.id]),
        keycloak.remove_member(unknown, user.id),
    ):
        with pytest.raises(NotFound):
            await call


async def test_all_members_of_a_large_group_are_read(
    keycloak: Keycloak, admin: httpx.AsyncClient, name: str, mark: str
) -> None:
    group = await keycloak.create_group(name, mark)
    people = [person(f"{name}-{number}", groups=[f"/{name}"]) for number in range(PAGE_SIZE + 5)]
    for one in people:
        one.pop("credentials")
    imported = {"ifResourceExists": "FAIL", "users": people}
    (await admin.post("/partialImport", json=imported)).raise_for_status()
    assert len(await keycloak.members(group.id)) == PAGE_SIZE + 5
    await keycloak.delete_group(group.id)


async def test_a_token_that_the_server_refuses_is_renewed_unnoticed(keycloak: Keycloak) -> None:
    await keycloak.check()
    token = (await credentials_of(keycloak).headers())["Authorization"]
    # Of the right form: Keycloak answers 500 to a token that it cannot parse.
    refused = {"Authorization": f"{token[:-6]}AAAAAA"}
    credentials_of(keycloak)._headers = refused
    await keycloak.check()
    assert await credentials_of(keycloak).headers() != refused


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/users/{alice}/reset-password", {"type": "password", "value": "stolen"}),
        ("DELETE", "/users/{alice}", None),
        ("POST", "/users", {"username": "intruder"}),
        ("GET", "/clients", None),
        ("PUT", "", {"enabled": False}),
    ],
)
async def test_the_shipped_rights_allow_nothing_but_groups(
    keycloak: Keycloak, server: Server, method: str, path: str, body: object
) -> None:
    alice = await keycloak.find_user("alice@example.com")
    assert alice is not None
    headers = await credentials_of(keycloak).headers()
    async with httpx.AsyncClient(headers=dict(headers), timeout=60, trust_env=False) as client:
        url = f"{server.url}/admin/realms/acme{path.format(alice=alice.id)}"
        answer = await client.request(method, url, json=body)
    assert answer.status_code == 403


def credentials_of(keycloak: Keycloak) -> ClientCredentials:
    return keycloak._credentials
