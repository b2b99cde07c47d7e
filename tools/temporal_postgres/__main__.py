"""`python -m tools.temporal_postgres up|down|run`: the command line; `make temporal-postgres`."""

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from embedded.stack.state_dir import StackError, StackFolder
from tools.build_cache import cache_folder
from tools.temporal_postgres.binaries import CACHE, Binaries, TemporalPostgresError, ensure_built
from tools.temporal_postgres.running import START_SECONDS, STOP_SECONDS, Running

#: Exists while both servers run: their addresses and process ids.
ADDRESSES = "addresses.json"
LOCK = "lock"
POLL_SECONDS = 0.1


def main() -> None:
    """Run the command of the arguments; exit 1 with a sentence when it fails."""
    parser = argparse.ArgumentParser(prog="python -m tools.temporal_postgres", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in {
        "build": "only compile the programs, if the cache has none",
        "up": "start in the background, and print the addresses as JSON",
        "down": "end what `up` has started, and remove its data",
        "run": "serve in the foreground until SIGTERM; the data stays",
    }.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("--folder", type=Path, default=cache_folder(CACHE) / "run", help="of all data")
        command.add_argument("--port", type=int, help="of Temporal's gRPC frontend")
        command.add_argument("--http-port", type=int, help="of Temporal's HTTP API")
        command.add_argument("--metrics-port", type=int, help="of Temporal's metrics")
        command.add_argument("--binaries", type=Path, help="a folder that `build` has filled")
    arguments = parser.parse_args()
    try:
        {"build": build, "up": up, "down": down, "run": run}[arguments.command](arguments)
    except (TemporalPostgresError, StackError) as error:
        sys.exit(f"{error}")


def build(_: argparse.Namespace) -> None:
    """Print the folder of the programs."""
    print(ensure_built().folder)


def run(arguments: argparse.Namespace) -> None:
    """Serve in the foreground."""
    binaries = Binaries(arguments.binaries) if arguments.binaries else ensure_built()
    folder = StackFolder(arguments.folder)
    folder.open(fresh=False)
    addresses = folder.path / ADDRESSES
    ports = {"temporal": arguments.port, "http": arguments.http_port, "metrics": arguments.metrics_port}
    running = Running(folder, binaries, {name: port for name, port in ports.items() if port})
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: running.end())

    def announce() -> None:
        folder.write(ADDRESSES, json.dumps({**running.addresses, "pid": os.getpid()}, indent=2))

    try:
        running.start()
        announce()
        running.serve(announce)
    finally:
        running.stop()
        addresses.unlink(missing_ok=True)
        folder.close()


def up(arguments: argparse.Namespace) -> None:
    """Start `run` in its own session, wait until it serves, and print where; fine if it does already."""
    built = ensure_built()
    addresses = arguments.folder / ADDRESSES
    if not (_is_locked(arguments.folder) and addresses.exists()):
        addresses.unlink(missing_ok=True)
        _start(arguments, built, addresses)
    print(addresses.read_text())


def _start(arguments: argparse.Namespace, built: Binaries, addresses: Path) -> None:
    given = {
        "--folder": arguments.folder.absolute(),
        "--binaries": built.folder,
        "--port": arguments.port,
        "--http-port": arguments.http_port,
        "--metrics-port": arguments.metrics_port,
    }
    options = [part for name, value in given.items() if value for part in (name, str(value))]
    arguments.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (arguments.folder / "run.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.temporal_postgres", "run", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + 2 * START_SECONDS
    while not addresses.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.terminate()
            raise TemporalPostgresError((arguments.folder / "run.log").read_text().strip() or "it ended")
        time.sleep(POLL_SECONDS)
    process.returncode = 0  # it outlives this process on purpose


def down(arguments: argparse.Namespace) -> None:
    """End what runs from the folder and remove the folder; fine if nothing does."""
    folder: Path = arguments.folder
    if not folder.exists():
        return
    for number, seconds in ((signal.SIGTERM, 3 * STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        deadline = time.monotonic() + seconds
        _signal(folder, number)
        while _is_locked(folder) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    if _is_locked(folder):
        raise TemporalPostgresError(f"the processes that use {folder} do not end")
    shutil.rmtree(folder)


def _signal(folder: Path, number: signal.Signals) -> None:
    """Signal the process of `run`, or the rest of its group; only while they hold the lock."""
    if not _is_locked(folder):
        return
    with suppress(FileNotFoundError, ValueError, KeyError, ProcessLookupError):
        pid = int(json.loads((folder / LOCK).read_text())["pid"])
        if number is signal.SIGTERM:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                return
        # `run` was killed: only its children are left in its group.
        os.killpg(pid, number)


def _is_locked(folder: Path) -> bool:
    try:
        with (folder / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


if __name__ == "__main__":
    main()
