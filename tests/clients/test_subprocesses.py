"""Ensures that no program outlives the call that runs it."""

import asyncio
import contextlib
import sys
import time
from pathlib import Path

import psutil
import pytest

from clients import subprocesses
from tests.support.deadline import soon

#: Starts a child, which only a signal to the whole process group reaches.
SCRIPT = 'sleep 900 &\necho "$$ $!" > "$1.new" && mv "$1.new" "$1"\nwait'


@pytest.mark.parametrize("turns", range(10))
async def test_run_ends_the_whole_group_when_cancelled_at_any_moment_of_the_start(
    tmp_path: Path, turns: int
) -> None:
    """Ensures that it also holds while the call that starts the program has not returned yet."""
    pids = tmp_path / "pids"
    running = asyncio.create_task(subprocesses.run(["/bin/sh", "-c", SCRIPT, "sh", str(pids)]))
    for _ in range(turns):
        await asyncio.sleep(0)
    # Hold this process, and only this one, so that the program gets further than the call that starts it.
    deadline = time.monotonic() + 0.3
    while not pids.exists() and time.monotonic() < deadline:
        time.sleep(0.01)  # noqa: ASYNC251
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with soon("a program whose caller was cancelled goes on running"):
        while pids.exists() and any(_runs(int(pid)) for pid in pids.read_text().split()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_run_raises_os_error_when_there_is_no_such_program() -> None:
    with pytest.raises(OSError, match="No such file"):
        await subprocesses.run([f"{sys.executable}-that-is-not-there"])


def _runs(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False
