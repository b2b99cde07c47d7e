"""The start of the command line: processor time of short commands, and the imports that take longest."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

#: A command has to start faster than a user notices. The measured value is the least of `RUNS`, because
#: other processes only add to it.
TARGET_SECONDS = 0.25
#: The target of `moorage credential`, which `kubectl` runs: it also makes a key.
CREDENTIAL_TARGET_SECONDS = 0.3
RUNS = 11
SLOWEST = 10

_MOORAGE = (sys.executable, "-P", "-m", "moorage")
_COMPLETION = {"_MOORAGE_COMPLETE": "bash_complete", "COMP_WORDS": "moorage li", "COMP_CWORD": "1"}
_COMPLETION_OF_NAME = {
    "_MOORAGE_COMPLETE": "bash_complete",
    "COMP_WORDS": "moorage show d",
    "COMP_CWORD": "2",
}
_CREDENTIAL = (*_MOORAGE, "credential", "demo", "--life", "l", "--person", "bob@example.com")
#: The measured commands by name, with their environment variables.
_COMMANDS: dict[str, tuple[Sequence[str], dict[str, str]]] = {
    "python -c pass": ((sys.executable, "-c", "pass"), {}),
    "import click, httpx": ((sys.executable, "-c", "import click, httpx"), {}),
    "--help": ((*_MOORAGE, "--help"), {}),
    "list --help": ((*_MOORAGE, "list", "--help"), {}),
    "list": ((*_MOORAGE, "list"), {}),
    "templates": ((*_MOORAGE, "templates"), {}),
    # Where no file can be kept, so that each run asks for a certificate.
    "credential": (_CREDENTIAL, {"XDG_CACHE_HOME": "/dev/null"}),
    "credential, cached": (_CREDENTIAL, {}),
    "completion of a command": (_MOORAGE, _COMPLETION),
    "completion of a name": (_MOORAGE, _COMPLETION_OF_NAME),
}
#: The commands that must reach the target; the first two are the floor.
_MEASURED = tuple(_COMMANDS)[2:]
_IMPORT = re.compile(r"import time: +(\d+) \| +\d+ \| *(\S+)")

_ROW = {
    "name": "demo", "life": "l", "owner": "bob@example.com", "team": "blue", "template": "small", "host": "h",
    "phase": "ready", "requested_at": "2030-01-01T00:00:00Z", "expires_at": "2030-01-01T08:00:00Z",
}  # fmt: skip
_TEMPLATE = {
    "name": "small", "version": 1, "description": "d", "kubernetes": "v1.36.0",
    "size": {"cpu": "1", "memory": "1Gi", "storage": "1Gi", "pods": 10},
    "ttl": {"default": "PT8H", "maximum": "P3D"},
}  # fmt: skip
_CREDENTIAL_ANSWER = {
    "certificate": "-----BEGIN CERTIFICATE-----", "person": "bob@example.com", "life": "l",
    "expires_at": "2030-01-01T00:00:00Z", "valid_seconds": 3600,
}  # fmt: skip
_ANSWERS: dict[str, Any] = {
    "environments/demo/credential": _CREDENTIAL_ANSWER,
    "environments": {"environments": [_ROW] * 20, "next": None, "frozen": None},
    "templates": {"templates": [_TEMPLATE] * 3},
}


async def measure_startup(folder: Path) -> dict[str, Any]:
    """Measure every command, and name the slowest imports of `moorage list`."""
    return await asyncio.to_thread(_measure, folder)


def _measure(folder: Path) -> dict[str, Any]:
    with _api() as url:
        variables = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(Path(__file__).parents[1]),
            "MOORAGE_URL": url, "MOORAGE_TOKEN": "t",
        }  # fmt: skip
        seconds: dict[str, list[float]] = {name: [] for name in _COMMANDS}
        # In turn, so that a busy moment of the machine affects all alike.
        for _ in range(RUNS):
            for name, (command, more) in _COMMANDS.items():
                seconds[name].append(_processor_seconds(command, variables | more))
        slowest = _slowest_imports((*_MOORAGE[:1], "-X", "importtime", *_MOORAGE[1:], "list"), variables)
    least = {name: min(found) for name, found in seconds.items()}
    return {
        "what": "start of the command line, processor time",
        **{name: f"{value:.3f} s (median {median(seconds[name]):.3f})" for name, value in least.items()},
        "slowest imports of list": slowest,
        "target": f"each moorage command < {TARGET_SECONDS} s, credential < {CREDENTIAL_TARGET_SECONDS} s",
        "reached": all(least[name] < _target(name) for name in _MEASURED),
    }


def _target(name: str) -> float:
    return CREDENTIAL_TARGET_SECONDS if name.startswith("credential") else TARGET_SECONDS


def _processor_seconds(command: Sequence[str], environment: dict[str, str]) -> float:
    """Return the user and system time of one process."""
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdin=null, stdout=null, stderr=subprocess.PIPE)
    assert process.stderr is not None
    problem = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} has failed: {problem.decode(errors='replace')}")
    return usage.ru_utime + usage.ru_stime


def _slowest_imports(command: Sequence[str], environment: dict[str, str]) -> dict[str, str]:
    """Return the modules that take longest to import, without those that they import.

    Python measures elapsed time, so the least of `RUNS` counts.
    """
    least: dict[str, int] = {}
    for _ in range(RUNS):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        for time, name in _IMPORT.findall(done.stderr):
            least[name] = min(int(time), least.get(name, int(time)))
    slowest = sorted(least.items(), key=lambda item: -item[1])[:SLOWEST]
    return {name: f"{time / 1000:.1f} ms" for name, time in slowest}


@contextmanager
def _api() -> Iterator[str]:
    """Serve the answers of the API that the commands need."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def do_GET(self) -> None:
            name = self.path.removeprefix("/api/v1/").partition("?")[0]
            content = json.dumps(_ANSWERS[name]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
