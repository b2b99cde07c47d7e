"""The SCIM client against the real directory, in both of its modes."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from clients.errors import (
    AlreadyExists,
    Denied,
    MalformedAnswer,
    NotFound,
    Rejected,
    ServerFailed,
    Throttled,
    Unreachable,
)
from clients.identity.scim import Scim
from clients.identity.scim_lists import PAGE_SIZE
from embedded.faults import Fault, FaultKind
from tests.support.stand_ins import TLS, running_stand_ins, set_faults

TOKEN = "a-token-of-the-directory"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"


@dataclass(frozen=True)
class Directory:
    """A running directory; `unique` tells whether it keeps the names of groups unique."""

    url: str
    unique: bool

    def client(self, token: str = TOKEN, seconds: float = 10) -> Scim:
        return Scim(f"{self.url}/v2", token, timeout=timedelta(seconds=seconds))

    def add_person(self, user_name: str, *emails: str, active: bool = True) -> None:
        person = {
            "schemas": [USER],
            "userName": user_name,
            "active": active,
            "emails": [{"value": email} for email in emails],
        }
        headers = {"Authorization": f"Bearer {TOKEN}"}
        httpx.post(
            f"{self.url}/v2/Users", json=person, headers=headers, trust_env=False, verify=TLS
        ).raise_for_status()


@pytest.fixture(scope="module", params=[True, False], ids=["unique names", "duplicate names allowed"])
def directory(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Directory]:
    database = Path(tmp_path_factory.mktemp("directory"), "directory.sqlite")
    options = {"database": database, "token": TOKEN, "allow_duplicate_groups": not request.param}
    with running_stand_ins(directory=options) as [url]:
        yield Directory(url, unique=request.param)


@pytest.fixture(autouse=True)
def _no_faults_left(directory: Directory) -> Iterator[None]:
    yield
    set_faults(directory.url)


@pytest.fixture
async def scim(directory: Directory) -> AsyncIterator[Scim]:
    client = directory.client()
    yield client
    await client.close()


def fresh(prefix: str = "moor") -> str:
    """A name that no other test has."""
    return f"{prefix}-{uuid4().hex[:10]}"


async def person(scim: Scim, email: str = "alice@example.com") -> str:
    user = await scim.find_user(email)
    assert user is not None, f"{email} is not in the directory, which seeds them"
    return user.id


@pytest.mark.slow
async def test_check_passes_with_the_right_token_and_only_with_it(directory: Directory, scim: Scim) -> None:
    await scim.check()
    stranger = directory.client(token="another-token")
    with pytest.raises(Denied) as refused:
        await stranger.check()
    await stranger.close()
    assert "another-token" not in str(refused.value), "the error shows the token"


class TestPeople:
    @pytest.mark.parametrize("email", ["bob@example.com", "Bob@Example.COM"])
    async def test_are_found_by_user_name_whatever_the_case(self, scim: Scim, email: str) -> None:
        user = await scim.find_user(email)
        assert user is not None
        assert (user.user_name, user.email) == ("bob@example.com", "bob@example.com")

    async def test_are_found_by_an_address_that_is_not_their_user_name(
        self, directory: Directory, scim: Scim
    ) -> None:
        name = fresh("grace")
        directory.add_person(name, f"{name}@home.example.com", f"{name}@example.com")
        user = await scim.find_user(f"{name}@Example.com")
        assert user is not None
        assert user.user_name == name

    @pytest.mark.parametrize("email", ["missing@example.com", 'a"b@example.com', "a\\b@example.com", "bob"])
    async def test_who_are_not_there_are_not_found(self, scim: Scim, email: str) -> None:
        assert await scim.find_user(email) is None

    async def test_who_are_deactivated_are_not_found(self, directory: Directory, scim: Scim) -> None:
        email = f"{fresh('left')}@example.com"
        directory.add_person(email, email, active=False)
        assert await scim.find_user(email) is None

    async def test_who_share_an_address_are_not_guessed_at(self, directory: Directory, scim: Scim) -> None:
        shared = f"{fresh('team')}@example.com"
        directory.add_person(fresh("ann"), shared)
        directory.add_person(fresh("ben"), shared)
        with pytest.raises(Rejected, match="2 people have this address"):
            await scim.find_user(shared)


async def test_users_by_address_has_disabled_users_too(directory: Directory, scim: Scim) -> None:
    name = fresh("left")
    address = f"{name}@example.com"
    directory.add_person(name, address, active=False)
    directory.add_person(f"{name}-2", address)
    found = await scim.users_by_address(address.upper())
    assert sorted((user.user_name, user.is_active) for user in found) == [(name, False), (f"{name}-2", True)]
    assert await scim.users_by_address(f"x{address}") == []


class TestGroups:
    async def test_are_found_by_exactly_their_name_and_external_id(self, scim: Scim) -> None:
        name, mark = fresh(), fresh("test/mark")
        created = await scim.create_group(name, mark)
        assert (created.display_name, created.external_id) == (name, mark)
        assert await scim.groups_by_name(name) == [created]
        assert await scim.groups_by_external_id(mark) == [created]
        assert await scim.groups_by_name(name.upper()) == [], "a name of another case was taken for this one"
        assert await scim.groups_by_external_id(mark.upper()) == []
        assert await scim.groups_by_external_id(fresh()) == []

    async def test_of_one_name_are_refused_or_are_two(self, directory: Directory, scim: Scim) -> None:
        name = fresh()
        first = await scim.create_group(name, fresh())
        if directory.unique:
            with pytest.raises(AlreadyExists):
                await scim.create_group(name, fresh())
            assert await scim.groups_by_name(name) == [first]
        else:
            second = await scim.create_group(name, fresh())
            assert {group.id for group in await scim.groups_by_name(name)} == {first.id, second.id}

    async def test_are_read_to_the_last_page(self, directory: Directory, scim: Scim) -> None:
        mark, many = fresh(), PAGE_SIZE + 20
        created = {(await scim.create_group(fresh(), mark)).id for _ in range(many)}
        found = [group.id for group in await scim.groups_by_external_id(mark)]
        assert len(found) == many, f"{len(found)} of {many} were found"
        assert set(found) == created

    async def test_are_gone_after_delete_and_a_second_delete_says_so(self, scim: Scim) -> None:
        group = await scim.create_group(fresh(), fresh())
        await scim.delete_group(group.id)
        assert await scim.groups_by_name(group.display_name) == []
        with pytest.raises(NotFound):
            await scim.delete_group(group.id)


class TestMembers:
    async def test_are_added_and_removed_any_number_of_times(self, scim: Scim) -> None:
        group = await scim.create_group(fresh(), fresh())
        alice, bob = await person(scim), await person(scim, "bob@example.com")
        for _ in range(2):
            await scim.add_members(group.id, [alice, bob])
            assert sorted(await scim.members(group.id)) == sorted([alice, bob])
        for _ in range(2):
            await scim.remove_member(group.id, alice)
            assert await scim.members(group.id) == [bob]
        await scim.add_members(group.id, [])
        assert await scim.members(group.id) == [bob]

    async def test_of_a_group_that_is_not_there_say_so(self, scim: Scim) -> None:
        alice = await person(scim)
        with pytest.raises(NotFound):
            await scim.members("no-such-group")
        with pytest.raises(NotFound):
            await scim.add_members("no-such-group", [alice])
        with pytest.raises(NotFound):
            await scim.remove_member("no-such-group", alice)


class TestTrouble:
    @pytest.mark.parametrize("kind", [FaultKind.CUT_AFTER, FaultKind.STATUS_AFTER, FaultKind.TRUNCATE])
    async def test_after_the_group_was_made_is_ambiguous_and_the_group_is_found(
        self, directory: Directory, scim: Scim, kind: FaultKind
    ) -> None:
        name, mark = fresh(), fresh()
        set_faults(directory.url, Fault(operation="group.create", kind=kind, status=503, times=1))
        with pytest.raises((Unreachable, ServerFailed, MalformedAnswer)) as failed:
            await scim.create_group(name, mark)
        assert failed.value.ambiguous, "nothing tells the caller that the group may have been made"
        assert failed.value.retryable
        assert [group.display_name for group in await scim.groups_by_external_id(mark)] == [name]

    async def test_of_a_slow_directory_ends_with_the_timeout(self, directory: Directory) -> None:
        set_faults(directory.url, Fault(operation="group.find", kind=FaultKind.DELAY_BEFORE, seconds=3))
        hasty = directory.client(seconds=0.3)
        with pytest.raises(Unreachable, match=r"no answer within 0\.3 s"):
            await hasty.groups_by_name(fresh())
        await hasty.close()

    async def test_of_too_many_calls_carries_the_delay_asked_for(
        self, directory: Directory, scim: Scim
    ) -> None:
        fault = Fault(operation="group.patch", kind=FaultKind.STATUS, status=429, retry_after=7)
        set_faults(directory.url, fault)
        with pytest.raises(Throttled) as throttled:
            await scim.add_members("any", ["one"])
        assert throttled.value.retry_after == timedelta(seconds=7)

    async def test_of_a_proxy_is_reported_without_its_page(self, directory: Directory, scim: Scim) -> None:
        set_faults(directory.url, Fault(operation="user.find", kind=FaultKind.HTML, status=502))
        with pytest.raises(ServerFailed) as failed:
            await scim.find_user("alice@example.com")
        assert "<html>" not in str(failed.value)

    async def test_where_no_server_listens_is_not_ambiguous(self) -> None:
        nowhere = Scim("http://127.0.0.1:1", TOKEN, timeout=timedelta(seconds=2))
        with pytest.raises(Unreachable) as failed:
            await nowhere.create_group("a", "b")
        await nowhere.close()
        assert not failed.value.ambiguous
