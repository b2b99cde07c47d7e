"""Who gets in: people looked up, members kept in the control plane or in the identity provider."""

import sqlite3
from contextlib import closing

import pytest

from activities.errors import NotConfigured
from activities.people_check import PeopleCheck, require_directory
from clients.rafay import Binding
from contracts.activities.people import CheckPeopleInput
from contracts.activities.steps import EnsureInput
from contracts.environment.models import Environment, StepName
from contracts.errors import ErrorType
from embedded.faults import CALLS_PATH
from tests.activities.activity_runs import Running
from tests.activities.conftest import Bench, an_environment, fresh
from tests.support.deadline import HANG
from tests.support.stand_ins import control

WAYS = pytest.mark.parametrize(
    ("identity", "system"),
    [(True, "identity provider"), (False, "control plane")],
    ids=["identity provider", "local users"],
)


def check(bench: Bench, environment: Environment) -> Running:
    people = PeopleCheck(bench.clients.rafay, bench.clients.directory)
    return Running(people.check, CheckPeopleInput(environment=environment))


@WAYS
async def test_the_check_passes_when_everybody_is_known(bench: Bench, identity: bool, system: str) -> None:
    environment = an_environment(fresh(), identity=identity, owner="Alice@Example.com")
    assert await check(bench, environment).result() is None


@WAYS
async def test_the_check_names_everybody_who_is_unknown_and_where(
    bench: Bench, identity: bool, system: str
) -> None:
    strangers = ("missing@example.com", "bob@example.com", "noone@example.com")
    failure = await check(
        bench, an_environment(fresh(), identity=identity, collaborators=strangers)
    ).failure()
    assert (failure.type, failure.non_retryable) == (ErrorType.UNKNOWN_PERSON.value, True)
    assert failure.message == f"Missing@example.com, noone@example.com are not known to the {system}."


@WAYS
async def test_a_step_that_meets_an_unknown_person_makes_nothing(
    bench: Bench, identity: bool, system: str
) -> None:
    step = StepName.IDENTITY if identity else StepName.ROLE_BINDING
    environment = an_environment(fresh(), identity=identity, collaborators=("missing@example.com",))
    await bench.make(environment, before=step)
    before = bench.systems.counts(environment)
    failure = await bench.ensuring(step, environment).failure()
    assert failure.type == ErrorType.UNKNOWN_PERSON.value
    assert bench.systems.counts(environment) == before


async def test_with_an_identity_provider_no_user_becomes_a_local_member(
    bench: Bench, environment: Environment
) -> None:
    await bench.make(environment, before=StepName.NAMESPACE)
    assert "member" not in bench.systems.counts(environment)
    assert len(bench.systems.members_of(environment)) == 2


@WAYS
async def test_a_missing_member_is_put_back_and_a_stranger_stays(
    bench: Bench, identity: bool, system: str
) -> None:
    step = StepName.IDENTITY if identity else StepName.ROLE_BINDING
    environment = an_environment(fresh(), identity=identity)
    await bench.make(environment, before=step)
    receipt = await bench.ensure(step, environment)
    members = await _swap_bob_for_carol(bench, environment, receipt.reference)
    assert members == {"alice", "carol"}
    await bench.ensure(step, environment)
    assert await _members(bench, environment, receipt.reference) == {"alice", "bob", "carol"}


async def _swap_bob_for_carol(bench: Bench, environment: Environment, group: str) -> set[str]:
    scim, rafay = bench.clients.directory, bench.clients.rafay
    assert scim
    if environment.has_identity_provider:
        bob, carol = [await scim.find_user(f"{name}@example.com") for name in ("bob", "carol")]
        assert bob
        assert carol
        await scim.remove_member(group, bob.id)
        await scim.add_members(group, [carol.id])
    else:
        local = await rafay.find_group(environment.derived_name)
        user, other = [await rafay.find_user(f"{name}@example.com") for name in ("bob", "carol")]
        assert local
        assert user
        assert other
        await rafay.remove_member(local.id, user.id)
        await rafay.add_member(local.id, other.id)
    return await _members(bench, environment, group)


async def _members(bench: Bench, environment: Environment, group: str) -> set[str]:
    scim, rafay = bench.clients.directory, bench.clients.rafay
    assert scim
    if not environment.has_identity_provider:
        local = await rafay.find_group(environment.derived_name)
        assert local
        return {user.email.partition("@")[0] for user in await rafay.group_members(local.id)}
    ids = await scim.members(group)
    people = [await scim.find_user(f"{name}@example.com") for name in ("alice", "bob", "carol", "dave")]
    return {user.user_name.partition("@")[0] for user in people if user and user.id in ids}


async def test_removal_takes_everybody_out_of_our_group_strangers_too(bench: Bench) -> None:
    environment = an_environment(fresh(), identity=False)
    await bench.make(environment, before=StepName.NAMESPACE)
    await _swap_bob_for_carol(bench, environment, "")
    await bench.remove(StepName.ROLE_BINDING, environment)
    assert bench.systems.counts(environment) == {"project": 1, "group": 1}


