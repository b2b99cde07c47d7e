"""Rate limit per caller: a token bucket with a burst and a refill rate, and bounded memory."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

#: Burst and rate of wrong tokens from one address: a program with an old token retries for a while before an
#: operator notices it.
WRONG_TOKENS_BURST, WRONG_TOKENS_PER_SECOND = 60, 0.2


def _now() -> float:
    # Looked up at each call, so that one change of the module's clock holds all limits.
    return time.monotonic()


@dataclass
class _Bucket:
    left: float
    at: float
    is_refusing: bool = False


@dataclass(frozen=True)
class Limited:
    """Too many requests. `retry_after` is in seconds; `is_first`: no earlier refusal since a counted one."""

    retry_after: int
    is_first: bool


class Throttle:
    """Counts requests per caller: those that fail, or those that cost much.

    The caller with the oldest one is removed first, so that an attacker with many addresses uses memory
    for at most `remembered` of them.
    """

    def __init__(
        self,
        burst: int,
        per_second: float,
        remembered: int = 10_000,
        clock: Callable[[], float] = _now,
    ) -> None:
        self._burst, self._per_second, self._remembered, self._clock = burst, per_second, remembered, clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of callers in memory."""
        return len(self._buckets)

    def record(self, key: str, cost: int = 1) -> Limited | None:
        """Count a request, which costs as much as so many; if there were too many, return Limited instead.

        One that costs more than the burst needs the whole burst.
        """
        cost, now = min(cost, self._burst), self._clock()
        bucket = self._buckets.setdefault(key, _Bucket(self._burst, now))
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._remembered:
            self._buckets.popitem(last=False)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._per_second)
        bucket.at = now
        if bucket.left >= cost:
            bucket.left -= cost
            bucket.is_refusing = False
            return None
        first, bucket.is_refusing = not bucket.is_refusing, True
        return Limited(math.ceil((cost - bucket.left) / self._per_second), first)
