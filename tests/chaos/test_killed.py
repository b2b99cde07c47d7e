"""Ensures that a worker may be killed at any moment of any step: another one brings it to the same end."""

from collections.abc import Awaitable, Callable

import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.environment.asking import Asking
from tests.environment.systems import Systems
from tests.support.deeds import MAKING, UNMAKING, WAITING, assert_one_of_each, called, calls
from tests.support.stack import unique
from tests.support.stand_ins import set_faults

pytestmark = [pytest.mark.chaos, pytest.mark.guarantee("1. Killed anywhere")]

#: What becomes of the call in which the worker is killed.
MOMENTS = {
    "not done": Fault(kind=FaultKind.STATUS, status=503),
    "done when nobody listens any more": Fault(kind=FaultKind.DELAY_BEFORE, seconds=1.5, times=1),
    "done, not answered": Fault(kind=FaultKind.DELAY_AFTER, seconds=1.5, times=1),
}


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


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", MAKING)
async def test_while_a_step_is_made(
    battered: Stack, asking: Asking, systems: Systems, step: str, moment: str
) -> None:
    name = unique("killed")
    await killed_in(battered, *MAKING[step], MOMENTS[moment], lambda: asking.request(name))
    await whole(asking, systems, name)
    await unmade(asking, systems, name)


@pytest.mark.parametrize("step", WAITING)
async def test_while_a_step_waits(battered: Stack, asking: Asking, systems: Systems, step: str) -> None:
    name = unique("waits")
    slow = Fault(kind=FaultKind.DELAY_AFTER, seconds=1.0)
    await killed_in(battered, *WAITING[step], slow, lambda: asking.request(name))
    await whole(asking, systems, name)
    await unmade(asking, systems, name)


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
