"""Starts the processes of stacks, and ends them when the process that runs the stack is gone, for any reason.

`python -m embedded.stack.fork_server`, with a socket as standard input: each request on it is for one stack.
It imports the modules that the stack needs and forks a copy of itself, which serves that stack alone. A
Python process of the stack is a fork of that copy: the processor time for its imports is spent once. It sees
the same command line and environment as if it were started by itself.

Works where the system has no signal for the death of a parent, and for programs that know nothing of it.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

#: How long processes may take to end by themselves: a worker needs a moment to hand its steps back.
GRACE_SECONDS = 5.0
#: How Python processes are started. `-P`: a folder named `worker` in the current directory is not imported.
PYTHON = (sys.executable, "-P", "-m")
#: Elsewhere a system library may not survive a fork (macOS); there Python is executed again.
_FORKS_PYTHON = sys.platform == "linux"

_LENGTH = struct.Struct("!I")
#: Descriptors in one request: more than any request has.
_MOST_DESCRIPTORS = 8
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def send_request(launcher: socket.socket, request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Send one request with the descriptors that it is about."""
    body = json.dumps(request).encode()
    socket.send_fds(launcher, [_LENGTH.pack(len(body))], descriptors)
    launcher.sendall(body)


def _receive(requests: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return the next request and its descriptors, or None when the other side is gone."""
    try:
        head, descriptors, _, _ = socket.recv_fds(requests, _LENGTH.size, _MOST_DESCRIPTORS)
        [length] = _LENGTH.unpack(head)
        return json.loads(requests.recv(length, socket.MSG_WAITALL)), descriptors
    except (OSError, ValueError, struct.error):
        return None  # it is gone, perhaps in the middle of a request


@dataclass(frozen=True)
class _Python:
    """What a forked process runs."""

    arguments: Sequence[str]

    def run(self) -> None:
        """Run the module of the arguments as `python -m` does."""
        sys.argv = list(self.arguments)
        runpy.run_module(self.arguments[0], run_name="__main__", alter_sys=True)


def main() -> None:
    """Serve until the other side is gone; in a forked process, run what it was forked for."""
    # The process that runs the stacks decides when they end: a Ctrl-C or SIGTERM to all ends it first.
    for number in _ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    forked = _serve_stacks(socket.socket(fileno=sys.stdin.fileno()))
    if forked is not None:
        forked.run()


def _serve_stacks(requests: socket.socket) -> _Python | None:
    # Nothing waits for the copies: the system reaps them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while received := _receive(requests):
        request, descriptors = received
        for module in request["modules"] if _FORKS_PYTHON else ():
            # A process whose module cannot be imported prints the error to its own log.
            with suppress(Exception):
                importlib.import_module(module)
        gc.freeze()  # what is shared with the forks stays so
        if os.fork() == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), requests.detach())
            return _Processes(socket.socket(fileno=descriptors[0]), descriptors[1:]).serve()
        for descriptor in descriptors:
            os.close(descriptor)
    return None


class _Processes:
    """The processes of one stack. `held` are descriptors to keep open until the last of them is gone."""

    def __init__(self, requests: socket.socket, held: Sequence[int]) -> None:
        self._requests = requests
        self._held = held
        self._groups: set[int] = set()
        self._wake, self._waker = os.pipe()

    def serve(self) -> _Python | None:
        """Start processes and report their ends until the stack is gone; then end what is left."""
        for descriptor in (self._wake, self._waker):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            waited: list[Any] = [self._requests, self._wake]
            readable, _, _ = select.select(waited, [], [])
            if self._wake in readable:
                self._reap()
            if self._requests in readable:
                received = _receive(self._requests)
                if received is None:
                    break
                forked = self._start(*received)
                if forked is not None:
                    return forked
        self._end_all()
        os._exit(0)

    def _start(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> _Python | None:
        pid = os.fork()
        if pid == 0:
            return self._become(**request, descriptors=descriptors)
        with suppress(OSError):  # both sides do it: whichever comes first
            os.setpgid(pid, pid)
        for descriptor in descriptors:
            os.close(descriptor)
        self._groups.add(pid)
        self._report(name=request["name"], pid=pid)
        return None

    def _become(
        self,
        *,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        niceness: int,
        directory: str,
        descriptors: Sequence[int],
    ) -> _Python:
        """Turn this fork into the process: a group for itself, its standard streams, default signals."""
        with suppress(OSError):
            os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        standard_input, log = descriptors
        for descriptor, stream in ((standard_input, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, stream)
        _set_name(name)
        self._requests.close()
        for descriptor in {*descriptors, *self._held, self._wake, self._waker}:
            os.close(descriptor)
        os.umask(0o077)
        os.nice(niceness)
        os.chdir(directory)
        # The interpreter has read its variables, so one that differs needs an interpreter that reads it.
        is_same = _python_variables(environment) == _python_variables(os.environ)
        os.environ.clear()
        os.environ.update(environment)
        time.tzset()
        if _FORKS_PYTHON and is_same and tuple(command[: len(PYTHON)]) == PYTHON:
            return _Python(command[len(PYTHON) :])
        try:
            os.execve(command[0], list(command), dict(environment))  # noqa: S606 - a command of ours
        except OSError as error:
            os.write(2, f"{command[0]} cannot be started: {error.strerror}\n".encode())
            os._exit(127)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake, 1024)
        while self._groups:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            self._groups.discard(pid)
            _signal(pid, signal.SIGKILL)  # what it has started itself
            self._report(pid=pid, status=os.waitstatus_to_exitcode(status))

    def _end_all(self) -> None:
        for group in self._groups:
            # A paused one could not end.
            for number in (signal.SIGTERM, signal.SIGCONT):
                _signal(group, number)
        deadline = time.monotonic() + GRACE_SECONDS
        while self._groups and (left := deadline - time.monotonic()) > 0:
            select.select([self._wake], [], [], left)
            self._reap()
        for group in self._groups:
            _signal(group, signal.SIGKILL)

    def _report(self, **event: Any) -> None:
        with suppress(OSError):  # the stack is gone: this is noticed at the next request
            self._requests.sendall(json.dumps(event).encode() + b"\n")


def _python_variables(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("PYTHON")}


def _set_name(name: str) -> None:
    """Let `ps` and `top` show a fork under its own name."""
    with suppress(OSError), open("/proc/self/comm", "w", encoding="utf-8") as file:
        file.write(name)


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    main()
