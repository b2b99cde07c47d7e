"""Another program, run to its end or ended: what blocks without a limit of its own is run in one of these."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

#: How long a killed program is waited for. It is gone in milliseconds; but one that it has put beyond our
#: reach may hold its output open, and that one is not waited for.
ENDING = timedelta(seconds=2)


@dataclass(frozen=True)
class Ended:
    """How a program ended, and what it wrote. Either of the texts may be a credential."""

    code: int
    output: str
    complaint: str


async def run(
    command: Sequence[str], *, given: str | None = None, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run it and give it `given` to read. Cancelled, it is killed with all that it has started.

    OSError if it cannot be started. It may take as long as it likes: the limit is the caller's.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        # A group of its own: a script is ended with what it waits for.
        start_new_session=True,
    )
    try:
        output, complaint = await process.communicate(None if given is None else given.encode())
    except asyncio.CancelledError:
        await _end(process)
        raise
    # communicate() has seen its end, which it tells by a number.
    return Ended(process.returncode or 0, _text(output), _text(complaint))


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ENDING.total_seconds()):
            await process.wait()


def _text(written: bytes) -> str:
    return written.decode(errors="replace")
