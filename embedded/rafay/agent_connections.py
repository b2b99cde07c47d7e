"""The lines to the agents: check-ins that are held until there is news, and when each was last heard.

One event for each cluster: hundreds of held check-ins cost nothing while nothing happens.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class _Connection:
    news: asyncio.Event = field(default_factory=asyncio.Event)
    held: int = 0
    last_heard: float = field(default_factory=time.monotonic)


class AgentConnections:
    """All lines, by the id of the cluster."""

    def __init__(self) -> None:
        self._lines: dict[str, _Connection] = {}
        self._began = time.monotonic()
        self._ended = False

    async def hold(self, id: str, seconds: float, gone: Callable[[], Awaitable[None]]) -> None:
        """Return after `seconds`, when there is news, or when `gone` says that the agent has hung up."""
        line = self._lines.setdefault(id, _Connection())
        line.held += 1
        try:
            if seconds and not self._ended:
                waits = [asyncio.ensure_future(line.news.wait()), asyncio.ensure_future(gone())]
                try:
                    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for wait in waits:
                        wait.cancel()
        finally:
            line.held -= 1
            line.last_heard = time.monotonic()

    def tell(self, id: str) -> None:
        """There is news: whoever is held returns. Later check-ins are to have read it themselves."""
        line = self._lines.get(id)
        if line:
            line.news.set()
            line.news = asyncio.Event()

    def forget(self, id: str) -> None:
        """The cluster is gone: whoever is held returns, and nothing is remembered."""
        self.tell(id)
        self._lines.pop(id, None)

    def end(self) -> None:
        """Whoever is held returns, and nobody is held any more."""
        self._ended = True
        for line in self._lines.values():
            line.news.set()

    def silent_for(self, id: str) -> float:
        """Seconds since the agent was heard, or since the start when it has not been yet; 0 while held."""
        line = self._lines.get(id)
        if line is None:
            return time.monotonic() - self._began
        return 0.0 if line.held else time.monotonic() - line.last_heard
