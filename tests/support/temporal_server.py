"""A Temporal server in memory as the product runs it, for workers in the test's process.

Not `WorkflowEnvironment.start_local`: that gives a server five seconds to start, too few on a busy one.
"""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.testing import WorkflowEnvironment

from embedded.stack.state_dir import free_port
from embedded.stack.temporal_server import READY_PATH, is_ready, server_command
from tests.support.deadline import HANG, soon
from tests.support.stand_ins import TLS, stop_process

#: A test run has more servers than the machine has cores. With more threads than one, each of them also looks
#: for work that others might have: a sixth more of the processor.
ONE_THREAD = {"GOMAXPROCS": "1"}


@asynccontextmanager
async def running_temporal_server(
    data_converter: DataConverter, arguments: Sequence[str] = ()
) -> AsyncIterator[WorkflowEnvironment]:
    """Run a server with these further arguments, and give its client."""
    ports = [free_port() for _ in range(3)]
    command = server_command(
        port=ports[0], http_port=ports[1], metrics_port=ports[2], ui_port=None, database=None
    )
    environment = {**os.environ, **ONE_THREAD}
    process = await asyncio.to_thread(subprocess.Popen, [*command, *arguments], env=environment)
    try:
        async with soon("the Temporal server does not start"):
            await _until_ready(process, f"http://127.0.0.1:{ports[1]}{READY_PATH}")
            client = await Client.connect(f"127.0.0.1:{ports[0]}", data_converter=data_converter)
        yield WorkflowEnvironment.from_client(client)
    finally:
        await asyncio.to_thread(stop_process, process)


async def _until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=HANG, verify=TLS) as http:
        while True:
            assert process.poll() is None, f"the Temporal server ended with exit code {process.returncode}"
            try:
                answer = await http.get(url)
            except httpx.TransportError:
                pass
            else:
                if is_ready(answer.status_code, answer.content):
                    return
            await asyncio.sleep(0.05)
