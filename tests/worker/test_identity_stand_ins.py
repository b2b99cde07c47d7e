"""The adapters for Okta and Entra ID, chosen by the settings, against the stand-ins: one contract for both.

The stand-ins were written from the vendors' documentation, without a look at the adapters.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from clients.errors import AlreadyExists, ClientError, Denied, NotFound, Rejected, Throttled
from clients.identity.protocol import IdentityProvider
from embedded.cloud_directories.controls import EXPIRE_PATH, PEOPLE_PATH, SETTLE_PATH
from embedded.faults import Fault, FaultKind
from tests.support.cloud_directories import OKTA_TOKEN, Signer, behave
from tests.support.deadline import soon
from tests.support.stand_ins import control, running_stand_ins, set_faults
from tests.worker.test_settings import LEAST
from worker.client_factory import open_clients
from worker.settings.loading import load_settings

TENANT, SECRET = "a-tenant", "a-secret-of-an-app"


@dataclass(frozen=True)
class Directories:
    """The stand-ins, and the settings that choose each of them."""

    okta: str
    entra: str
    settings: dict[str, dict[str, str]]

    def url(self, kind: str) -> str:
        return self.okta if kind.startswith("okta") else self.entra


@contextmanager
def running_directories(folder: Path) -> Iterator[Directories]:
    """Both stand-ins, with an app for each kind of credential."""
    signer = Signer()
    key = folder / "key.pem"
    key.write_text(signer.private_pem)
    pair = folder / "pair.pem"
    pair.write_text(signer.private_pem + signer.certificate_pem)
    okta = {
        "database": folder / "okta.sqlite",
        "api_token": OKTA_TOKEN,
        "clients": [{"client_id": "0oa-moorage", "keys": [signer.public_jwk]}],
    }
    apps = [
        {"client_id": "by-secret", "client_secret": SECRET},
        {"client_id": "by-certificate", "certificates": [signer.certificate_pem]},
    ]
    entra = {"database": folder / "entra.sqlite", "tenant": TENANT, "apps": apps}
    with running_stand_ins(okta=okta, entra=entra) as [okta_url, entra_url]:
        token_url = f"{entra_url}/{TENANT}/oauth2/v2.0/token"
        of_okta = {"KIND": "okta", "URL": okta_url}
        of_entra = {"KIND": "entra", "URL": f"{entra_url}/v1.0", "TOKEN_URL": token_url}
        yield Directories(
            okta_url,
            entra_url,
            {
                "okta-token": {**of_okta, "TOKEN": OKTA_TOKEN},
                "okta-key": {
                    **of_okta,
                    "CLIENT_ID": "0oa-moorage",
                    "PRIVATE_KEY_FILE": str(key),
                    "KEY_ID": "first",
                },
                "entra-secret": {**of_entra, "CLIENT_ID": "by-secret", "CLIENT_SECRET": SECRET},
                "entra-certificate": {
                    **of_entra,
                    "CLIENT_ID": "by-certificate",
                    "PRIVATE_KEY_FILE": str(pair),
                },
            },
        )


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Directories]:
    with running_directories(tmp_path_factory.mktemp("directories")) as directories:
        yield directories


@asynccontextmanager
async def opened(directories: Directories, kind: str) -> AsyncIterator[IdentityProvider]:
    """The adapter that the settings choose, of this kind of credential."""
    given = {f"MOORAGE_IDENTITY__{name}": value for name, value in directories.settings[kind].items()}
    async with open_clients(load_settings(LEAST | given)) as clients:
        assert clients.directory is not None
        yield clients.directory


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(directories: Directories, kind: str) -> Iterator[str]:
    url = directories.url(kind)
    set_faults(url)
    behave(url, lag=0, throttled_calls=0, page_limit=1000, throttled_seconds=1)
    control(url, "POST", SETTLE_PATH)
    yield url
    set_faults(url)
    behave(url, lag=0, throttled_calls=0)
    control(url, "POST", SETTLE_PATH)


@pytest.fixture
def mark() -> str:
    """An owner mark as no other test has it."""
    return f"mrg-{uuid4().hex[:16]}"


@pytest.fixture
async def provider(directories: Directories, kind: str, url: str) -> AsyncIterator[IdentityProvider]:
    async with opened(directories, kind) as provider:
        yield provider


EACH = pytest.mark.parametrize(
    "kind", ["okta-token", "okta-key", "entra-secret", "entra-certificate"], indirect=True
)
ONE_OF_EACH = pytest.mark.parametrize("kind", ["okta-key", "entra-secret"], indirect=True)


async def settled(call: Callable[[], Awaitable[Any]]) -> Any:
    """The result of a call, tried again while it says that something is not there yet."""
    async with soon("it is never there"):
        while True:
            try:
                return await call()
            except (NotFound, Throttled):
                await asyncio.sleep(0.05)


async def until(call: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    """Wait until the call gives what is wanted."""
    async with soon(f"it did not become {wanted}"):
        while await call() != wanted:  # noqa: ASYNC110 - the stand-in is another process
            await asyncio.sleep(0.05)


@EACH
async def test_group_is_created_found_and_deleted(provider: IdentityProvider, kind: str, mark: str) -> None:
    await provider.check()
    name = f"moor-{kind}"
    group = await provider.create_group(name, mark)
    assert (group.display_name, group.external_id) == (name, mark)
    assert await provider.groups_by_name(name) == [group]
    assert group in await provider.groups_by_external_id(mark)
    assert await provider.group(group.id) == group
    await provider.delete_group(group.id)
    with pytest.raises(NotFound):
        await provider.group(group.id)
    with pytest.raises(NotFound):
        await provider.delete_group(group.id)
    assert await provider.groups_by_name(name) == []
    assert group not in await provider.groups_by_external_id(mark)


@ONE_OF_EACH
async def test_group_of_an_earlier_name_is_created_again(provider: IdentityProvider, mark: str) -> None:
    """Ensures that nothing of a deleted group stands in the way of the next one of its name."""
    for number in range(2):
        group = await provider.create_group("moor-again", f"{mark}-{number}")
        await provider.delete_group(group.id)


@ONE_OF_EACH
async def test_group_of_a_name_that_is_taken_is_not_adopted(provider: IdentityProvider, mark: str) -> None:
    first = await provider.create_group("moor-taken", mark)
    try:
        second = await provider.create_group("moor-taken", f"{mark}-other")
    except AlreadyExists:
        assert await provider.group(first.id) == first
    else:
        assert second.id != first.id
        assert {each.id for each in await provider.groups_by_name("moor-taken")} == {first.id, second.id}
        assert await provider.groups_by_external_id(f"{mark}-other") == [second]
        await provider.delete_group(second.id)
    assert (await provider.group(first.id)).external_id == mark
    await provider.delete_group(first.id)


@ONE_OF_EACH
async def test_names_are_found_exactly(provider: IdentityProvider, mark: str) -> None:
    names = ("moor-x", "moor-xy", 'moor-it\'s "q"')
    made = [await provider.create_group(name, f"{mark}-{number}") for number, name in enumerate(names)]
    for group in made:
        assert await provider.groups_by_name(group.display_name) == [group]
    for name in ("moor", "moor-X", "moor-x ", "moor-x' or displayName eq 'moor-xy"):
        assert await provider.groups_by_name(name) == [], name
    for group in made:
        await provider.delete_group(group.id)


@ONE_OF_EACH
async def test_members_are_added_and_removed_any_number_of_times(
    provider: IdentityProvider, mark: str
) -> None:
    group = await provider.create_group("moor-members", mark)
    users = [await provider.find_user(f"{name}@example.com") for name in ("alice", "bob")]
    ids = [user.id for user in users if user]
    assert len(ids) == 2
    for _ in range(2):
        await provider.add_members(group.id, ids)
        assert sorted(await provider.members(group.id)) == sorted(ids)
    await provider.add_members(group.id, [])
    for _ in range(2):
        await provider.remove_member(group.id, ids[0])
        assert await provider.members(group.id) == ids[1:]
    await provider.add_members(group.id, ids)
    assert sorted(await provider.members(group.id)) == sorted(ids)
    await provider.delete_group(group.id)
    for call in (
        provider.members(group.id),
        provider.add_members(group.id, ids),
        provider.remove_member(group.id, ids[0]),
    ):
        with pytest.raises(NotFound):
            await call


@ONE_OF_EACH
async def test_members_of_a_large_group_come_from_all_pages(
    provider: IdentityProvider, url: str, mark: str
) -> None:
    people = [f"large-{number}@example.com" for number in range(7)]
    control(url, "PUT", PEOPLE_PATH, [{"email": email} for email in people])
    found = [await provider.find_user(email) for email in people]
    ids = [user.id for user in found if user]
    group = await provider.create_group("moor-large", mark)
    behave(url, page_limit=2)
    await provider.add_members(group.id, ids)
    assert sorted(await provider.members(group.id)) == sorted(ids)
    await provider.delete_group(group.id)


@ONE_OF_EACH
async def test_users_are_found_by_address_in_any_case(
    provider: IdentityProvider, url: str, kind: str
) -> None:
    found = await provider.find_user("ALICE@Example.com")
    assert found
    assert found.is_active
    assert found.email.casefold() == "alice@example.com"
    assert await provider.find_user("missing@example.com") is None
    assert await provider.find_user("alice@example.org") is None
    # A user name that is no address, with the address beside it.
    if kind.startswith("okta"):
        person = {"email": "yan", "profile": {"login": "yan-login", "email": "Yan.S@example.com"}}
    else:
        person = {"email": "yan_x.org#EXT#@t.onmicrosoft.com", "mail": "Yan.S@example.com"}
    control(url, "PUT", PEOPLE_PATH, [person])
    yan = await provider.find_user("yan.s@example.com")
    assert yan
    assert yan.email.casefold() == "yan.s@example.com"


@ONE_OF_EACH
async def test_users_who_may_not_sign_in_are_not_found_but_listed(
    provider: IdentityProvider, url: str, kind: str
) -> None:
    statuses: list[dict[str, Any]] = [{"accountEnabled": False}]
    if kind.startswith("okta"):
        statuses = [{"status": "SUSPENDED"}, {"status": "DEPROVISIONED"}]
    for number, status in enumerate(statuses):
        email = f"gone-{number}@example.com"
        control(url, "PUT", PEOPLE_PATH, [{"email": email, **status}])
        assert await provider.find_user(email) is None
        [user] = await provider.users_by_address(email)
        assert not user.is_active


@ONE_OF_EACH
async def test_users_with_odd_addresses_are_no_injection(provider: IdentityProvider) -> None:
    for email in (
        'a"b@example.com',
        "o'hara@example.com",
        'x" or profile.email sw "',
        "a/b?c=d&e#f@example.com",
    ):
        assert await provider.find_user(email) is None


@ONE_OF_EACH
async def test_token_that_has_ended_is_renewed(provider: IdentityProvider, url: str, mark: str) -> None:
    await provider.check()
    control(url, "POST", EXPIRE_PATH)
    assert await provider.find_user("alice@example.com")
    control(url, "POST", EXPIRE_PATH)
    group = await provider.create_group("moor-renewed", mark)
    await provider.delete_group(group.id)


@ONE_OF_EACH
async def test_too_many_calls_say_when_to_call_again(provider: IdentityProvider, url: str) -> None:
    await provider.check()
    behave(url, throttled_calls=1, throttled_seconds=30)
    with pytest.raises(Throttled) as throttled:
        await provider.find_user("alice@example.com")
    assert throttled.value.retry_after is not None
    assert 20 < throttled.value.retry_after.total_seconds() <= 40


@ONE_OF_EACH
async def test_new_group_is_usable_after_its_lag(provider: IdentityProvider, url: str, mark: str) -> None:
    """Ensures that what is not shown yet is an error to be tried again, and never a wrong answer."""
    alice = await provider.find_user("alice@example.com")
    assert alice
    behave(url, lag=0.3)
    group = await provider.create_group("moor-lagging", mark)
    await settled(lambda: provider.add_members(group.id, [alice.id]))
    await until(lambda: settled(lambda: provider.members(group.id)), [alice.id])
    await until(lambda: provider.groups_by_external_id(mark), [group])
    assert await provider.groups_by_name("moor-lagging") == [group]
    await settled(lambda: provider.delete_group(group.id))


@ONE_OF_EACH
@pytest.mark.parametrize(
    ("fault", "is_done"),
    [
        ({"kind": FaultKind.CUT_BEFORE}, False),
        ({"kind": FaultKind.CUT_AFTER}, True),
        ({"kind": FaultKind.STATUS, "status": 503}, False),
        ({"kind": FaultKind.STATUS_AFTER, "status": 504}, True),
        ({"kind": FaultKind.TRUNCATE}, True),
        ({"kind": FaultKind.HTML, "status": 502}, False),
    ],
)
async def test_lost_answer_to_a_create_leaves_one_group_that_is_found_by_its_mark(
    provider: IdentityProvider, url: str, fault: dict[str, Any], is_done: bool, mark: str
) -> None:
    await provider.check()
    set_faults(url, *(Fault(operation=each, times=1, **fault) for each in ("group.create", "group.upsert")))
    with pytest.raises(ClientError):
        await provider.create_group("moor-lost", mark)
    set_faults(url)
    found = await provider.groups_by_external_id(mark)
    assert [group.display_name for group in found] == ["moor-lost"] * is_done
    for group in found or [await provider.create_group("moor-lost", mark)]:
        await provider.delete_group(group.id)


@ONE_OF_EACH
@pytest.mark.parametrize("operation", ["member.add", "member.remove"])
async def test_lost_answer_to_a_change_of_members_is_made_good_by_a_second_call(
    provider: IdentityProvider, url: str, operation: str, mark: str
) -> None:
    alice = await provider.find_user("alice@example.com")
    assert alice
    group = await provider.create_group("moor-lost-member", mark)
    set_faults(url, Fault(operation=operation, kind=FaultKind.CUT_AFTER, times=1))
    calls = {
        "member.add": lambda: provider.add_members(group.id, [alice.id]),
        "member.remove": lambda: provider.remove_member(group.id, alice.id),
    }
    if operation == "member.remove":
        await provider.add_members(group.id, [alice.id])
    with pytest.raises(ClientError):
        await calls[operation]()
    await calls[operation]()
    assert await provider.members(group.id) == ([alice.id] if operation == "member.add" else [])
    await provider.delete_group(group.id)


@ONE_OF_EACH
async def test_credential_that_is_refused_is_denied(
    directories: Directories, kind: str, url: str, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.pem"
    stranger.write_text(Signer().private_pem)
    wrong = {
        "okta-key": {"PRIVATE_KEY_FILE": str(stranger), "KEY_ID": "other"},
        "entra-secret": {"CLIENT_SECRET": "wrong-secret"},
    }
    changed = {**directories.settings[kind], **wrong[kind]}
    other = Directories(directories.okta, directories.entra, {kind: changed})
    async with opened(other, kind) as provider:
        with pytest.raises(Denied) as denied:
            await provider.find_user("alice@example.com")
    assert "wrong-secret" not in str(denied.value)


@ONE_OF_EACH
async def test_two_people_with_one_address_are_for_a_person_to_decide(
    provider: IdentityProvider, url: str, kind: str
) -> None:
    if kind.startswith("okta"):
        people = [
            {"email": login, "profile": {"login": login, "email": "twin@example.com"}}
            for login in ("t1", "t2")
        ]
    else:
        people = [{"email": f"t{number}@x.org", "mail": "twin@example.com"} for number in (1, 2)]
    control(url, "PUT", PEOPLE_PATH, people)
    with pytest.raises(Rejected, match="2 people"):
        await provider.find_user("twin@example.com")
