"""Ensures that an environment sleeps, wakes and ends whole, whatever fails on the way."""

import asyncio
from typing import Any

import httpx
import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.chaos.test_cancelled import press_cancel
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import (
    AMBIGUITIES,
    FALLING_ASLEEP,
    WAKING,
    assert_one_of_each,
    called,
    calls,
    no_faults,
    strike,
)
from tests.support.stack import unique
from tests.support.stand_ins import set_faults

pytestmark = pytest.mark.chaos

CALLS = {**FALLING_ASLEEP, **WAKING}


async def ready(asking: Asking) -> str:
    name = unique("sleeper")
    await asking.request(name)
    await asking.until_phase(name, "ready")
    return name


async def change(asking: Asking, name: str, what: str) -> httpx.Response:
    answer = await asking.call("POST", f"/environments/{name}/{what}")
    assert answer.status_code == 202, answer.text
    return answer


async def before(asking: Asking, call: str) -> str:
    """An environment in the phase in which the call comes next."""
    name = await ready(asking)
    if call in WAKING:
        await change(asking, name, "sleep")
        await asking.until_phase(name, "asleep")
    return name


async def begin(asking: Asking, name: str, call: str) -> None:
    await change(asking, name, "wake" if call in WAKING else "sleep")


async def sleeps_and_wakes(asking: Asking, systems: Systems, name: str) -> None:
    """It can be put to sleep and woken, whatever it was before; asleep it has no pod, awake one."""
    await change(asking, name, "sleep")
    await asking.until_phase(name, "asleep")
    held = systems.holds(name)
    assert "pod" not in held
    assert "synced pod" not in held
    await change(asking, name, "wake")
    await asking.until_phase(name, "ready")
    assert_one_of_each(systems.holds(name))
    assert systems.holds(name)["pod"] == 1


async def ended(asking: Asking, systems: Systems, name: str) -> dict[str, Any]:
    await asking.delete(name)
    shown = await asking.until_phase(name, "gone")
    assert systems.holds(name) == {}
    assert shown["certificate"]["nothing_left"]
    return shown


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("moment", [FaultKind.DELAY_BEFORE, FaultKind.DELAY_AFTER])
@pytest.mark.parametrize("call", CALLS)
async def test_the_worker_is_killed_in_sleep_and_waking(
    battered: Stack, asking: Asking, systems: Systems, call: str, moment: FaultKind
) -> None:
    name, (part, operation) = await before(asking, call), CALLS[call]
    set_faults(battered.url(part), Fault(operation=operation, kind=moment, seconds=1.5, times=1))
    count = calls(battered, part, operation)
    await begin(asking, name, call)
    await called(battered, part, operation, count)
    await battered.kill(Part.WORKER)
    no_faults(battered)
    await battered.start(Part.WORKER)
    if call in FALLING_ASLEEP:
        await asking.until_phase(name, "asleep")
        await change(asking, name, "wake")
    await asking.until_phase(name, "ready")
    assert_one_of_each(systems.holds(name))
    await ended(asking, systems, name)


@pytest.mark.guarantee("2. Fails anywhere")
@pytest.mark.parametrize("status", [403, 500, 503])
@pytest.mark.parametrize("call", CALLS)
async def test_sleep_and_waking_outlast_the_outage_of_a_host(
    battered: Stack, asking: Asking, systems: Systems, call: str, status: int
) -> None:
    """Ensures that it falls asleep in the end, and is never anything but asleep or awake."""
    name, (part, operation) = await before(asking, call), CALLS[call]
    set_faults(battered.url(part), Fault(operation=operation, kind=FaultKind.STATUS, status=status))
    count = calls(battered, part, operation)
    await begin(asking, name, call)
    await called(battered, part, operation, count)
    no_faults(battered)
    if call in FALLING_ASLEEP:
        await asking.until_phase(name, "asleep")
    else:
        # What is refused for good is put to sleep again, and says why.
        shown = await asking.until(name, lambda now: now["phase"] in ("ready", "asleep"), "ready or asleep")
        assert shown["phase"] == "ready" or shown["sleep"]["problem"]
    await change(asking, name, "wake")
    await asking.until_phase(name, "ready")
    await sleeps_and_wakes(asking, systems, name)
    await ended(asking, systems, name)


