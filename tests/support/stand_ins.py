"""Starts stand-ins of the embedded stack for tests, as the stack does: all of them or one, in a process.

`start_stand_ins` and `stop_process` serve any of them; what only one of them has is in its own class.
"""

import os
import sqlite3
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import httpx

from clients.rafay import Rafay
from embedded.faults import CALLS_PATH, CONTROL_PATH, Fault
from embedded.rafay.app import CLUSTERS_PATH, USERS_PATH
from embedded.rafay_behaviour import BEHAVIOUR_PATH
from embedded.stack.state_dir import free_port
from embedded.standin_options import VARIABLE, StandInOptions
from tests.support.deadline import HANG
from tests.support.processes import CHECKOUT as CHECKOUT
from tests.support.processes import Process, spawn_module

#: Longest wait for the first answer.
START_SECONDS = HANG
#: Longest wait for an ordered end; past it the process is killed and the test fails.
STOP_SECONDS = HANG
#: Shared by all clients: everything here is plain HTTP, and reading the machine's certificates takes long.
TLS = ssl.create_default_context()


def start_stand_ins(**options: Mapping[str, Any]) -> tuple[list[str], Process]:
    """Start one process with these stand-ins, and wait until each of them answers.

    `options` has those of `embedded.standin_options` by stand-in (`directory={...}`); without a port it gets
    a free one. Returns their base URLs and the process, which holds the read end of a pipe to us as its
    standard input and stops when that is closed. End it with `stop_process`.
    """
    given = {name: {"port": free_port(), **of_one} for name, of_one in options.items()}
    urls = [f"http://127.0.0.1:{of_one['port']}" for of_one in given.values()]
    process = spawn_module(
        "embedded.standins",
        env={**os.environ, VARIABLE: StandInOptions.model_validate(given).model_dump_json()},
    )
    try:
        for url in urls:
            _wait_for_answer(url, process)
    except BaseException:
        process.kill()
        stop_process(process)
        raise
    return urls, process


def stop_process(process: Process) -> int:
    """End the process with SIGTERM and return its exit code; kill it, and fail, if it does not end so."""
    process.terminate()
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError(f"process {process.args!r} did not end within {STOP_SECONDS:g} s") from None
    finally:
        if process.stdin:
            process.stdin.close()


@contextmanager
def running_stand_ins(**options: Mapping[str, Any]) -> Iterator[list[str]]:
    """`start_stand_ins` for the length of a with-block; gives the base URLs."""
    urls, process = start_stand_ins(**options)
    try:
        yield urls
    finally:
        stop_process(process)


def set_faults(base_url: str, *faults: Fault) -> None:
    """Replace all faults of the server at `base_url` by these; none clears them."""
    control(base_url, "PUT", CONTROL_PATH, [fault.model_dump(mode="json") for fault in faults])


def control(base_url: str, method: str, path: str, body: Any = None) -> Any:
    """Call one of a stand-in's own endpoints (`/-/…`) and return its JSON answer, past any proxy."""
    with httpx.Client(base_url=base_url, trust_env=False, timeout=HANG, verify=TLS) as http:
        answer = http.request(method, path, json=body)
    assert answer.is_success, f"{method} {path} on the stand-in: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


class RafayStandIn:
    """A stand-in for a Rafay controller in its own process, with its database open for reading.

    `options` are those of `embedded.standin_options.RafayOptions`. State lives in `folder` and survives
    `stop` and `start`, which keep the port. A context manager; `faults` and `switch` hold until `reset`.
    """

    KEY = "ra2.tests.all-rights-4c1f"
    READ_ONLY_KEY = "ra2.tests.read-only-9d7e"

    def __init__(self, folder: Path, **options: Any) -> None:
        self.database = folder / "rafay.sqlite"
        self.base_url = ""
        self._options = options
        self._process: Process | None = None
        self._switches: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def process(self) -> Process:
        """The running process."""
        assert self._process, "the stand-in is not running"
        return self._process

    def start(self) -> None:
        """Start it, on the port that it had before."""
        options = {
            "database": self.database,
            "api_key": self.KEY,
            "read_only_key": self.READ_ONLY_KEY,
            "port": int(self.base_url.rpartition(":")[2] or free_port()),
            **self._options,
        }
        [self.base_url], self._process = start_stand_ins(control_plane=options)
        self._switches = control(self.base_url, "GET", BEHAVIOUR_PATH)

    def stop(self) -> None:
        """Stop it in order, if it runs."""
        if self._process:
            stop_process(self._process)
            self._process = None

    def client(self, key: str = KEY, *, timeout: timedelta = timedelta(seconds=HANG)) -> Rafay:
        """A client of it, to be closed by the caller."""
        return Rafay(self.base_url, key, timeout=timeout, verify=TLS)

    def faults(self, *faults: Fault) -> None:
        """Replace all faults by these; none clears them."""
        set_faults(self.base_url, *faults)

    def switch(self, **switches: Any) -> None:
        """Change some of `embedded.rafay_behaviour.Behaviour`."""
        control(self.base_url, "PUT", BEHAVIOUR_PATH, switches)

    def reset(self) -> None:
        """No faults, switches as at the start; what has been made stays."""
        self.faults()
        self.switch(**self._switches)

    def calls(self) -> dict[str, int]:
        """How often each operation was called since the start."""
        counts: dict[str, int] = control(self.base_url, "GET", CALLS_PATH)
        return counts

    def add_user(self, email: str) -> None:
        """Make sure of a local user."""
        control(self.base_url, "POST", USERS_PATH, {"email": email})

    def fail_cluster(self, name: str, stage: str | None, reason: str = "failed on purpose") -> None:
        """Make the registration of the cluster fail at a stage ("ClusterCheckIn"); None takes it back."""
        control(self.base_url, "PUT", CLUSTERS_PATH + name, {"stage": stage, "reason": reason})

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """What a query finds in its database, past its API and our client."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as database:
            return database.execute(sql, values).fetchall()


def _wait_for_answer(base_url: str, process: Process) -> None:
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(trust_env=False, timeout=START_SECONDS, verify=TLS) as http:
        while True:
            if process.poll() is not None:
                raise AssertionError(f"the stand-ins ended with exit code {process.returncode}")
            try:
                http.get(base_url)
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{base_url} gave no answer within {START_SECONDS:g} s") from error
                time.sleep(0.02)
            else:
                return
