"""A part of what has to be so, how it is checked and repaired, and what came of it.

Parts are walked at the same time, except that each waits for those that it needs; results are told in
order. A check changes nothing. A repair may be repeated, and is believed only when the check says so after
it. A trial shows by deed what cannot be read, and leaves nothing behind.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TypeVar

from pydantic import computed_field
from temporalio.service import RPCError, RPCStatusCode

from clients.errors import ClientError, Denied, NotFound, Throttled, Unreachable
from contracts.base import Frozen
from starter.located import FilesUnusable
from starter.temporal import TemporalUnavailable
from worker.connection import NotConnected

#: One check; longer than the timeouts of the systems is no answer, and a person waits.
CHECK_PATIENCE = timedelta(seconds=20)
#: One repair or trial: several calls, and Temporal takes ten seconds to know a new namespace everywhere.
REPAIR_PATIENCE = timedelta(seconds=90)
#: Pause before a throttled call is tried again, when its system names none.
THROTTLED_PAUSE = timedelta(seconds=1)

_REFUSALS = frozenset({RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED})
#: All that can go wrong with a part; anything else is a mistake of ours, and is not hidden.
_TROUBLES = (TimeoutError, ClientError, RPCError, NotConnected, TemporalUnavailable, FilesUnusable)

_T = TypeVar("_T")


class Area(StrEnum):
    """What a part belongs to: what `--only` chooses by."""

    FILES = "files"
    CONTROL_PLANE = "control-plane"
    IDENTITY = "identity"
    HOSTS = "hosts"
    TEMPORAL = "temporal"


class Kind(StrEnum):
    """What a check can find."""

    WELL = "well"
    MISSING = "missing"  #: a repair will make it
    WRONG = "wrong"  #: a repair will mend it
    BY_HAND = "by hand"  #: only a person can do it
    REFUSED = "refused"  #: what is there will not do, and nothing here can change that


@dataclass(frozen=True)
class Found:
    """What a check found. `remedy` is what a repair would do, or what a person has to do, `steps` how."""

    kind: Kind
    detail: str
    remedy: str = ""
    steps: tuple[str, ...] = ()


def well(detail: str) -> Found:
    """It is as it should be."""
    return Found(Kind.WELL, detail)


@dataclass(frozen=True, eq=False)
class Part:
    """One thing that has to be so. `where` is its address or name.

    `denied` is what a refusal of our credentials means here, and what to do about it.
    """

    area: Area
    system: str
    name: str
    where: str
    check: Callable[[], Awaitable[Found]]
    repair: Callable[[], Awaitable[str]] | None = None
    trial: Callable[[], Awaitable[str]] | None = None
    needs: tuple["Part", ...] = ()
    denied: tuple[str, str] = ("refuses our credentials", "correct its credentials in the settings")
    patience: timedelta = CHECK_PATIENCE


class State(StrEnum):
    """What came of a part."""

    OK = "ok"
    DONE = "done"
    REPAIRED = "repaired"
    WOULD_DO = "would do"
    BY_HAND = "by hand"
    FAILED = "failed"
    WAITS = "waits"


class Result(Frozen):
    """What came of a part. `remedy` and `steps` say what to do when it is not well."""

    area: Area
    system: str
    part: str
    where: str
    state: State
    detail: str
    remedy: str = ""
    steps: tuple[str, ...] = ()
    milliseconds: int = 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def well(self) -> bool:
        """Whether it is now as it should be."""
        return self.state in (State.OK, State.DONE, State.REPAIRED)


async def walk(
    parts: Sequence[Part], *, repair: bool, tell: Callable[[Result], None] = lambda _: None
) -> list[Result]:
    """See to all of them, or only look; `tell` is told each result, in the order of the parts.

    A part comes after those that it needs. Cancelled, it lets trials take back what they have made.
    """
    running: dict[Part, asyncio.Task[Result]] = {}
    for part in parts:
        needed = [running[one] for one in part.needs]
        running[part] = asyncio.create_task(_in_turn(part, needed, repair))
    results = []
    try:
        for task in running.values():
            results.append(await task)
            tell(results[-1])
    finally:
        for task in running.values():
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)
    return results


def chosen(parts: Sequence[Part], only: Sequence[Area]) -> list[Part]:
    """The parts of these areas and all that they need, in order; all of them if no area is named."""
    wanted: set[Part] = set()

    def want(part: Part) -> None:
        wanted.add(part)
        for needed in part.needs:
            want(needed)

    for part in parts:
        if not only or part.area in only:
            want(part)
    return [part for part in parts if part in wanted]


async def _in_turn(part: Part, needed: Sequence[asyncio.Task[Result]], repair: bool) -> Result:
    # Waited for and not awaited: to cancel this one must not cancel those.
    if needed:
        await asyncio.wait(needed)
    lacking = [task.result() for task in needed if not task.cancelled() and not task.result().well]
    if lacking:
        names = ", ".join(f"{one.part} ({one.system})" for one in lacking)
        return _result(part, State.WAITS, f"waits for {names}")
    begun = time.monotonic()
    try:
        result = await _settle(part, repair)
    except _TROUBLES as error:
        result = _result(part, State.FAILED, *_explained(part, error))
    return result.model_copy(update={"milliseconds": round((time.monotonic() - begun) * 1000)})


async def _settle(part: Part, repair: bool) -> Result:
    found = await _patiently(part.check, part.patience)
    state, did = State.OK, ""
    if found.kind in (Kind.MISSING, Kind.WRONG):
        if part.repair is None or not repair:
            return _result(part, State.WOULD_DO, found.detail, found.remedy, found.steps)
        state = State.DONE if found.kind is Kind.MISSING else State.REPAIRED
        did = await _repaired(part.repair)
        found = await _patiently(part.check, part.patience)
        if found.kind in (Kind.MISSING, Kind.WRONG):
            return _result(part, State.FAILED, f"{did}, and still: {found.detail}", "run it again")
    if found.kind is Kind.BY_HAND:
        return _result(part, State.BY_HAND, found.detail, found.remedy, found.steps)
    if found.kind is Kind.REFUSED:
        return _result(part, State.FAILED, found.detail, found.remedy, found.steps)
    if repair and part.trial:
        shown = await _patiently(part.trial, REPAIR_PATIENCE)
        return _result(part, state, "; ".join(filter(None, (did, shown))))
    return _result(part, state, did or found.detail)


async def _repaired(repair: Callable[[], Awaitable[str]]) -> str:
    try:
        return await _patiently(repair, REPAIR_PATIENCE)
    except ClientError as error:
        if not error.ambiguous:
            raise
        # It may have been done all the same: the check that follows will tell.
        return f"asked to {error.operation}, without an answer ({error.detail})"


async def _patiently(call: Callable[[], Awaitable[_T]], patience: timedelta) -> _T:
    """Make the call, and make it again when it is throttled, as long as patience lasts."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience.total_seconds()
    async with asyncio.timeout_at(until):
        while True:
            try:
                return await call()
            except Throttled as error:
                pause = (error.retry_after or THROTTLED_PAUSE).total_seconds()
                if loop.time() + pause >= until:
                    raise
                await asyncio.sleep(pause)


