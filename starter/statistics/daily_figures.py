"""Figures by hour and day of the last ninety days, in bounded memory. No I/O, and no clock."""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from contracts.environment.models import Outcome
from starter.statistics.life_times import Failure, LifeTimes
from starter.statistics.quantiles import quantile

#: How far back the figures go.
KEPT = timedelta(days=90)
#: Times to ready of one template that are kept for one day: the latest of them.
MAX_TIMES_PER_DAY = 500
#: Templates of one day with times of their own; those of further ones are counted together as `OTHERS`.
MAX_TEMPLATES_PER_DAY = 30
#: Causes of failures of one day that are counted one by one.
MAX_CAUSES_PER_DAY = 100

OTHERS = "others"
_OTHER_CAUSES = Failure(OTHERS, "", "")
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TimesOfDay:
    """How long the environments of a template that were requested on a day took, in seconds.

    `count` is the number of those that became usable.
    """

    day: datetime
    template: str
    count: int
    usable_p50: float
    usable_p95: float
    ready_p50: float | None
    ready_p95: float | None


@dataclass(frozen=True, slots=True)
class Period:
    """The environments of an hour or a day. `open`: at its end, or now."""

    start: datetime
    requested: int
    ended: int
    failed: int
    open: int


@dataclass(frozen=True, slots=True)
class CountedFailure:
    """A cause of failures and its number."""

    failure: Failure
    count: int

    @property
    def is_others(self) -> bool:
        """Whether it stands for all the causes that are not listed."""
        return self.failure == _OTHER_CAUSES


class _LatestTimes:
    """The latest durations, in 8 bytes each."""

    def __init__(self) -> None:
        self.values = array("d")
        self.count = 0

    def add(self, seconds: float) -> None:
        if len(self.values) < MAX_TIMES_PER_DAY:
            self.values.append(seconds)
        else:
            self.values[self.count % MAX_TIMES_PER_DAY] = seconds
        self.count += 1

    def quantile(self, share: float) -> float:
        return quantile(self.values, share)


@dataclass(slots=True)
class _Day:
    usable: dict[str, _LatestTimes] = field(default_factory=dict)
    ready: dict[str, _LatestTimes] = field(default_factory=dict)
    failures: Counter[Failure] = field(default_factory=Counter)


class DailyFigures:
    """The figures of the lives that were added. Lives that ended before the kept time are not counted."""

    def __init__(self) -> None:
        self._days: dict[int, _Day] = {}
        self._requested: Counter[int] = Counter()
        self._ended: Counter[int] = Counter()
        self._failed: Counter[int] = Counter()
        self._first_hour = 0

    def add(self, times: LifeTimes, now: datetime) -> None:
        """Count a life that has ended."""
        self._drop_before(_number(now - KEPT, _HOUR))
        ended = _number(times.ended_at, _HOUR)
        if ended < self._first_hour:
            return
        self._ended[ended] += 1
        requested = _number(times.requested_at, _HOUR)
        if requested >= self._first_hour:
            self._requested[requested] += 1
        if times.outcome is Outcome.FAILED:
            self._failed[ended] += 1
        if times.usable_seconds is not None and requested >= self._first_hour:
            day = self._days.setdefault(_number(times.requested_at, _DAY), _Day())
            _times_of(day.usable, times.template).add(times.usable_seconds)
            if times.ready_seconds is not None:
                _times_of(day.ready, times.template).add(times.ready_seconds)
        if times.failure:
            failures = self._days.setdefault(_number(times.ended_at, _DAY), _Day()).failures
            is_listed = times.failure in failures or len(failures) < MAX_CAUSES_PER_DAY
            failures[times.failure if is_listed else _OTHER_CAUSES] += 1

    def times_by_day(self, now: datetime, days: int) -> list[TimesOfDay]:
        """Return the times to usable and to ready of the last days, by day and template."""
        found = []
        for number in self._last_days(now, days):
            day = self._days.get(number)
            for template, usable in sorted(day.usable.items() if day else ()):
                ready = day.ready.get(template) if day else None
                found.append(
                    TimesOfDay(
                        day=_EPOCH + number * _DAY,
                        template=template,
                        count=usable.count,
                        usable_p50=usable.quantile(0.5),
                        usable_p95=usable.quantile(0.95),
                        ready_p50=ready.quantile(0.5) if ready else None,
                        ready_p95=ready.quantile(0.95) if ready else None,
                    )
                )
        return found

    def periods(
        self, now: datetime, count: int, *, hourly: bool = False, open_since: Sequence[datetime] = ()
    ) -> list[Period]:
        """Return the last `count` days or hours.

        `open_since` are the times of the requests of the environments that are open now: these have no
        record yet.
        """
        length = 1 if hourly else 24
        last = _number(now, _HOUR if hourly else _DAY)
        requested = self._requested + Counter(_number(moment, _HOUR) for moment in open_since)
        # The environments that are open now give the number at the end; each period before follows backwards.
        open_at_end, found = len(open_since), []
        for number in range(last, last - count, -1):
            hours = range(number * length, (number + 1) * length)
            came, went = _sum(requested, hours), _sum(self._ended, hours)
            found.append(
                Period(
                    start=_EPOCH + number * length * _HOUR,
                    requested=came,
                    ended=went,
                    failed=_sum(self._failed, hours),
                    open=max(0, open_at_end),
                )
            )
            open_at_end += went - came
        return found[::-1]

    def failures(self, now: datetime, days: int, most: int) -> list[CountedFailure]:
        """Return the `most` frequent causes of the last days, and then all others together."""
        counted: Counter[Failure] = Counter()
        for number in self._last_days(now, days):
            if day := self._days.get(number):
                counted.update(day.failures)
        others = counted.pop(_OTHER_CAUSES, 0)
        ranked = sorted(counted.items(), key=lambda one: (-one[1], one[0].step, one[0].system, one[0].type))
        others += sum(count for _, count in ranked[most:])
        found = [CountedFailure(failure, count) for failure, count in ranked[:most]]
        return [*found, CountedFailure(_OTHER_CAUSES, others)] if others else found

    def _last_days(self, now: datetime, days: int) -> range:
        last = _number(now, _DAY)
        return range(last - days + 1, last + 1)

    def _drop_before(self, first_hour: int) -> None:
        if first_hour <= self._first_hour:
            return
        self._first_hour = first_hour
        for counter in (self._requested, self._ended, self._failed):
            for hour in [hour for hour in counter if hour < first_hour]:
                del counter[hour]
        for number in [number for number in self._days if (number + 1) * 24 <= first_hour]:
            del self._days[number]


def _times_of(times: dict[str, _LatestTimes], template: str) -> _LatestTimes:
    if template not in times and len(times) >= MAX_TEMPLATES_PER_DAY:
        template = OTHERS
    return times.setdefault(template, _LatestTimes())


def _sum(counter: Counter[int], hours: Iterable[int]) -> int:
    return sum(counter[hour] for hour in hours if hour in counter)


def _number(moment: datetime, unit: timedelta) -> int:
    """Return the number of the hour or day of the moment, counted from 1970 in UTC."""
    return (moment - _EPOCH) // unit
