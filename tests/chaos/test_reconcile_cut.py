"""Ensures that a reconcile sweep, and what it begins, may be killed or lose an answer at any point.

After two more sweeps each life is adopted or gone, there is one of everything, and strangers are untouched.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from contracts.reconcile.models import RECONCILE_SCHEDULE
from contracts.types.naming import workflow_id
from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.chaos.test_killed import MOMENTS, killed_in
from tests.lifecycle.databases import PREFIX, Systems
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import (
    AMBIGUITIES,
    MAKING,
    UNMAKING,
    assert_one_of_each,
    called,
    calls,
    no_faults,
    strike,
)
from tests.support.reconcile import MAX_LOOKS, leave_strangers, rafay_of, scim_of, strangers_of, sweep
from tests.support.stack import client_of, hurried, unique
from tests.support.stand_ins import set_faults
from tests.workflows.conftest import until

pytestmark = pytest.mark.chaos

#: An incomplete orphan is undone by the first sweep that sees it again. Only the tests start sweeps.
SETTINGS = {"MOORAGE_RECONCILE__GRACE": "1s", "MOORAGE_RECONCILE__INTERVAL": "30d"}
#: The calls with which a sweep looks, in each system.
LOOKING = {
    "control plane": (Part.CONTROL_PLANE, "project.list"),
    "directory": (Part.DIRECTORY, "group.find"),
    "host": (Part.HOST, "namespace.list"),
}
#: The steps whose deed is deleted by hand and made again by a repair.
REPAIRED = ("group", "role-binding", "identity")


@pytest.fixture(scope="module")
async def lonely(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A separate stack, with what belongs to others: a sweep sees everything of an installation."""
    async with Stack(tmp_path_factory.mktemp("cut"), hurried(environment=SETTINGS)) as stack:
        yield stack


@pytest.fixture(scope="module")
async def strangers(lonely: Stack) -> dict[str, list[Any]]:
    return await leave_strangers(lonely)


@pytest.fixture
async def asking(lonely: Stack, strangers: dict[str, list[Any]]) -> AsyncIterator[Asking]:
    async with Asking(lonely) as asking:
        yield asking
    no_faults(lonely)
    assert strangers_of(lonely) == strangers


@pytest.fixture
def systems(lonely: Stack) -> Systems:
    return Systems(lonely)


async def ready(asking: Asking, name: str) -> dict[str, Any]:
    answer = await asking.request(name, key=name)
    assert answer.status_code == 202, answer.text
    return await asking.until_phase(name, "ready")


async def terminate(stack: Stack, name: str) -> None:
    await (await client_of(stack)).get_workflow_handle(workflow_id(name)).terminate()


async def settle(asking: Asking) -> None:
    """Sweep, and confirm what waits, until no life is without an open environment."""
    confirmed: list[str] = []
    for _ in range(MAX_LOOKS):
        result = await sweep(asking, confirmed=confirmed)
        confirmed = result["waiting"]
        if not result["orphans"]:
            return
        await asyncio.sleep(0.3)
    pytest.fail(f"orphans are left: {result}")


def times(shown: dict[str, Any], action: str) -> int:
    """Return how often the history has this action."""
    return sum(entry["action"] == action for entry in shown["audit_log"])


async def gone(asking: Asking, systems: Systems, name: str) -> None:
    assert (await asking.until_phase(name, "gone"))["certificate"]["nothing_left"]
    assert systems.holds(name) == {}


async def adopted_once(asking: Asking, systems: Systems, before: dict[str, Any]) -> None:
    """Ensure that it is the same environment, adopted once; then delete it."""
    name = before["name"]
    now = await asking.until_phase(name, "ready")
    for field in ("life", "owner", "expires_at"):
        assert now[field] == before[field]
    assert times(now, "adopted it") == 1, now["audit_log"]
    assert_one_of_each(systems.holds(name))
    await asking.delete(name)
    await gone(asking, systems, name)


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("look", LOOKING)
async def test_a_sweep_that_is_killed_while_it_looks(
    lonely: Stack, asking: Asking, systems: Systems, look: str
) -> None:
    before = await ready(asking, unique("look"))
    await terminate(lonely, before["name"])
    sweeping: list[asyncio.Task[Any]] = []

    async def begin() -> None:
        sweeping.append(asyncio.create_task(sweep(asking)))

    slow = Fault(kind=FaultKind.DELAY_AFTER, seconds=1.5, times=1)
    await killed_in(lonely, *LOOKING[look], slow, begin)
    result = await sweeping[0]
    assert [line["result"] for line in result["lines"]] == ["adopted"], result
    await adopted_once(asking, systems, before)


