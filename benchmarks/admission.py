"""Admission: how many places are promised a second, and what ten thousand that are held weigh.

The floor is a bare workflow whose update does nothing, on the same server, its worker beside ours.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.support.floor import TASK_QUEUE as FLOOR
from benchmarks.support.floor import BareUpdates
from benchmarks.support.harness import Ground, floor_worker, ground, memory_mb
from contracts.capacity.admission import admit
from contracts.capacity.ledger import CapacityLedger
from contracts.capacity.models import (
    CAPACITY_ID,
    Amount,
    HostCapacity,
    Limits,
    Reservation,
    ReservationRequest,
)
from contracts.capacity.workflow_input import CapacityStart, CarriedCapacity
from embedded.stack.stack import HOST, Part
from starter.placement.reservations import Reservations
from worker.data_converter import converter_at

#: Of the floor's number of updates that are answered in a second, each request with its own update.
TARGET = 0.5
#: Temporal takes 2 MB for one payload.
STATE_TARGET_KB = 1000
HELD = 10_000
#: Callers at one time, each with its own update: a run takes ten.
AT_ONCE = 8
#: Updates of one measurement, and how often it is made, in turn with the floor.
UPDATES = 200
ROUNDS = 3
#: Asked for at one time by one API, which sends them together.
BURST = 1000
#: What never begins is not taken back meanwhile.
NEVER = {"MOORAGE_CAPACITY__AUDIT": "30d"}

Call = Callable[[int], Awaitable[object]]


async def measure_admission(folder: Path) -> dict[str, Any]:
    """Rates with nothing and with ten thousand held, beside the floor; the size of the state, and memory."""
    async with ground(folder, environment=NEVER) as here, floor_worker(here):
        floor = await here.bare.start_workflow(BareUpdates.run, id="floor-updates", task_queue=FLOOR)
        apis = [Reservations(here.client) for _ in range(AT_ONCE)]
        names = iter(range(10**9))

        async def ours(caller: int) -> None:
            decision = await apis[caller].reserve(_ask(f"env-{next(names)}"))
            assert decision.host, decision

        async def bare(_: int) -> None:
            await floor.execute_update(BareUpdates.nothing, 1)

        await asyncio.gather(ours(0), bare(0))
        few = await _in_turn(ours, bare)
        before = memory_mb(here.stack.pid(Part.WORKER), "VmRSS")
        bursts = [await _burst(apis[0], names) for _ in range(HELD // BURST)]
        many = await _in_turn(ours, bare)
        after = memory_mb(here.stack.pid(Part.WORKER), "VmRSS")
        held = list(await apis[0].list_reservations())
        size = await carried_kilobytes(here, held)
        taken_over = await _taken_over(here, ours)
    ratio = many["ours_per_s"] / many["floor_per_s"]
    return {
        "what": f"admission, {len(held)} held",
        "updates_per_s_few_held": few,
        "updates_per_s_many_held": many,
        "ratio_to_floor": round(ratio, 2),
        "places_per_s_asked_at_once": {"first": bursts[0], "last": bursts[-1]},
        "decision_us": _decision(held),
        "state_kb": round(size),
        "worker_mb_before_and_after": [round(before), round(after)],
        "first_place_after_a_restart_s": taken_over,
        "target": f">= {TARGET}x of the floor's updates with {HELD} held; state < {STATE_TARGET_KB} kB",
        "reached": len(held) >= HELD and ratio >= TARGET and size < STATE_TARGET_KB,
    }


async def _in_turn(ours: Call, bare: Call) -> dict[str, Any]:
    found: dict[str, list[float]] = {"ours": [], "floor": []}
    for _ in range(ROUNDS):
        for name, call in (("ours", ours), ("floor", bare)):
            found[name].append(await _rate(call))
    return {f"{name}_per_s": round(statistics.median(rates), 1) for name, rates in found.items()}


async def _rate(call: Call) -> float:
    async def caller(number: int) -> None:
        for _ in range(UPDATES // AT_ONCE):
            await call(number)

    began = time.monotonic()
    await asyncio.gather(*map(caller, range(AT_ONCE)))
    return UPDATES / (time.monotonic() - began)


async def _burst(api: Reservations, names: Any) -> float:
    began = time.monotonic()
    decisions = await asyncio.gather(*(api.reserve(_ask(f"env-{next(names)}")) for _ in range(BURST)))
    assert all(decision.host for decision in decisions), "a request had no place"
    return round(BURST / (time.monotonic() - began))


async def carried_kilobytes(here: Ground, held: Sequence[Reservation]) -> float:
    """What a run hands on to the next, as it is sent: encrypted."""
    now = datetime.now(UTC)
    carried = CarriedCapacity(reservations=tuple(held), hosts=(), audited_at=now, next_audit=now)
    payloads = await converter_at(here.client, CAPACITY_ID).encode([CapacityStart(carried=carried)])
    return sum(payload.ByteSize() for payload in payloads) / 1000


async def _taken_over(here: Ground, ours: Call) -> float:
    """How long the first one waits who asks a worker that has to read everything first."""
    await here.stack.restart(Part.WORKER)
    began = time.monotonic()
    await ours(0)
    return round(time.monotonic() - began, 2)


def _decision(held: list[Any]) -> int:
    """One decision, and its entry, in a book of them all: in microseconds."""
    book = CapacityLedger([HostCapacity(name=HOST, total=Limits(cpu=10**9))], held)
    asks = [_ask(f"new-{number}") for number in range(1000)]
    now, began = datetime.now(UTC), time.perf_counter()
    for ask in asks:
        assert admit(book, ask, now).host
    return round((time.perf_counter() - began) * 1e6 / len(asks))


def _ask(name: str) -> ReservationRequest:
    number = hash(name)
    return ReservationRequest(
        name=name,
        life=f"{number & (2**80 - 1):020x}",
        owner=f"person-{number % 500}@example.com",
        team=f"team-{number % 50}",
        template="small",
        size=Amount(environments=1, cpu=1000, memory=2**30),
        hosts=(HOST,),
        ends_at=datetime.now(UTC) + timedelta(hours=8),
    )
