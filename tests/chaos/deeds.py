"""In which call of which system each step does its deed, waits, and undoes it."""

import asyncio
import time

from embedded.faults import CALLS_PATH
from embedded.stack import Part, Stack
from tests.environment.test_failing import DEEDS as MAKING
from tests.support.stand_ins import control

__all__ = ["MAKING", "ONE_OF_EACH", "UNMAKING", "WAITING", "called", "calls"]

#: The call that undoes each step that has something of its own.
UNMAKING = {
    "project": (Part.CONTROL_PLANE, "project.delete"),
    "group": (Part.CONTROL_PLANE, "group.delete"),
    "role-binding": (Part.CONTROL_PLANE, "binding.delete"),
    "identity": (Part.DIRECTORY, "group.delete"),
    "namespace": (Part.HOST, "namespace.delete"),
    "vcluster": (Part.HOST, "release.uninstall"),
    "import": (Part.CONTROL_PLANE, "cluster.delete"),
}
#: The call with which a step asks whether what it waits for has come.
WAITING = {
    "vcluster": (Part.HOST, "startup.get"),
    "kubeconfig": (Part.HOST, "virtual.readyz"),
    "import": (Part.CONTROL_PLANE, "cluster.get"),
}
ONE_OF_EACH = ("project", "group", "binding", "IdP group", "namespace", "release", "cluster")
#: Longest wait for a call to come.
PATIENCE = 30.0


def calls(stack: Stack, part: Part, operation: str) -> int:
    """How often the operation was called since the stand-in began."""
    counts: dict[str, int] = control(stack.url(part), "GET", CALLS_PATH)
    return counts.get(operation, 0)


async def called(stack: Stack, part: Part, operation: str, more_than: int) -> None:
    """Return once the operation was called more often than so."""
    ends = time.monotonic() + PATIENCE
    while await asyncio.to_thread(calls, stack, part, operation) <= more_than:
        assert time.monotonic() < ends, f"{operation} was not called in {PATIENCE} s"
        await asyncio.sleep(0.05)
