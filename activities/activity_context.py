"""The context of a running activity: it reports what a step waits for, and is the only way to wait.

A step is interrupted only while it waits, never during a call: `sleep` and `wait_until` end at once when the
activity is cancelled or its worker shuts down. Everything else runs to completion, so that the result is
known for certain.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import activity

from activities.errors import Interrupted
from contracts.activities.steps import HeartbeatDetails

#: Longest text of a heartbeat, in characters: enough to recognise a cause, and small enough to send with
#: every heartbeat.
MAX_TEXT = 300
#: The next poll comes after this share of the time waited so far. The result of a long wait may be noticed
#: late, by a twentieth; in return, hundreds of concurrent waits do not flood the outside system.
POLL_INTERVAL_SHARE = 0.05
#: Shortest and longest time between two polls, in seconds.
MIN_POLL_INTERVAL = 0.1
MAX_POLL_INTERVAL = 2.0
#: Time reserved at the end of an activity, so that it can report what it waited for instead of timing out
#: without a message.
REPORT_RESERVE = timedelta(seconds=10)
REPORT_RESERVE_SHARE = 0.1

_T = TypeVar("_T")
_Item = TypeVar("_Item")


class ActivityContext:
    """The state of one running activity: what it waits for, whether it must stop, and its deadline.

    `time_left` is the time until Temporal times this attempt out. `checkpoint` is the text that an earlier
    attempt has saved.
    """

    def __init__(
        self,
        *,
        time_left: timedelta | None,
        heartbeat_timeout: timedelta | None = None,
        checkpoint: str = "",
    ) -> None:
        self.waiting_for = ""
        self.checkpoint = checkpoint
        self._is_final = False
        now = time.monotonic()
        self._ends, self._deadline = math.inf, math.inf
        if time_left is not None:
            reserved = min(REPORT_RESERVE, time_left * REPORT_RESERVE_SHARE)
            self._ends = now + time_left.total_seconds()
            self._deadline = self._ends - reserved.total_seconds()
        #: How long the activity may send no heartbeat before Temporal considers its worker dead, and until
        #: when that is.
        self._heartbeat_timeout = (
            heartbeat_timeout.total_seconds() if heartbeat_timeout is not None else math.inf
        )
        self._alive_until = now + self._heartbeat_timeout
        self._is_given_up = False
        self._stop_waiting = asyncio.Event()
        self._stop_calling = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    def heartbeat(self) -> None:
        """Send a heartbeat that says what the activity waits for."""
        if self.is_given_up():
            # The process was suspended for so long that Temporal considered it dead. That decision is
            # permanent.
            self._is_given_up = True
        self._alive_until = time.monotonic() + self._heartbeat_timeout
        activity.heartbeat(HeartbeatDetails(waiting_for=self.waiting_for, checkpoint=self.checkpoint))

    def stop(self, *, is_final: bool, is_given_up: bool = False) -> None:
        """Interrupt the activity at its next wait.

        `is_final`: the workflow requested the cancellation, so there is no further attempt. `is_given_up`:
        Temporal does not track this attempt any more.
        """
        self._is_final = self._is_final or is_final
        self._is_given_up = self._is_given_up or is_given_up
        self._stop_waiting.set()
        self._stop_calling.set()

    def close(self) -> None:
        """Stop the background task that `sleep` started; the activity is over."""
        if self._watch:
            self._watch.cancel()

    def report_progress(self, waiting_for: str) -> None:
        """Set what the step waits for, and send a heartbeat if the text changed."""
        text = " ".join(waiting_for.split())[:MAX_TEXT]
        if text != self.waiting_for:
            self.waiting_for = text
            self.heartbeat()

    def save_checkpoint(self, checkpoint: str) -> None:
        """Store `checkpoint` in the heartbeat, so that the next attempt (if there is one) starts with it."""
        self.checkpoint = checkpoint
        self.heartbeat()

    def is_stopping(self) -> bool:
        """Return whether the activity was cancelled, or its worker is shutting down."""
        return self._stop_calling.is_set() or activity.is_worker_shutdown()

    def is_past_deadline(self) -> bool:
        """Return whether the activity's time is up, except for the time reserved for its last report."""
        return time.monotonic() >= self._deadline

    def is_given_up(self) -> bool:
        """Return whether Temporal has given up this attempt: a retry or an undo may already run."""
        return self._is_given_up or time.monotonic() >= min(self._ends, self._alive_until)

    async def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`; raise Interrupted at once on a cancellation or a worker shutdown."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._watch_worker())
        try:
            async with asyncio.timeout(seconds):
                await self._stop_waiting.wait()
        except TimeoutError:
            return
        raise self.interrupted()

    async def run_cancellable(self, call: Coroutine[Any, Any, _T]) -> _T:
        """Await a call that is safe to cancel; raise Interrupted (ambiguous) if it was cancelled."""
        task = asyncio.create_task(call)
        stop = asyncio.create_task(self._stop_calling.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        finally:
            stop.cancel()
            task.cancel()
        if task.cancelled() and self._stop_calling.is_set():
            raise self.interrupted(ambiguous=True)
        return task.result()

    def interrupted(self, *, ambiguous: bool = False) -> Interrupted:
        """Return the error of an activity that was stopped while it waited."""
        return Interrupted(waiting_for=self.waiting_for, final=self._is_final, ambiguous=ambiguous)

    async def _watch_worker(self) -> None:
        await activity.wait_for_worker_shutdown()
        self._stop_waiting.set()


_current: ContextVar[ActivityContext] = ContextVar("activity_context")


def set_current(context: ActivityContext) -> None:
    """Set `context` as the one of the activity that runs in this task."""
    _current.set(context)


def report_progress(waiting_for: str) -> None:
    """Report at once, in the activity's heartbeat, what the step waits for."""
    _current.get().report_progress(waiting_for)


def save_checkpoint(checkpoint: str) -> None:
    """Store `checkpoint` for the next attempt of the activity, in case this one is interrupted."""
    _current.get().save_checkpoint(checkpoint)


def last_checkpoint() -> str:
    """Return what an earlier attempt of the activity has saved; "" if there was none."""
    return _current.get().checkpoint


def is_stopping() -> bool:
    """Return whether the activity was cancelled, or its worker is shutting down."""
    return _current.get().is_stopping()


def raise_if_stopping() -> None:
    """Raise Interrupted if the activity must stop.

    For activities that process a list and do not wait.
    """
    context = _current.get()
    if context.is_stopping():
        raise context.interrupted()


async def sleep(seconds: float) -> None:
    """Sleep for `seconds`; raise Interrupted at once on a cancellation or a worker shutdown."""
    await _current.get().sleep(seconds)


async def run_cancellable(call: Coroutine[Any, Any, _T]) -> _T:
    """Await a call that is cancelled together with the activity; raise Interrupted if it was."""
    return await _current.get().run_cancellable(call)


async def wait_until(poll: Callable[[], Awaitable[str]], *, timeout: timedelta | None = None) -> str:
    """Call `poll` until there is nothing left to wait for.

    `poll` returns what it still waits for, in words, and "" when the wait is over. Each of its answers goes
    into the heartbeat.

    Returns "" when the wait is over, or else what it still waits for when `timeout` or the activity's own
    time has passed.
    """
    context = _current.get()
    started = time.monotonic()
    while waiting_for := await poll():
        context.report_progress(waiting_for)
        waited = time.monotonic() - started
        if context.is_past_deadline() or (timeout is not None and waited >= timeout.total_seconds()):
            break
        await context.sleep(min(max(MIN_POLL_INTERVAL, waited * POLL_INTERVAL_SHARE), MAX_POLL_INTERVAL))
    return waiting_for


async def call_each(
    call: Callable[[_Item], Awaitable[_T]],
    items: Iterable[_Item],
    *,
    concurrency: int,
    progress: Callable[[int], str] | None = None,
) -> list[_T]:
    """Call `call` for each item, a few at a time, and return the answers in order.

    It starts no more calls when the activity must stop. `progress` says for a heartbeat how many are done.
    """
    gate = asyncio.Semaphore(concurrency)
    done = 0

    async def call_one(item: _Item) -> _T:
        nonlocal done
        async with gate:
            raise_if_stopping()
            result = await call(item)
        done += 1
        if progress:
            report_progress(progress(done))
        return result

    return await asyncio.gather(*map(call_one, items))
