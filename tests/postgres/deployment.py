"""Versions of the workers of a stack: another build of the code, the current version, and what runs where."""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

from temporalio.client import Client

from embedded.stack.stack import Stack
from embedded.stack.temporal_server import find_server
from starter.monitoring.worker_versions import versions_in_use
from tests.support.deadline import HANG, soon
from tests.support.processes import CHECKOUT
from tests.workflows.conftest import until

#: Longest wait for lives to be made and unmade on a busy machine, and to move then.
LONGEST = 10 * HANG
#: What a worker imports.
PACKAGES = ("activities", "clients", "contracts", "starter", "worker", "workflows")
#: Of another build: a timer, so that its histories are those of no other build. A run of one build that the
#: other replays fails its workflow task.
ANOTHER = "await workflow.sleep(0.001, summary='another build')"
#: The methods of the environment's workflow that begin with the timer in another build.
CHANGED = ("_provision", "_tear_down")


def another_build(folder: Path) -> Path:
    """Copy the code of a worker with another workflow; return its folder."""
    ignored = shutil.ignore_patterns("__pycache__")
    for package in PACKAGES:
        shutil.copytree(CHECKOUT / package, folder / package, ignore=ignored)
    shutil.copy(CHECKOUT / "moorage.py", folder)
    file = folder / "workflows" / "environment" / "workflow.py"
    code = file.read_text()
    for method in CHANGED:
        first_line = f"    async def {method}(self) -> None:\n"
        assert code.count(first_line) == 1
        code = code.replace(first_line, f"{first_line}        {ANOTHER}\n")
    file.write_text(code)
    return folder


async def make_current(stack: Stack, version: str) -> None:
    """Do what docs/how-to/upgrade.md says, once the workers of the version have registered."""
    command = [
        find_server(), "worker", "deployment", "set-current-version", "--deployment-name", "moorage",
        "--build-id", version, "--yes", "--address", stack.temporal_address,
    ]  # fmt: skip
    async with soon(f"{version} does not become the current version"):
        while True:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            said, _ = await process.communicate()
            if process.returncode == 0:
                return
            # Its workers have polled for a moment only.
            assert b"not found" in said or b"no Worker Deployment" in said or b"missing" in said, said
            await asyncio.sleep(0.2)


async def open_runs(client: Client) -> Mapping[str, int]:
    """How many open runs each version has; those without any are left out."""
    versions = await versions_in_use(client)
    assert versions is not None
    return {version: count for version, count in versions.open_runs.items() if count}


async def until_all_run_on(client: Client, version: str) -> None:
    """Wait until no other version is needed."""
    await until(lambda: _all_run_on(client, version), f"all runs have moved to {version}", LONGEST)


async def _all_run_on(client: Client, version: str) -> bool:
    return not set(await open_runs(client)) - {version}
