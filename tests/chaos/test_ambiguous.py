"""Ensures that an answer that is lost, late or garbled leads to no second thing and to no late orphan."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Stack
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import AMBIGUITIES, MAKING, UNMAKING, assert_one_of_each, strike
from tests.support.stack import HURRY, TIMEOUT, hurried, unique
from tests.support.stand_ins import set_faults

pytestmark = [pytest.mark.chaos, pytest.mark.guarantee("4. Ambiguous answers")]

#: The client gives up, the undo looks and finds nothing, and only then it comes into being: so long after
#: that the undo of a namespace, which takes longest, has looked by then on a busy machine too.
LATE = TIMEOUT.total_seconds() + 3.0
assert HURRY.late_response_window.total_seconds() > LATE - TIMEOUT.total_seconds()


@pytest.mark.parametrize("step", MAKING)
async def test_done_after_the_undo_has_looked(
    battered: Stack, asking: Asking, systems: Systems, step: str
) -> None:
    name, (part, operation) = unique("late"), MAKING[step]
    set_faults(
        battered.url(part), Fault(operation=operation, kind=FaultKind.DELAY_BEFORE, seconds=LATE, times=1)
    )
    await asking.request(name)
    await asking.until_step(name, step, "running")
    await asking.cancel(name)
    gone = await asking.until_phase(name, "gone")
    assert gone["outcome"] == "cancelled"
    await asyncio.sleep(LATE)
    assert systems.holds(name) == {}, "it came into being after the certificate had said that nothing is left"


@pytest.mark.parametrize("what", AMBIGUITIES)
async def test_answers_lost_in_every_undo(
    battered: Stack, asking: Asking, systems: Systems, what: str
) -> None:
    name = unique("undo")
    await asking.request(name)
    await asking.until_phase(name, "ready")
    strike(battered, AMBIGUITIES[what], UNMAKING)
    await asking.delete(name)
    assert (await asking.until_phase(name, "gone"))["certificate"]["nothing_left"] is True
    assert systems.holds(name) == {}


async def test_504_after_thirty_seconds_in_every_step(tmp_path: Path) -> None:
    timeouts = HURRY.model_copy(update={"late_response_window": timedelta(seconds=40), "step_timeout": None})
    patient = Stack(tmp_path, hurried(timeout=timedelta(seconds=35), timeouts=timeouts))
    async with patient, Asking(patient) as asking:
        fault = Fault(kind=FaultKind.STATUS_AFTER, status=504, seconds=30, times=1)
        strike(patient, fault, MAKING)
        # All at once, so that it does not take thirty seconds a step: each step of one of them is struck.
        names = [unique("gateway") for _ in MAKING]
        await asyncio.gather(*(asking.request(name) for name in names))
        for name in names:
            await asking.until_phase(name, "ready")
            assert_one_of_each(Systems(patient).holds(name))
        await asyncio.gather(*(asking.delete(name) for name in names))
        for name in names:
            await asking.until_phase(name, "gone")
        assert Systems(patient).all() == {}
