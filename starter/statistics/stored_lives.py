"""The part of a stored `LifeRecord` that the figures need, decoded from its line.

msgspec skips the rest of a line and takes a tenth of the time that pydantic takes for the whole record. There
may be a hundred thousand of them.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from contracts.environment.models import Outcome
from contracts.types.naming import LIFE_PATTERN
from starter.statistics.life_times import Failure, Implausible, LifeTimes, checked, seconds_between

_Name = Annotated[str, msgspec.Meta(max_length=100)]
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class _Step(msgspec.Struct):
    step: _Name
    took: timedelta
    undo_took: timedelta | None = None


class _Problem(msgspec.Struct):
    step: str
    system: str
    type: str


class _Record(msgspec.Struct):
    life: Annotated[str, msgspec.Meta(pattern=LIFE_PATTERN)]
    template: _Name
    outcome: Outcome
    requested_at: _Moment
    ended_at: _Moment
    usable_at: _Moment | None = None
    ready_at: _Moment | None = None
    host: _Name = ""
    steps: tuple[_Step, ...] = ()
    problem: _Problem | None = None


_decoder = msgspec.json.Decoder(_Record)


def parse_lines(lines: Iterable[bytes], now: datetime) -> tuple[list[LifeTimes], int]:
    """Return the lives of the lines, and the number of lines that are no plausible record."""
    lives, skipped = [], 0
    for line in lines:
        try:
            lives.append(_times_of(_decoder.decode(line), now))
        except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, Implausible):
            skipped += 1
    return lives, skipped


def _times_of(record: _Record, now: datetime) -> LifeTimes:
    failure = None
    if record.outcome is Outcome.FAILED and record.problem:
        failure = Failure.of(record.problem.step, record.problem.system, record.problem.type)
    times = LifeTimes(
        life=record.life,
        template=record.template,
        host=record.host,
        outcome=record.outcome,
        requested_at=record.requested_at,
        ended_at=record.ended_at,
        usable_seconds=seconds_between(record.requested_at, record.usable_at),
        ready_seconds=seconds_between(record.requested_at, record.ready_at),
        steps={step.step: step.took.total_seconds() for step in record.steps},
        undos={
            step.step: step.undo_took.total_seconds() for step in record.steps if step.undo_took is not None
        },
        failure=failure,
    )
    return checked(times, now)
