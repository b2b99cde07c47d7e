"""The HTTP API: requests a second by route, beside a bare one, and one environment while others are made."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.support.harness import Ground, cpu_seconds, ground
from benchmarks.support.http_driver import Caller, Timed, closed_loop, open_loop
from embedded.stack.stack import Part, Stack
from starter.page.session.cookies import SESSION_COOKIE
from tests.support.sign_in import embedded_provider

#: What is asked for, by route, of an environment called `one` that is ready.
ROUTES = {
    "health": "/healthz",
    "templates": "/api/v1/templates",
    "environment": "/api/v1/environments/one",
    "list": "/api/v1/environments",
    "capacity": "/api/v1/capacity",
    "kubeconfig": "/api/v1/environments/one/kubeconfig",
    "page of the list": "/",
    "page of one": "/environments/one",
}
MANY = 5
#: The floor and all routes take turns, so that a busy moment of the machine affects all alike.
TURNS, TURN_SECONDS = 6, 0.5
#: How long those that were made are read, at rest.
REST_SECONDS = 6.0
MADE_AT_ONCE = 50
PER_SECOND = 100.0
TARGET_P95_MS = 50.0
#: The processes that work for a read.
_PARTS = (Part.API, Part.TEMPORAL, Part.WORKER)


@dataclass
class _Reads:
    """The reads of one path, and the processor time of the processes that work for it."""

    caller: Caller
    path: str
    processes: tuple[int, ...]
    timed: Timed = field(default_factory=Timed)
    cpu: float = 0.0

    async def take_turn(self, connections: int) -> None:
        """Read for one turn."""
        before = sum(map(cpu_seconds, self.processes))
        turn = await closed_loop(self.caller, self.path, connections=connections, seconds=TURN_SECONDS)
        self.cpu += sum(map(cpu_seconds, self.processes)) - before
        self.timed.seconds += turn.seconds
        self.timed.took += turn.took
        self.timed.statuses += turn.statuses

    @property
    def cpu_ms(self) -> float:
        """Processor time of one read, in milliseconds."""
        return 1000 * self.cpu / max(1, len(self.timed.seconds))


async def measure_api(folder: Path) -> dict[str, Any]:
    """Measure all routes in turn over one and many connections, and then while `MADE_AT_ONCE` are made."""
    async with ground(folder) as here, _floor() as (floor_port, floor_pid):
        await here.request("one")
        await here.until("EnvPhase = 'ready'", 1)
        caller = await _signed_in(here.stack)
        result: dict[str, Any] = {"what": "API, requests a second"}
        for connections in (1, MANY):
            floor = _Reads(Caller(floor_port), "/bare", (floor_pid,))
            routes = {
                route: _Reads(caller, path, tuple(map(here.stack.pid, _PARTS)))
                for route, path in ROUTES.items()
            }
            for _ in range(TURNS):
                for reads in (floor, *routes.values()):
                    await reads.take_turn(connections)
            result[f"floor_{connections}"] = f"{_said(floor.timed)}, {floor.cpu_ms:.2f} ms cpu"
            for route, reads in routes.items():
                speed = reads.timed.per_second / floor.timed.per_second
                result[f"{route}_{connections}"] = (
                    f"{_said(reads.timed)}, {speed:.2f} of the floor; "
                    f"{reads.cpu_ms:.2f} ms cpu, {reads.cpu_ms / floor.cpu_ms:.2f} of the floor"
                )
        busy = await _while_made(here, caller, result)
        reached = busy.percentile(0.95) < TARGET_P95_MS and not busy.failed
    load = f"mixed reads at {PER_SECOND:g}/s while {MADE_AT_ONCE} are made"
    target = f"{load}: p95 < {TARGET_P95_MS:g} ms, no error"
    return result | {"target": target, "reached": reached}


async def _signed_in(stack: Stack) -> Caller:
    """One of the platform team, for the API and for the page."""
    provider = embedded_provider(stack.url(Part.OPENID_PROVIDER), stack.password_of)
    async with provider.client() as http:
        form = (await http.get(f"{stack.api_url}/sign-in")).headers["location"]
        sent = await provider.submit(http, await http.get(form), stack.options.people[0].email)
        await http.get(sent.headers["location"])
        session = str(http.cookies[SESSION_COOKIE])
    return Caller(urlsplit(stack.api_url).port or 0, stack.token, session)


async def _while_made(here: Ground, caller: Caller, result: dict[str, Any]) -> Timed:
    """Read all routes in turn while the others are made; then those that are made, at rest."""
    names = [f"busy-{number}" for number in range(MADE_AT_ONCE)]
    made, before = asyncio.Event(), _spent(here)

    async def make() -> None:
        await asyncio.gather(*(here.request(name) for name in names))
        await here.until("EnvPhase = 'ready'", MADE_AT_ONCE + 1)
        made.set()

    making = asyncio.create_task(make())
    timed = await open_loop(caller, list(ROUTES.values()), per_second=PER_SECOND, until=made)
    await making
    result["mixed_while_made"] = _said(timed)
    result["cpu_while_made_s"] = round(_spent(here) - before, 1)

    made.clear()
    asyncio.get_running_loop().call_later(REST_SECONDS, made.set)
    paths = [f"/api/v1/environments/{name}" for name in names]
    before = _spent(here)
    rest = await open_loop(caller, paths, per_second=PER_SECOND, until=made)
    cpu = 1000 * (_spent(here) - before) / max(1, len(rest.seconds))
    result["fifty_at_rest"] = f"{_said(rest)}, {cpu:.1f} ms cpu"
    await here.gone(names)
    return timed


def _said(timed: Timed) -> str:
    failed = f", errors by status: {timed.failed}" if timed.failed else ""
    half, most = timed.percentile(0.5), timed.percentile(0.95)
    return f"{timed.per_second:.0f}/s, p50 {half:.1f} ms, p95 {most:.1f} ms{failed}"


def _spent(here: Ground) -> float:
    return sum(cpu_seconds(here.stack.pid(part)) for part in _PARTS)


@asynccontextmanager
async def _floor() -> AsyncIterator[tuple[int, int]]:
    """Run the floor, and give its port and the id of its process."""
    command = [sys.executable, "-m", "benchmarks.support.api_floor"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    try:
        yield int(await process.stdout.readline()), process.pid
    finally:
        process.terminate()
        await process.wait()
