"""Ensures that what a terminated workflow leaves, in any step, is removed by its names and marks."""

import pytest

from contracts.types.naming import workflow_id
from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Stack
from tests.chaos.test_killed import MOMENTS
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import MAKING, UNMAKING, called, calls
from tests.support.stack import client_of, unique
from tests.support.stand_ins import set_faults

pytestmark = [pytest.mark.chaos, pytest.mark.guarantee("8. Terminated anywhere")]


async def _forced(stack: Stack, asking: Asking, systems: Systems, name: str) -> None:
    """Terminate its workflow, see that its name is not given away, and have what is left torn down."""
    client = await client_of(stack)
    await client.get_workflow_handle(workflow_id(name)).terminate()
    await asking.until_phase(name, "orphaned")
    refused = await asking.request(name)
    assert (refused.status_code, refused.json()["reason"]) == (409, "left_behind")
    forced = await asking.call("POST", f"/environments/{name}/force-teardown")
    assert forced.status_code == 202, forced.text
    gone = await asking.until_phase(name, "gone")
    assert gone["certificate"]["nothing_left"]
    assert systems.holds(name) == {}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", MAKING)
async def test_while_a_step_is_made(
    battered: Stack, asking: Asking, systems: Systems, step: str, moment: str
) -> None:
    name = unique("cut")
    part, operation = MAKING[step]
    set_faults(battered.url(part), MOMENTS[moment].model_copy(update={"operation": operation}))
    before = calls(battered, part, operation)
    await asking.request(name)
    await called(battered, part, operation, before)
    set_faults(battered.url(part))
    await _forced(battered, asking, systems, name)


@pytest.mark.parametrize("step", UNMAKING)
async def test_while_a_step_is_undone(battered: Stack, asking: Asking, systems: Systems, step: str) -> None:
    name = unique("cut")
    await asking.request(name)
    await asking.until_phase(name, "ready")
    part, operation = UNMAKING[step]
    set_faults(battered.url(part), Fault(operation=operation, kind=FaultKind.STATUS, status=503))
    before = calls(battered, part, operation)
    await asking.delete(name)
    await called(battered, part, operation, before)
    set_faults(battered.url(part))
    await _forced(battered, asking, systems, name)
