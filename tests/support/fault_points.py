"""In which call of which system each step does its deed, waits, and undoes it; and what can befall a call.

A step that is added here is killed, failed, cancelled, throttled and cut like all others.
"""

import asyncio
import time
from collections.abc import Mapping

from embedded.faults import CALLS_PATH, Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.support.deadline import HANG
from tests.support.stack import TIMEOUT
from tests.support.stand_ins import control, set_faults

Call = tuple[Part, str]

STAND_INS = (Part.CONTROL_PLANE, Part.DIRECTORY, Part.HOST)
#: The call in which each step does its deed.
MAKING: dict[str, Call] = {
    "project": (Part.CONTROL_PLANE, "project.create"),
    "group": (Part.CONTROL_PLANE, "group.create"),
    "role-binding": (Part.CONTROL_PLANE, "binding.create"),
    "identity": (Part.DIRECTORY, "group.create"),
    "namespace": (Part.HOST, "namespace.create"),
    "vcluster": (Part.HOST, "release.install"),
    "kubeconfig": (Part.HOST, "virtual.readyz"),
    "import": (Part.CONTROL_PLANE, "cluster.create"),
}
#: The call that undoes each step that creates an object.
UNMAKING: dict[str, Call] = {
    "project": (Part.CONTROL_PLANE, "project.delete"),
    "group": (Part.CONTROL_PLANE, "group.delete"),
    "role-binding": (Part.CONTROL_PLANE, "binding.delete"),
    "identity": (Part.DIRECTORY, "group.delete"),
    "namespace": (Part.HOST, "namespace.delete"),
    "vcluster": (Part.HOST, "release.uninstall"),
    "import": (Part.CONTROL_PLANE, "cluster.delete"),
}
#: The calls with which a standby of a warm pool is made and offered, and those with which it ends.
MAKING_STANDBY: dict[str, Call] = {
    "namespace": MAKING["namespace"],
    "vcluster": MAKING["vcluster"],
    "kubeconfig": MAKING["kubeconfig"],
    "offer": (Part.HOST, "namespace.patch"),
}
ENDING_STANDBY: dict[str, Call] = {
    "withdraw": (Part.HOST, "namespace.patch"),
    "vcluster": UNMAKING["vcluster"],
    "namespace": UNMAKING["namespace"],
}
#: The calls with which systems give a person access, or take it away.
CHANGING: dict[str, Call] = {
    "group": (Part.DIRECTORY, "group.patch"),
    "account": (Part.DIRECTORY, "user.find"),
    "virtual cluster": (Part.HOST, "virtual.read"),
}
#: The calls with which an environment falls asleep, and those with which it wakes.
FALLING_ASLEEP: dict[str, Call] = {
    "paused": (Part.HOST, "statefulset.patch"),
    "pods listed": (Part.HOST, "pod.list"),
    "pods deleted": (Part.HOST, "pod.delete"),
}
WAKING: dict[str, Call] = {
    "resumed": (Part.HOST, "statefulset.patch"),
    "started": (Part.HOST, "startup.get"),
    "answering": (Part.HOST, "virtual.readyz"),
}
#: The calls with which the template of an environment is changed.
REPLACING: dict[str, Call] = {
    "namespace": (Part.HOST, "namespace.apply"),
    "vcluster": (Part.HOST, "release.upgrade"),
    "kubeconfig": (Part.HOST, "virtual.readyz"),
}
#: The calls with which a snapshot is requested and followed, and those with which its request is undone.
REQUESTING: dict[str, Call] = {
    "options": (Part.HOST, "secret.create"),
    "request": (Part.HOST, "configmap.create"),
    "progress": (Part.HOST, "configmap.get"),
}
UNREQUESTING: dict[str, Call] = {
    "requests listed": (Part.HOST, "configmap.get"),
    "request": (Part.HOST, "configmap.delete"),
    "options listed": (Part.HOST, "secret.list"),
}
#: The calls with which a snapshot is restored.
RESTORING: dict[str, Call] = {
    "paused": (Part.HOST, "statefulset.patch"),
    "pods listed": (Part.HOST, "pod.list"),
    "pods deleted": (Part.HOST, "pod.delete"),
    "pod": (Part.HOST, "pod.create"),
    "started": (Part.HOST, "startup.get"),
    "answering": (Part.HOST, "virtual.readyz"),
    "people": (Part.HOST, "virtual.read"),
}
#: The call with which a step asks whether what it waits for has come.
WAITING: dict[str, Call] = {
    "vcluster": (Part.HOST, "startup.get"),
    "kubeconfig": (Part.HOST, "virtual.readyz"),
    "import": (Part.CONTROL_PLANE, "cluster.get"),
}
#: Of what a whole environment has exactly one.
ONE_OF_EACH = ("project", "group", "binding", "IdP group", "namespace", "release", "cluster")

_TOO_LATE = TIMEOUT.total_seconds() + 1
#: What can happen to an answer, so that it is unknown whether the call took effect.
AMBIGUITIES = {
    "cut after it was done": Fault(kind=FaultKind.CUT_AFTER, times=1),
    "502 after it was done": Fault(kind=FaultKind.STATUS_AFTER, status=502, times=1),
    "504 after a long while": Fault(kind=FaultKind.STATUS_AFTER, status=504, seconds=2.0, times=1),
    "answered after the client gave up": Fault(kind=FaultKind.DELAY_AFTER, seconds=_TOO_LATE, times=1),
    "done after the client gave up": Fault(kind=FaultKind.DELAY_BEFORE, seconds=_TOO_LATE, times=1),
    "answered with half a body": Fault(kind=FaultKind.TRUNCATE, times=1),
}
#: Longest wait for a call to come.
MAX_WAIT = HANG


def strike(stack: Stack, fault: Fault, calls: Mapping[str, Call]) -> None:
    """Let the fault strike every one of the calls, and no other fault anything."""
    for part in STAND_INS:
        operations = [operation for where, operation in calls.values() if where is part]
        set_faults(stack.url(part), *(fault.model_copy(update={"operation": each}) for each in operations))


def no_faults(stack: Stack) -> None:
    """Let all stand-ins do what they are asked."""
    for part in STAND_INS:
        set_faults(stack.url(part))


def assert_one_of_each(held: Mapping[str, int]) -> None:
    """Fail unless there is exactly one of all that an environment has."""
    wrong = {kind: held.get(kind, 0) for kind in ONE_OF_EACH if held.get(kind, 0) != 1}
    assert not wrong, f"not one of each: {wrong}"


def calls(stack: Stack, part: Part, operation: str) -> int:
    """How often the operation was called since the stand-in began."""
    counts: dict[str, int] = control(stack.url(part), "GET", CALLS_PATH)
    return counts.get(operation, 0)


async def called(stack: Stack, part: Part, operation: str, more_than: int) -> None:
    """Return once the operation was called more often than so."""
    ends = time.monotonic() + MAX_WAIT
    while await asyncio.to_thread(calls, stack, part, operation) <= more_than:
        assert time.monotonic() < ends, f"{operation} was not called in {MAX_WAIT} s"
        await asyncio.sleep(0.05)
