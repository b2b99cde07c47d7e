"""Share reads among callers: concurrent ones without a stale result, or with results of the last moment."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

#: The share of the time for which a result is fresh after which it is read again in the background. Callers
#: who read all the time get a fresh result without a wait; the source has a fifth of the time to answer.
REFRESH_AT = 0.8

_K = TypeVar("_K", bound=Hashable)
_T = TypeVar("_T")


@dataclass
class _Turn(Generic[_T]):
    """The running read of a key, and the next read if a caller waits for it."""

    running: "asyncio.Task[_T]"
    next: "asyncio.Task[_T] | None" = field(default=None)


@dataclass(frozen=True)
class _Refresh:
    """A read in the background, and when it started."""

    task: "asyncio.Task[None]"
    started_at: float


class SharedReads(Generic[_K, _T]):
    """Reads by key; all callers that arrive during a read share the next read.

    No caller gets a read that started before its call, so a caller that has just changed something sees the
    change.
    """

    def __init__(self, read: Callable[[_K], Coroutine[Any, Any, _T]]) -> None:
        self._read = read
        self._turns: dict[_K, _Turn[_T]] = {}
        self._refreshes: dict[_K, _Refresh] = {}

    async def read(self, key: _K) -> _T:
        """Return the result of a read that starts now or later."""
        turn = self._turns.get(key)
        if turn is None:
            task = self._started(self._one(key))
            self._turns[key] = _Turn(task)
        else:
            if turn.next is None:
                turn.next = self._started(self._after(turn.running, key))
            task = turn.next
        # Shield the read: a caller that is cancelled must not cancel it for the other callers.
        return await asyncio.shield(task)

    def refresh(self, key: _K) -> None:
        """Start a read of the key for those who can do without its result, unless there is one."""
        self._refresh(key)

    async def refresh_within(self, key: _K, max_seconds: float) -> None:
        """Do as `refresh`, and wait for the read, until so long after its start. It does not fail.

        A caller who comes later than that does not wait: the source is known to be slow.
        """
        refresh = self._refresh(key)
        left = refresh.started_at + max_seconds - asyncio.get_running_loop().time()
        if left > 0:
            await asyncio.wait({refresh.task}, timeout=left)

    def _refresh(self, key: _K) -> "_Refresh":
        if key not in self._refreshes:
            task = asyncio.create_task(self._try_to_read(key))
            self._refreshes[key] = _Refresh(task, asyncio.get_running_loop().time())
        return self._refreshes[key]

    async def _try_to_read(self, key: _K) -> None:
        try:
            # A failure is for a caller who comes when the last result is too old to be used.
            with suppress(Exception):
                await self.read(key)
        finally:
            del self._refreshes[key]

    async def _after(self, before: "asyncio.Task[_T]", key: _K) -> _T:
        await asyncio.wait([before])
        return await self._one(key)

    async def _one(self, key: _K) -> _T:
        try:
            return await self._read(key)
        finally:
            turn = self._turns.pop(key)
            if turn.next:
                self._turns[key] = _Turn(turn.next)

    def _started(self, read: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
        task = asyncio.create_task(read)
        # Retrieve the exception here so that asyncio does not log it when all callers were cancelled; callers
        # that still wait get it from the task.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task


@dataclass(frozen=True)
class _Kept(Generic[_T]):
    value: _T
    read_at: float


class CachedReads(Generic[_K, _T]):
    """Reads by key whose results are kept for a moment.

    Args:
        read: Reads the value of a key.
        fresh_seconds: Up to this age a result is returned as it is. With `max_wait_seconds` it is read again
            in the background from `REFRESH_AT` of this age on.
        usable_seconds: Up to this age it is returned as well if the source is slow: it is read again, and a
            caller waits for that no longer than until `max_wait_seconds` after the start of the read.
        max_kept: Number of keys in the cache.
    """

    def __init__(
        self,
        read: Callable[[_K], Coroutine[Any, Any, _T]],
        *,
        fresh_seconds: float,
        usable_seconds: float = 0.0,
        max_wait_seconds: float = 0.0,
        max_kept: int = 100,
    ) -> None:
        self._source = read
        self._reads = SharedReads(self._read_and_keep)
        self._fresh_seconds = fresh_seconds
        self._usable_seconds = usable_seconds
        self._max_wait_seconds = max_wait_seconds
        self._max_kept = max_kept
        self._kept: OrderedDict[_K, _Kept[_T]] = OrderedDict()
        self._changes = 0

    async def read(self, key: _K) -> _T:
        """Return the value of the key, from the cache if it is young enough."""
        if kept := self._kept.get(key):
            age = time.monotonic() - kept.read_at
            if age < self._fresh_seconds:
                if self._max_wait_seconds and age >= REFRESH_AT * self._fresh_seconds:
                    self._reads.refresh(key)
                return kept.value
            if age < self._usable_seconds:
                changes = self._changes
                await self._reads.refresh_within(key, self._max_wait_seconds)
                if changes == self._changes:
                    return self._kept.get(key, kept).value
        return await self._reads.read(key)

    def invalidate(self) -> None:
        """Return nothing any more that was read before this call: a caller has changed something."""
        self._changes += 1
        self._kept.clear()

    async def _read_and_keep(self, key: _K) -> _T:
        changes, read_at = self._changes, time.monotonic()
        value = await self._source(key)
        if changes == self._changes:
            self._kept[key] = _Kept(value, read_at)
            self._kept.move_to_end(key)
            if len(self._kept) > self._max_kept:
                self._kept.popitem(last=False)
        return value
