"""Ensures that a removed person has no access in the end, and an added one has, whatever fails meanwhile."""

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import Any

import httpx
import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.chaos.test_cancelled import press_cancel
from tests.lifecycle.databases import PREFIX, Systems
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import AMBIGUITIES, CHANGING, called, calls, no_faults, strike
from tests.support.stack import BOB, CAROL, unique
from tests.support.stand_ins import set_faults

pytestmark = pytest.mark.chaos

ADDED, REMOVED = CAROL.email, BOB.email


def members(stack: Stack, name: str) -> set[str]:
    """The addresses of the members of the environment's group, read past the directory."""
    with closing(sqlite3.connect(f"file:{stack.databases[Part.DIRECTORY]}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT id, type, name, document FROM resources").fetchall()
    people = {id: json.loads(document)["userName"] for id, kind, _, document in rows if kind == "User"}
    return {
        people[member["value"]]
        for _, kind, group, document in rows
        if kind == "Group" and group == f"{PREFIX}-{name}"
        for member in json.loads(document).get("members") or ()
        # A person who was deleted has no account any more, and an account of the same address is another.
        if member["value"] in people
    }


def settled(shown: dict[str, Any]) -> bool:
    """Whether all systems have the people; without a worker it is not known, and no step is shown."""
    return bool(shown["steps"]) and shown["access"] is None


async def with_bob(asking: Asking) -> str:
    name = unique("people")
    await asking.request(name, collaborators=[REMOVED])
    await asking.until_phase(name, "ready")
    return name


async def change(asking: Asking, name: str) -> tuple[httpx.Response, httpx.Response]:
    """Add one person and remove another, at the same time."""
    path = f"/environments/{name}/collaborators"
    return await asyncio.gather(
        asking.call("PUT", f"{path}/{ADDED}"), asking.call("DELETE", f"{path}/{REMOVED}")
    )


async def changed(asking: Asking, stack: Stack, name: str) -> None:
    """Wait until all systems have the change, and look at them."""
    shown = await asking.until(name, settled, "the same people in all systems")
    assert shown["collaborators"] == [ADDED]
    people = members(stack, name)
    assert ADDED in people, "who was added has no access"
    assert REMOVED not in people, "who was removed has access"


async def ended(asking: Asking, systems: Systems, name: str) -> None:
    await asking.until_phase(name, "gone")
    assert systems.holds(name) == {}


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("moment", [FaultKind.DELAY_BEFORE, FaultKind.DELAY_AFTER])
@pytest.mark.parametrize("call", CHANGING)
async def test_the_worker_is_killed_in_a_change(
    battered: Stack, asking: Asking, systems: Systems, call: str, moment: FaultKind
) -> None:
    name, (part, operation) = await with_bob(asking), CHANGING[call]
    set_faults(battered.url(part), Fault(operation=operation, kind=moment, seconds=1.5, times=1))
    before = calls(battered, part, operation)
    await change(asking, name)
    await called(battered, part, operation, before)
    await battered.kill(Part.WORKER)
    no_faults(battered)
    await battered.start(Part.WORKER)
    await changed(asking, battered, name)
    await asking.delete(name)
    await ended(asking, systems, name)


@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("what", AMBIGUITIES)
async def test_answers_lost_in_every_call_of_a_change(
    battered: Stack, asking: Asking, systems: Systems, what: str
) -> None:
    name = await with_bob(asking)
    strike(battered, AMBIGUITIES[what], CHANGING)
    await change(asking, name)
    await changed(asking, battered, name)
    # And there and back: what was lost on the way must not come after what followed it.
    strike(battered, AMBIGUITIES[what], CHANGING)
    path = f"/environments/{name}/collaborators/{ADDED}"
    await asking.call("DELETE", path)
    await asking.call("PUT", path)
    await asking.call("DELETE", path)
    await asking.until(name, settled, "the same people in all systems")
    assert members(battered, name) == {"alice@example.com"}
    await asking.delete(name)
    await ended(asking, systems, name)


@pytest.mark.guarantee("2. Fails anywhere")
@pytest.mark.parametrize("status", [403, 500, 503])
@pytest.mark.parametrize("call", CHANGING)
async def test_a_change_outlasts_the_outage_of_a_system(
    battered: Stack, asking: Asking, systems: Systems, call: str, status: int
) -> None:
    name, (part, operation) = await with_bob(asking), CHANGING[call]
    set_faults(battered.url(part), Fault(operation=operation, kind=FaultKind.STATUS, status=status))
    before = calls(battered, part, operation)
    await change(asking, name)
    await called(battered, part, operation, before)
    no_faults(battered)
    await changed(asking, battered, name)
    await asking.delete(name)
    await ended(asking, systems, name)


@pytest.mark.guarantee("3. Cancelled anywhere")
@pytest.mark.parametrize("how", ["deleted", "cancelled in the Web UI"])
@pytest.mark.parametrize("call", CHANGING)
async def test_an_end_in_the_middle_of_a_change(
    battered: Stack, asking: Asking, systems: Systems, call: str, how: str
) -> None:
    name, (part, operation) = await with_bob(asking), CHANGING[call]
    fault = Fault(operation=operation, kind=FaultKind.DELAY_BEFORE, seconds=1.5, times=1)
    set_faults(battered.url(part), fault)
    before = calls(battered, part, operation)
    await change(asking, name)
    await called(battered, part, operation, before)
    if how == "deleted":
        await asking.delete(name)
    else:
        await press_cancel(battered, name)
    await ended(asking, systems, name)
    await asyncio.sleep(fault.seconds)
    assert systems.holds(name) == {}, "a late answer has made something"


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("call", CHANGING)
async def test_the_worker_is_killed_in_a_transfer(
    battered: Stack, asking: Asking, systems: Systems, call: str
) -> None:
    name, (part, operation) = await with_bob(asking), CHANGING[call]
    fault = Fault(operation=operation, kind=FaultKind.DELAY_AFTER, seconds=1.5, times=1)
    set_faults(battered.url(part), fault)
    before = calls(battered, part, operation)
    answer = await asking.call("POST", f"/environments/{name}/transfer", json={"to": ADDED})
    assert answer.status_code == 202, answer.text
    await called(battered, part, operation, before)
    await battered.kill(Part.WORKER)
    no_faults(battered)
    await battered.start(Part.WORKER)
    shown = await asking.until(name, settled, "the same people in all systems")
    assert shown["owner"] == ADDED
    assert members(battered, name) == {ADDED, REMOVED}
    await asking.delete(name)
    await ended(asking, systems, name)


@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("what", AMBIGUITIES)
async def test_answers_lost_in_every_call_of_a_transfer(
    battered: Stack, asking: Asking, systems: Systems, what: str
) -> None:
    name = await with_bob(asking)
    strike(battered, AMBIGUITIES[what], CHANGING)
    for person in (REMOVED, ADDED):
        await asking.call("POST", f"/environments/{name}/transfer", json={"to": person})
    shown = await asking.until(name, settled, "the same people in all systems")
    assert members(battered, name) == {shown["owner"], *shown["collaborators"]}
    await asking.delete(name)
    await ended(asking, systems, name)


@pytest.mark.guarantee("6. Any sequence")
async def test_changes_race_with_an_extension_and_the_end(
    battered: Stack, asking: Asking, systems: Systems
) -> None:
    """Ensures that each is done or refused with a reason, and that the end leaves nothing."""
    name = await with_bob(asking)
    answers = await asyncio.gather(
        change(asking, name),
        asking.call("POST", f"/environments/{name}/extend", json={"by": "10m"}),
        asking.call("POST", f"/environments/{name}/transfer", json={"to": ADDED}),
        asking.delete(name),
        change(asking, name),
    )
    for answer in (*answers[0], answers[1], answers[2], answers[3], *answers[4]):
        assert answer.status_code in (200, 202, 409), answer.text
    await ended(asking, systems, name)
