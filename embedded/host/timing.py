"""How long things take in the simulated host, and what is to happen when."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

#: How much the times vary from case to case, both ways, so that nothing depends on an exact one.
JITTER = 0.2


@dataclass(frozen=True)
class Timing:
    """How long things take on average: a start; an end, of pods and of namespaces. In seconds."""

    start: float = 2.0
    stop: float = 0.4


class Clock:
    """Moments are those of the machine's clock, so that they can be kept and hold after a restart."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._timers: set[asyncio.TimerHandle] = set()

    def started(self) -> float:
        """The moment at which what starts now will have started."""
        return time.time() + _about(self._timing.start)

    def stopped(self) -> float:
        """The moment at which what ends now will have ended."""
        return time.time() + _about(self._timing.stop)

    def at(self, moment: float, what: Callable[..., None], *arguments: str) -> None:
        """Do it then, or soon if that is past."""

        def strike() -> None:
            self._timers.discard(timer)
            what(*arguments)

        timer = asyncio.get_running_loop().call_later(max(0.0, moment - time.time()), strike)
        self._timers.add(timer)

    def end(self) -> None:
        """Do nothing any more."""
        for timer in self._timers:
            timer.cancel()


def _about(seconds: float) -> float:
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
