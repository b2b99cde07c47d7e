"""Share one read among concurrent callers for the same key, without giving any caller a stale result."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


@dataclass
class _Turn(Generic[_T]):
    """The running read of a key, and the next read if a caller waits for it."""

    running: "asyncio.Task[_T]"
    next: "asyncio.Task[_T] | None" = field(default=None)


class SharedReads(Generic[_T]):
    """Reads by name; all callers that arrive during a read share the next read.

    No caller gets a read that started before its call, so a caller that has just changed something sees the
    change.
    """

    def __init__(self, look: Callable[[str], Coroutine[Any, Any, _T]]) -> None:
        self._look = look
        self._turns: dict[str, _Turn[_T]] = {}

    async def at(self, name: str) -> _T:
        """Return the result of a read that starts now or later."""
        turn = self._turns.get(name)
        if turn is None:
            task = self._started(self._one(name))
            self._turns[name] = _Turn(task)
        else:
            if turn.next is None:
                turn.next = self._started(self._after(turn.running, name))
            task = turn.next
        # Shield the read: a caller that is cancelled must not cancel it for the other callers.
        return await asyncio.shield(task)

    async def _after(self, before: "asyncio.Task[_T]", name: str) -> _T:
        await asyncio.wait([before])
        return await self._one(name)

    async def _one(self, name: str) -> _T:
        try:
            return await self._look(name)
        finally:
            turn = self._turns.pop(name)
            if turn.next:
                self._turns[name] = _Turn(turn.next)

    def _started(self, look: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
        task = asyncio.create_task(look)
        # Retrieve the exception here so that asyncio does not log it when all callers were cancelled; callers
        # that still wait get it from the task.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task
