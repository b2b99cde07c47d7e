"""The server that starts Python processes of ours by forking: all modules are imported once for all tests.

A process that it starts is what `python -m` starts, with its own arguments, environment, working directory
and standard streams; what it saves is the import, half a second of processor for each.
`tests.support.processes` asks it, and starts the real command where it does not serve.

One server serves all processes of a test run. It ends when the process that owns it (`--owner`) ends.
"""

import argparse
import contextlib
import fcntl
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

#: Whatever a command or a part of a stack imports, sooner or later.
PACKAGES = ("contracts", "clients", "workflows", "activities", "worker", "starter", "embedded")
#: Variables that the interpreter reads before our code does: with others, none is forked.
READ_AT_START = (
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "PYTHONIOENCODING",
    "PYTHONUTF8",
    "PYTHONHOME",
    "SSL_CERT_FILE",
)
#: A request with its descriptors is one message.
LARGEST_REQUEST = 512 * 1024
STREAMS = 3
#: Above all descriptors that the server has open.
_HIGH = 1000


@dataclass(frozen=True)
class Start:
    """A process to start; its standard streams are sent along."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str


@dataclass
class _Server:
    listening: socket.socket
    owner: int
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def serve(self) -> Start:
        """Serve until the owner ends; return in a process that was forked, with what it is to do."""
        self.selector.register(self.listening, selectors.EVENT_READ, self._accept)
        self.selector.register(os.pidfd_open(self.owner), selectors.EVENT_READ, self._end)
        while True:
            for key, _ in self.selector.select():
                start: Start | None = key.data(key.fileobj)
                if start is not None:
                    return start

    def _end(self, _: int) -> NoReturn:
        os._exit(0)

    def _accept(self, listening: socket.socket) -> None:
        connection, _ = listening.accept()
        self.selector.register(connection, selectors.EVENT_READ, self._fork)

    def _fork(self, connection: socket.socket) -> Start | None:
        self.selector.unregister(connection)
        received, data, _, _ = socket.recv_fds(connection, LARGEST_REQUEST, STREAMS)
        if not received:
            connection.close()
            return None
        start = Start(**json.loads(received))
        pid = os.fork()
        if pid == 0:
            self._close(connection)
            _become(start, list(data))
            return start
        for descriptor in data:
            os.close(descriptor)
        self.selector.register(os.pidfd_open(pid), selectors.EVENT_READ, _Ending(self, pid, connection))
        with contextlib.suppress(OSError):
            connection.send(f"{pid}\n".encode())
        return None

    def _close(self, connection: socket.socket) -> None:
        """Close all that is the server's: objects that did so later would close what has its number then."""
        connection.close()
        for key in list(self.selector.get_map().values()):
            if isinstance(key.data, _Ending):
                key.data.connection.close()
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
            else:
                os.close(key.fd)
        self.selector.close()


@dataclass(frozen=True)
class _Ending:
    """Tells the caller how the process ended."""

    server: _Server
    pid: int
    connection: socket.socket

    def __call__(self, pidfd: int) -> None:
        self.server.selector.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(self.pid, 0)
        with self.connection, contextlib.suppress(OSError):
            self.connection.send(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(start: Start, data: list[int]) -> None:
    """Give the forked process the streams, environment and place that it would have as a new one."""
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH) for descriptor in data]
    os.closerange(0, _HIGH)
    for number, descriptor in enumerate(high):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(start.folder)
    os.environ.clear()
    os.environ.update(start.environment)
    time.tzset()
    unbuffered = bool(start.environment.get("PYTHONUNBUFFERED"))
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding=_ENCODING)
    sys.stdout = _writer(1, unbuffered, _ERRORS)
    sys.stderr = _writer(2, unbuffered, "backslashreplace")
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, f"__{name}__", getattr(sys, name))
    sys.argv = ["", *start.arguments]


def _import_everything() -> None:
    # First, because models with docstrings take longer to make the more modules there are. Without it the
    # directory of each stack would make them again, which is half of the processor time of a stack's start.
    from embedded.directory.application import provider

    provider(unique_groups=True)
    importlib.import_module("moorage")
    for package in map(importlib.import_module, PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def _writer(number: int, unbuffered: bool, errors: str) -> io.TextIOWrapper:
    raw = io.FileIO(number, "w", closefd=False)
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        encoding=_ENCODING,
        errors=errors,
        line_buffering=number == 2 or os.isatty(number),
        write_through=unbuffered,
    )


_ENCODING, _ERRORS = sys.stdout.encoding, sys.stdout.errors or "strict"


def main() -> None:
    """Import everything, listen, and fork; in a forked process run its module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("socket", type=Path)
    parser.add_argument("--owner", type=int, required=True)
    options = parser.parse_args()
    _import_everything()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        # Those who wait for the file find a server that listens.
        new = options.socket.with_suffix(".new")
        listening.bind(str(new))
        listening.listen(64)
        new.rename(options.socket)
        gc.collect()
        gc.freeze()
        start = _Server(listening, options.owner).serve()
    gc.unfreeze()
    runpy.run_module(start.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
