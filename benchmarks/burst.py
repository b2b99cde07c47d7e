"""Many at once: environments per second against the floor, and whether none is lost and none twice."""

import asyncio
import json
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.support.floor import TASK_QUEUE, BareWorkflow, Calls
from benchmarks.support.harness import TRIES, Ground, cpu_seconds, floor_worker, ground, memory_mb
from benchmarks.support.http_driver import Caller, Connection, Timed
from contracts.environment.models import StepName
from embedded.faults import CALLS_PATH
from embedded.stack.options import STAND_INS, Part
from tests.lifecycle.databases import Systems
from tests.support.stand_ins import control

THROUGHPUT_TARGET = 0.7
#: A developer waits for the answer to a request, also when a whole class requests at once.
ANSWERED_TARGET_S = 1.0
MEMORY_TARGET_MB = 250
#: A cheap read of each stand-in, as plain as a call can be.
_PLAIN = {
    Part.CONTROL_PLANE: "/auth/v1/projects/?limit=1&offset=0",
    Part.DIRECTORY: "/v2/Groups?filter=displayName%20eq%20%22x%22",
    Part.HOST: "/namespaces/x",
}
#: Operations that are not a step's: the API's look-up of people, and the simulated agents' own calls.
_NOT_STEPS = ("agent.",)


async def measure_throughput(folder: Path, count: int = 200) -> dict[str, Any]:
    """`count` environments requested at once, then as many bare workflows with the same number of calls.

    The processor time of all processes is given as well: on a machine that has other things to do, it is
    the ratio that says more.
    """
    async with ground(folder) as here, floor_worker(here) as floor_pid:
        calls = await _calls_of_one(here)
        spent = Spent(here, floor_pid)
        names = [f"many-{number}" for number in range(count)]
        started = time.monotonic()
        answered = await request_at_once(here, names)
        await here.until("EnvPhase = 'ready'", count)
        ours = count / (time.monotonic() - started)
        own_cpu = spent.so_far()
        await here.gone(names)

        steps = _spread(here, calls)
        spent = Spent(here, floor_pid)
        started = time.monotonic()
        handles = await asyncio.gather(
            *(
                here.bare.start_workflow(BareWorkflow.run, steps, id=f"floor-{number}", task_queue=TASK_QUEUE)
                for number in range(count)
            )
        )
        await asyncio.gather(*(handle.result() for handle in handles))
        floor = count / (time.monotonic() - started)
        floor_cpu = spent.so_far()
    ratio = ours / floor
    return {
        "what": f"environments per second, {count} at once",
        "ours_per_s": round(ours, 2),
        "floor_per_s": round(floor, 2),
        "answered_p50_s": round(answered.percentile(0.5) / 1000, 2),
        "answered_p95_s": round(answered.percentile(0.95) / 1000, 2),
        "answered_last_s": round(answered.percentile(1.0) / 1000, 2),
        "calls_per_environment": sum(calls.values()),
        "ours_cpu_ms": {part: round(1000 * seconds / count) for part, seconds in own_cpu.items()},
        "floor_cpu_ms": {part: round(1000 * seconds / count) for part, seconds in floor_cpu.items()},
        "ours_cpu_ms_in_all": round(1000 * sum(own_cpu.values()) / count),
        "floor_cpu_ms_in_all": round(1000 * sum(floor_cpu.values()) / count),
        "cpu_ratio": round(sum(floor_cpu.values()) / sum(own_cpu.values()), 2),
        "ratio": round(ratio, 2),
        "target": f">= {THROUGHPUT_TARGET}; p95 of the answers < {ANSWERED_TARGET_S:g} s",
        "reached": ratio >= THROUGHPUT_TARGET and answered.percentile(0.95) < 1000 * ANSWERED_TARGET_S,
    }


