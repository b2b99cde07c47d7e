"""Runs the parts of the set-up: check, repair, trial and report of each part, after the parts that it needs.

Parts run concurrently, except that each waits for the parts that it needs; results are reported in order.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from temporalio.service import RPCError, RPCStatusCode

from clients.errors import ClientError, Denied, NotFound, Throttled, Unreachable
from starter.config_files.yaml_source import FilesUnusable
from starter.setup.check import Kind, Result, SetupCheck, State
from starter.temporal.errors import TemporalUnavailable
from worker.codec import DecodeError
from worker.connection import NotConnected

#: Timeout of one repair or trial: it makes several calls, and all of Temporal's services know a new namespace
#: only after ten seconds.
REPAIR_TIMEOUT = timedelta(seconds=90)
#: Pause before a throttled call is retried, if the system does not specify a pause.
THROTTLED_PAUSE = timedelta(seconds=1)

_REFUSALS = frozenset({RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED})
#: Expected errors of a part; any other exception is a bug of Moorage and is not caught.
_TROUBLES = (
    TimeoutError,
    ClientError,
    RPCError,
    NotConnected,
    TemporalUnavailable,
    FilesUnusable,
    DecodeError,
)

_T = TypeVar("_T")


async def run_checks(
    parts: Sequence[SetupCheck], *, repair: bool, tell: Callable[[Result], None] = lambda _: None
) -> list[Result]:
    """Check all parts, and repair them if `repair`; call `tell` with each result, in order.

    `parts` has each part after the parts that it needs. If `run_checks` is cancelled, running trials remove
    what they have created before it returns.
    """
    running: dict[SetupCheck, asyncio.Task[Result]] = {}
    for part in parts:
        needed = [running[one] for one in part.needs]
        running[part] = asyncio.create_task(_run_after(part, needed, repair))
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


async def _run_after(part: SetupCheck, needed: Sequence[asyncio.Task[Result]], repair: bool) -> Result:
    # Use asyncio.wait instead of await, because the cancellation of this task must not cancel those tasks.
    if needed:
        await asyncio.wait(needed)
    lacking = [task.result() for task in needed if not task.cancelled() and not task.result().well]
    if lacking:
        names = ", ".join(f"{one.part} ({one.system})" for one in lacking)
        return _result(part, State.WAITS, f"waits for {names}")
    started = time.monotonic()
    try:
        result = await _check_and_repair(part, repair)
    except _TROUBLES as error:
        steps = tuple(map(str, error.problems)) if isinstance(error, FilesUnusable) else ()
        result = _result(part, State.FAILED, *_explain(part, error), steps if len(steps) > 1 else ())
    return result.model_copy(update={"milliseconds": round((time.monotonic() - started) * 1000)})


async def _check_and_repair(part: SetupCheck, repair: bool) -> Result:
    found = await _with_retries(part.check, part.timeout)
    state, did = State.OK, ""
    if found.kind in (Kind.MISSING, Kind.WRONG):
        if part.repair is None or not repair:
            return _result(part, State.WOULD_DO, found.detail, found.remedy, found.steps)
        state = State.DONE if found.kind is Kind.MISSING else State.REPAIRED
        did = await _run_repair(part.repair)
        found = await _with_retries(part.check, part.timeout)
        if found.kind in (Kind.MISSING, Kind.WRONG):
            return _result(part, State.FAILED, f"{did}, and still: {found.detail}", "run it again")
    if found.kind is Kind.BY_HAND:
        return _result(part, State.BY_HAND, found.detail, found.remedy, found.steps)
    if found.kind is Kind.REFUSED:
        return _result(part, State.FAILED, found.detail, found.remedy, found.steps)
    if repair and part.trial:
        shown = await _with_retries(part.trial, REPAIR_TIMEOUT)
        return _result(part, state, "; ".join(filter(None, (did, shown))))
    return _result(part, state, did or found.detail)


async def _run_repair(repair: Callable[[], Awaitable[str]]) -> str:
    try:
        return await _with_retries(repair, REPAIR_TIMEOUT)
    except ClientError as error:
        if not error.ambiguous:
            raise
        # The repair may have succeeded although no response came; the next check finds out.
        return f"asked to {error.operation}, without an answer ({error.detail})"


async def _with_retries(call: Callable[[], Awaitable[_T]], timeout: timedelta) -> _T:
    """Make the call, and retry it while it is throttled, until the timeout."""
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout.total_seconds()
    async with asyncio.timeout_at(until):
        while True:
            try:
                return await call()
            except Throttled as error:
                pause = (error.retry_after or THROTTLED_PAUSE).total_seconds()
                if loop.time() + pause >= until:
                    raise
                await asyncio.sleep(pause)


def _result(
    part: SetupCheck, state: State, detail: str, remedy: str = "", steps: tuple[str, ...] = ()
) -> Result:
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


def _explain(part: SetupCheck, error: Exception) -> tuple[str, str]:
    """Return what went wrong with the part, and what to do about it."""
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
        case DecodeError():
            return str(error), "see the part encryption keys, and run this again"
        case FilesUnusable():
            first, *more = map(str, error.problems)
            count = f"{len(more) + 1} problems, the first: " if more else ""
            return f"{count}{first}", "correct the file"
        case _:
            raise error
