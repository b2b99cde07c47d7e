"""Ensures that an environment is made, or unmade, to its end although its worker is killed in the middle."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.environment.asking import Asking
from tests.environment.systems import Systems
from tests.support.deeds import assert_one_of_each
from tests.support.stack import hurried, unique
from tests.support.stand_ins import set_faults

#: Where the worker is killed while it makes an environment, and while it unmakes it: in an answer that is
#: on its way, and in a wait.
KILLS = {
    "project": ((Part.CONTROL_PLANE, "project.create"), (Part.HOST, "namespace.delete")),
    "vcluster": ((Part.HOST, "startup.get"), (Part.CONTROL_PLANE, "cluster.delete")),
}


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack that other tests do not miss the worker of."""
    async with Stack(tmp_path_factory.mktemp("killed"), hurried()) as stack:
        yield stack


def slowly(stack: Stack, part: Part, operation: str) -> None:
    """Let the next such call be done at once, and its answer take long enough to kill the worker in it."""
    set_faults(stack.url(part), Fault(operation=operation, kind=FaultKind.DELAY_AFTER, seconds=1.5, times=1))


@pytest.mark.slow
@pytest.mark.parametrize("step", KILLS)
async def test_a_worker_killed_in_the_middle(own_stack: Stack, step: str) -> None:
    systems, name = Systems(own_stack), unique("killed")
    (part, operation), (undo_part, undo_operation) = KILLS[step]
    async with Asking(own_stack) as asking:
        slowly(own_stack, part, operation)
        await asking.request(name)
        await asking.until_step(name, step, "running")
        await own_stack.kill(Part.WORKER)
        await own_stack.start(Part.WORKER)
        await asking.until_phase(name, "ready")
        assert_one_of_each(systems.holds(name))

        slowly(own_stack, undo_part, undo_operation)
        await asking.delete(name)
        await asking.until(
            name, lambda shown: "undoing" in {row["state"] for row in shown["steps"]}, "undoing"
        )
        await own_stack.kill(Part.WORKER)
        await own_stack.start(Part.WORKER)
        await asking.until_phase(name, "gone")
        assert systems.holds(name) == {}


@pytest.mark.slow
@pytest.mark.guarantee("1. Killed anywhere")
async def test_a_worker_that_is_stopped_hands_over(tmp_path: Path) -> None:
    slow_host = {Part.HOST: {"start_seconds": 6, "stop_seconds": 0.1}}
    async with Stack(tmp_path, hurried(stand_ins=slow_host)) as stack, Asking(stack) as asking:
        name = unique("handed")
        await asking.request(name)
        await asking.until_step(name, "vcluster", "running")
        await stack.restart(Part.WORKER)
        await asking.until_phase(name, "ready")
        await asking.delete(name)
        await asking.until_phase(name, "gone")
        assert Systems(stack).holds(name) == {}
