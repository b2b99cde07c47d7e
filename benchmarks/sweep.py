"""The expiry sweep: how long until every expired environment is notified, and what that takes, as they grow.

And after it the audit of the capacity: how long until one that begins afresh knows all that are open.
"""

import asyncio
import json
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.service import RPCError

from benchmarks.support.harness import Ground, cpu_seconds, ground, memory_mb
from benchmarks.support.seeding import UNDISTURBED, seed_all
from contracts.capacity.models import CAPACITY_ID, StateInput
from contracts.capacity.workflow_input import CapacityStart
from contracts.environment_workflow import TASK_QUEUE
from contracts.sweeps.expiry import SWEEP_MANUAL, SweepInput
from embedded.stack.stack import Part
from starter.placement.reservations import Reservations
from starter.temporal.errors import NoWorker, TemporalUnavailable
from workflows.sweeps.expiry import ExpirySweepWorkflow

TARGET_SECONDS = 60
MEMORY_TARGET_MB = 200
#: The sweep is one activity whatever it finds: more events than these are a mistake.
HISTORY_TARGET = 20
#: No request gets a place before a restarted capacity workflow knows all reservations.
AUDIT_TARGET_SECONDS = 60
AUDIT_TIMEOUT_SECONDS = 600
#: Every so many-th environment is over.
ONE_IN = 10
#: How many are open in each round.
ROUNDS = (100, 1000, 10_000)


async def measure_sweep(folder: Path, rounds: tuple[int, ...] = ROUNDS) -> dict[str, Any]:
    """For each round, so many open environments, seeded as ready, a tenth of them expired; one sweep each."""
    results: dict[int, dict[str, Any]] = {}
    async with ground(folder, environment=UNDISTURBED) as here:
        still_open = 0
        for count in rounds:
            names = [f"s{count}-{number}" for number in range(count - still_open)]
            over = set(names[: count // ONE_IN])
            await seed_all(here, names, over)
            results[count] = await _sweep(here, over)
            print(f"{count} open: {json.dumps(results[count])}", file=sys.stderr, flush=True)
            still_open = count - len(over)
        audit = await audit_from_nothing(here, still_open)
    last = results[rounds[-1]]
    slowest = max(result["notified_in_s"] for result in results.values())
    peak = max(result["worker_peak_mb"] for result in results.values())
    events = max(result["history_events"] for result in results.values())
    well = all(
        result["notified"] == result["expired"] and not result["failed"] for result in results.values()
    )
    return {
        "what": f"expiry sweep, {rounds[-1]} open, {rounds[-1] // ONE_IN} expired",
        "notified_in_s": last["notified_in_s"],
        "by_open_environments": {str(count): result for count, result in results.items()},
        "audit_from_nothing": audit,
        "target": f"all notified within {TARGET_SECONDS} s; worker < {MEMORY_TARGET_MB} MB; "
        f"history of at most {HISTORY_TARGET} events; audited from nothing within {AUDIT_TARGET_SECONDS} s",
        "reached": well
        and slowest < TARGET_SECONDS
        and max(peak, audit["worker_peak_mb"]) < MEMORY_TARGET_MB
        and events <= HISTORY_TARGET
        and audit["known_in_s"] < AUDIT_TARGET_SECONDS,
    }


async def _sweep(here: Ground, over: set[str]) -> dict[str, Any]:
    """One sweep, by a worker that has just been started and so has nothing in its cache."""
    await here.stack.restart(Part.WORKER)
    pid = here.stack.pid(Part.WORKER)
    idle, used = memory_mb(pid), cpu_seconds(pid)
    server = cpu_seconds(here.stack.pid(Part.TEMPORAL))
    began = time.monotonic()
    handle = await here.client.start_workflow(
        ExpirySweepWorkflow.run, SweepInput(lookahead=timedelta(0)), id=SWEEP_MANUAL, task_queue=TASK_QUEUE
    )
    result = await handle.result()
    notified_in = time.monotonic() - began
    notified_peak = memory_mb(pid)
    used, server = cpu_seconds(pid) - used, cpu_seconds(here.stack.pid(Part.TEMPORAL)) - server
    events = (await handle.describe()).history_length
    # Also what it takes to be gone, all at once.
    first = next(iter(over)).partition("-")[0]
    gone = f"WorkflowId STARTS_WITH 'environment/{first}-' AND ExecutionStatus = 'Completed'"
    await here.until(gone, len(over))
    return {
        "expired": len(over),
        "notified": result.ended.count,
        "failed": result.failed.count,
        "checked": result.checked,
        "notified_in_s": round(notified_in, 1),
        "worker_cpu_s": round(used, 1),
        "temporal_cpu_s": round(server, 1),
        "worker_idle_mb": round(idle),
        "worker_notified_mb": round(notified_peak),
        "worker_peak_mb": round(memory_mb(pid)),
        "history_events": events,
    }


async def audit_from_nothing(here: Ground, still_open: int) -> dict[str, Any]:
    """A capacity that begins afresh, on a worker that has just been started: it holds no reservation."""
    await here.stack.restart(Part.WORKER)
    pid = here.stack.pid(Part.WORKER)
    with suppress(RPCError):
        await here.client.get_workflow_handle(CAPACITY_ID).terminate()
    began = time.monotonic()
    reservations = Reservations(here.client, start=CapacityStart(first_audit_delay=timedelta(0)))
    await reservations.ensure_started()
    async with asyncio.timeout(AUDIT_TIMEOUT_SECONDS):
        while True:
            with suppress(NoWorker, TemporalUnavailable):
                state = await reservations.state(StateInput(person="", teams=()))
                if state.audited_at:
                    break
            await asyncio.sleep(0.5)
    known_in = time.monotonic() - began
    handle = here.client.get_workflow_handle(CAPACITY_ID)
    assert state.reservations == still_open, f"{state.reservations} are held, {still_open} are open"
    return {
        "open": still_open,
        "known_in_s": round(known_in, 1),
        "worker_peak_mb": round(memory_mb(pid)),
        "history_events": (await handle.describe()).history_length,
    }
