"""Shares one look among those who ask for the same at the same time, without showing anybody an old one."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


@dataclass
class _Turn(Generic[_T]):
    """The look that is under way for a key, and the one that comes after it, if somebody waits for that."""

    running: "asyncio.Task[_T]"
    next: "asyncio.Task[_T] | None" = field(default=None)


class SharedLooks(Generic[_T]):
    """Looks at what has a name; those who come while a look is under way share the next one.

    Nobody is given a look that began before they asked: who has just changed something sees it.
    """

    def __init__(self, look: Callable[[str], Coroutine[Any, Any, _T]]) -> None:
        self._look = look
        self._turns: dict[str, _Turn[_T]] = {}

    async def at(self, name: str) -> _T:
        """What a look finds that begins now or later."""
        turn = self._turns.get(name)
        if turn is None:
            task = self._started(self._one(name))
            self._turns[name] = _Turn(task)
        else:
            if turn.next is None:
                turn.next = self._started(self._after(turn.running, name))
            task = turn.next
        # Who goes away must not take the look from the others.
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
        # Those who wait have its error; where all have gone away, nobody needs it.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task
