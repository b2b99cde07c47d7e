"""The figures for the pages. New lives are read in the background, once for all callers."""

import asyncio
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from starter.statistics.daily_figures import CountedFailure, DailyFigures, Period, TimesOfDay
from starter.statistics.life_sources import LifeSource, OpenEnvironments
from starter.statistics.life_times import LifeTimes
from starter.statistics.usual_times import UsualTimes, UsualTimesTable

#: How old the figures may be before the source is asked for new lives.
FRESH_SECONDS = 5.0
#: How long a page waits for figures that are still being read: then it shows what there is, and says so.
MAX_WAIT_SECONDS = 1.0
#: Lives that are recognised when they come twice: a retry may write a record again, soon after the first.
MAX_KNOWN_LIVES = 20_000
#: Causes of failures that are listed one by one.
MAX_CAUSES = 10
#: Periods up to this length are shown by hours.
HOURLY_UP_TO = timedelta(days=2)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Figures:
    """All figures of one period. `remark` says which lives are missing, and why."""

    times: tuple[TimesOfDay, ...]
    periods: tuple[Period, ...]
    hourly: bool
    failures: tuple[CountedFailure, ...]
    lives: int
    skipped: int
    remark: str = ""


class Statistics:
    """The figures of an installation."""

    def __init__(self, source: LifeSource, open_environments: OpenEnvironments | None = None) -> None:
        self._source = source
        self._open_environments = open_environments
        self._usual = UsualTimesTable()
        self._daily = DailyFigures()
        self._known: OrderedDict[str, None] = OrderedDict()
        self._reading: asyncio.Task[None] | None = None
        self._read_at = float("-inf")
        self._lives = self._skipped = 0
        self._problem = ""

    def usual_times(self, template: str, host: str) -> UsualTimes:
        """Return the usual times as far as they are known, at once; read new lives in the background."""
        self._start_reading()
        return self._usual.of(template, host)

    async def figures(self, days: int) -> Figures:
        """Return the figures of the last days; raise TemporalUnavailable."""
        await self.refresh()
        open_since = await self._open_environments.requested_at() if self._open_environments else ()
        now = datetime.now(UTC)
        hourly = timedelta(days=days) <= HOURLY_UP_TO
        return Figures(
            times=tuple(self._daily.times_by_day(now, days)),
            periods=tuple(
                self._daily.periods(now, days * 24 if hourly else days, hourly=hourly, open_since=open_since)
            ),
            hourly=hourly,
            failures=self._failures(now, days),
            lives=self._lives,
            skipped=self._skipped,
            remark=self.remark(),
        )

    async def failures(self, days: int) -> tuple[CountedFailure, ...]:
        """Return the causes of the failures of the last days, without the other figures."""
        await self.refresh()
        return self._failures(datetime.now(UTC), days)

    def remark(self) -> str:
        """Return which lives are missing in the figures, and why; empty if none."""
        parts = []
        if self._problem:
            parts.append(f"The last lives could not be read: {self._problem}")
        elif self._reading and not self._reading.done():
            parts.append(f"Records are still being read, {self._lives} so far: look again soon.")
        parts.append(self._source.remark)
        if self._skipped:
            parts.append(f"{self._skipped} records are damaged and not counted.")
        return " ".join(filter(None, parts))

    async def refresh(self, timeout: float = MAX_WAIT_SECONDS) -> None:
        """Read the new lives; return after `timeout` seconds at the latest, while the read goes on."""
        self._start_reading()
        if self._reading:
            await asyncio.wait({self._reading}, timeout=timeout)

    async def stop(self) -> None:
        """Stop reading."""
        if self._reading:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading

    def _failures(self, now: datetime, days: int) -> tuple[CountedFailure, ...]:
        return tuple(self._daily.failures(now, days, MAX_CAUSES))

    def _start_reading(self) -> None:
        is_reading = self._reading is not None and not self._reading.done()
        if not is_reading and time.monotonic() - self._read_at >= FRESH_SECONDS:
            self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while True:
                batch = await self._source.read()
                self._skipped += batch.skipped
                for times in batch.lives:
                    self._add(times)
                if batch.is_last:
                    self._problem = ""
                    return
        except Exception as error:
            # The page that needs the figures is shown all the same, with this problem in its remark.
            self._problem = str(error) or type(error).__name__
            _log.warning("the figures could not be read", cause=self._problem)
        finally:
            self._read_at = time.monotonic()

    def _add(self, times: LifeTimes) -> None:
        if times.life in self._known:
            return
        self._known[times.life] = None
        if len(self._known) > MAX_KNOWN_LIVES:
            self._known.popitem(last=False)
        self._lives += 1
        self._usual.add(times)
        self._daily.add(times, datetime.now(UTC))
