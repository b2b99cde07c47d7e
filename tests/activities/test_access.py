"""Who is given access and who loses it after the making, in the identity provider and the control plane."""

from typing import Any

import pytest

from activities.changes.access import GroupAccess, VirtualAccess
from activities.steps.identity_group import IdentityStep
from clients.identity.protocol import User
from contracts.activities.people import AccessInput, AccessResult
from contracts.environment.models import Environment, StepName
from contracts.errors import ErrorType
from embedded.faults import Fault, FaultKind
from tests.activities.activity_runs import Running, details
from tests.activities.conftest import HOST, Bench, an_environment, fresh

CAROL, BOB = "carol@example.com", "bob@example.com"
WAYS = pytest.mark.parametrize("identity", [True, False], ids=["identity provider", "local users"])
#: The calls that change members, and the fault's way to lose their answers.
CALLS = {True: ("group.patch",), False: ("member.add", "member.remove")}


def changing(
    bench: Bench, environment: Environment, *, attempt: int = 1, **change: tuple[str, ...]
) -> Running:
    people = tuple(
        one
        for one in (*environment.spec.collaborators, *change.get("granting", ()))
        if one not in change.get("revoking", ())
    )
    now = environment.model_copy(update={"changed_collaborators": people})
    access = GroupAccess(bench.clients.rafay, bench.clients.directory)
    return Running(access.change_group, AccessInput(environment=now, **change), attempt=attempt)


async def made(bench: Bench, identity: bool, **fields: Any) -> Environment:
    environment = an_environment(fresh(), identity=identity, **fields)
    await bench.make(environment, before=StepName.NAMESPACE)
    return environment


async def members(bench: Bench, environment: Environment) -> set[str]:
    rafay, scim = bench.clients.rafay, bench.clients.directory
    assert scim
    if not environment.has_identity_provider:
        group = await rafay.find_group(environment.derived_name)
        assert group
        return {user.email.partition("@")[0] for user in await rafay.group_members(group.id)}
    ids = bench.systems.members_of(environment)
    found = [await scim.find_user(f"{name}@example.com") for name in ("alice", "bob", "carol", "dave")]
    return {user.user_name.partition("@")[0] for user in found if user and user.id in ids}


@WAYS
async def test_a_person_is_put_in_and_another_taken_out(bench: Bench, identity: bool) -> None:
    environment = await made(bench, identity)
    for _ in range(2):
        result = await changing(bench, environment, granting=(CAROL,), revoking=(BOB,)).result()
        assert result == AccessResult()
        assert await members(bench, environment) == {"alice", "carol"}


@WAYS
async def test_an_unknown_person_is_reported_and_the_others_are_added(bench: Bench, identity: bool) -> None:
    environment = await made(bench, identity)
    result = await changing(bench, environment, granting=("missing@example.com", CAROL)).result()
    assert result.unknown == ("missing@example.com",)
    assert await members(bench, environment) == {"alice", "bob", "carol"}


@WAYS
async def test_whom_the_directory_does_not_know_is_taken_out_without_error(
    bench: Bench, identity: bool
) -> None:
    environment = await made(bench, identity)
    assert await changing(bench, environment, revoking=("missing@example.com",)).result() == AccessResult()


@WAYS
async def test_after_a_lost_answer_it_is_done_once_more_and_in_doubt(bench: Bench, identity: bool) -> None:
    environment = await made(bench, identity)
    bench.systems.faults(
        *(Fault(operation=call, kind=FaultKind.CUT_AFTER, times=1) for call in CALLS[identity])
    )
    failure = await changing(bench, environment, granting=(CAROL,), revoking=(BOB,)).failure()
    assert not failure.non_retryable
    assert details(failure).in_doubt
    bench.systems.clear()
    result = await changing(bench, environment, attempt=2, granting=(CAROL,), revoking=(BOB,)).result()
    assert result.in_doubt
    assert await members(bench, environment) == {"alice", "carol"}


@WAYS
async def test_the_group_of_another_owner_is_not_touched(bench: Bench, identity: bool) -> None:
    """Ensures that a group of the same name that another life made gets and loses no member."""
    environment = await made(bench, identity)
    other = an_environment(environment.name, identity=identity, life="another")
    failure = await changing(bench, other, granting=(CAROL,), revoking=(BOB,)).failure()
    assert failure.type in (ErrorType.CONFLICT.value, ErrorType.NOT_YET.value)
    assert await members(bench, environment) == {"alice", "bob"}


