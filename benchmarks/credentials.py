"""Credentials: how long people wait for one, when many ask at a steady rate."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.support.harness import cpu_seconds, ground
from benchmarks.support.http_driver import Caller, Connection, Timed
from embedded.stack.stack import Part, Person
from tests.support.credentials import request_of

PEOPLE = 100
#: Each is used by as many of the people as by any other.
ENVIRONMENTS = 10
PER_SECOND = 100.0
SECONDS = 10.0
TARGET_P95_MS = 500.0
#: The processes that share the machine: the host's is the simulated vClusters' as well.
_PARTS = (Part.API, Part.HOST, Part.TEMPORAL)
OWNER = Person("owner@example.com", teams=("blue",), role="platform")


async def measure_credentials(folder: Path) -> dict[str, Any]:
    """Ask for credentials of `PEOPLE` people, `PER_SECOND` in all, after one of each."""
    people = [Person(f"person-{number}@example.com", teams=("blue",)) for number in range(PEOPLE)]
    async with ground(folder, people=(OWNER, *people)) as here:
        share = PEOPLE // ENVIRONMENTS
        paths: dict[str, str] = {}
        for number in range(ENVIRONMENTS):
            users = people[number * share : (number + 1) * share]
            await here.request(f"env-{number}", collaborators=[each.email for each in users])
            paths |= {each.email: f"/api/v1/environments/env-{number}/credential" for each in users}
        await here.until("EnvPhase = 'ready'", ENVIRONMENTS)
        port = urlsplit(here.stack.api_url).port or 0
        callers = [
            (
                Connection(Caller(port, here.stack.token_of(each.email))),
                paths[each.email],
                json.dumps({"request": request_of(each.email)}).encode(),
            )
            for each in people
        ]
        first, steady = Timed(), Timed()
        await _ask(callers, PEOPLE, first)
        before = {part: cpu_seconds(here.stack.pid(part)) for part in _PARTS}
        await _ask(callers, int(PER_SECOND * SECONDS), steady)
        spent = {
            part: 1000 * (cpu_seconds(here.stack.pid(part)) - before[part]) / max(1, len(steady.seconds))
            for part in _PARTS
        }
        for connection, _, _ in callers:
            connection.close()
    reached = steady.percentile(0.95) < TARGET_P95_MS and not steady.failed
    return {
        "what": f"credentials, {PER_SECOND:g} a second of {PEOPLE} people in {ENVIRONMENTS} environments",
        "first of each person": _described(first),
        "then": _described(steady),
        "processor for each": ", ".join(f"{part}: {cpu:.1f} ms" for part, cpu in spent.items()),
        "target": f"p95 < {TARGET_P95_MS:g} ms, no error",
        "reached": reached,
    }


async def _ask(callers: list[tuple[Connection, str, bytes]], count: int, timed: Timed) -> None:
    """Ask in turn, at the steady rate; a late answer counts from when its request was due."""
    started = time.monotonic()
    turns = [asyncio.Lock() for _ in callers]

    async def ask(number: int, due: float) -> None:
        connection, path, body = callers[number]
        async with turns[number]:
            status = await connection.post(path, body, "")
        timed.seconds.append(time.monotonic() - due)
        timed.statuses[status] += 1

    async with asyncio.TaskGroup() as asking:
        for number in range(count):
            due = started + number / PER_SECOND
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            asking.create_task(ask(number % len(callers), due))
    timed.took = time.monotonic() - started


def _described(timed: Timed) -> str:
    failed = f", errors by status: {timed.failed}" if timed.failed else ""
    half, most = timed.percentile(0.5), timed.percentile(0.95)
    return f"{timed.per_second:.0f}/s, p50 {half:.0f} ms, p95 {most:.0f} ms{failed}"
