"""The connections of the agents: check-ins that wait until there is news, and when each was last heard.

One event for each cluster: hundreds of waiting check-ins cost nothing while nothing happens.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class _Connection:
    news: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    last_heard: float = field(default_factory=time.monotonic)


class AgentConnections:
    """All connections, by the id of the cluster."""

    def __init__(self) -> None:
        self._connections: dict[str, _Connection] = {}
        self._started = time.monotonic()
        self._is_released = False

    async def wait_for_news(
        self, id: str, seconds: float, disconnected: Callable[[], Awaitable[None]]
    ) -> None:
        """Return after `seconds`, when there is news, or when `disconnected` returns."""
        connection = self._connections.setdefault(id, _Connection())
        connection.waiting += 1
        try:
            if seconds and not self._is_released:
                waits = [
                    asyncio.ensure_future(connection.news.wait()),
                    asyncio.ensure_future(disconnected()),
                ]
                try:
                    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for wait in waits:
                        wait.cancel()
        finally:
            connection.waiting -= 1
            connection.last_heard = time.monotonic()

    def notify(self, id: str) -> None:
        """Wake the check-ins that wait for news of the cluster; later ones must read it themselves."""
        connection = self._connections.get(id)
        if connection:
            connection.news.set()
            connection.news = asyncio.Event()

    def forget(self, id: str) -> None:
        """Wake the check-ins of a cluster that is gone, and drop its connection."""
        self.notify(id)
        self._connections.pop(id, None)

    def release_all(self) -> None:
        """Wake all check-ins, and let none wait from now on."""
        self._is_released = True
        for connection in self._connections.values():
            connection.news.set()

    def seconds_silent(self, id: str) -> float:
        """Return how long the agent was not heard; 0 while it waits, and since the start if it never was."""
        connection = self._connections.get(id)
        if connection is None:
            return time.monotonic() - self._started
        return 0.0 if connection.waiting else time.monotonic() - connection.last_heard