async def request_at_once(here: Ground, names: Sequence[str]) -> Timed:
    """Request all of them at the same moment, each over its own connection; time the answers."""
    url = urlsplit(here.stack.api_url)
    timed, started = Timed(), time.monotonic()

    async def request(name: str) -> None:
        connection = Connection(Caller(url.port or 0, here.stack.token))
        body = json.dumps({"name": name, "template": "small"}).encode()
        for _ in range(TRIES):
            status = await connection.post("/api/v1/environments", body, "bench")
            if status != HTTPStatus.SERVICE_UNAVAILABLE:
                break
            await asyncio.sleep(1)
        timed.seconds.append(time.monotonic() - started)
        timed.statuses[status] += 1
        connection.close()

    await asyncio.gather(*map(request, names))
    timed.took = time.monotonic() - started
    assert not timed.failed, f"not accepted, by status: {timed.failed}"
    return timed


class Spent:
    """Processor time of all that takes part, from now on."""

    def __init__(self, here: Ground, floor_pid: int) -> None:
        # The stand-ins share a process.
        parts = {("stand-ins" if part in STAND_INS else part.value): part for part in Part}
        self._pids = {name: here.stack.pid(part) for name, part in parts.items()}
        self._pids["floor's worker"] = floor_pid
        self._before = {part: cpu_seconds(pid) for part, pid in self._pids.items()}

    def so_far(self) -> dict[str, float]:
        """Seconds, by process."""
        return {part: cpu_seconds(pid) - self._before[part] for part, pid in self._pids.items()}


async def measure_burst(folder: Path, count: int = 500) -> dict[str, Any]:
    """`count` environments requested at once from one worker: all ready, each once, in how much memory."""
    async with ground(folder) as here:
        names = [f"burst-{number}" for number in range(count)]
        idle = memory_mb(here.stack.pid(Part.WORKER))
        started = time.monotonic()
        await asyncio.gather(*(here.request(name) for name in names))
        await here.until("EnvPhase = 'ready'", count)
        seconds = time.monotonic() - started
        peak = memory_mb(here.stack.pid(Part.WORKER))
        systems = Systems(here.stack)
        held = [systems.holds(name) for name in names]
        once = ("project", "group", "binding", "IdP group", "namespace", "release", "cluster")
        lost = sum(any(found.get(kind, 0) < 1 for kind in once) for found in held)
        twice = sum(any(found.get(kind, 0) > 1 for kind in once) for found in held)
        await here.gone(names)
        left = sum(bool(systems.holds(name)) for name in names)
        after = memory_mb(here.stack.pid(Part.WORKER))
    return {
        "what": f"{count} at once, one worker",
        "ready": count - lost,
        "lost": lost,
        "twice": twice,
        "left_after_delete": left,
        "seconds": round(seconds, 1),
        "worker_idle_mb": round(idle),
        "worker_peak_mb": round(peak),
        "worker_peak_with_deletes_mb": round(after),
        "target": f"all ready, none twice, none lost; worker < {MEMORY_TARGET_MB} MB",
        "reached": not (lost or twice or left) and after < MEMORY_TARGET_MB,
    }


async def _calls_of_one(here: Ground) -> dict[Part, int]:
    """How many calls the steps of one environment make to each stand-in."""
    before = await _counts(here)
    await here.request("calibration")
    await here.until("EnvPhase = 'ready'", 1)
    after = await _counts(here)
    await here.gone(["calibration"])
    return {part: after[part] - before[part] for part in before}


async def _counts(here: Ground) -> dict[Part, int]:
    counts = {}
    for part in (Part.CONTROL_PLANE, Part.DIRECTORY, Part.HOST):
        calls = await asyncio.to_thread(control, here.stack.url(part), "GET", CALLS_PATH)
        counts[part] = sum(
            count for operation, count in calls.items() if not operation.startswith(_NOT_STEPS)
        )
    return counts


def _spread(here: Ground, calls: dict[Part, int]) -> list[Calls]:
    """The same number of calls as one environment's, on as many activities as it has steps."""
    steps = len(StepName)
    spread: list[Calls] = []
    for part, count in calls.items():
        url = f"{here.stack.url(part)}{_PLAIN[part]}"
        share = max(1, round(steps * count / sum(calls.values())))
        extra = count % share
        spread += [Calls(url, count // share + (number < extra), part) for number in range(share)]
    return spread
