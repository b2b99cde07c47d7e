"""The rate limits of an Okta org: calls of a kind in a window, stated in the headers of every response.

Source: "Rate limit best practices" and "Rate limits" of Okta. `X-Rate-Limit-Reset` is a time, in seconds of
the UTC epoch, not a duration.
"""

import math
import time
from dataclasses import dataclass

from embedded.cloud_directories.controls import CurrentBehaviour
from embedded.cloud_directory_behaviour import OktaBehaviour


@dataclass(frozen=True)
class Allowance:
    """What is left for calls of a kind after this one; `is_exceeded` if this one is too many."""

    limit: int
    remaining: int
    reset: float
    is_exceeded: bool

    @property
    def headers(self) -> dict[str, str]:
        """The headers that tell it; the reset is rounded up, so that it is not too early."""
        return {
            "X-Rate-Limit-Limit": str(self.limit),
            "X-Rate-Limit-Remaining": str(self.remaining),
            "X-Rate-Limit-Reset": str(math.ceil(self.reset)),
        }


class RateLimits:
    """Counts the calls of each kind in its window."""

    def __init__(self, behaviour: CurrentBehaviour[OktaBehaviour]) -> None:
        self._behaviour = behaviour
        #: The end of the window and the calls in it, by kind.
        self._windows: dict[str, tuple[float, int]] = {}

    def count(self, kind: str) -> Allowance:
        """Count one call and return what is left."""
        now, behaviour = time.time(), self._behaviour.now
        if self._behaviour.takes_throttled_call():
            return Allowance(behaviour.rate_limit, 0, now + behaviour.throttled_seconds, is_exceeded=True)
        end, calls = self._windows.get(kind, (0.0, 0))
        if end <= now:
            end, calls = now + behaviour.rate_window, 0
        self._windows[kind] = (end, calls + 1)
        remaining = behaviour.rate_limit - calls - 1
        return Allowance(behaviour.rate_limit, max(0, remaining), end, is_exceeded=remaining < 0)
