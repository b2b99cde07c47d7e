"""Starts and stops the processes of a stack, each in its own process group, and leaves none behind."""

import asyncio
import atexit
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from clients.private_files import open_private
from embedded.stack.fork_server import PYTHON, send_request
from embedded.stack.state_dir import StackError

#: Longest start of a process: seconds on an idle machine, more when all cores are busy.
START_SECONDS = 60.0
#: Longest ordered stop; then the process is killed. Longer than the grace of the worker of a stack.
STOP_SECONDS = 10.0
#: Interval of the readiness probe: far shorter than any start.
PROBE_SECONDS = 0.05
#: Longest wait for one response to it.
RESPONSE_SECONDS = 2.0
#: Lines of a log that are shown when a start fails: the exception and where it came from.
TAIL_LINES = 12

Ready = Callable[[], Awaitable[bool]]


class ChildFailed(StackError):
    """One of the processes did not start, or ended by itself; the text names it and its log."""


@dataclass(frozen=True)
class ProcessSpec:
    """The command and environment of a process, and its readiness probe."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready: Ready
    start_seconds: float = START_SECONDS
    niceness: int = 0


@dataclass
class Child:
    """One process of the stack, which leads a process group of the same id."""

    spec: ProcessSpec
    log: Path
    _pid: asyncio.Future[int]
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    #: It is being stopped, or was: its end is no failure.
    stopped: bool = False

    @property
    def runs(self) -> bool:
        """Whether it was started and neither stopped nor ended."""
        return not self.stopped and not self._ended.is_set()

    @property
    def pid(self) -> int:
        """Return its process id.

        Raises:
            RuntimeError: it does not run.
        """
        if self.stopped or not self._pid.done():
            raise RuntimeError(f"{self.spec.name} does not run")
        return self._pid.result()

    @property
    def has_failed(self) -> bool:
        """Whether it ended and was not stopped."""
        return self._ended.is_set() and not self.stopped

    def tail(self) -> str:
        """Return the last lines of its log."""
        with suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
        return ""

    def started(self, pid: int) -> None:
        """Note its process id."""
        self._pid.set_result(pid)

    def ended(self) -> None:
        """Note that it has ended."""
        self._ended.set()

    def fail(self, error: ChildFailed) -> None:
        """Note that it cannot start, if it has not started yet."""
        if not self._pid.done():
            self._pid.set_exception(error)
            self._pid.exception()  # it may be that nothing waits for it
            self.stopped = True

    def has_pid(self, pid: int) -> bool:
        """Whether this is its process id."""
        return self._pid.done() and self._pid.result() == pid

    async def wait_started(self) -> int:
        """Return its process id as soon as it has one."""
        return await self._pid

    async def wait_ended(self, seconds: float | None) -> bool:
        """Wait at most these seconds for its end; return whether it has ended."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)
        return self._ended.is_set()


class Launcher:
    """The one process that starts those of all stacks of this process; see `embedded.stack.fork_server`."""

    def __init__(self) -> None:
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def connect(
        self, environment: Mapping[str, str], modules: Sequence[str], held: Sequence[int]
    ) -> socket.socket:
        """Return a connection that starts processes of one stack, from these modules.

        `held` stay open until the last of these processes has ended. `environment` is for the launcher.
        """
        if self._running is None or self._running[0].poll() is not None:
            self._running = _start_launcher(environment)
        ours, theirs = socket.socketpair()
        with theirs:
            send_request(self._running[1], {"modules": list(modules)}, [theirs.fileno(), *held])
        return ours

    def close(self) -> None:
        """End it. The processes of a stack end with the connection of the stack."""
        if self._running is not None:
            process, requests = self._running
            requests.close()
            process.wait()
            self._running = None


def _start_launcher(environment: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [*PYTHON, "embedded.stack.fork_server"],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            env=dict(environment),
            start_new_session=True,
        )
    return process, ours


_LAUNCHER = Launcher()
atexit.register(_LAUNCHER.close)


