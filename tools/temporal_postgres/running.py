"""PostgreSQL and Temporal's server as children of one process, which starts each again when it ends."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from embedded.stack.state_dir import StackFolder
from tools.temporal_postgres.binaries import Binaries, TemporalPostgresError
from tools.temporal_postgres.postgres import Postgres
from tools.temporal_postgres.server import PORTS, Server

#: Longest start of one of the two: a second on an idle machine.
START_SECONDS = 120.0
#: Longest ordered end of one; PostgreSQL writes a checkpoint.
STOP_SECONDS = 20.0
POLL_SECONDS = 0.05
#: Between two starts of one that ends at once: a database that recovers, a port that is not free yet.
RESTART_SECONDS = 0.5
LOG_LINES = 15


class Running:
    """The two servers of one open folder. Their logs are in its folder `logs`."""

    def __init__(self, folder: StackFolder, binaries: Binaries, ports: dict[str, int]) -> None:
        """`ports` may have `temporal`, `http` and `metrics`; the others are those of the last run or free."""
        self._folder = folder
        password = folder.write("database-password", folder.secret("database"))
        self.database = Postgres(folder.path, folder.port("postgres"))
        self.server = Server(
            binaries,
            self.database,
            password,
            {
                "FRONTEND_GRPC_PORT": folder.port("temporal", ports.get("temporal")),
                "FRONTEND_HTTP_PORT": folder.port("http", ports.get("http")),
                **{name: folder.port(name) for name in PORTS},
            },
            folder.port("metrics", ports.get("metrics")),
        )
        self._password = password
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._ending = threading.Event()

    @property
    def addresses(self) -> dict[str, str | int]:
        """Where things are, and the process ids, for programs."""
        return {
            "temporal": self.server.address,
            "http": f"http://127.0.0.1:{self.server.ports['FRONTEND_HTTP_PORT']}",
            "metrics": f"http://127.0.0.1:{self.server.metrics_port}/metrics",
            "postgres": f"postgresql://{self.server.environment['POSTGRES_USER']}@127.0.0.1:{self.database.port}",
            "password_file": str(self._password),
            "logs": str(self._folder.path / "logs"),
            **{f"{name}_pid": child.pid for name, child in self._children.items()},
        }

    def start(self) -> None:
        """Start both and return when the namespace is served.

        Raises:
            TemporalPostgresError: one of them is not ready within `START_SECONDS`.
        """
        self.database.initialise(self._password)
        self._spawn("postgres")
        self._until(self.database.is_ready, "postgres")
        self.server.create_schema()
        self._spawn("temporal")
        self._until(self.server.answers, "temporal")
        self._until(self._prepared, "temporal")

    def serve(self, changed: Callable[[], None]) -> None:
        """Start each again when it ends, until `end` is called from a signal's handler."""
        while not self._ending.wait(POLL_SECONDS):
            for name, child in list(self._children.items()):
                if child.poll() is not None:
                    print(f"{name} ended with {child.returncode}; it is started again", file=sys.stderr)
                    if not self._ending.wait(RESTART_SECONDS):
                        self._spawn(name)
                        changed()

    def end(self) -> None:
        """Let `start` and `serve` return; only for handlers of signals."""
        self._ending.set()

    def stop(self) -> None:
        """End Temporal, then PostgreSQL, each in good order."""
        # PostgreSQL ends at SIGINT without waiting for its clients.
        for name, number in (("temporal", signal.SIGTERM), ("postgres", signal.SIGINT)):
            child = self._children.pop(name, None)
            if child is None or child.poll() is not None:
                continue
            child.send_signal(number)
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _prepared(self) -> bool:
        self.server.prepare()
        return self.server.is_prepared()

    def _spawn(self, name: str) -> None:
        command, environment = {
            "postgres": (self.database.command, None),
            "temporal": (self.server.command, self.server.environment),
        }[name]
        with self._log(name).open("ab") as log:
            self._children[name] = subprocess.Popen(
                command,
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # The folder stays locked until the last of them has ended.
                pass_fds=[self._folder.lock_descriptor],
            )

    def _until(self, condition: Callable[[], bool], name: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._ending.wait(POLL_SECONDS):
            if condition():
                return
            if self._children[name].poll() is not None or time.monotonic() > deadline:
                break
        last = "\n".join(self._log(name).read_text(errors="replace").splitlines()[-LOG_LINES:])
        raise TemporalPostgresError(f"{name} is not ready; the end of {self._log(name)}:\n{last}")

    def _log(self, name: str) -> Path:
        return self._folder.path / "logs" / f"{name}.log"