@pytest.mark.guarantee("1. Killed anywhere")
async def test_a_sweep_that_is_killed_while_it_compares_members(
    lonely: Stack, asking: Asking, systems: Systems
) -> None:
    name = unique("members")
    await ready(asking, name)
    scim = scim_of(lonely)
    [group] = await scim.groups_by_name(f"{PREFIX}-{name}")
    [owner] = await scim.members(group.id)
    await scim.remove_member(group.id, owner)
    sweeping: list[asyncio.Task[Any]] = []

    async def begin() -> None:
        sweeping.append(asyncio.create_task(sweep(asking)))

    slow = Fault(kind=FaultKind.DELAY_AFTER, seconds=1.5, times=1)
    await killed_in(lonely, Part.DIRECTORY, "group.get", slow, begin)
    await sweeping[0]
    shown = await asking.until(name, lambda now: times(now, "repaired it") == 1, "it is repaired")
    assert await scim.members(group.id) == [owner]
    assert times(shown, "found it altered") == 1
    await scim.close()
    await asking.delete(name)
    await gone(asking, systems, name)


@pytest.mark.guarantee("1. Killed anywhere")
async def test_a_worker_that_is_killed_right_after_an_adoption(
    lonely: Stack, asking: Asking, systems: Systems
) -> None:
    before = await ready(asking, unique("after"))
    await terminate(lonely, before["name"])
    await sweep(asking)
    await lonely.kill(Part.WORKER)
    await lonely.start(Part.WORKER)
    await settle(asking)
    await adopted_once(asking, systems, before)


@pytest.mark.guarantee("4. Ambiguous answers")
async def test_sweeps_at_once_adopt_once(lonely: Stack, asking: Asking, systems: Systems) -> None:
    """Ensures that a scheduled sweep beside one on request starts no second run."""
    before = await ready(asking, unique("twice"))
    await terminate(lonely, before["name"])
    schedule = (await client_of(lonely)).get_schedule_handle(RECONCILE_SCHEDULE)
    await asyncio.gather(schedule.trigger(), sweep(asking))
    await settle(asking)
    await adopted_once(asking, systems, before)


@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("what", ["the answer is lost", "the worker is killed"])
async def test_a_confirmation_whose_end_is_not_seen(
    lonely: Stack, asking: Asking, systems: Systems, what: str
) -> None:
    """Ensures that it can be given again, and that each life is adopted once."""
    lives = [await ready(asking, unique("confirm")) for _ in range(3)]
    for before in lives:
        await terminate(lonely, before["name"])

    async def all_are_seen() -> bool:
        return len((await sweep(asking, dry_run=True))["orphans"]) == len(lives)

    await until(all_are_seen, "all are seen")
    waiting = (await sweep(asking))["waiting"]
    assert len(waiting) == len(lives)
    part, operation = LOOKING["control plane"]
    slow = Fault(operation=operation, kind=FaultKind.DELAY_AFTER, seconds=1.0, times=1)
    set_faults(lonely.url(part), slow)
    seen = calls(lonely, part, operation)
    confirming = asyncio.create_task(asking.call("POST", "/reconcile", json={"confirmed": waiting}))
    await called(lonely, part, operation, seen)
    if what == "the worker is killed":
        await lonely.kill(Part.WORKER)
        await lonely.start(Part.WORKER)
    confirming.cancel()
    await asyncio.gather(confirming, return_exceptions=True)
    await sweep(asking, confirmed=waiting)
    await settle(asking)
    for before in lives:
        await adopted_once(asking, systems, before)


