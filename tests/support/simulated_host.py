"""A simulated host in its own process, for tests that need one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from clients.simulated_host.host import SimulatedHost
from tests.support.deadline import HANG
from tests.support.stand_ins import running_stand_ins

HOST_TOKEN = "a-token-of-the-host"


@dataclass(frozen=True)
class RunningHost:
    """Where it is. Its database may be read while it runs."""

    url: str
    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "host.sqlite"

    def client(self, token: str = HOST_TOKEN, seconds: float = HANG) -> SimulatedHost:
        return SimulatedHost("harbour", self.url, token, timeout=timedelta(seconds=seconds))


@contextmanager
def running_host(folder: Path, *, start: float = 0.0, stop: float = 0.0) -> Iterator[RunningHost]:
    """Run it with these times for starts and ends, in seconds."""
    options = {"folder": folder, "token": HOST_TOKEN, "start_seconds": start, "stop_seconds": stop}
    with running_stand_ins(host=options) as [url]:
        yield RunningHost(url, folder)
