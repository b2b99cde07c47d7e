"""How long each step usually takes to do, and to undo. No I/O.

It is the median of the last hundred lives of a template and host.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from starter.statistics.life_times import LifeTimes
from starter.statistics.quantiles import quantile

#: Lives that a usual time is calculated from: enough for a stable median, few enough to follow a change.
LAST_LIVES = 100
#: With fewer lives on a host, the times of the template on all hosts say more.
MIN_LIVES = 3
#: Pairs of template and host that are kept; those that had no life for the longest time are dropped.
MAX_KEYS = 400
#: Different steps that are kept for one pair: more than there are steps.
MAX_STEPS = 16

ANY_HOST = ""


@dataclass(frozen=True, slots=True)
class UsualTime:
    """The median and the 90th percentile of `count` lives, in seconds."""

    median: float
    p90: float
    count: int


@dataclass(frozen=True, slots=True)
class UsualTimes:
    """The usual times of a template. A step that no life has done, or undone, is not in `steps`, or `undos`.

    `usable` and `ready` count from the request. `host` is empty if the lives of all hosts were counted.
    """

    host: str = ANY_HOST
    steps: Mapping[str, UsualTime] = field(default_factory=dict)
    undos: Mapping[str, UsualTime] = field(default_factory=dict)
    usable: UsualTime | None = None
    ready: UsualTime | None = None


class _Durations:
    """The last durations of one pair of template and host."""

    def __init__(self) -> None:
        self.usable: deque[float] = deque(maxlen=LAST_LIVES)
        self.ready: deque[float] = deque(maxlen=LAST_LIVES)
        self.steps: dict[str, deque[float]] = {}
        self.undos: dict[str, deque[float]] = {}

    def add(self, times: LifeTimes) -> None:
        if times.usable_seconds is not None:
            self.usable.append(times.usable_seconds)
        if times.ready_seconds is not None:
            self.ready.append(times.ready_seconds)
        for kept, given in ((self.steps, times.steps), (self.undos, times.undos)):
            for step, seconds in given.items():
                if step in kept or len(kept) < MAX_STEPS:
                    kept.setdefault(step, deque(maxlen=LAST_LIVES)).append(seconds)


class UsualTimesTable:
    """The last durations of every template, on each host and on all hosts together."""

    def __init__(self) -> None:
        self._durations: OrderedDict[tuple[str, str], _Durations] = OrderedDict()

    def add(self, times: LifeTimes) -> None:
        """Count a life."""
        for host in {times.host, ANY_HOST}:
            key = (times.template, host)
            self._durations.setdefault(key, _Durations()).add(times)
            self._durations.move_to_end(key)
        while len(self._durations) > MAX_KEYS:
            self._durations.popitem(last=False)

    def of(self, template: str, host: str) -> UsualTimes:
        """Return the usual times, each from the host's own lives if there are enough of them."""
        own = self._durations.get((template, host))
        every = self._durations.get((template, ANY_HOST), own)
        if every is None:
            return UsualTimes()
        if own is None or max(map(len, (own.ready, *own.steps.values()))) < MIN_LIVES:
            own, host = every, ANY_HOST
        return UsualTimes(
            host=host,
            steps=_usual_by_step(own.steps, every.steps),
            undos=_usual_by_step(own.undos, every.undos),
            usable=_usual(own.usable, every.usable),
            ready=_usual(own.ready, every.ready),
        )


def _usual_by_step(
    own: Mapping[str, deque[float]], every: Mapping[str, deque[float]]
) -> dict[str, UsualTime]:
    found = {step: _usual(own.get(step), values) for step, values in every.items()}
    return {step: usual for step, usual in found.items() if usual}


def _usual(own: deque[float] | None, every: deque[float]) -> UsualTime | None:
    values = own if own and len(own) >= MIN_LIVES else every
    if not values:
        return None
    return UsualTime(quantile(values, 0.5), quantile(values, 0.9), len(values))
