"""Ensures that a restore ends with the snapshot, with the state before it, or gone without a trace."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.chaos.test_cancelled import press_cancel
from tests.chaos.test_snapshots import gone, settled, take
from tests.chaos.test_template_change import MOMENTS
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.credentials import usable_kubeconfig
from tests.support.fault_points import (
    AMBIGUITIES,
    RESTORING,
    assert_one_of_each,
    called,
    calls,
    no_faults,
    strike,
)
from tests.support.stack import BOB, unique
from tests.support.stand_ins import control, set_faults

pytestmark = pytest.mark.chaos

#: While it is set, no pod can restore a snapshot.
TROUBLE = "/-/restores"


@dataclass(frozen=True)
class Snapped:
    """An environment with a snapshot: what was in it then, and what is in it since."""

    name: str
    then: set[str]
    since: set[str]


async def snapped(asking: Asking, systems: Systems) -> Snapped:
    """Take a snapshot of a new environment, and make something in it."""
    name = unique("restored")
    await asking.request(name)
    await asking.until_phase(name, "ready")
    await take(asking, name)
    assert (await settled(asking, name))["taken_at"]
    then = systems.inside(name)
    await usable_kubeconfig(asking.call, name)
    since = systems.inside(name)
    assert then < since
    return Snapped(name, then, since)


async def restore(asking: Asking, name: str) -> None:
    answer = await asking.call("POST", f"/environments/{name}/restore", json={"snapshot": 1})
    assert answer.status_code == 202, answer.text


def is_over(shown: dict[str, Any]) -> bool:
    """Whether a restore has ended; without a worker it is not known, and no snapshots are shown."""
    has_started = any(one["before"] for one in shown["snapshots"])
    return has_started and shown["restore"] is None


async def whole(asking: Asking, systems: Systems, world: Snapped) -> dict[str, Any]:
    """It runs with the snapshot, or with the state before it, as it says; return what is shown."""
    shown = await asking.until(world.name, is_over, "the restore is over")
    assert shown["phase"] == "ready"
    assert systems.inside(world.name) == (world.since if shown["restore_problem"] else world.then)
    held = systems.holds(world.name)
    assert_one_of_each(held)
    assert held["pod"] == 1
    assert held.get("restore pod", 0) <= 1
    return shown


async def stuck(asking: Asking, name: str) -> None:
    """Wait until going back has failed, and it says why and when it is tried again."""

    def says_so(shown: dict[str, Any]) -> bool:
        now = shown["restore"]
        return bool(now and now["problem"] and now["obstacle"] and now["next_try_at"])

    await asking.until(name, says_so, "it cannot go back")


async def ended(asking: Asking, systems: Systems, name: str) -> None:
    await asking.delete(name)
    await gone(asking, systems, name)


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("call", RESTORING)
async def test_the_worker_is_killed_in_a_restore(
    battered: Stack, asking: Asking, systems: Systems, call: str, moment: str
) -> None:
    world, (part, operation) = await snapped(asking, systems), RESTORING[call]
    set_faults(battered.url(part), MOMENTS[moment].model_copy(update={"operation": operation}))
    before = calls(battered, part, operation)
    await restore(asking, world.name)
    await called(battered, part, operation, before)
    await battered.kill(Part.WORKER)
    no_faults(battered)
    await battered.start(Part.WORKER)
    assert (await whole(asking, systems, world))["restore_problem"] is None
    await ended(asking, systems, world.name)


@pytest.mark.guarantee("2. Fails anywhere")
@pytest.mark.parametrize("status", [403, 422])
@pytest.mark.parametrize("call", RESTORING)
async def test_a_call_of_a_restore_fails_for_good(
    battered: Stack, asking: Asking, systems: Systems, call: str, status: int
) -> None:
    world, (part, operation) = await snapped(asking, systems), RESTORING[call]
    fault = Fault(operation=operation, kind=FaultKind.STATUS, status=status, times=1)
    set_faults(battered.url(part), fault)
    await restore(asking, world.name)
    await whole(asking, systems, world)
    await ended(asking, systems, world.name)


@pytest.mark.guarantee("2. Fails anywhere")
async def test_no_pod_can_restore_anything(battered: Stack, asking: Asking, systems: Systems) -> None:
    """Ensures that it says so, and goes back as soon as that works."""
    world = await snapped(asking, systems)
    trouble = {"namespace": f"*{world.name}", "failed": "no space left on device"}
    control(battered.url(Part.HOST), "PUT", TROUBLE, trouble)
    try:
        await restore(asking, world.name)
        await stuck(asking, world.name)
    finally:
        control(battered.url(Part.HOST), "DELETE", TROUBLE)
    shown = await whole(asking, systems, world)
    assert "no space left on device" in shown["restore_problem"]["cause"]
    await ended(asking, systems, world.name)


@pytest.mark.guarantee("3. Cancelled anywhere")
@pytest.mark.parametrize("way", ["delete", "cancelled in Temporal"])
async def test_it_ends_while_it_cannot_go_back(
    battered: Stack, asking: Asking, systems: Systems, way: str
) -> None:
    world = await snapped(asking, systems)
    control(battered.url(Part.HOST), "PUT", TROUBLE, {"namespace": f"*{world.name}", "failed": "no space"})
    try:
        await restore(asking, world.name)
        await stuck(asking, world.name)
        await end(battered, asking, world.name, way)
        await gone(asking, systems, world.name)
    finally:
        control(battered.url(Part.HOST), "DELETE", TROUBLE)


async def end(stack: Stack, asking: Asking, name: str, way: str) -> None:
    if way == "delete":
        await asking.delete(name)
    else:
        await press_cancel(stack, name)


@pytest.mark.guarantee("3. Cancelled anywhere")
@pytest.mark.parametrize("way", ["delete", "cancelled in Temporal"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("call", RESTORING)
async def test_it_ends_in_a_restore(
    battered: Stack, asking: Asking, systems: Systems, call: str, moment: str, way: str
) -> None:
    world, (part, operation) = await snapped(asking, systems), RESTORING[call]
    set_faults(battered.url(part), MOMENTS[moment].model_copy(update={"operation": operation}))
    before = calls(battered, part, operation)
    await restore(asking, world.name)
    await called(battered, part, operation, before)
    await end(battered, asking, world.name, way)
    await gone(asking, systems, world.name)


@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("what", AMBIGUITIES)
async def test_answers_lost_in_every_call_of_a_restore(
    battered: Stack, asking: Asking, systems: Systems, what: str
) -> None:
    world = await snapped(asking, systems)
    strike(battered, AMBIGUITIES[what], RESTORING)
    await restore(asking, world.name)
    assert (await whole(asking, systems, world))["restore_problem"] is None
    await ended(asking, systems, world.name)


@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("what", AMBIGUITIES)
async def test_answers_lost_on_the_way_back(
    battered: Stack, asking: Asking, systems: Systems, what: str
) -> None:
    world = await snapped(asking, systems)
    control(battered.url(Part.HOST), "PUT", TROUBLE, {"namespace": f"*{world.name}", "failed": "no space"})
    try:
        await restore(asking, world.name)
        await stuck(asking, world.name)
        strike(battered, AMBIGUITIES[what], RESTORING)
    finally:
        control(battered.url(Part.HOST), "DELETE", TROUBLE)
    assert (await whole(asking, systems, world))["restore_problem"]
    await ended(asking, systems, world.name)


@pytest.mark.guarantee("6. Any sequence")
async def test_of_many_who_ask_at_once_one_restores(
    battered: Stack, asking: Asking, systems: Systems
) -> None:
    world = await snapped(asking, systems)
    path = f"/environments/{world.name}/restore"
    answers = await asyncio.gather(*(asking.call("POST", path, json={"snapshot": 1}) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [202, *[409] * 7]
    assert (await whole(asking, systems, world))["restore_problem"] is None
    await ended(asking, systems, world.name)


@pytest.mark.guarantee("1. Killed anywhere")
async def test_a_person_who_was_removed_since_has_no_access_after_a_restore(
    battered: Stack, asking: Asking, systems: Systems
) -> None:
    """Ensures it also when the worker is killed before that is settled."""
    name = unique("restored")
    await asking.request(name, collaborators=[BOB.email])
    await asking.until_phase(name, "ready")
    without = systems.inside(name)
    async with Asking(battered, BOB) as bob:
        await usable_kubeconfig(bob.call, name)
    await take(asking, name)
    assert (await settled(asking, name))["taken_at"]
    await asking.call("DELETE", f"/environments/{name}/collaborators/{BOB.email}")
    await asking.until(name, lambda shown: shown["access"] is None, "it is taken away")
    assert systems.inside(name) == without
    part, operation = RESTORING["people"]
    fault = Fault(operation=operation, kind=FaultKind.DELAY_BEFORE, seconds=1.5, times=1)
    set_faults(battered.url(part), fault)
    before = calls(battered, part, operation)
    await restore(asking, name)
    await called(battered, part, operation, before)
    await battered.kill(Part.WORKER)
    no_faults(battered)
    await battered.start(Part.WORKER)
    await asking.until(name, is_over, "the restore is over")
    assert systems.inside(name) == without
    await ended(asking, systems, name)