async def test_inspection_names_members_and_roles(bench: Bench) -> None:
    environment = an_environment(fresh(), identity=False, collaborators=())
    await bench.make(environment, before=StepName.NAMESPACE)
    name = environment.derived_name
    assert await bench.inspect(StepName.ROLE_BINDING, environment) == (
        f"member alice@example.com of group {name}",
        f"role PROJECT_ADMIN of group {name} on project {name}",
    )


async def test_a_role_that_was_changed_by_hand_is_corrected(bench: Bench, environment: Environment) -> None:
    await bench.make(environment, before=StepName.IDENTITY)
    rafay, name = bench.clients.rafay, environment.derived_name
    project, group = await rafay.find_project(name), await rafay.find_group(name)
    assert project
    assert group
    await rafay.unbind(group.id, project.id)
    await rafay.bind_role(group.id, project.id, "PROJECT_READ_ONLY")
    await bench.ensure(StepName.ROLE_BINDING, environment)
    assert await rafay.bindings(group.id) == [Binding(name, ("PROJECT_ADMIN",))]


async def _ids(bench: Bench, environment: Environment) -> dict[str, str]:
    rafay, name = bench.clients.rafay, environment.derived_name
    project, group = await rafay.find_project(name), await rafay.find_group(name)
    assert project
    assert group
    return {"project_id": project.id, "group_id": group.id}


def _bind(bench: Bench, environment: Environment, ids: dict[str, str], *, attempt: int = 1) -> Running:
    input = EnsureInput(environment=environment, **ids)
    return Running(bench.steps[StepName.ROLE_BINDING].ensure, input, attempt=attempt)


def _look_ups(bench: Bench) -> int:
    calls = control(bench.systems.rafay, "GET", CALLS_PATH)
    return sum(calls.get(f"{kind}.list", 0) for kind in ("project", "group"))


async def test_what_was_made_a_moment_ago_is_not_looked_for(bench: Bench, environment: Environment) -> None:
    await bench.make(environment, before=StepName.ROLE_BINDING)
    ids = await _ids(bench, environment)
    before = _look_ups(bench)
    await _bind(bench, environment, ids).result()
    assert _look_ups(bench) == before
    bound = Binding(environment.derived_name, (environment.template.role,))
    assert await bench.clients.rafay.bindings(ids["group_id"]) == [bound]


async def test_a_lost_answer_to_the_binding_is_found_by_the_next_attempt(
    bench: Bench, environment: Environment
) -> None:
    await bench.make(environment, before=StepName.ROLE_BINDING)
    ids = await _ids(bench, environment)
    bench.systems.lose_the_answer("binding.create")
    await _bind(bench, environment, ids).failure()
    await _bind(bench, environment, ids, attempt=2).result()
    bound = Binding(environment.derived_name, (environment.template.role,))
    assert await bench.clients.rafay.bindings(ids["group_id"]) == [bound]


@pytest.mark.parametrize("gone", ["project_id", "group_id"])
async def test_what_is_not_there_any_more_is_looked_for(
    bench: Bench, environment: Environment, gone: str
) -> None:
    """Ensures that one that was made again in between is bound, and not the one that a receipt names."""
    await bench.make(environment, before=StepName.ROLE_BINDING)
    ids = await _ids(bench, environment)
    rafay = bench.clients.rafay
    if gone == "project_id":
        await rafay.delete_project(ids[gone])
    else:
        await rafay.delete_group(ids[gone])
    await bench.make(environment, before=StepName.ROLE_BINDING)
    await _bind(bench, environment, ids).result()
    now = await _ids(bench, environment)
    assert now[gone] != ids[gone]
    bound = Binding(environment.derived_name, (environment.template.role,))
    assert await rafay.bindings(now["group_id"]) == [bound]


@pytest.mark.parametrize("attempt", [1, 2], ids=["the first attempt", "the second"])
@pytest.mark.parametrize("kind", ["project", "group"])
async def test_what_has_another_owner_by_now_keeps_its_role(
    bench: Bench, environment: Environment, kind: str, attempt: int
) -> None:
    """Ensures that the ids of a receipt make no project and no group of others ours again."""
    await bench.make(environment, before=StepName.ROLE_BINDING)
    ids, rafay = await _ids(bench, environment), bench.clients.rafay
    await rafay.bind_role(ids["group_id"], ids["project_id"], "PROJECT_READ_ONLY")
    database = bench.systems.folder / "rafay.sqlite"
    with closing(sqlite3.connect(database, timeout=HANG)) as rows, rows:
        rows.execute(f"UPDATE {kind}s SET description = 'of others' WHERE id = ?", (ids[f"{kind}_id"],))
    failure = await _bind(bench, environment, ids, attempt=attempt).failure()
    assert failure.type == ErrorType.CONFLICT.value
    held = Binding(environment.derived_name, ("PROJECT_READ_ONLY",))
    assert await rafay.bindings(ids["group_id"]) == [held]


async def test_a_directory_that_is_not_configured_any_more_is_said_so() -> None:
    with pytest.raises(NotConfigured, match="name none"):
        require_directory(None)
