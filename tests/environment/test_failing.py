"""Ensures that an environment that fails or is cancelled at any step leaves nothing in any system."""

import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack import Part, Stack
from tests.environment.asking import Asking
from tests.environment.conftest import STAND_INS
from tests.environment.systems import Systems
from tests.support.stack import unique
from tests.support.stand_ins import set_faults

#: The call in which each step does its deed.
DEEDS = {
    "project": (Part.CONTROL_PLANE, "project.create"),
    "group": (Part.CONTROL_PLANE, "group.create"),
    "role-binding": (Part.CONTROL_PLANE, "binding.create"),
    "identity": (Part.DIRECTORY, "group.create"),
    "namespace": (Part.HOST, "namespace.create"),
    "vcluster": (Part.HOST, "release.install"),
    "kubeconfig": (Part.HOST, "virtual.readyz"),
    "import": (Part.CONTROL_PLANE, "cluster.create"),
}
#: How a system may refuse: before it has done it, and after.
REFUSALS = {"refused": FaultKind.STATUS, "done, then refused": FaultKind.STATUS_AFTER}


@pytest.mark.guarantee("2. Fails anywhere")
@pytest.mark.parametrize("how", REFUSALS)
@pytest.mark.parametrize("step", DEEDS)
async def test_a_step_that_fails_for_good(
    stack: Stack, asking: Asking, systems: Systems, step: str, how: str
) -> None:
    name, (part, operation) = unique("fails"), DEEDS[step]
    set_faults(stack.url(part), Fault(operation=operation, kind=REFUSALS[how], status=403))
    assert (await asking.request(name)).status_code == 202
    gone = await asking.until_phase(name, "gone")
    assert gone["outcome"] == "failed"
    assert gone["problem"]["step"] == step, f"it blames another step: {gone['problem']}"
    assert gone["problem"]["remedy"], "it does not say what to do"
    assert gone["certificate"]["nothing_left"] is True
    assert systems.holds(name) == {}


@pytest.mark.guarantee("3. Cancelled anywhere")
@pytest.mark.parametrize("step", DEEDS)
async def test_a_step_cancelled_while_its_deed_is_on_the_way(
    stack: Stack, asking: Asking, systems: Systems, step: str
) -> None:
    name, (part, operation) = unique("cancel"), DEEDS[step]
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


#: What can happen to an answer, so that nobody knows whether the thing was done.
AMBIGUITIES = {
    "cut after it was done": Fault(kind=FaultKind.CUT_AFTER, times=1),
    "502 after it was done": Fault(kind=FaultKind.STATUS_AFTER, status=502, times=1),
    "answered after the client gave up": Fault(kind=FaultKind.DELAY_AFTER, seconds=4, times=1),
    "done after the client gave up": Fault(kind=FaultKind.DELAY_BEFORE, seconds=4, times=1),
    "answered with half a body": Fault(kind=FaultKind.TRUNCATE, times=1),
}


@pytest.mark.guarantee("4. Ambiguous answers")
async def test_no_throttling_stops_it(stack: Stack, asking: Asking) -> None:
    name = unique("throttled")
    everywhere(stack, Fault(kind=FaultKind.STATUS, status=429, retry_after=1, times=1))
    await asking.request(name)
    await asking.until_phase(name, "ready")
    await asking.delete(name)
    await asking.until_phase(name, "gone")


@pytest.mark.slow
@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("what", AMBIGUITIES)
async def test_answers_lost_in_every_step_lead_neither_to_two_nor_to_a_conflict(
    stack: Stack, asking: Asking, systems: Systems, what: str
) -> None:
    name = unique("lost")
    everywhere(stack, AMBIGUITIES[what])
    await asking.request(name)
    await asking.until_phase(name, "ready")
    held = systems.holds(name)
    wrong = {kind: held.get(kind, 0) for kind in _ONCE if held.get(kind, 0) != 1}
    assert not wrong, f"not one of each: {wrong}"
    await asking.delete(name)
    await asking.until_phase(name, "gone")
    assert systems.holds(name) == {}


_ONCE = ("project", "group", "binding", "IdP group", "namespace", "release", "cluster")


def everywhere(stack: Stack, fault: Fault) -> None:
    """Let the fault strike the deed of every step."""
    for part in STAND_INS:
        operations = [operation for where, operation in DEEDS.values() if where is part]
        set_faults(stack.url(part), *(fault.model_copy(update={"operation": each}) for each in operations))
