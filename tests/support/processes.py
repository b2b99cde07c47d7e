"""Starts `python -m <module>` as a separate process, by the fork server where there is one.

    ended = run_module("moorage", ["list"], env={...}, cwd=tmp_path)
    process = spawn_module("embedded.standins", env={...})               # like subprocess.Popen

Both ways a process has its own arguments, environment, streams, signals and exit code. What the
interpreter itself does at its start (encodings, `-c`, other flags) is tested with real commands.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from tests.support.deadline import HANG
from tests.support.fork_server import LARGEST_REQUEST, READ_AT_START

CHECKOUT = Path(__file__).resolve().parents[2]
#: The folder of the server's socket, which all processes of a test run share, and the process that owns it.
_FOLDER, _OWNER = "TESTS_FORK_SERVER", "TESTS_FORK_SERVER_OWNER"
#: Only Linux tells by a descriptor that a process has ended.
_IS_SERVED = sys.platform == "linux" and hasattr(os, "pidfd_open")


class Process(Protocol):
    """What tests use of `subprocess.Popen`."""

    args: Any
    pid: int
    stdin: IO[Any] | None
    returncode: int | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


@dataclass
class Ended:
    """What a command has left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Forked:
    """A process that the fork server has started."""

    def __init__(self, connection: socket.socket, arguments: Sequence[str], stdin: IO[Any] | None) -> None:
        self._connection = connection
        self.args = arguments
        self.stdin = stdin
        self.returncode: int | None = None
        self.pid = int(connection.recv(64))

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        with contextlib.suppress(TimeoutError):
            self._receive(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; return the exit code."""
        try:
            self._receive(timeout)
        except TimeoutError:
            raise subprocess.TimeoutExpired(list(self.args), timeout or 0) from None
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, sig: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _receive(self, timeout: float | None) -> None:
        if self.returncode is not None:
            return
        self._connection.settimeout(timeout)
        try:
            received = self._connection.recv(64)
        except BlockingIOError:
            raise TimeoutError from None
        self.returncode = int(received) if received else -signal.SIGKILL
        self._connection.close()

    def __del__(self) -> None:
        self._connection.close()


def own_fork_server() -> None:
    """Let all processes that this one starts share one server, which ends with this one."""
    if _FOLDER not in os.environ:
        os.environ[_FOLDER] = tempfile.mkdtemp(prefix="moorage-fork-server-")
        os.environ[_OWNER] = str(os.getpid())


def disown_fork_server() -> None:
    """Remove the server's folder, if it is this process that owns it."""
    if os.environ.get(_OWNER) == str(os.getpid()):
        shutil.rmtree(os.environ[_FOLDER], ignore_errors=True)


def fork_launcher(environment: Mapping[str, str]) -> tuple[Process, socket.socket]:
    """Start the launcher of stacks, as `embedded.stack.supervisor` does, which imports all that they need."""
    ours, theirs = socket.socketpair()
    with theirs, open(os.devnull, "wb") as nothing:
        process = spawn_module(
            "embedded.stack.fork_server", env=environment, stdin=theirs.fileno(), stdout=nothing.fileno()
        )
    return process, ours


def spawn_module(
    module: str,
    arguments: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    *,
    cwd: Path = CHECKOUT,
    stdin: int | None = None,
    stdout: int = 1,
    stderr: int = 2,
) -> Process:
    """Start `python -P -m module`; without `stdin` it has a pipe, as `process.stdin`."""
    environment = dict(os.environ if env is None else env)
    command = [sys.executable, "-P", "-m", module, *arguments]
    if not _can_fork(environment):
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE if stdin is None else stdin,
            stdout=stdout,
            stderr=stderr,
            env={"PYTHONPATH": str(CHECKOUT), **environment},
            cwd=cwd,
        )
    theirs, ours = (stdin, None) if stdin is not None else _pipe()
    start = {
        "module": module,
        "arguments": list(arguments),
        "environment": environment,
        "folder": str(cwd),
    }
    request = json.dumps(start).encode()
    assert len(request) < LARGEST_REQUEST
    connection = _connect()
    socket.send_fds(connection, [request], [theirs, stdout, stderr])
    if stdin is None:
        os.close(theirs)
    return Forked(connection, command, ours)


def run_module(
    module: str,
    arguments: Sequence[str],
    env: Mapping[str, str] | None = None,
    *,
    cwd: Path = CHECKOUT,
    timeout: float = HANG,
    together: bool = False,
) -> Ended:
    """Run `python -P -m module` to its end; `together`: with both outputs in `out`."""
    with (
        open(os.devnull) as nothing,
        tempfile.TemporaryFile() as out,
        contextlib.nullcontext(out) if together else tempfile.TemporaryFile() as err,
    ):
        process = spawn_module(
            module, arguments, env, cwd=cwd, stdin=nothing.fileno(), stdout=out.fileno(), stderr=err.fileno()
        )
        try:
            code = process.wait(timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return Ended(code, texts[0], "" if together else texts[1])


def _can_fork(environment: Mapping[str, str]) -> bool:
    return _IS_SERVED and all(environment.get(name) == os.environ.get(name) for name in READ_AT_START)


def _pipe() -> tuple[int, IO[bytes]]:
    theirs, ours = os.pipe()
    return theirs, os.fdopen(ours, "wb")


def _connect() -> socket.socket:
    """Connect to the server; start it if it does not run."""
    own_fork_server()
    folder = Path(os.environ[_FOLDER])
    path = folder / "socket"
    if not path.exists():
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                _start_server(path)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(path))
    return connection


def _start_server(path: Path) -> None:
    ours = ("MOORAGE_", "TEMPORAL_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment["PYTHONPATH"] = str(CHECKOUT)
    command = [sys.executable, "-P", "-m", "tests.support.fork_server", str(path)]
    log = path.with_name("log")
    with log.open("w") as file:
        server = subprocess.Popen(
            [*command, "--owner", os.environ[_OWNER]],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=environment,
            start_new_session=True,
        )
    ends = time.monotonic() + HANG
    while not path.exists():
        if server.poll() is not None:
            raise AssertionError(f"the fork server ended at its start: {log.read_text()}")
        assert time.monotonic() < ends, f"the fork server did not start within {HANG:g} s"
        time.sleep(0.02)
    # It ends with the owner, which need not be this process.
    server.returncode = 0