@WAYS
async def test_without_a_group_no_user_has_access_and_none_gets_it(bench: Bench, identity: bool) -> None:
    environment = an_environment(fresh(), identity=identity)
    assert await changing(bench, environment, revoking=(BOB,)).result() == AccessResult()
    failure = await changing(bench, environment, granting=(CAROL,)).failure()
    assert (failure.type, failure.non_retryable) == (ErrorType.NOT_YET.value, False)


class _Disabled:
    """The directory, in which these people are disabled and one account has a second address."""

    def __init__(self, directory: Any, *disabled: str, aliases: dict[str, str] | None = None) -> None:
        self._directory = directory
        self._disabled = disabled
        self._aliases = aliases or {}

    async def users_by_address(self, email: str) -> list[User]:
        found = await self._directory.users_by_address(self._aliases.get(email, email))
        return [
            User(user.id, user.user_name, user.email, is_active=user.email not in self._disabled)
            for user in found
        ]

    async def find_user(self, email: str) -> User | None:
        return next((user for user in await self.users_by_address(email) if user.is_active), None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._directory, name)


def revoking_in(bench: Bench, directory: Any, environment: Environment, *people: str) -> Running:
    now = environment.model_copy(
        update={"changed_collaborators": tuple(one for one in environment.collaborators if one not in people)}
    )
    access = GroupAccess(bench.clients.rafay, directory)
    return Running(access.change_group, AccessInput(environment=now, revoking=people))


async def test_a_disabled_person_is_taken_out_too(bench: Bench) -> None:
    environment = await made(bench, True)
    directory = _Disabled(bench.clients.directory, BOB)
    assert await revoking_in(bench, directory, environment, BOB).result() == AccessResult()
    assert await members(bench, environment) == {"alice"}


@WAYS
async def test_an_owner_who_has_left_is_taken_out(bench: Bench, identity: bool) -> None:
    environment = await made(bench, identity)
    assert await changing(bench, environment, revoking=("alice@example.com",)).result() == AccessResult()
    assert await members(bench, environment) == {"bob"}


async def test_an_account_that_keeps_access_by_another_address_stays(bench: Bench) -> None:
    """Ensures that the removal of an alias of the owner does not lock the owner out."""
    environment = await made(bench, True)
    directory = _Disabled(bench.clients.directory, aliases={"al@example.com": "alice@example.com"})
    await revoking_in(bench, directory, environment, "al@example.com", BOB).result()
    assert await members(bench, environment) == {"alice"}


async def test_all_doubles_of_our_group_are_changed(bench: Bench) -> None:
    environment = await made(bench, True)
    scim = bench.clients.directory
    assert scim
    if len(await IdentityStep(scim).own_groups(environment)) == 1:
        double = await scim.create_group(f"{environment.derived_name}-2", environment.mark.text)
        bob = await scim.find_user(BOB)
        assert bob
        await scim.add_members(double.id, [bob.id])
    await changing(bench, environment, revoking=(BOB,)).result()
    groups = await IdentityStep(scim).own_groups(environment)
    assert len(groups) == 2
    bob = await scim.find_user(BOB)
    assert bob
    for group in groups:
        assert bob.id not in await scim.members(group.id)


async def test_who_is_removed_has_no_rights_in_the_virtual_cluster(
    bench: Bench, environment: Environment
) -> None:
    await bench.make(environment, before=StepName.IMPORT)
    host, labels = bench.clients.hosts[HOST], environment.mark.labels
    access = VirtualAccess(bench.clients.hosts)
    kubeconfig = await host.kubeconfig(environment.derived_name, environment.derived_name)
    assert kubeconfig
    async with host.virtual_cluster(kubeconfig) as virtual:
        for person in (BOB, CAROL):
            await virtual.ensure_person(person, labels)
        for _ in range(2):
            input = AccessInput(environment=environment, granting=(CAROL,), revoking=(BOB,))
            assert await Running(access.change_virtual_cluster, input).result() == AccessResult()
            assert await virtual.list_people(labels) == [CAROL]


async def test_a_virtual_cluster_that_does_not_answer_is_asked_again(
    bench: Bench, environment: Environment
) -> None:
    await bench.make(environment, before=StepName.IMPORT)
    access = VirtualAccess(bench.clients.hosts)
    bench.systems.faults(Fault(operation="virtual.read", kind=FaultKind.STATUS, status=503))
    input = AccessInput(environment=environment, revoking=(BOB,))
    failure = await Running(access.change_virtual_cluster, input).failure()
    assert not failure.non_retryable
    granting = AccessInput(environment=environment, granting=(CAROL,))
    assert await Running(access.change_virtual_cluster, granting).result() == AccessResult()
