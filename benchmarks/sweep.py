"""The expiry sweep: how long until every expired environment is notified, and what that takes, as they grow.

And after it the audit of the capacity: how long until one that begins afresh knows all that are open.
"""

import asyncio
import json
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.service import RPCError

from benchmarks.support.harness import Ground, cpu_seconds, ground, memory_mb
from contracts.capacity.models import CAPACITY_ID, CapacityStart, StateInput
from contracts.environment import Environment, Spec
from contracts.environment_workflow import TASK_QUEUE, EnvironmentStart
from contracts.expiry_sweep import SWEEP_MANUAL, SweepInput
from contracts.template import Chart, Size, Template, TimeToLive
from contracts.types.naming import OwnerMark, request_id
from embedded.stack.stack import Part
from starter.placement.reservations import Reservations
from starter.temporal.errors import NoWorker, TemporalUnavailable
from tests.support.seeding import ready_status, seed
from workflows.expiry_sweep import ExpirySweepWorkflow

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
#: Environments that are started at one time, to have them there before the measuring begins.
SEEDS_AT_ONCE = 40
#: No scheduled sweep runs in between, and no capacity audit, which would find thousands of lives without a
#: reservation: only seeded lives start like that.
NEVER = {"MOORAGE_SWEEP__INTERVAL": "30d", "MOORAGE_CAPACITY__AUDIT": "30d"}

_TEMPLATE = Template(
    name="small",
    version=1,
    description="a benchmark's",
    chart=Chart(version="0.34.0"),
    kubernetes="v1.36.0",
    size=Size(cpu="1", memory="1Gi", storage="1Gi", pods=10),
    ttl=TimeToLive(default="8h", maximum="3d", warnings=()),
)


async def measure_sweep(folder: Path, rounds: tuple[int, ...] = ROUNDS) -> dict[str, Any]:
    """For each round, so many open environments, seeded as ready, a tenth of them expired; one sweep each."""
    results: dict[int, dict[str, Any]] = {}
    async with ground(folder, environment=NEVER) as here:
        still_open = 0
        for count in rounds:
            names = [f"s{count}-{number}" for number in range(count - still_open)]
            over = set(names[: count // ONE_IN])
            await _seed_all(here, names, over)
            results[count] = await _sweep(here, over)
            print(f"{count} open: {json.dumps(results[count])}", file=sys.stderr, flush=True)
            still_open = count - len(over)
        audit = await _audit(here, still_open)
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


async def _audit(here: Ground, still_open: int) -> dict[str, Any]:
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


async def _seed_all(here: Ground, names: list[str], over: set[str]) -> None:
    """Have all of these there, ready, those in `over` past their end, and all of them listed."""
    gate = asyncio.Semaphore(SEEDS_AT_ONCE)
    now = datetime.now(UTC)

    async def one(name: str) -> None:
        async with gate:
            start = _start(here, name)
            ends_at = now - timedelta(minutes=1) if name in over else now + timedelta(hours=4)
            await seed(here.client, start, ready_status(start, ends_at), task_queue=TASK_QUEUE)

    await asyncio.gather(*map(one, names))
    first = names[0].partition("-")[0]
    found = f"WorkflowId STARTS_WITH 'environment/{first}-' AND ExecutionStatus = 'Running'"
    await here.until(found, len(names))
    # One that has not started cannot be asked anything: the sweep would wait for that, and be measured by it.
    while True:
        if not await _waiting_tasks(here):
            return
        await asyncio.sleep(0.5)


async def _waiting_tasks(here: Ground) -> int:
    """Tasks that no worker has taken yet."""
    answer = await here.client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=here.client.namespace,
            task_queue=TaskQueue(name=TASK_QUEUE),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            report_stats=True,
        )
    )
    return answer.stats.approximate_backlog_count


def _start(here: Ground, name: str) -> EnvironmentStart:
    person = here.stack.options.people[0].email
    id = request_id(person, name, "bench")
    return EnvironmentStart(
        environment=Environment(
            mark=OwnerMark.for_request(here.stack.installation, name, id),
            prefix="mrg",
            owner=person,
            spec=Spec(template=_TEMPLATE.name, team="local"),
            template=_TEMPLATE,
            ttl=_TEMPLATE.ttl.default,
            host="local",
            has_identity_provider=True,
        ),
        request_id=id,
        people_are_checked=True,
    )