def _result(part: Part, state: State, detail: str, remedy: str = "", steps: tuple[str, ...] = ()) -> Result:
    return Result(
        area=part.area,
        system=part.system,
        part=part.name,
        where=part.where,
        state=state,
        detail=detail,
        remedy=remedy,
        steps=steps,
    )


def _explained(part: Part, error: Exception) -> tuple[str, str]:
    """What went wrong, and what to do about it."""
    match error:
        case TimeoutError():
            return "no answer in time", "see that it runs, and that the way to it is open"
        case Denied():
            words, remedy = part.denied
            return f"{words}: {error.operation}: {error.detail}", remedy
        case Throttled():
            return f"throttled: {error.operation}: {error.detail}", "run it again in a while"
        case Unreachable():
            return error.detail, "see that it runs, that its URL is right and the way to it open"
        case NotFound():
            detail = f"{error.operation}: {error.detail}"
            return detail, "see that its URL is right: something else seems to answer there"
        case ClientError():
            return f"{error.operation}: {error.detail}", "see its own log"
        case RPCError() if error.status in _REFUSALS:
            words, remedy = part.denied
            return f"{words}: {error.message}", remedy
        case RPCError() | TemporalUnavailable():
            return str(error), "see its own log, and run this again"
        case NotConnected():
            detail, _, remedy = str(error).partition(": ")
            return detail, remedy
        case FilesUnusable():
            return "; ".join(map(str, error.problems)), "correct the file"
        case _:
            raise error