class Children:
    """All processes of one stack. `open` first; `close` stops what still runs.

    `held` are descriptors that stay open until the last of them is gone, also when this process is killed.
    """

    def __init__(self, logs: Path, *, held: Sequence[int] = ()) -> None:
        self._logs = logs
        self._held = held
        self._children: dict[str, Child] = {}
        self._launcher: socket.socket | None = None
        self._events = b""
        self._changed = asyncio.Event()
        self._disconnected = asyncio.Event()
        self._parent_end = -1
        self._childrens_end = -1

    def open(self, environment: Mapping[str, str], modules: Sequence[str]) -> None:
        """Connect to the launcher, which imports the modules for the Python processes among them."""
        # Standard input of all children: it ends when this process does, and nothing is ever written to it.
        self._childrens_end, self._parent_end = os.pipe()
        self._launcher = _LAUNCHER.connect(environment, modules, self._held)
        asyncio.get_running_loop().add_reader(self._launcher, self._read_events, self._launcher)

    async def close(self, *first: str) -> None:
        """Stop all that run: those named `first`, then the others. Nothing runs afterwards."""
        others = [name for name in self._children if name not in first]
        for names in (first, others):
            await asyncio.gather(*(self.stop(name) for name in names if name in self._children))
        if self._launcher is not None:
            self._launcher.shutdown(socket.SHUT_WR)
            await self._disconnected.wait()
            self._launcher.close()
            self._launcher = None
            os.close(self._parent_end)
            os.close(self._childrens_end)

    def __getitem__(self, name: str) -> Child:
        return self._children[name]

    def __contains__(self, name: str) -> bool:
        return name in self._children

    async def start(self, spec: ProcessSpec) -> None:
        """Start it and return when it is ready.

        Raises:
            ChildFailed: it ended, or was not ready in time.
        """
        child = self._spawn(spec)
        await child.wait_started()
        deadline = time.monotonic() + spec.start_seconds
        while not await spec.ready():
            if child.has_failed:
                raise ChildFailed(f"the {spec.name} ended at its start{_evidence(child)}")
            if time.monotonic() > deadline:
                raise ChildFailed(
                    f"the {spec.name} was not ready within {spec.start_seconds:g} s{_evidence(child)}"
                )
            await child.wait_ended(PROBE_SECONDS)

    async def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, and its whole group; killed if it does not end in time. Fine if it does not run."""
        child = self._children[name]
        if child.stopped:
            return
        try:
            pid = await child.wait_started()
        except ChildFailed:
            return
        child.stopped = True
        # Stopped or continued: a paused one could not end.
        for number in (how, signal.SIGCONT):
            _signal(pid, number)
        try:
            await child.wait_ended(STOP_SECONDS)
        finally:
            # Also when this wait is cancelled.
            _signal(pid, signal.SIGKILL)
        await child.wait_ended(None)

    async def wait_for_failure(self) -> None:
        """Wait until one of them ends without being stopped.

        Raises:
            ChildFailed: in any case.
        """
        while True:
            self._changed.clear()
            self.raise_failure()
            await self._changed.wait()

    def raise_failure(self) -> None:
        """Raise ChildFailed if one of them has ended without being stopped."""
        if self._disconnected.is_set():
            raise ChildFailed("the process that would clean up after this one was killed")
        for child in self._children.values():
            if child.has_failed:
                raise ChildFailed(f"the {child.spec.name} ended by itself{_evidence(child)}")

    def _spawn(self, spec: ProcessSpec) -> Child:
        if spec.name in self._children and self._children[spec.name].runs:
            raise RuntimeError(f"{spec.name} runs already")
        if self._launcher is None:
            raise RuntimeError("the stack is not open")
        log = self._logs / f"{spec.name.replace(' ', '-')}.log"
        child = Child(spec, log, asyncio.get_running_loop().create_future())
        self._children[spec.name] = child
        request = {
            "name": spec.name,
            "command": list(spec.command),
            "environment": dict(spec.environment),
            "niceness": spec.niceness,
            "directory": os.getcwd(),
        }
        descriptor = open_private(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            send_request(self._launcher, request, [self._childrens_end, descriptor])
        except OSError as error:
            failed = ChildFailed(f"the {spec.name} cannot be started: {error}")
            child.fail(failed)
            raise failed from error
        finally:
            os.close(descriptor)
        return child

    def _read_events(self, launcher: socket.socket) -> None:
        received = b""
        with suppress(ConnectionError):
            received = launcher.recv(65536)
        if not received:
            asyncio.get_running_loop().remove_reader(launcher)
            self._disconnected.set()
            for child in self._children.values():
                child.fail(ChildFailed("the process that starts the others has ended"))
                child.ended()  # it ends them
        *lines, self._events = (self._events + received).split(b"\n")
        for line in lines:
            event = json.loads(line)
            if "name" in event:
                self._children[event["name"]].started(event["pid"])
                continue
            for child in self._children.values():
                if child.has_pid(event["pid"]):
                    child.ended()
        self._changed.set()


async def get(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Return status and body of `GET path` from 127.0.0.1; status 0 without a response.

    An HTTP library would take longer to import than the request takes, and might use a proxy.
    """
    try:
        async with asyncio.timeout(RESPONSE_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                fields = {"Host": f"127.0.0.1:{port}", "Connection": "close", **(headers or {})}
                lines = [f"GET {path} HTTP/1.0", *(f"{name}: {value}" for name, value in fields.items())]
                request = "\r\n".join([*lines, "", ""])
                writer.write(request.encode())
                response = await reader.read()
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return 0, b""
    head, _, body = response.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    return (int(status[0]), body) if status and status[0].isdigit() else (0, b"")


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _evidence(child: Child) -> str:
    tail = "".join(f"\n  | {line}" for line in child.tail().splitlines())
    return f"; its log is {child.log}{tail and ', which ends with:'}{tail}"
