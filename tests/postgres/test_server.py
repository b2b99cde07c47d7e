"""Ensures that Temporal on PostgreSQL starts, outlives the end of either part, and leaves nothing."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.support.deadline import soon
from tests.support.processes import CHECKOUT
from tests.support.stack import unique
from tests.workflows.conftest import until
from tools.temporal_postgres.binaries import ensure_built

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(600)]


@workflow.defn(name="Waiting", sandboxed=False)
class Waiting:
    """Ends at its signal."""

    def __init__(self) -> None:
        self.text = ""

    @workflow.run
    async def run(self, answer: str) -> str:
        await workflow.wait_condition(lambda: bool(self.text))
        return f"{answer} {self.text}"

    @workflow.signal
    def tell(self, text: str) -> None:
        self.text = text


def command(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.temporal_postgres", name, "--folder", str(folder)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )


def up(folder: Path) -> dict[str, Any]:
    done = command("up", folder)
    assert done.returncode == 0, done.stderr
    addresses: dict[str, Any] = json.loads(done.stdout)
    return addresses


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of a server; whatever runs from it is ended."""
    ensure_built()
    yield tmp_path / "server"
    assert command("down", tmp_path / "server").returncode == 0


def sql(addresses: dict[str, Any], *, password: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["psql", f"{addresses['postgres']}/temporal", "--no-password", "--command", "select 1"],
        env={"PATH": os.environ["PATH"], "PGPASSWORD": password},
        capture_output=True,
        text=True,
    )


def exists(folder: Path) -> bool:
    return folder.exists()


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def pids(addresses: dict[str, Any]) -> list[int]:
    return [addresses["pid"], addresses["postgres_pid"], addresses["temporal_pid"]]


async def until_ended(*pids: int) -> None:
    """Wait until init has buried them: they have let go of the folder's lock just before."""

    async def buried() -> bool:
        return not any(map(is_alive, pids))

    await until(buried, f"none of {pids} is left")


async def ended(folder: Path, killed: int, name: str) -> dict[str, Any]:
    """The addresses once the killed one of the two runs again."""
    async with soon(f"{name} is not started again"):
        while True:
            with suppress(FileNotFoundError):
                addresses: dict[str, Any] = json.loads((folder / "addresses.json").read_text())
                if addresses[f"{name}_pid"] != killed:
                    return addresses
            await asyncio.sleep(0.05)


async def test_it_starts_once_and_leaves_nothing(folder: Path) -> None:
    first = up(folder)
    assert up(folder) == first, "a second `up` starts another"
    client = await Client.connect(first["temporal"])
    assert [run async for run in client.list_workflows("EnvPhase = 'ready'")] == []
    assert "password authentication failed" in sql(first, password="guessed").stderr
    if os.geteuid() == 0:
        assert os.stat(f"/proc/{first['postgres_pid']}").st_uid != 0

    assert command("down", folder).returncode == 0
    assert not exists(folder)
    await until_ended(*pids(first))
    assert command("down", folder).returncode == 0, "a second `down` fails"


async def test_each_part_may_be_killed_and_work_goes_on(folder: Path) -> None:
    addresses = up(folder)
    client = await Client.connect(addresses["temporal"])
    queue = unique("queue")
    worker = Worker(
        client, task_queue=queue, workflows=[Waiting], workflow_runner=UnsandboxedWorkflowRunner()
    )
    async with worker:
        handle = await client.start_workflow(
            "Waiting", "answered with", id=unique("waiting"), task_queue=queue
        )
        for name in ("postgres", "temporal"):
            killed = addresses[f"{name}_pid"]
            os.kill(killed, signal.SIGKILL)
            addresses = await ended(folder, killed, name)
        async with soon("the workflow does not go on"):
            await handle.signal("tell", "go on")
            assert await handle.result() == "it says go on"


async def test_what_a_killed_one_has_left_is_ended(folder: Path) -> None:
    addresses = up(folder)
    os.kill(addresses["pid"], signal.SIGKILL)
    assert command("down", folder).returncode == 0
    assert not exists(folder)
    await until_ended(*pids(addresses)[1:])
