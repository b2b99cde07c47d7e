"""Ensures that an environment that fails or is cancelled at any step leaves nothing in any system."""

from itertools import product

import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Stack
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import AMBIGUITIES, MAKING, assert_one_of_each, strike
from tests.support.stack import unique
from tests.support.stand_ins import set_faults

pytestmark = pytest.mark.slow

#: How a system may refuse: before it has done it, and after.
REFUSALS = {"refused": FaultKind.STATUS, "done, then refused": FaultKind.STATUS_AFTER}
#: Each step with each of them. A step that had done nothing is undone by the same calls as one that had: the
#: everyday run has one of those, and tests/activities has each step's undo where there is nothing.
FAILURES = [
    pytest.param(step, how, marks=[pytest.mark.chaos] if how == "refused" and step != "vcluster" else [])
    for step, how in product(MAKING, REFUSALS)
]


@pytest.mark.guarantee("2. Fails anywhere")
@pytest.mark.parametrize(("step", "how"), FAILURES)
async def test_a_step_that_fails_for_good(
    stack: Stack, asking: Asking, systems: Systems, step: str, how: str
) -> None:
    name, (part, operation) = unique("fails"), MAKING[step]
    set_faults(stack.url(part), Fault(operation=operation, kind=REFUSALS[how], status=403))
    assert (await asking.request(name)).status_code == 202
    gone = await asking.until_phase(name, "gone")
    assert gone["outcome"] == "failed"
    assert gone["problem"]["step"] == step, f"it blames another step: {gone['problem']}"
    assert gone["problem"]["remedy"], "it does not say what to do"
    assert gone["certificate"]["nothing_left"] is True
    assert systems.holds(name) == {}


@pytest.mark.guarantee("3. Cancelled anywhere")
@pytest.mark.parametrize("step", MAKING)
async def test_a_step_cancelled_while_its_deed_is_on_the_way(
    stack: Stack, asking: Asking, systems: Systems, step: str
) -> None:
    name, (part, operation) = unique("cancel"), MAKING[step]
    set_faults(stack.url(part), Fault(operation=operation, kind=FaultKind.DELAY_BEFORE, seconds=1.0, times=1))
    await asking.request(name)
    await asking.until_step(name, step, "running")
    answer = await asking.cancel(name)
    assert answer.status_code == 202, answer.text
    gone = await asking.until_phase(name, "gone")
    assert gone["outcome"] == "cancelled"
    assert systems.holds(name) == {}


@pytest.mark.guarantee("3. Cancelled anywhere")
async def test_cancelled_before_the_first_step(asking: Asking, systems: Systems) -> None:
    name = unique("at-once")
    await asking.request(name)
    await asking.cancel(name)
    assert (await asking.until_phase(name, "gone"))["outcome"] == "cancelled"
    assert systems.holds(name) == {}


@pytest.mark.guarantee("4. Ambiguous answers")
async def test_no_throttling_stops_it(stack: Stack, asking: Asking) -> None:
    name = unique("throttled")
    strike(stack, Fault(kind=FaultKind.STATUS, status=429, retry_after=1, times=1), MAKING)
    await asking.request(name)
    await asking.until_phase(name, "ready")
    await asking.delete(name)
    await asking.until_phase(name, "gone")


@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("what", AMBIGUITIES)
async def test_answers_lost_in_every_step_lead_neither_to_two_nor_to_a_conflict(
    stack: Stack, asking: Asking, systems: Systems, what: str
) -> None:
    name = unique("lost")
    strike(stack, AMBIGUITIES[what], MAKING)
    await asking.request(name)
    await asking.until_phase(name, "ready")
    assert_one_of_each(systems.holds(name))
    await asking.delete(name)
    await asking.until_phase(name, "gone")
    assert systems.holds(name) == {}
