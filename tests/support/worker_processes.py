"""Further workers of a stack, as processes of their own: to drain one, kill one, or run another version.

`TEST_WORKERS` is how many the stacks of `with_workers` have; one without it.
"""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from clients.private_files import open_private
from embedded.stack.fork_server import PYTHON
from embedded.stack.processes import base_environment
from embedded.stack.stack import Part, Stack
from tests.support.deadline import soon
from tests.support.processes import CHECKOUT, Process, spawn_module
from tests.support.stand_ins import stop_process

COUNT = int(os.environ.get("TEST_WORKERS", "1"))
#: What a worker beside a host shares with the others of its stack: it has no credential of any system.
_OF_HOST_WORKERS = (
    "TEMPORAL_ADDRESS",
    "TEMPORAL_NAMESPACE",
    "MOORAGE_INSTALLATION",
    "MOORAGE_ENCRYPTION__KEYS",
    "MOORAGE_WORKER__GRACEFUL_SHUTDOWN",
)


class WorkerProcess:
    """One more worker of a stack. `code` is the folder whose packages it runs.

    With `host`, it stands beside that host; `environment` is all that it has besides the way to Temporal.
    """

    def __init__(
        self,
        stack: Stack,
        name: str,
        environment: Mapping[str, str] | None = None,
        code: Path = CHECKOUT,
        *,
        host: str = "",
    ) -> None:
        self.log = stack.folder / "logs" / f"{name}.log"
        self._ready = stack.folder / f"{name}.ready"
        own = {"MOORAGE_READY_FILE": str(self._ready), "PYTHONPATH": str(code)}
        given = {key: value for key, value in stack.env.items() if not host or key in _OF_HOST_WORKERS}
        self.environment = {**(base_environment() if host else {}), **given, **own, **(environment or {})}
        self._arguments = ["worker", *(["--host", host] if host else [])]
        self._code = code
        self._process: Process | None = None

    async def start(self) -> None:
        """Start it, and return when it takes work."""
        self._ready.unlink(missing_ok=True)
        with os.fdopen(open_private(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as log:
            self._process = await asyncio.to_thread(self._spawn, log.fileno())
        async with soon(f"a worker does not start, see {self.log}"):
            while not self._ready.exists():
                assert self._process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.05)

    def _spawn(self, log: int) -> Process:
        with open(os.devnull, "rb") as nothing:
            if self._code == CHECKOUT:
                return spawn_module(
                    "moorage", self._arguments, self.environment,
                    stdin=nothing.fileno(), stdout=log, stderr=log,
                )  # fmt: skip
            # The fork server has imported our own code.
            command = [*PYTHON, "moorage", *self._arguments]
            return subprocess.Popen(command, env=self.environment, stdin=nothing, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    async def drain(self) -> int:
        """End it as an orchestrator does, by SIGTERM; return its exit code."""
        assert self._process is not None
        return await asyncio.to_thread(stop_process, self._process)

    async def kill(self) -> None:
        """End it by SIGKILL, as a machine that fails does."""
        assert self._process is not None
        self._process.kill()
        await asyncio.to_thread(self._process.wait)


@asynccontextmanager
async def with_workers(stack: Stack, count: int = COUNT) -> AsyncIterator[Sequence[WorkerProcess]]:
    """Give the running stack workers beside its own until there are `count`; leaving ends them."""
    assert Part.WORKER in stack.options.parts or count == 1
    workers = [WorkerProcess(stack, f"worker-{number}") for number in range(2, count + 1)]
    try:
        for worker in workers:
            await worker.start()
        yield workers
    finally:
        for worker in workers:
            if worker.runs:
                await worker.drain()
