"""Ensures that a worker may be killed at any moment of any step: another one brings it to the same end."""

from collections.abc import Awaitable, Callable

import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import MAKING, UNMAKING, WAITING, assert_one_of_each, called, calls
from tests.support.stack import unique
from tests.support.stand_ins import set_faults

pytestmark = [pytest.mark.slow, pytest.mark.guarantee("1. Killed anywhere")]

#: What becomes of the call in which the worker is killed.
MOMENTS = {
    "not done": Fault(kind=FaultKind.STATUS, status=503),
    "done after the client gave up": Fault(kind=FaultKind.DELAY_BEFORE, seconds=1.5, times=1),
    "done, not answered": Fault(kind=FaultKind.DELAY_AFTER, seconds=1.5, times=1),
}
#: An answer that takes long enough to kill the worker in it.
IN_A_WAIT = Fault(kind=FaultKind.DELAY_AFTER, seconds=1.0)


async def killed_in(
    stack: Stack, part: Part, operation: str, fault: Fault, begin: Callable[[], Awaitable[object]]
) -> None:
    """Begin, kill the worker in the call that the fault strikes, and start another one."""
    set_faults(stack.url(part), fault.model_copy(update={"operation": operation}))
    before = calls(stack, part, operation)
    await begin()
    await called(stack, part, operation, before)
    await stack.kill(Part.WORKER)
    set_faults(stack.url(part))
    await stack.start(Part.WORKER)


async def whole(asking: Asking, systems: Systems, name: str) -> None:
    await asking.until_phase(name, "ready")
    assert_one_of_each(systems.holds(name))


async def unmade(asking: Asking, systems: Systems, name: str) -> None:
    await asking.delete(name)
    gone = await asking.until_phase(name, "gone")
    assert gone["outcome"] == "deleted"
    assert systems.holds(name) == {}


@pytest.mark.chaos
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", MAKING)
async def test_while_a_step_is_made(
    battered: Stack, asking: Asking, systems: Systems, step: str, moment: str
) -> None:
    name = unique("killed")
    await killed_in(battered, *MAKING[step], MOMENTS[moment], lambda: asking.request(name))
    await whole(asking, systems, name)
    await unmade(asking, systems, name)


@pytest.mark.chaos
@pytest.mark.parametrize("step", WAITING)
async def test_while_a_step_waits(battered: Stack, asking: Asking, systems: Systems, step: str) -> None:
    name = unique("waits")
    await killed_in(battered, *WAITING[step], IN_A_WAIT, lambda: asking.request(name))
    await whole(asking, systems, name)
    await unmade(asking, systems, name)


@pytest.mark.chaos
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", UNMAKING)
async def test_while_a_step_is_undone(
    battered: Stack, asking: Asking, systems: Systems, step: str, moment: str
) -> None:
    name = unique("undone")
    await asking.request(name)
    await whole(asking, systems, name)
    await killed_in(battered, *UNMAKING[step], MOMENTS[moment], lambda: asking.delete(name))
    await asking.until_phase(name, "gone")
    assert systems.holds(name) == {}


async def test_three_times_in_one_life(battered: Stack, asking: Asking, systems: Systems) -> None:
    """What is above for each step and moment, in short: in an answer, in a wait and in an undo."""
    name, late, (part, operation) = unique("thrice"), MOMENTS["done, not answered"], WAITING["vcluster"]
    before = calls(battered, part, operation)
    set_faults(battered.url(part), IN_A_WAIT.model_copy(update={"operation": operation}))
    await killed_in(battered, *MAKING["project"], late, lambda: asking.request(name))
    await called(battered, part, operation, before)
    await battered.kill(Part.WORKER)
    set_faults(battered.url(part))
    await battered.start(Part.WORKER)
    await whole(asking, systems, name)
    await killed_in(battered, *UNMAKING["namespace"], late, lambda: asking.delete(name))
    await asking.until_phase(name, "gone")
    assert systems.holds(name) == {}


async def test_a_worker_that_is_stopped_hands_over(battered: Stack, asking: Asking, systems: Systems) -> None:
    name, (part, operation) = unique("handed"), WAITING["vcluster"]
    set_faults(battered.url(part), Fault(operation=operation, kind=FaultKind.DELAY_AFTER, seconds=6, times=1))
    before = calls(battered, part, operation)
    await asking.request(name)
    await called(battered, part, operation, before)
    await battered.restart(Part.WORKER)
    await whole(asking, systems, name)
    await unmade(asking, systems, name)
