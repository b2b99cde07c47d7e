"""What all benchmarks stand on: a stack, the floor's worker beside it, and ways to ask, wait and count."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from temporalio.client import Client

from benchmarks.support.floor_worker import HEADERS
from contracts.types.naming import workflow_id
from embedded.stack.stack import Options, Part, Stack
from tests.support.stand_ins import TLS
from worker.codec import Keyring
from worker.data_converter import data_converter

#: How often a request that was answered 503 is made again.
TRIES = 30
#: A host that is ready at once: what is measured is Moorage, not how long a cluster pretends to take.
AT_ONCE = {"start_seconds": 0.0, "stop_seconds": 0.0}


@dataclass(frozen=True)
class Ground:
    """A running stack, with a client of its Temporal server, a bare one for the floor, and one of its API."""

    stack: Stack
    client: Client
    bare: Client
    api: httpx.AsyncClient

    async def request(self, name: str, **more: Any) -> None:
        """Ask for an environment, as a developer's program would; `more` are other fields of the request."""
        await self._ask("POST", "/environments", json={"name": name, "template": "small", **more})

    async def delete(self, name: str) -> None:
        """Ask for its end."""
        await self._ask("DELETE", f"/environments/{name}")

    async def _ask(self, method: str, path: str, **more: Any) -> None:
        # A machine that has more to do than it can says 503, and to ask again: asking twice is asking once.
        for _ in range(TRIES):
            answer = await self.api.request(method, path, headers={"Idempotency-Key": "bench"}, **more)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            await asyncio.sleep(1)
        answer.raise_for_status()

    async def until(self, query: str, count: int, seconds: float = 600) -> None:
        """Wait until so many workflows match the query of visibility."""
        ends = time.monotonic() + seconds
        while (found := (await self.client.count_workflows(query)).count) < count:
            if time.monotonic() > ends:
                raise TimeoutError(f"{found} of {count} are so after {seconds:g} s: {query}")
            await asyncio.sleep(0.2)

    async def gone(self, names: Sequence[str]) -> None:
        """Delete them all and wait until they are gone."""
        await asyncio.gather(*(self.delete(name) for name in names))
        for name in names:
            await self.client.get_workflow_handle(workflow_id(name)).result()


@asynccontextmanager
async def ground(
    folder: Path, *, host: Mapping[str, float] = AT_ONCE, **options: Any
) -> AsyncIterator[Ground]:
    """A fresh stack in `folder`, whose host is ready at once unless `host` has other options of it."""
    async with Stack(folder, Options(fresh=True, stand_ins={Part.HOST: host}, **options)) as stack:
        keys = Keyring.parse(stack.env["MOORAGE_ENCRYPTION__KEYS"])
        client = await Client.connect(stack.temporal_address, data_converter=data_converter(keys))
        headers = {"Authorization": f"Bearer {stack.token}"}
        limits = httpx.Limits(max_connections=20)
        async with httpx.AsyncClient(
            base_url=f"{stack.api_url}/api/v1",
            headers=headers,
            timeout=300,
            trust_env=False,
            verify=TLS,
            limits=limits,
        ) as api:
            yield Ground(stack, client, await Client.connect(stack.temporal_address), api)


@asynccontextmanager
async def floor_worker(ground: Ground) -> AsyncIterator[int]:
    """The floor's worker, a process beside the stack's own, with the same credentials; gives its id."""
    settings = ground.stack.env
    headers = {
        Part.CONTROL_PLANE: {"X-RAFAY-API-KEYID": settings["MOORAGE_CONTROL_PLANE__API_KEY"]},
        Part.DIRECTORY: {"Authorization": f"Bearer {settings['MOORAGE_IDENTITY__TOKEN']}"},
        Part.HOST: {"Authorization": f"Bearer {settings['MOORAGE_HOSTS__LOCAL__TOKEN']}"},
    }
    environment = os.environ | {HEADERS: json.dumps(headers)}
    command = [sys.executable, "-m", "benchmarks.support.floor_worker", ground.stack.temporal_address]
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    if not await process.stdout.readline():
        raise RuntimeError("the floor's worker ended at its start")
    try:
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


def memory_mb(pid: int, what: str = "VmHWM") -> float:
    """Resident memory of a process in MB: the most it ever had, or (`VmRSS`) what it has now. Linux only."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/{pid}/status has no {what}")


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far, in seconds. Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
