"""Durations in the simulated host, and its schedule."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

#: Relative variation of the durations, both ways, so that nothing depends on an exact one.
JITTER = 0.2


@dataclass(frozen=True)
class Timing:
    """Average durations in seconds: of a start, and of the end of a pod or namespace."""

    start: float = 2.0
    stop: float = 0.4


class Clock:
    """Times are those of the machine's clock, so that they are valid after a restart."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._timers: set[asyncio.TimerHandle] = set()

    def start_time(self) -> float:
        """Return the time at which a start that begins now ends."""
        return time.time() + _about(self._timing.start)

    def end_time(self) -> float:
        """Return the time at which an end that begins now is complete."""
        return time.time() + _about(self._timing.stop)

    def schedule(self, moment: float, function: Callable[..., None], *arguments: str) -> None:
        """Call the function then, or soon if that time is past."""

        def run() -> None:
            self._timers.discard(timer)
            function(*arguments)

        timer = asyncio.get_running_loop().call_later(max(0.0, moment - time.time()), run)
        self._timers.add(timer)

    def cancel_all(self) -> None:
        """Cancel everything that is scheduled."""
        for timer in self._timers:
            timer.cancel()


def _about(seconds: float) -> float:
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
