"""The context of a running activity: it reports what a step waits for, and is the only way to wait.

A step is interrupted only while it waits, never during a call: `pause` and `until` end at once when the
activity is cancelled or its worker shuts down. Everything else runs to completion, so that the result is
known for certain.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import activity

from activities.errors import Interrupted
from contracts.activities import Waiting

#: Longest text of a heartbeat, in characters: enough to recognise a cause, and small enough to send with
#: every heartbeat.
MAX_TEXT = 300
#: The next poll comes after this share of the time waited so far. The result of a long wait may be noticed
#: late, by a twentieth; in return, hundreds of concurrent waits do not flood the outside system.
LOOK_SHARE = 0.05
#: First and longest pause between two polls, in seconds.
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
#: Time reserved at the end of an activity, so that it can report what it waited for instead of timing out
#: without a message.
LAST_WORDS = timedelta(seconds=10)
LAST_WORDS_SHARE = 0.1

_T = TypeVar("_T")


class Progress:
    """The state of one running activity: what it waits for, whether it must stop, and its deadline.

    `time_left` is the time until Temporal times this attempt out; `silence` is the heartbeat timeout; `kept`
    is the text that an earlier attempt kept.
    """

    def __init__(
        self, *, time_left: timedelta | None, silence: timedelta | None = None, kept: str = ""
    ) -> None:
        self.waiting_for = ""
        self.kept = kept
        self.final = False
        now = time.monotonic()
        self._ends, self._deadline = math.inf, math.inf
        if time_left is not None:
            reserved = min(LAST_WORDS, time_left * LAST_WORDS_SHARE)
            self._ends = now + time_left.total_seconds()
            self._deadline = self._ends - reserved.total_seconds()
        #: How long the activity may send no heartbeat before Temporal considers its worker dead, and until
        #: when that is.
        self._silence = silence.total_seconds() if silence is not None else math.inf
        self._alive_until = now + self._silence
        self._given_up = False
        self._stop_waiting = asyncio.Event()
        self._stop_calling = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    def beat(self) -> None:
        """Send a heartbeat that says what the activity waits for."""
        if self.is_late():
            # The process was suspended for so long that Temporal considered it dead. That decision is
            # permanent.
            self._given_up = True
        self._alive_until = time.monotonic() + self._silence
        activity.heartbeat(Waiting(waiting_for=self.waiting_for, kept=self.kept))

    def stop(self, *, final: bool, given_up: bool = False) -> None:
        """Interrupt the activity at its next wait.

        `final`: the workflow requested the cancellation, so there is no further attempt. `given_up`: Temporal
        does not track this attempt any more.
        """
        self.final = self.final or final
        self._given_up = self._given_up or given_up
        self._stop_waiting.set()
        self._stop_calling.set()

    def close(self) -> None:
        """Stop the background task that `pause` started; the activity is over."""
        if self._watch:
            self._watch.cancel()

    def say(self, waiting_for: str) -> None:
        """Set what the step waits for, and send a heartbeat if the text changed."""
        text = " ".join(waiting_for.split())[:MAX_TEXT]
        if text != self.waiting_for:
            self.waiting_for = text
            self.beat()

    def keep(self, kept: str) -> None:
        """Store `kept` in the heartbeat, so that the next attempt (if there is one) starts with it."""
        self.kept = kept
        self.beat()

    @property
    def is_told_to_stop(self) -> bool:
        """Whether the activity was cancelled, or its worker is shutting down."""
        return self._stop_calling.is_set() or activity.is_worker_shutdown()

    def is_over(self) -> bool:
        """Return whether the activity's time is up, except for the time reserved for its last report."""
        return time.monotonic() >= self._deadline

    def is_late(self) -> bool:
        """Return whether Temporal has given up this attempt: a retry or an undo may already run."""
        return self._given_up or time.monotonic() >= min(self._ends, self._alive_until)

    async def pause(self, seconds: float) -> None:
        """Sleep for `seconds`; raise Interrupted at once on a cancellation or a worker shutdown."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._watch_worker())
        try:
            async with asyncio.timeout(seconds):
                await self._stop_waiting.wait()
        except TimeoutError:
            return
        raise Interrupted(waiting_for=self.waiting_for, final=self.final)

    async def cancellable(self, call: Coroutine[Any, Any, _T]) -> _T:
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
            raise Interrupted(waiting_for=self.waiting_for, final=self.final, ambiguous=True)
        return task.result()

    async def _watch_worker(self) -> None:
        await activity.wait_for_worker_shutdown()
        self._stop_waiting.set()


_current: ContextVar[Progress] = ContextVar("progress")


def enter(progress: Progress) -> None:
    """Set `progress` as the one of the activity that runs in this context."""
    _current.set(progress)


def say(waiting_for: str) -> None:
    """Report at once, in the activity's heartbeat, what the step waits for."""
    _current.get().say(waiting_for)


def keep(kept: str) -> None:
    """Store `kept` for the next attempt of the activity, in case this one is interrupted; see `kept`."""
    _current.get().keep(kept)


def kept() -> str:
    """Return what an earlier attempt of the activity stored with `keep`; "" if there was none."""
    return _current.get().kept


def is_told_to_stop() -> bool:
    """Return whether the activity was cancelled, or its worker is shutting down."""
    return _current.get().is_told_to_stop


def check() -> None:
    """Raise Interrupted if the activity must stop.

    For activities that process a list and do not wait.
    """
    progress = _current.get()
    if progress.is_told_to_stop:
        raise Interrupted(waiting_for=progress.waiting_for, final=progress.final)


async def pause(seconds: float) -> None:
    """Sleep for `seconds`; raise Interrupted at once on a cancellation or a worker shutdown."""
    await _current.get().pause(seconds)


async def cancellable(call: Coroutine[Any, Any, _T]) -> _T:
    """Await a call that is cancelled together with the activity; raise Interrupted if it was."""
    return await _current.get().cancellable(call)


async def until(look: Callable[[], Awaitable[str]], *, limit: timedelta | None = None) -> str:
    """Poll `look` until there is nothing left to wait for.

    `look` returns what it still waits for, in words, and "" when the wait is over. Each of its answers goes
    into the heartbeat.

    Returns "" when the wait is over, or else what it still waits for when `limit` or the activity's own time
    has passed.
    """
    progress = _current.get()
    started = time.monotonic()
    while waiting_for := await look():
        progress.say(waiting_for)
        waited = time.monotonic() - started
        if progress.is_over() or (limit is not None and waited >= limit.total_seconds()):
            break
        await progress.pause(min(max(FIRST_PAUSE, waited * LOOK_SHARE), LONGEST_PAUSE))
    return waiting_for
