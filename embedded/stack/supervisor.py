"""The processes of a stack: started in groups of their own, waited for, stopped, and never left behind."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clients.private_files import open_private
from embedded.stack.state_dir import StackError

#: Longest start of one of them: seconds on an idle machine, more when all cores are busy.
START_SECONDS = 60.0
#: Longest ordered end; past it the process is killed. Longer than the worker's own grace on this stack.
STOP_SECONDS = 10.0
#: How often to ask whether it is ready: far shorter than any start.
ASK_SECONDS = 0.05
#: Longest wait for one answer to that.
ANSWER_SECONDS = 2.0
#: Lines of a log that are shown when a start fails: the exception and where it came from.
TAIL_LINES = 12

Ready = Callable[[], Awaitable[bool]]


class ChildFailed(StackError):
    """One of the processes did not start, or ended by itself; the text names it and its log."""


@dataclass(frozen=True)
class Recipe:
    """How one process is started."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready: Ready


@dataclass
class Child:
    """One process of the stack; `process` is None while it does not run."""

    recipe: Recipe
    log: Path
    process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group as well."""
        if self.process is None:
            raise RuntimeError(f"{self.recipe.name} does not run")
        return self.process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it was started, not stopped by us, and is gone all the same."""
        return self.process is not None and self.process.returncode is not None

    def tail(self) -> str:
        """The last lines of its log."""
        with suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
        return ""


class Children:
    """All processes of one stack. `open` first; `close` stops what still runs.

    `keep_open` are descriptors that the tether holds until the last of them is gone.
    """

    def __init__(self, logs: Path, *, keep_open: Sequence[int] = ()) -> None:
        self._logs = logs
        self._keep_open = keep_open
        self._children: dict[str, Child] = {}
        self._tether: asyncio.subprocess.Process | None = None
        self._parent_end = -1
        self._childrens_end = -1

    async def open(self) -> None:
        """Start the tether; see `embedded.stack.watchdog`."""
        # Standard input of all children: it ends when this process does, and nothing is ever written to it.
        self._childrens_end, self._parent_end = os.pipe()
        self._tether = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "embedded.stack.watchdog",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=self._keep_open,
        )

    async def close(self, *first: str) -> None:
        """Stop all that run: those named `first`, then the others. Nothing runs afterwards."""
        others = [name for name in self._children if name not in first]
        for names in (first, others):
            await asyncio.gather(*(self.stop(name) for name in names if name in self._children))
        if self._tether is not None and self._tether.stdin is not None:
            self._tether.stdin.close()
            await self._tether.wait()
            self._tether = None
            os.close(self._parent_end)
            os.close(self._childrens_end)

    def __getitem__(self, name: str) -> Child:
        return self._children[name]

    def __contains__(self, name: str) -> bool:
        return name in self._children

    async def start(self, recipe: Recipe) -> None:
        """Start it and return when it is ready. Raises ChildFailed."""
        child = await self._spawn(recipe)
        deadline = time.monotonic() + START_SECONDS
        while not await recipe.ready():
            if child.has_ended:
                raise ChildFailed(f"the {recipe.name} ended at its start{_evidence(child)}")
            if time.monotonic() > deadline:
                raise ChildFailed(
                    f"the {recipe.name} was not ready within {START_SECONDS:g} s{_evidence(child)}"
                )
            await asyncio.sleep(ASK_SECONDS)

    async def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, and its whole group; killed if it does not end in time. Fine if it does not run."""
        child = self._children[name]
        process, child.process = child.process, None
        if process is None:
            return
        # Stopped or continued: a paused one could not end.
        for number in (how, signal.SIGCONT):
            _signal(process.pid, number)
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            pass
        finally:
            # Also what it started itself, and when this wait is cancelled.
            _signal(process.pid, signal.SIGKILL)
        await process.wait()
        self._tell("-", process.pid)

    async def first_to_end(self) -> None:
        """Wait until one of them ends by itself, and raise ChildFailed."""
        while True:
            for child in self._children.values():
                if child.has_ended:
                    raise ChildFailed(f"the {child.recipe.name} ended by itself{_evidence(child)}")
            if self._tether is not None and self._tether.returncode is not None:
                raise ChildFailed("the process that would clean up after this one was killed")
            await asyncio.sleep(ASK_SECONDS)

    async def _spawn(self, recipe: Recipe) -> Child:
        child = Child(recipe, self._logs / f"{recipe.name.replace(' ', '-')}.log")
        if recipe.name in self._children and self._children[recipe.name].process is not None:
            raise RuntimeError(f"{recipe.name} runs already")
        self._children[recipe.name] = child
        log = open_private(child.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            child.process = await asyncio.create_subprocess_exec(
                *recipe.command,
                stdin=self._childrens_end,
                stdout=log,
                stderr=log,
                env=recipe.environment,
                start_new_session=True,
                umask=0o077,
            )
            self._tell("+", child.process.pid)
        except OSError as error:
            raise ChildFailed(f"the {recipe.name} cannot be started: {error}") from error
        finally:
            os.close(log)
        return child

    def _tell(self, what: str, pid: int) -> None:
        if self._tether is not None and self._tether.stdin is not None:
            self._tether.stdin.write(f"{what}{pid}\n".encode())


async def get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of `GET path` from 127.0.0.1; status 0 if nothing answers.

    No HTTP library: this process shall start at once, and pass by any proxy.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                request = f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
                writer.write(request.encode())
                answer = await reader.read()
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return 0, b""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    return (int(status[0]), body) if status and status[0].isdigit() else (0, b"")


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _evidence(child: Child) -> str:
    tail = "".join(f"\n  | {line}" for line in child.tail().splitlines())
    return f"; its log is {child.log}{tail and ', which ends with:'}{tail}"
