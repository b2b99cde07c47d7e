"""Temporal's server and schema tool, compiled once into the cache from the modules that `go/go.sum` locks."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tools.build_cache import cache_folder, locked

HERE = Path(__file__).resolve().parent
MODULE = "go.temporal.io/server"
#: Program to Go package: the programs have the names that they have in Temporal's images.
PROGRAMS = {"temporal-server": f"{MODULE}/cmd/server", "temporal-sql-tool": f"{MODULE}/cmd/tools/sql"}
#: The versions of all that is compiled, and of the compiler. With the constants below and the kind of the
#: machine they are the key in the cache: a change of this file alone compiles nothing again.
PINS = ("go-toolchain.txt", "go/go.mod", "go/go.sum")
#: Schemas of the module that are copied beside the programs.
SCHEMAS = "schema/postgresql"
OPTIONS = ("-ldflags", "-s -w")
SETTINGS = {"CGO_ENABLED": "0", "GOFLAGS": "-trimpath -modcacherw -mod=readonly", "GOTOOLCHAIN": "local"}
#: The folder of all that is kept between runs.
CACHE = "temporal"


class TemporalPostgresError(Exception):
    """Temporal or PostgreSQL cannot be had or started; the text says why and what to do."""


@dataclass(frozen=True)
class Binaries:
    """A folder with the programs and the versioned schemas of one version of Temporal."""

    folder: Path

    @property
    def server(self) -> Path:
        """The server."""
        return self.folder / "temporal-server"

    @property
    def schema(self) -> Path:
        """What /etc/temporal/schema is in Temporal's image of administration tools."""
        return self.folder / "schema"


def key() -> str:
    """Return the key in the cache: a digest of all that the programs depend on."""
    digest = hashlib.sha256(json.dumps([platform.machine(), PROGRAMS, SCHEMAS, OPTIONS, SETTINGS]).encode())
    for name in PINS:
        digest.update(name.encode() + b"\0" + (HERE / name).read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def ensure_built() -> Binaries:
    """Return the programs; compile them if the cache has none (ten minutes of processor).

    Raises:
        TemporalPostgresError: Go, a module or the compiler fails; its output is on standard error.
    """
    cache = cache_folder(CACHE)
    built = cache / key()
    with locked(cache / "lock") as lock:
        if built.is_dir():
            return Binaries(built)
        scratch = cache / "building"
        shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
        scratch.mkdir()
        started = time.monotonic()
        print(f"building into {built} (once; ten to thirty minutes on two cores)", file=sys.stderr)
        _build(cache / "go", scratch, lock)
        scratch.rename(built)
        print(f"built in {time.monotonic() - started:.0f} s", file=sys.stderr)
    return Binaries(built)


def _build(go_folder: Path, target: Path, lock: int) -> None:
    environment = _go_environment(go_folder)
    go = str(go_folder / "toolchain" / "bin" / "go")
    _install_go(go_folder / "toolchain", environment, lock)
    compile_one = [go, "build", *OPTIONS, "-o"]
    for name, package in PROGRAMS.items():
        _run(["nice", "-n", "15", *compile_one, str(target / name), package], environment, lock)
    described = _run([go, "list", "-m", "-json", MODULE], environment, lock, capture=True)
    source = Path(json.loads(described)["Dir"])
    shutil.copytree(source / SCHEMAS, target / SCHEMAS)


def _go_environment(go_folder: Path) -> dict[str, str]:
    """Modules and the compiler's cache lie in ours; no other Go is ever fetched."""
    own = {"GOCACHE": str(go_folder / "build"), "GOMODCACHE": str(go_folder / "mod"), "GOWORK": "off"}
    path = f"{go_folder / 'toolchain' / 'bin'}:{os.environ.get('PATH', '')}"
    return os.environ | SETTINGS | own | {"PATH": path}


def _install_go(toolchain: Path, environment: dict[str, str], lock: int) -> None:
    """Install the pinned Go, by hash, in a virtual environment; another version replaces it."""
    wanted = (HERE / "go-toolchain.txt").read_text()
    installed = toolchain / "installed.txt"
    if installed.exists() and installed.read_text() == wanted:
        return
    shutil.rmtree(toolchain, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(toolchain)], environment, lock)
    pip = [str(toolchain / "bin" / "pip"), "install", "--quiet", "--require-hashes", "--only-binary=:all:"]
    _run([*pip, "--requirement", str(HERE / "go-toolchain.txt")], environment, lock)
    installed.write_text(wanted)


def _run(command: list[str], environment: dict[str, str], lock: int, *, capture: bool = False) -> str:
    """Run the command, which keeps the lock until it ends, also when this process is killed."""
    done = subprocess.run(
        command,
        cwd=HERE / "go",
        env=environment,
        stdout=subprocess.PIPE if capture else sys.stderr,
        text=True,
        check=False,
        pass_fds=[lock],
    )
    if done.returncode:
        raise TemporalPostgresError(
            f"`{' '.join(command[:6])} …` failed with {done.returncode}; its output is above"
        )
    return done.stdout or ""
