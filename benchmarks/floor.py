"""The floor: a bare Temporal workflow with as many activities, and a worker for it in a process of its own.

It is what nobody can be faster than with the same number of durable steps and the same outside calls: no
models, no records, no names, no errors that mean anything, no heartbeats, no undo.
"""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

TASK_QUEUE = "floor"
STEP_TIMEOUT = timedelta(minutes=5)


@dataclass(frozen=True)
class Calls:
    """The plain HTTP calls of one activity: so many, to this address, with the headers called `headers`."""

    url: str = ""
    count: int = 0
    headers: str = ""


@workflow.defn
class BareWorkflow:
    """One activity after the other."""

    @workflow.run
    async def run(self, steps: list[Calls]) -> None:
        """Do as many steps as there are entries."""
        for step in steps:
            await workflow.execute_activity(step_of_the_floor, step, start_to_close_timeout=STEP_TIMEOUT)


#: The environment variable with headers by name, as JSON: credentials have no place in a history.
HEADERS = "FLOOR_HEADERS"

_http: httpx.AsyncClient | None = None
_headers: dict[str, dict[str, str]] = json.loads(os.environ.get(HEADERS, "{}"))


@activity.defn
async def step_of_the_floor(calls: Calls) -> None:
    """Make the calls, if there are any."""
    for _ in range(calls.count):
        assert _http
        await _http.get(calls.url, headers=_headers.get(calls.headers))


async def work(address: str, ready: Path) -> None:
    """Be the worker of the floor until the process is ended."""
    global _http
    client = await Client.connect(address)
    limits = httpx.Limits(max_connections=32, max_keepalive_connections=32)
    async with httpx.AsyncClient(limits=limits, timeout=120, trust_env=False) as http:
        _http = http
        async with Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[BareWorkflow],
            activities=[step_of_the_floor],
            max_concurrent_activities=200,
        ):
            ready.touch()
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], Path(sys.argv[2])))
