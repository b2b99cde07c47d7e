"""When an environment falls asleep and wakes by itself: by its idle time, and by hours of the week. Pure.

Idle is an environment for which no person has fetched a credential. A credential lives for an hour at most,
so people who work fetch one; controllers and agents do not.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from pydantic import Field

from contracts.phases import SleepReason as SleepReason
from contracts.types.durations import format_duration
from contracts.types.models import Duration, Frozen

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WINDOW = re.compile(
    r"(?P<days>[A-Za-z,-]+) +(?P<start>\d{2}:\d{2})-(?P<end>\d{2}:\d{2})(?: +(?P<zone>[A-Za-z0-9_+/-]+))?"
)
_MINUTES_OF_DAY = 24 * 60
SCHEDULE_FORM = '"Mon-Fri 08:00-20:00 Europe/Berlin", several with ";" between them'
#: A week and a day: each window begins once in that time.
_LOOK_AHEAD_DAYS = 8


class SleepPolicy(Frozen):
    """When an environment falls asleep by itself: `after` an idle time, and outside of the `schedule`."""

    after: Duration | None = Field(default=None, description="the idle time after which it falls asleep")
    schedule: str | None = Field(
        default=None, max_length=200, description="the hours of the week in which it is awake"
    )

    def over(self, below: "SleepPolicy | None") -> "SleepPolicy":
        """Return this policy, with what is missing in it from `below`."""
        return SleepPolicy(
            after=self.after or (below.after if below else None),
            schedule=self.schedule or (below.schedule if below else None),
        )

    @property
    def sentence(self) -> str:
        """The policy in words."""
        parts = [f"after {format_duration(self.after)} without a credential"] if self.after else []
        parts += [f"outside of {self.schedule}"] if self.schedule else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Window:
    """Hours on some days of the week, in minutes of the day; an end before the start is on the next day."""

    days: frozenset[int]
    start: int
    end: int
    zone: str

    def on(self, day: date) -> tuple[datetime, datetime] | None:
        """Return the start and the end of the window that begins on that day."""
        if day.weekday() not in self.days:
            return None
        ends_on = day + timedelta(days=1) if self.end <= self.start else day
        return self._moment(day, self.start), self._moment(ends_on, self.end)

    def _moment(self, day: date, minutes: int) -> datetime:
        day, minutes = day + timedelta(days=minutes // _MINUTES_OF_DAY), minutes % _MINUTES_OF_DAY
        local = datetime.combine(day, time(minutes // 60, minutes % 60), ZoneInfo(self.zone))
        return local.astimezone(UTC)


@lru_cache(maxsize=200)
def parse_schedule(text: str) -> tuple[Window, ...]:
    """Return the windows of a schedule; raise ValueError if it is none."""
    return tuple(_parse_window(part.strip()) for part in text.split(";"))


def _parse_window(text: str) -> Window:
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text}" is not a schedule: write {SCHEDULE_FORM}')
    zone = found["zone"] or "UTC"
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, LookupError):
        raise ValueError(f'"{zone}" is not a time zone: write one such as Europe/Berlin or UTC') from None
    start, end = _minutes(found["start"]), _minutes(found["end"])
    if start in (end, _MINUTES_OF_DAY):
        raise ValueError(f'"{text}" has no hours: the end must differ from the start')
    return Window(frozenset(_days(found["days"])), start, end, zone)


def _minutes(clock: str) -> int:
    hours, minutes = map(int, clock.split(":"))
    if minutes > 59 or hours * 60 + minutes > _MINUTES_OF_DAY:
        raise ValueError(f'"{clock}" is not a time of the day: write 00:00 to 24:00')
    return hours * 60 + minutes


def _days(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, is_range, last = part.partition("-")
        names = [first, last] if is_range else [first]
        if not set(names) <= set(_DAYS):
            raise ValueError(f'"{part}" is no day of the week: write {", ".join(_DAYS)}, or Mon-Fri')
        start = _DAYS.index(first)
        length = (_DAYS.index(last) - start) % len(_DAYS) if is_range else 0
        yield from ((start + offset) % len(_DAYS) for offset in range(length + 1))


def _windows(policy: SleepPolicy) -> tuple[Window, ...]:
    """Return the windows; none if this machine cannot read the schedule, which was checked at the door."""
    try:
        return parse_schedule(policy.schedule) if policy.schedule else ()
    except ValueError:
        return ()


def _intervals(windows: tuple[Window, ...], near: datetime) -> list[tuple[datetime, datetime]]:
    """Return the windows around a moment, as moments."""
    found = []
    for window in windows:
        day = near.astimezone(ZoneInfo(window.zone)).date()
        days = (day + timedelta(days=offset) for offset in range(-2, _LOOK_AHEAD_DAYS + 1))
        found += [interval for each in days if (interval := window.on(each))]
    return found


def _is_within(windows: tuple[Window, ...], moment: datetime) -> bool:
    return any(start <= moment < end for start, end in _intervals(windows, moment))


def is_within_schedule(schedule: str, moment: datetime) -> bool:
    """Return whether the moment is in the hours; False if this machine cannot read the schedule."""
    return _is_within(_windows(SleepPolicy(schedule=schedule)), moment)


def next_change(schedule: str, moment: datetime) -> datetime | None:
    """Return when the hours next begin or end; None if they never do, or this machine cannot read them."""
    return _next_change(_windows(SleepPolicy(schedule=schedule)), moment)


def _next_change(windows: tuple[Window, ...], moment: datetime) -> datetime | None:
    """Return when the hours next begin or end; None if they never do."""
    state = _is_within(windows, moment)
    borders = sorted({border for interval in _intervals(windows, moment) for border in interval})
    return next(
        (border for border in borders if border > moment and _is_within(windows, border) is not state), None
    )


def sleep_due(
    policy: SleepPolicy, used_at: datetime, lifetime: timedelta, now: datetime
) -> tuple[datetime, SleepReason] | None:
    """Return when it falls asleep if no person uses it from now on, and why; None if it does not.

    Outside of its hours it stays awake until the last credential, of this `lifetime`, is over.
    """
    due: list[tuple[datetime, SleepReason]] = []
    if policy.after:
        due.append((used_at + policy.after, SleepReason.IDLE))
    if windows := _windows(policy):
        moment = max(now, used_at + lifetime)
        ends = _next_change(windows, moment) if _is_within(windows, moment) else moment
        if ends:
            due.append((ends, SleepReason.SCHEDULE))
    return min(due, default=None)


def wake_due(policy: SleepPolicy, reason: SleepReason, now: datetime) -> datetime | None:
    """Return when it is woken by its schedule; None if only a person wakes it.

    With an idle time, it is woken by the first credential: nothing has to run before that.
    """
    windows = _windows(policy)
    if reason is not SleepReason.SCHEDULE or policy.after or not windows:
        return None
    return now if _is_within(windows, now) else _next_change(windows, now)


def policy_problems(policy: SleepPolicy, lifetime: timedelta) -> dict[str, str]:
    """Return the fields of a policy that are wrong, each with a sentence; `lifetime` is of credentials."""
    problems = {}
    if policy.after is not None and policy.after < lifetime:
        problems["after"] = (
            f"{format_duration(policy.after)} is too short: a person may work with a credential of "
            f"{format_duration(lifetime)} for so long"
        )
    if policy.schedule is not None:
        try:
            parse_schedule(policy.schedule)
        except ValueError as error:
            problems["schedule"] = str(error)
    return problems


def problems_within(policy: SleepPolicy, template: SleepPolicy | None, lifetime: timedelta) -> dict[str, str]:
    """Return what is wrong with an environment's own policy: it may sleep more than its template says."""
    problems = policy_problems(policy, lifetime)
    limit = template or SleepPolicy()
    if "after" not in problems and policy.after and limit.after and policy.after > limit.after:
        longest = format_duration(limit.after)
        problems["after"] = (
            f"{format_duration(policy.after)} is longer than its template allows: at most {longest}"
        )
    if "schedule" not in problems and policy.schedule and limit.schedule:
        own, allowed = parse_schedule(policy.schedule), _windows(limit)
        if not _is_covered(own, allowed):
            problems["schedule"] = (
                f"{policy.schedule} is not within the hours of its template: {limit.schedule}"
            )
    return problems


def _is_covered(own: tuple[Window, ...], allowed: tuple[Window, ...]) -> bool:
    """Return whether all hours are within the allowed ones, in a week of winter and one of summer."""
    for week in (datetime(2024, 1, 17, tzinfo=UTC), datetime(2024, 7, 17, tzinfo=UTC)):
        borders = {border for interval in _intervals((*own, *allowed), week) for border in interval}
        for border in borders:
            in_range = week <= border < week + timedelta(days=7)
            if in_range and _is_within(own, border) and not _is_within(allowed, border):
                return False
    return True
