"""The API as a process with few file descriptors, while hundreds of connections say nothing."""

import errno
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from temporalio.testing import WorkflowEnvironment

from embedded.asgi_server import listening_socket
from starter.auth.tokens import write_tokens
from tests.api.application import DEV, DEVELOPER, bearer
from tests.support.deadline import HANG
from tests.support.stand_ins import CHECKOUT, TLS
from tests.worker.test_settings import LEAST

pytestmark = pytest.mark.slow

DESCRIPTORS = 256
IDLE = 300
#: What the log may grow by in a minute of pressure. A flood was tens of megabytes.
BYTES_A_MINUTE = 20_000
#: From how many addresses the idle connections come, each time that they are opened again.
ADDRESSES = (1, 1, 8, 8)


@dataclass(frozen=True)
class RunningApi:
    """`moorage api` under a limit of descriptors."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def healthz(self) -> int:
        """The status of /healthz on a new connection."""
        return httpx.get(
            f"http://127.0.0.1:{self.port}/healthz", timeout=HANG, trust_env=False, verify=TLS
        ).status_code

    def logged(self) -> int:
        """The size of its log in bytes."""
        return self.log.stat().st_size


@contextmanager
def running_api(temporal_server: WorkflowEnvironment, folder: Path) -> Iterator[RunningApi]:
    tokens, log = folder / "tokens.yaml", folder / "api.log"
    write_tokens(tokens, [(DEVELOPER, DEV)])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MOORAGE", "TEMPORAL"))}
    ours = {
        "TEMPORAL_ADDRESS": temporal_server.client.service_client.config.target_host,
        "MOORAGE_API__TOKENS_FILE": str(tokens),
    }
    with listening_socket() as sock:
        port = int(sock.getsockname()[1])
    limited = f'ulimit -n {DESCRIPTORS} && exec "$@"'
    command = [sys.executable, "-m", "moorage", "api", "--port", str(port)]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            ["sh", "-c", limited, "sh", *command], env=kept | LEAST | ours, stderr=stderr, cwd=CHECKOUT
        )
    api = RunningApi(process, port, log)
    try:
        deadline = time.monotonic() + HANG
        while not _answers(api):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"it never listened: {log.read_text()}"
            time.sleep(0.1)
        yield api
    finally:
        process.kill()
        process.wait()


def _answers(api: RunningApi) -> bool:
    try:
        return api.healthz() == 200
    except httpx.TransportError:
        return False


@pytest.fixture(autouse=True)
def _enough_for_the_test() -> None:
    """The test itself needs more descriptors than the API has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < 4 * IDLE:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (4 * IDLE, hard))
        except (OSError, ValueError):
            pytest.skip("this process may not open enough sockets")


def idle_connections(api: RunningApi, sources: int, closing: ExitStack) -> None:
    """Open connections that send nothing, from this many addresses of this machine."""
    for number in range(IDLE):
        source = f"127.0.0.{1 + number % sources}"
        try:
            one = socket.create_connection(("127.0.0.1", api.port), HANG, source_address=(source, 0))
        except OSError as error:
            # Linux has all of 127/8. Any other error is of the API.
            if sys.platform == "linux" or error.errno != errno.EADDRNOTAVAIL:
                raise
            pytest.skip(f"this machine does not have {source}")
        closing.enter_context(one)


def test_api_answers_beside_idle_connections(temporal_server: WorkflowEnvironment, tmp_path: Path) -> None:
    """Ensures that 300 idle connections at `ulimit -n 256` neither stop /healthz nor fill the log.

    They come from one address, and then from eight.
    """
    with running_api(temporal_server, tmp_path) as api:
        assert api.process.poll() is None
        assert psutil.Process(api.process.pid).rlimit(psutil.RLIMIT_NOFILE) == (DESCRIPTORS, DESCRIPTORS)
        before, began = api.logged(), time.monotonic()
        for sources in ADDRESSES:
            with ExitStack() as closing:
                idle_connections(api, sources, closing)
                for _ in range(5):
                    assert api.healthz() == 200, api.log.read_text()
                assert psutil.Process(api.process.pid).num_fds() < DESCRIPTORS
        minutes = 1 + (time.monotonic() - began) / 60
        assert api.logged() - before < BYTES_A_MINUTE * minutes, api.log.read_text()[-4000:]
        # It has recovered: other routes answer as well, on a kept connection.
        with httpx.Client(
            base_url=f"http://127.0.0.1:{api.port}", timeout=HANG, trust_env=False, verify=TLS
        ) as client:
            for _ in range(50):
                assert client.get("/api/v1/templates", headers=bearer(DEVELOPER)).status_code == 200


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux changes the limit of another process")
def test_api_recovers_when_descriptors_have_run_out(
    temporal_server: WorkflowEnvironment, tmp_path: Path
) -> None:
    """Ensures that a process without any descriptor left waits quietly, and answers when there are some."""
    with running_api(temporal_server, tmp_path) as api:
        process = psutil.Process(api.process.pid)
        before, began = api.logged(), time.monotonic()
        few = max(int(name) for name in os.listdir(f"/proc/{process.pid}/fd")) + 40
        process.rlimit(psutil.RLIMIT_NOFILE, (few, few))
        with ExitStack() as closing:
            idle_connections(api, 1, closing)
            assert api.healthz() == 200, api.log.read_text()
            deadline = time.monotonic() + HANG
            while "no connection can be accepted for a moment" not in api.log.read_text():
                assert time.monotonic() < deadline, "it never ran out of descriptors"
                time.sleep(0.1)
        assert api.healthz() == 200, api.log.read_text()
        minutes = 1 + (time.monotonic() - began) / 60
        assert api.logged() - before < BYTES_A_MINUTE * minutes, api.log.read_text()[-4000:]
