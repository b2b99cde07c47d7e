"""The worker as a process: it reports when it takes work, serves metrics, and stops on a signal."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from temporalio.testing import WorkflowEnvironment

from embedded.asgi_server import listening_socket
from embedded.stack.state_dir import free_port
from tests.support.deadline import HANG
from tests.support.processes import Process, spawn_module
from tests.worker.test_settings import LEAST

#: Longest wait for what takes seconds when the cores are busy.
MAX_WAIT = HANG


@dataclass(frozen=True)
class RunningWorker:
    """A `moorage worker`, and the file of what it prints."""

    process: Process
    printed: Path

    def text(self) -> str:
        """What it has printed so far."""
        return self.printed.read_text()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what happens while it runs."""
        deadline = time.monotonic() + MAX_WAIT
        while not condition():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, f"it does not come: {self.text()}"
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        """Wait for its end; return its exit code and what it has printed."""
        return self.process.wait(MAX_WAIT), self.text()


@contextmanager
def a_worker(address: str, folder: Path, **more: str) -> Iterator[RunningWorker]:
    """`moorage worker` with systems that are not there: it calls them when it has steps to do."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MOORAGE", "TEMPORAL"))}
    ours = {"TEMPORAL_ADDRESS": address, "MOORAGE_READY_FILE": str(folder / "ready"), **more}
    with (folder / "printed").open("wb") as printed, open(os.devnull, "rb") as nothing:
        process = spawn_module(
            "moorage", ["worker"], kept | LEAST | ours, stdin=nothing.fileno(), stderr=printed.fileno()
        )
    try:
        yield RunningWorker(process, folder / "printed")
    finally:
        process.kill()
        process.wait()


def test_from_ready_to_stopped(temporal_server: WorkflowEnvironment, tmp_path: Path) -> None:
    """Ensures that its file is there while it takes work, its metrics are in seconds, and SIGTERM ends it."""
    address, port = temporal_server.client.service_client.config.target_host, free_port()
    with a_worker(address, tmp_path, MOORAGE_WORKER__METRICS=f"127.0.0.1:{port}") as worker:
        worker.until((tmp_path / "ready").exists)
        assert (tmp_path / "ready").read_text().strip() == str(worker.process.pid)
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        assert "temporal_worker_start" in metrics
        # A bucket of fifty milliseconds.
        assert re.search(r'temporal_request_latency_bucket\{[^}]*le="0.05"', metrics)
        worker.process.send_signal(signal.SIGTERM)
        code, err = worker.end()
    assert code == 0, err
    assert '"event": "stopped"' in err
    assert not (tmp_path / "ready").exists()
    assert "planted" not in err


def test_stops_on_a_signal_while_it_waits(tmp_path: Path) -> None:
    """Ensures that a worker that waits for its Temporal server can be stopped at once."""
    # The loop's first words, at this level, are the sign that it handles signals.
    with a_worker(f"127.0.0.1:{free_port()}", tmp_path, MOORAGE_LOG__LEVEL="debug") as worker:
        worker.until(lambda: worker.text().endswith("\n"))
        first = worker.text()
        assert ("selector" in first, len(first.splitlines())) == (True, 1)
        time.sleep(1)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.end() == (0, first)


def test_port_of_metrics_is_taken(temporal_server: WorkflowEnvironment, tmp_path: Path) -> None:
    """Ensures that a taken port is reported in one sentence and ends the start."""
    address = temporal_server.client.service_client.config.target_host
    with (
        listening_socket() as sock,
        a_worker(address, tmp_path, MOORAGE_WORKER__METRICS=f"127.0.0.1:{sock.getsockname()[1]}") as worker,
    ):
        code, err = worker.end()
    assert code == 2
    assert "cannot serve metrics at 127.0.0.1" in err
    assert "Traceback" not in err


def test_settings_that_are_missing(tmp_path: Path) -> None:
    """Ensures that a worker does not begin with settings that cannot be used, and tells all of them."""
    missing = {"MOORAGE_INSTALLATION": "", "MOORAGE_CONTROL_PLANE__API_KEY": ""}
    with a_worker("127.0.0.1:1", tmp_path, **missing) as worker:
        code, err = worker.end()
    assert code == 2
    assert all(name in err for name in missing)
    assert "planted" not in err