async def being_undone(lonely: Stack, asking: Asking, name: str) -> None:
    """Make an environment, and lose its workflow in the teardown before anything is removed."""
    await ready(asking, name)
    part, operation = UNMAKING["import"]
    refused = Fault(operation=operation, kind=FaultKind.STATUS, status=503)
    set_faults(lonely.url(part), refused)
    seen = calls(lonely, part, operation)
    await asking.delete(name)
    await called(lonely, part, operation, seen)
    await terminate(lonely, name)
    set_faults(lonely.url(part))


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", UNMAKING)
async def test_an_undo_that_is_killed(
    lonely: Stack, asking: Asking, systems: Systems, step: str, moment: str
) -> None:
    name = unique("undo")
    await being_undone(lonely, asking, name)
    await killed_in(lonely, *UNMAKING[step], MOMENTS[moment], lambda: settle(asking))
    await gone(asking, systems, name)
    await settle(asking)


@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("what", AMBIGUITIES)
async def test_an_undo_that_loses_answers(lonely: Stack, asking: Asking, systems: Systems, what: str) -> None:
    name = unique("undo")
    await being_undone(lonely, asking, name)
    strike(lonely, AMBIGUITIES[what], UNMAKING)
    await settle(asking)
    await gone(asking, systems, name)


async def take_away(lonely: Stack, name: str, step: str) -> None:
    """Delete by hand what the step has made."""
    derived = f"{PREFIX}-{name}"
    rafay, scim = rafay_of(lonely), scim_of(lonely)
    project, group = await rafay.find_project(derived), await rafay.find_group(derived)
    assert project
    assert group
    if step == "group":
        await rafay.delete_group(group.id)
    elif step == "role-binding":
        await rafay.unbind(group.id, project.id)
    else:
        [found] = await scim.groups_by_name(derived)
        await scim.delete_group(found.id)
    await rafay.close()
    await scim.close()


async def mended(asking: Asking, systems: Systems, name: str, whole: dict[str, int]) -> None:
    """Wait until everything is there again, with a sweep for what one repair has left; then delete it.

    A sweep that began before the repair was done may tell the environment afterwards what it had found; the
    next sweep corrects that.
    """

    async def is_whole() -> bool:
        shown = await asking.show(name)
        if systems.holds(name) == whole and not shown["drift"]:
            return True
        await sweep(asking)
        return False

    await until(is_whole, f"{name} is repaired")
    await asking.delete(name)
    await gone(asking, systems, name)


async def repaired_under(
    lonely: Stack, asking: Asking, systems: Systems, step: str, trouble: Callable[[str], Awaitable[None]]
) -> None:
    """Have the step repaired while `trouble` begins the sweep and befalls the repair."""
    name = unique("mend")
    await ready(asking, name)
    whole = systems.holds(name)
    await take_away(lonely, name, step)
    await trouble(name)
    await mended(asking, systems, name, whole)


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", REPAIRED)
async def test_a_repair_that_is_killed(
    lonely: Stack, asking: Asking, systems: Systems, step: str, moment: str
) -> None:
    async def kill(_: str) -> None:
        await killed_in(lonely, *MAKING[step], MOMENTS[moment], lambda: sweep(asking))

    await repaired_under(lonely, asking, systems, step, kill)


@pytest.mark.guarantee("2. Fails anywhere")
@pytest.mark.parametrize("step", REPAIRED)
async def test_a_repair_that_fails_ends_nothing(
    lonely: Stack, asking: Asking, systems: Systems, step: str
) -> None:
    """Ensures that the environment stays, tells the problem, and is repaired by a later sweep."""

    async def refuse(name: str) -> None:
        part, operation = MAKING[step]
        set_faults(lonely.url(part), Fault(operation=operation, kind=FaultKind.STATUS, status=403))
        await sweep(asking)
        shown = await asking.until(
            name, lambda now: any(one["problem"] for one in now["drift"]), "the repair has failed"
        )
        assert shown["phase"] == "ready"
        no_faults(lonely)

    await repaired_under(lonely, asking, systems, step, refuse)


@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("what", AMBIGUITIES)
@pytest.mark.parametrize("step", REPAIRED)
async def test_a_repair_that_loses_an_answer(
    lonely: Stack, asking: Asking, systems: Systems, step: str, what: str
) -> None:
    async def lose(_: str) -> None:
        strike(lonely, AMBIGUITIES[what], {step: MAKING[step]})
        await sweep(asking)

    await repaired_under(lonely, asking, systems, step, lose)
