"""Slows down who fails too often: so many failures at once, then one in a while. Bounded in memory."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

#: Wrong tokens of one address: a program with an old one tries for a while before anybody looks.
WRONG_TOKENS_AT_ONCE, WRONG_TOKENS_PER_SECOND = 60, 0.2


@dataclass
class _Bucket:
    left: float
    at: float
    told: bool = False


@dataclass(frozen=True)
class Limited:
    """That it was too often: when it may be tried again, and whether this is the first time since."""

    retry_after: int
    is_first: bool


class Throttle:
    """Counts failures by whoever makes them.

    Who has made none for longest is forgotten first, so that an attacker with many addresses costs memory for
    `remembered` of them and no more.
    """

    def __init__(
        self,
        burst: int,
        per_second: float,
        remembered: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst, self._per_second, self._remembered, self._clock = burst, per_second, remembered, clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._buckets)

    def failed(self, who: str) -> Limited | None:
        """Count a failure; `Limited` when there were too many, and then it is not counted."""
        now = self._clock()
        bucket = self._buckets.setdefault(who, _Bucket(self._burst, now))
        self._buckets.move_to_end(who)
        if len(self._buckets) > self._remembered:
            self._buckets.popitem(last=False)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._per_second)
        bucket.at = now
        if bucket.left >= 1:
            bucket.left -= 1
            bucket.told = False
            return None
        first, bucket.told = not bucket.told, True
        return Limited(math.ceil((1 - bucket.left) / self._per_second), first)
