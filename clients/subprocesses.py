"""Subprocesses, for operations that block without a time limit and may have to be killed."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

#: Time to wait for a killed program. It ends in milliseconds, but a process that it has moved out of our
#: reach may keep its stdout open, and we do not wait for that one.
KILL_TIMEOUT = timedelta(seconds=2)


@dataclass(frozen=True)
class ProcessResult:
    """The result of a program and its stdout; either text may be a credential."""

    exit_code: int
    stdout: str
    stderr: str


async def run(
    command: Sequence[str], *, input: str | None = None, environment: Mapping[str, str] | None = None
) -> ProcessResult:
    """Run the command with `input` as its input; kill it with all its children when cancelled.

    There is no time limit here: the caller sets it.

    Raises:
        OSError: the command cannot be started.
    """
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL if input is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            # Use a separate process group, so that a script is killed together with the processes that it
            # waits for.
            start_new_session=True,
        )
    )
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        # The program may already run although the call that starts it has not returned.
        with contextlib.suppress(OSError):
            await _kill(await starting)
        raise
    try:
        stdout, stderr = await process.communicate(None if input is None else input.encode())
    except asyncio.CancelledError:
        await _kill(process)
        raise
    # communicate() has waited for the end of the process, so `returncode` is a number.
    return ProcessResult(process.returncode or 0, _text(stdout), _text(stderr))


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KILL_TIMEOUT.total_seconds()):
            await process.wait()


def _text(written: bytes) -> str:
    return written.decode(errors="replace")
