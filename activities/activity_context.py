"""What a step says while it works, and the only way it waits.

A step is cut only while it waits, never in a call: `pause` and `until` end at once when the activity is
cancelled or its worker stops; everything else runs to its end, so that what happened is known for certain.
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

#: Longest text of a heartbeat: enough to recognise a cause, little enough for every heartbeat.
MAX_TEXT = 300
#: The next look comes after this share of the time waited so far: what takes long may be noticed late,
#: by a twentieth, and hundreds that wait at once do not become a flood.
LOOK_SHARE = 0.05
#: First and longest pause between two looks, in seconds.
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
#: Kept of an activity's time so that it can say what it waited for, instead of being timed out mute.
LAST_WORDS = timedelta(seconds=10)
LAST_WORDS_SHARE = 0.1

_T = TypeVar("_T")


class Progress:
    """How one running activity stands: what it waits for, whether it was told to stop, when it must end."""

    def __init__(
        self, *, time_left: timedelta | None, silence: timedelta | None = None, kept: str = ""
    ) -> None:
        self.waiting_for = ""
        self.kept = kept
        self.final = False
        now = time.monotonic()
        self._ends, self._deadline = math.inf, math.inf
        if time_left is not None:
            last_words = min(LAST_WORDS, time_left * LAST_WORDS_SHARE)
            self._ends = now + time_left.total_seconds()
            self._deadline = self._ends - last_words.total_seconds()
        #: How long it may be silent before Temporal takes its worker for dead, and until when that is.
        self._silence = silence.total_seconds() if silence is not None else math.inf
        self._alive_until = now + self._silence
        self._given_up = False
        self._stop_waiting = asyncio.Event()
        self._stop_calling = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    def beat(self) -> None:
        """Tell Temporal that the activity is alive, and what it waits for."""
        if self.is_late():
            # A process that was halted for so long: once it was taken for dead, it stays so.
            self._given_up = True
        self._alive_until = time.monotonic() + self._silence
        activity.heartbeat(Waiting(waiting_for=self.waiting_for, kept=self.kept))

    def stop(self, *, final: bool, given_up: bool = False) -> None:
        """Stop at the next wait. `final`: the workflow has asked for it, so that nobody tries again.

        `given_up`: Temporal knows nothing of this try any more.
        """
        self.final = self.final or final
        self._given_up = self._given_up or given_up
        self._stop_waiting.set()
        self._stop_calling.set()

    def close(self) -> None:
        """End what `pause` has begun; the activity is over."""
        if self._watch:
            self._watch.cancel()

    def say(self, waiting_for: str) -> None:
        """Make it known at once what the step waits for; again the same is silent."""
        text = " ".join(waiting_for.split())[:MAX_TEXT]
        if text != self.waiting_for:
            self.waiting_for = text
            self.beat()

    def keep(self, kept: str) -> None:
        """Have the next try, if there must be one, begin with this."""
        self.kept = kept
        self.beat()

    @property
    def is_told_to_stop(self) -> bool:
        """Whether it was cancelled, or its worker begins to stop."""
        return self._stop_calling.is_set() or activity.is_worker_shutdown()

    def is_over(self) -> bool:
        """Whether the activity's time is up but for its last words."""
        return time.monotonic() >= self._deadline

    def is_late(self) -> bool:
        """Whether Temporal has given this try up by now: it may be tried again, or undone, by others."""
        return self._given_up or time.monotonic() >= min(self._ends, self._alive_until)

    async def pause(self, seconds: float) -> None:
        """Wait so long; Interrupted at once when told to stop, or when the worker begins to."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._watch_worker())
        try:
            async with asyncio.timeout(seconds):
                await self._stop_waiting.wait()
        except TimeoutError:
            return
        raise Interrupted(waiting_for=self.waiting_for, final=self.final)

    async def cancellable(self, call: Coroutine[Any, Any, _T]) -> _T:
        """Make a call that can be cut short safely; Interrupted, and in doubt, if it was."""
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
    """Make `progress` the one of the activity that runs in this context."""
    _current.set(progress)


def say(waiting_for: str) -> None:
    """Make it known at once, in the activity's heartbeat, what the step waits for."""
    _current.get().say(waiting_for)


def keep(kept: str) -> None:
    """Have the next try of the activity begin with this, if this one is cut off: see `kept`."""
    _current.get().keep(kept)


def kept() -> str:
    """What an earlier try of the activity has kept for this one; "" if there was none."""
    return _current.get().kept


def is_told_to_stop() -> bool:
    """Whether the activity was cancelled, or its worker begins to stop."""
    return _current.get().is_told_to_stop


def check() -> None:
    """Interrupted if the activity was told to stop. For those that work through a list and do not wait."""
    progress = _current.get()
    if progress.is_told_to_stop:
        raise Interrupted(waiting_for=progress.waiting_for, final=progress.final)


async def pause(seconds: float) -> None:
    """Wait so long; Interrupted at once when the activity is cancelled or its worker begins to stop."""
    await _current.get().pause(seconds)


async def cancellable(call: Coroutine[Any, Any, _T]) -> _T:
    """Make a call that may be cut short when the activity is cancelled; Interrupted if it was."""
    return await _current.get().cancellable(call)


async def until(look: Callable[[], Awaitable[str]], *, limit: timedelta | None = None) -> str:
    """Look again and again until there is nothing to wait for: `look` says what there is, in words.

    Returns "" when there is nothing, or what it still waits for when `limit`, or else the activity's own
    time, is over. Each look is heard of in the heartbeat.
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
