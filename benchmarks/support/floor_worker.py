"""The floor's worker: `python -m benchmarks.support.floor_worker ADDRESS`. Says "ready"."""

import asyncio
import json
import os
import sys

import httpx
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks.support.floor import ACTIVITY, TASK_QUEUE, BareUpdates, BareWorkflow, Calls
from clients.transport.http import MAX_CONCURRENT_CALLS

#: The environment variable with headers by name, as JSON: credentials have no place in a history.
HEADERS = "FLOOR_HEADERS"


async def work(address: str) -> None:
    """Be the worker of the floor until the process is ended."""
    headers: dict[str, dict[str, str]] = json.loads(os.environ.get(HEADERS, "{}"))
    client = await Client.connect(address)
    limits = httpx.Limits(
        max_connections=MAX_CONCURRENT_CALLS, max_keepalive_connections=MAX_CONCURRENT_CALLS
    )
    async with httpx.AsyncClient(limits=limits, timeout=300, trust_env=False) as http:

        @activity.defn(name=ACTIVITY)
        async def step(calls: Calls) -> None:
            for _ in range(calls.count):
                await http.get(calls.url, headers=headers[calls.headers])

        async with Worker(
            client, task_queue=TASK_QUEUE, workflows=[BareWorkflow, BareUpdates], activities=[step]
        ):
            print("ready", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
