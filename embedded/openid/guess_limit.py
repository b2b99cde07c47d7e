"""A limit for guesses of passwords and codes: after some failures of a kind in a minute, none is accepted."""

from collections import deque
from collections.abc import Callable

#: More than a person mistypes, and of 34 bits (a user code) or 256 bits (a password) nothing.
GUESSES = 10
WINDOW_SECONDS = 60.0


class GuessLimit:
    """Counts failures by key. The caller bounds the number of keys."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: dict[str, deque[float]] = {}

    def is_reached(self, key: str) -> bool:
        """Return whether there were too many failures in the last minute."""
        failures = self._failures.get(key, deque())
        while failures and failures[0] <= self._clock() - WINDOW_SECONDS:
            failures.popleft()
        return len(failures) >= GUESSES

    def record_failure(self, key: str) -> None:
        """Count a failure."""
        self._failures.setdefault(key, deque()).append(self._clock())
