"""Ensures that a snapshot is taken or has failed in the end, and that its environment ends whole."""

import asyncio
from typing import Any

import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.chaos.test_cancelled import press_cancel
from tests.chaos.test_template_change import MOMENTS
from tests.lifecycle.databases import Systems, has_requests
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import (
    AMBIGUITIES,
    REQUESTING,
    UNREQUESTING,
    assert_one_of_each,
    called,
    calls,
    no_faults,
    strike,
)
from tests.support.stack import unique
from tests.support.stand_ins import control, set_faults

pytestmark = pytest.mark.chaos


async def ready(asking: Asking) -> str:
    name = unique("snapped")
    await asking.request(name)
    await asking.until_phase(name, "ready")
    return name


async def take(asking: Asking, name: str) -> None:
    answer = await asking.call("POST", f"/environments/{name}/snapshots")
    assert answer.status_code == 202, answer.text


def is_over(shown: dict[str, Any]) -> bool:
    """Whether a snapshot is taken or has failed; without a worker it is not known, and none is shown."""
    return bool(shown["snapshots"]) and all(one["taken_at"] or one["problem"] for one in shown["snapshots"])


async def settled(asking: Asking, name: str) -> dict[str, Any]:
    shown = await asking.until(name, is_over, "the snapshot is over")
    assert shown["phase"] == "ready"
    snapshot: dict[str, Any] = shown["snapshots"][-1]
    return snapshot


async def ended(asking: Asking, systems: Systems, name: str) -> None:
    await asking.delete(name)
    await gone(asking, systems, name)


async def gone(asking: Asking, systems: Systems, name: str) -> None:
    shown = await asking.until_phase(name, "gone")
    assert systems.holds(name) == {}
    assert shown["certificate"]["nothing_left"]


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("call", REQUESTING)
async def test_the_worker_is_killed_in_a_snapshot(
    battered: Stack, asking: Asking, systems: Systems, call: str, moment: str
) -> None:
    """Ensures that the next worker finds the same request."""
    name, (part, operation) = await ready(asking), REQUESTING[call]
    set_faults(battered.url(part), MOMENTS[moment].model_copy(update={"operation": operation}))
    before = calls(battered, part, operation)
    await take(asking, name)
    await called(battered, part, operation, before)
    await battered.kill(Part.WORKER)
    no_faults(battered)
    await battered.start(Part.WORKER)
    assert (await settled(asking, name))["taken_at"]
    assert_one_of_each(systems.holds(name))
    await has_requests(systems, name, 1)
    await ended(asking, systems, name)


@pytest.mark.guarantee("2. Fails anywhere")
@pytest.mark.parametrize("call", REQUESTING)
async def test_a_call_of_a_snapshot_fails_for_good(
    battered: Stack, asking: Asking, systems: Systems, call: str
) -> None:
    """Ensures that it says so, and that the next one is taken."""
    name, (part, operation) = await ready(asking), REQUESTING[call]
    set_faults(battered.url(part), Fault(operation=operation, kind=FaultKind.STATUS, status=422, times=1))
    await take(asking, name)
    assert (await settled(asking, name))["problem"]
    await take(asking, name)
    await asking.until(name, lambda shown: len(shown["snapshots"]) == 2 and is_over(shown), "the next one")
    assert (await settled(asking, name))["taken_at"]
    await ended(asking, systems, name)


@pytest.mark.guarantee("2. Fails anywhere")
async def test_a_vcluster_cannot_take_a_snapshot(battered: Stack, asking: Asking, systems: Systems) -> None:
    """Ensures that a change of the template goes on without one."""
    name = await ready(asking)
    trouble = {"namespace": f"*{name}", "failed": "no space left on device"}
    control(battered.url(Part.HOST), "PUT", "/-/snapshots", trouble)
    try:
        await take(asking, name)
        snapshot = await settled(asking, name)
        assert "no space left on device" in snapshot["problem"]["cause"]
    finally:
        control(battered.url(Part.HOST), "DELETE", "/-/snapshots")
    await ended(asking, systems, name)


@pytest.mark.guarantee("3. Cancelled anywhere")
@pytest.mark.parametrize("way", ["delete", "cancelled in Temporal"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("call", REQUESTING)
async def test_it_ends_in_a_snapshot(
    battered: Stack, asking: Asking, systems: Systems, call: str, moment: str, way: str
) -> None:
    name, (part, operation) = await ready(asking), REQUESTING[call]
    set_faults(battered.url(part), MOMENTS[moment].model_copy(update={"operation": operation}))
    before = calls(battered, part, operation)
    await take(asking, name)
    await called(battered, part, operation, before)
    if way == "delete":
        await asking.delete(name)
    else:
        await press_cancel(battered, name)
    await gone(asking, systems, name)


@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("what", AMBIGUITIES)
async def test_answers_lost_in_every_call_of_a_snapshot(
    battered: Stack, asking: Asking, systems: Systems, what: str
) -> None:
    name = await ready(asking)
    strike(battered, AMBIGUITIES[what], REQUESTING)
    await take(asking, name)
    assert (await settled(asking, name))["taken_at"]
    await ended(asking, systems, name)


@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("what", AMBIGUITIES)
async def test_answers_lost_in_every_call_that_removes_a_request(
    battered: Stack, asking: Asking, systems: Systems, what: str
) -> None:
    name = await ready(asking)
    await take(asking, name)
    await settled(asking, name)
    strike(battered, AMBIGUITIES[what], UNREQUESTING)
    await ended(asking, systems, name)


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("call", UNREQUESTING)
async def test_the_worker_is_killed_while_a_request_is_removed(
    battered: Stack, asking: Asking, systems: Systems, call: str
) -> None:
    name, (part, operation) = await ready(asking), UNREQUESTING[call]
    await take(asking, name)
    await settled(asking, name)
    fault = Fault(operation=operation, kind=FaultKind.DELAY_AFTER, seconds=1.5, times=1)
    set_faults(battered.url(part), fault)
    before = calls(battered, part, operation)
    await asking.delete(name)
    await called(battered, part, operation, before)
    await battered.kill(Part.WORKER)
    no_faults(battered)
    await battered.start(Part.WORKER)
    await gone(asking, systems, name)


@pytest.mark.guarantee("6. Any sequence")
async def test_of_many_who_ask_at_once_one_takes_a_snapshot(
    battered: Stack, asking: Asking, systems: Systems
) -> None:
    name = await ready(asking)
    path = f"/environments/{name}/snapshots"
    answers = await asyncio.gather(*(asking.call("POST", path) for _ in range(8)))
    statuses = sorted(answer.status_code for answer in answers)
    assert set(statuses) <= {202, 409}
    shown = await asking.until(name, is_over, "all are over")
    assert len(shown["snapshots"]) == min(3, statuses.count(202))
    await ended(asking, systems, name)