@pytest.mark.guarantee("3. Cancelled anywhere")
@pytest.mark.parametrize("how", ["deleted", "cancelled in the Web UI", "changed to the other"])
@pytest.mark.parametrize("call", CALLS)
async def test_an_end_or_a_change_of_mind_in_sleep_and_waking(
    battered: Stack, asking: Asking, systems: Systems, call: str, how: str
) -> None:
    name, (part, operation) = await before(asking, call), CALLS[call]
    fault = Fault(operation=operation, kind=FaultKind.DELAY_BEFORE, seconds=1.5, times=1)
    set_faults(battered.url(part), fault)
    count = calls(battered, part, operation)
    await begin(asking, name, call)
    await called(battered, part, operation, count)
    if how == "changed to the other":
        await change(asking, name, "sleep" if call in WAKING else "wake")
        await asking.until_phase(name, "asleep" if call in WAKING else "ready")
        await asyncio.sleep(fault.seconds)
        assert ("pod" in systems.holds(name)) is (call not in WAKING), "a late call has changed it"
        await ended(asking, systems, name)
        return
    if how == "cancelled in the Web UI":
        await press_cancel(battered, name)
    await ended(asking, systems, name)
    await asyncio.sleep(fault.seconds)
    assert systems.holds(name) == {}, "a late answer has made something"


@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("what", AMBIGUITIES)
async def test_answers_lost_in_every_call_of_sleep_and_waking(
    battered: Stack, asking: Asking, systems: Systems, what: str
) -> None:
    name = await ready(asking)
    strike(battered, AMBIGUITIES[what], FALLING_ASLEEP)
    await change(asking, name, "sleep")
    await asking.until_phase(name, "asleep")
    assert "pod" not in systems.holds(name)
    strike(battered, AMBIGUITIES[what], WAKING)
    await change(asking, name, "wake")
    await asking.until_phase(name, "ready")
    # There and back: a call whose answer was lost must not come after what followed it.
    strike(battered, AMBIGUITIES[what], CALLS)
    await change(asking, name, "sleep")
    await change(asking, name, "wake")
    await asking.until_phase(name, "ready")
    no_faults(battered)
    await sleeps_and_wakes(asking, systems, name)
    await ended(asking, systems, name)


@pytest.mark.guarantee("6. Any sequence")
async def test_sleep_waking_extension_and_the_end_race(
    battered: Stack, asking: Asking, systems: Systems
) -> None:
    """Ensures that each is done or refused with a reason, and that the end leaves nothing."""
    name = await ready(asking)
    for _ in range(2):
        answers = await asyncio.gather(
            *(
                asking.call("POST", f"/environments/{name}/{what}")
                for what in ("sleep", "wake", "sleep", "wake")
            ),
            asking.call("POST", f"/environments/{name}/extend", json={"by": "10m"}),
        )
        for answer in answers:
            assert answer.status_code in (200, 202, 409), answer.text
    await change(asking, name, "wake")
    await asking.until_phase(name, "ready")
    await asyncio.gather(
        *(asking.call("POST", f"/environments/{name}/{what}") for what in ("sleep", "wake")),
        asking.delete(name),
    )
    await ended(asking, systems, name)


@pytest.mark.guarantee("6. Any sequence")
async def test_two_hundred_wake_it_once(battered: Stack, asking: Asking, systems: Systems) -> None:
    name = await ready(asking)
    await change(asking, name, "sleep")
    await asking.until_phase(name, "asleep")
    count = calls(battered, *WAKING["resumed"])
    await asyncio.gather(*(change(asking, name, "wake") for _ in range(200)))
    shown = await asking.until_phase(name, "ready")
    assert [line["action"] for line in shown["audit_log"]].count("woke it") == 1
    assert calls(battered, *WAKING["resumed"]) == count + 1, "it was scaled up more than once"
    await ended(asking, systems, name)
