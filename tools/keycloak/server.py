"""One running Keycloak on loopback, with a realm; it ends with the process that started it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedded.stack.state_dir import free_port
from tools.keycloak.distribution import JAVA_OPTIONS, KeycloakError, ensure_built

#: A start with an import took 35 s on two busy cores; the rest is for a machine that is busier still.
START_SECONDS = 300.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.2
LOG_LINES = 15
#: Ends Keycloak's process group and removes its folder when its own standard input ends, which is when the
#: caller is gone, also by SIGKILL. It has its own session, so no Ctrl-C of a terminal ends it before that.
#: It starts Keycloak at the first line. `kc.sh` forks Java, so the whole group is signalled and waited for.
_GUARD = """
import os, shutil, signal, subprocess, sys, threading, time
folder, *command = sys.argv[1:]
def signal_group(number):
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return False
    return True
def end_after(wait):
    wait()
    over.set()
if sys.stdin.readline():
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    over = threading.Event()
    for wait in (sys.stdin.read, child.wait):
        threading.Thread(target=end_after, args=[wait], daemon=True).start()
    over.wait()
    signal_group(signal.SIGTERM)
    deadline = time.monotonic() + 20
    while signal_group(0) and time.monotonic() < deadline:
        time.sleep(0.1)
    signal_group(signal.SIGKILL)
shutil.rmtree(folder, ignore_errors=True)
os._exit(0)
"""


@dataclass(frozen=True)
class Keycloak:
    """A running server: its base URL and the log of this run."""

    url: str
    log: Path

    def realm_url(self, realm: str) -> str:
        """Return the issuer of the realm."""
        return f"{self.url}/realms/{realm}"


@contextmanager
def running_keycloak(
    realms: Mapping[str, Mapping[str, Any]], log: Path, *, admin_password: str = ""
) -> Iterator[Keycloak]:
    """Start Keycloak with these realms and an empty database; stop it at the end, with nothing left.

    With `admin_password`, the realm `master` has the user `admin`.

    Raises:
        KeycloakError: it cannot be had, or is not ready within `START_SECONDS`.
    """
    built = ensure_built()
    with tempfile.TemporaryDirectory(prefix="moorage-keycloak-") as scratch:
        home = Path(scratch) / "home"
        port = free_port()
        management_port = free_port({port})
        command = [
            str(home / "bin" / "kc.sh"), "start", "--optimized", "--import-realm",
            "--http-enabled=true", "--hostname-strict=false",
            "--http-host=127.0.0.1", f"--http-port={port}",
            "--http-management-host=127.0.0.1", f"--http-management-port={management_port}",
        ]  # fmt: skip
        environment = {**os.environ, "JAVA_OPTS_APPEND": JAVA_OPTIONS, "KC_HOME_DIR": str(home)}
        if admin_password:
            environment |= {
                "KC_BOOTSTRAP_ADMIN_USERNAME": "admin",
                "KC_BOOTSTRAP_ADMIN_PASSWORD": admin_password,
            }
        with (
            log.open("w") as output,
            subprocess.Popen(
                [sys.executable, "-c", _GUARD, scratch, *command],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            ) as guard,
        ):
            assert guard.stdin is not None  # noqa: S101 - it is a pipe
            try:
                _link_home(built, home)
                for name, realm in realms.items():
                    (home / "data" / "import" / f"{name}-realm.json").write_text(json.dumps(realm))
                guard.stdin.write(b"\n")
                _wait_until_ready(f"http://127.0.0.1:{management_port}/health/ready", guard, log)
                yield Keycloak(f"http://127.0.0.1:{port}", log)
            finally:
                guard.stdin.close()
                guard.wait(STOP_SECONDS * 2)


def _link_home(built: Path, home: Path) -> None:
    """Make a home folder with its own data and everything else from the cache, which is never written."""
    home.mkdir()
    for entry in built.iterdir():
        if entry.name == "bin":
            # `kc.sh` finds its home by its own path, and follows a link.
            shutil.copytree(entry, home / "bin")
        elif entry.name != "data":
            (home / entry.name).symlink_to(entry)
    (home / "data" / "import").mkdir(parents=True)


def _wait_until_ready(url: str, guard: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if guard.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - a URL of our own
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(POLL_SECONDS)
    last = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
    raise KeycloakError(f"Keycloak is not ready; the end of its log:\n{last}")
