"""Scales of axes: a few round values, and texts for them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from contracts.types.durations import format_duration

#: Lines of a value axis above zero, at most.
MAX_VALUE_TICKS = 4
#: Labels of a time axis, at most: so many fit beside each other on a phone.
MAX_TIME_TICKS = 4
#: From here on, a number is written as a power of ten.
LARGEST_WRITTEN = 10**15

_DURATION_STEPS = (
    1,
    2,
    5,
    10,
    15,
    20,
    30,
    60,
    120,
    300,
    600,
    900,
    1200,
    1800,
    3600,
    7200,
    10800,
    21600,
    43200,
)
_DAY_SECONDS = 86400


class Unit(StrEnum):
    """What the numbers of a plot are."""

    COUNT = "count"
    SECONDS = "seconds"


@dataclass(frozen=True)
class Scale:
    """An axis from zero to `maximum`, which is the last of its ticks."""

    unit: Unit
    ticks: tuple[float, ...]

    @property
    def maximum(self) -> float:
        """The value at the end of the axis."""
        return self.ticks[-1]

    def share(self, value: float) -> float:
        """Return where the value lies between zero and the maximum."""
        return min(1.0, max(0.0, value / self.maximum))


def value_scale(values: Sequence[float], unit: Unit) -> Scale:
    """Return a scale for the values, with round ticks that start at zero."""
    largest = max((value for value in values if math.isfinite(value)), default=0)
    step = _step(largest / MAX_VALUE_TICKS, unit)
    count = max(1, math.ceil(round(largest / step, 9)))
    return Scale(unit, tuple(step * number for number in range(count + 1)))


def _step(least: float, unit: Unit) -> float:
    """Return the smallest round step that is not below `least`; at least one."""
    if unit is Unit.SECONDS and least <= _DURATION_STEPS[-1]:
        return next(step for step in _DURATION_STEPS if step >= least)
    if unit is Unit.SECONDS:
        return _DAY_SECONDS * _step(least / _DAY_SECONDS, Unit.COUNT)
    power = 10.0 ** max(0, math.floor(math.log10(max(1.0, least))))
    return next(power * factor for factor in (1, 2, 5, 10, 20) if power * factor >= least)


def format_value(value: float, unit: Unit) -> str:
    """Return the value as a person reads it: "1,500", "2m 30s"; short times with a decimal."""
    if unit is Unit.SECONDS:
        is_short = 0 < value < 10 and value != round(value)
        return f"{value:.1f}s" if is_short else format_duration(timedelta(seconds=min(value, 1e12)))
    return f"{value:,.0f}" if value < LARGEST_WRITTEN else f"{value:.0e}"


def format_moment(moment: datetime, *, hourly: bool) -> str:
    """Return a short text for an hour or a day."""
    return f"{moment:%H:%M}" if hourly else f"{moment.day} {moment:%b}"


def labelled(count: int) -> list[int]:
    """Return which of `count` positions get a label: the last one, and others at even distances."""
    if count < 1:
        return []
    step = math.ceil(count / MAX_TIME_TICKS)
    return list(range(count - 1, -1, -step))[::-1]
