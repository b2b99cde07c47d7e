"""A PostgreSQL on loopback with its own folder: where its programs are, its files, its command."""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tools.temporal_postgres.binaries import TemporalPostgresError

#: The user of the database, as in docker-compose.yml.
USER = "temporal"
#: Where Debian keeps the programs of each version; `initdb` is on no path there.
DEBIAN_FOLDER = Path("/usr/lib/postgresql")
#: What differs from PostgreSQL's defaults. Its files survive the end of every process without `fsync`: only a
#: crash of the machine loses them, and this one is thrown away. Four servers' worth of connections.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "log_checkpoints": "off",
}
#: The user that it runs as where we are root, as whom PostgreSQL refuses to run; Debian's package makes it.
ACCOUNT = "postgres"


@dataclass(frozen=True)
class Postgres:
    """A database server with its data in `folder / "data"`."""

    folder: Path
    port: int

    @property
    def command(self) -> list[str]:
        """The command that serves in the foreground."""
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        return [*_as_other_user(), _program("postgres"), "-D", str(self.data), "-p", str(self.port), *options]

    @property
    def data(self) -> Path:
        """The folder of its files."""
        return self.folder / "data"

    def initialise(self, password_file: Path) -> None:
        """Make its files, unless there are some.

        Raises:
            TemporalPostgresError: `initdb` is missing or fails.
        """
        if (self.data / "postgresql.auto.conf").exists():
            return
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        if account := _other_user():
            os.chown(self.data, account.pw_uid, account.pw_gid)
        command = [
            *_as_other_user(), _program("initdb"), "-D", str(self.data), "--username", USER,
            "--pwfile", str(password_file), "--auth", "scram-sha-256", "--encoding", "UTF8",
            "--locale", "C", "--no-sync",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        if done.returncode:
            raise TemporalPostgresError(f"initdb failed: {(done.stderr or done.stdout).strip()}")

    def is_ready(self) -> bool:
        """Whether it accepts connections."""
        command = [_program("pg_isready"), "--quiet", "--host", "127.0.0.1", "--port", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0


def _program(name: str) -> str:
    newest = sorted(DEBIAN_FOLDER.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    found = str(newest[-1]) if newest else shutil.which(name)
    if found is None:
        raise TemporalPostgresError(f"{name} is missing; install PostgreSQL (Debian: postgresql)")
    return found


def _other_user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise TemporalPostgresError(f"PostgreSQL refuses to run as root: add the user {ACCOUNT}") from None


def _as_other_user() -> list[str]:
    """Return what goes before a command of PostgreSQL where we are root.

    The capability lets that user reach files below folders of root, as those of a test are.
    """
    account = _other_user()
    if account is None:
        return []
    capability = ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
    user = ["--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--clear-groups"]
    return [shutil.which("setpriv") or "setpriv", *user, *capability, "--"]
