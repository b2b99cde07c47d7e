"""Asks every outside system whether it is there and accepts us: one line each."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from clients.errors import ClientError, Denied, NotFound, Unreachable
from contracts.base import Frozen
from starter.located import FilesUnusable
from worker.connection import NotConnected

#: One system; longer than its own timeout is no answer, and a person waits for the table.
PATIENCE = timedelta(seconds=20)


@dataclass(frozen=True)
class Check:
    """What is asked: a system by its name and address, and the call that shows that it accepts us.

    What the call answers, if it is text, follows the words of `well`.
    """

    system: str
    where: str
    ask: Callable[[], Awaitable[object]]
    well: str = "reachable, credentials accepted"


class Finding(Frozen):
    """What came of one check. `remedy` says what to do when it is not well."""

    system: str
    where: str
    well: bool
    detail: str
    remedy: str = ""
    milliseconds: int


async def examine(checks: Sequence[Check]) -> list[Finding]:
    """All of them, asked at once, in the given order."""
    return list(await asyncio.gather(*map(_examine, checks)))


async def _examine(check: Check) -> Finding:
    begun = time.monotonic()
    well, remedy = False, ""
    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            said = await check.ask()
        well, detail = True, f"{check.well}: {said}" if isinstance(said, str) and said else check.well
    except TimeoutError:
        detail = f"no answer within {PATIENCE.total_seconds():g} s"
        remedy = "see that it runs, and that the way to it is open"
    except Denied as error:
        detail = f"refuses our credentials: {error.detail}"
        remedy = "correct its credentials in the settings"
    except Unreachable as error:
        detail, remedy = error.detail, "see that it runs, that its URL is right and the way to it open"
    except NotFound as error:
        detail, remedy = error.detail, "see that its URL is right: something else seems to answer there"
    except ClientError as error:
        detail, remedy = error.detail, "see its own log"
    except NotConnected as error:
        detail, _, remedy = str(error).partition(": ")
    except FilesUnusable as error:
        detail, remedy = "; ".join(map(str, error.problems)), "correct the file"
    return Finding(
        system=check.system,
        where=check.where,
        well=well,
        detail=detail,
        remedy=remedy,
        milliseconds=round((time.monotonic() - begun) * 1000),
    )
