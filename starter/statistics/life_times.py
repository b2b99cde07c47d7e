"""What the figures need of one life that has ended, from its record or from its workflow's result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

from contracts.environment.models import EnvironmentStatus, Outcome, Problem

#: How far the clock of the worker that has written a record may be ahead of ours.
MAX_CLOCK_DIFFERENCE = timedelta(hours=1)
#: Longest part of a failure's step, system and type that is kept, in characters.
MAX_FAILURE_TEXT = 60


class Implausible(ValueError):
    """The times of a life contradict each other, so nothing of it is counted."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a life could not be provisioned: the step, its system, and the type of the error."""

    step: str
    system: str
    type: str

    @classmethod
    def of(cls, step: str, system: str, type: str) -> Self:
        """Return the failure, with longer texts cut."""
        return cls(step[:MAX_FAILURE_TEXT], system[:MAX_FAILURE_TEXT], type[:MAX_FAILURE_TEXT])


@dataclass(frozen=True, slots=True)
class LifeTimes:
    """The times of one life.

    `steps` has the time of each step that was done, by its name, in seconds, and `undos` the time that it
    took to undo it.
    """

    life: str
    template: str
    host: str
    outcome: Outcome
    requested_at: datetime
    ended_at: datetime
    usable_seconds: float | None
    ready_seconds: float | None
    steps: Mapping[str, float]
    undos: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None


def times_of_status(status: EnvironmentStatus, now: datetime) -> LifeTimes:
    """Return the times of a life from its last status; raise Implausible if it has not ended."""
    if status.ended_at is None or status.outcome is None:
        raise Implausible("it has not ended")
    environment = status.environment
    return checked(
        LifeTimes(
            life=environment.mark.life,
            template=environment.template.name,
            host=environment.host,
            outcome=status.outcome,
            requested_at=status.requested_at,
            ended_at=status.ended_at,
            usable_seconds=seconds_between(status.requested_at, status.usable_at),
            ready_seconds=seconds_between(status.requested_at, status.ready_at),
            steps={
                step.step.value: step.took.total_seconds() for step in status.steps if step.took is not None
            },
            undos={
                step.step.value: step.undo_took.total_seconds()
                for step in status.steps
                if step.took is not None and step.undo_took is not None
            },
            failure=_failure(status.outcome, status.problem),
        ),
        now,
    )


def checked(times: LifeTimes, now: datetime) -> LifeTimes:
    """Return the times; raise Implausible if they contradict each other, or are in the future."""
    length = (times.ended_at - times.requested_at).total_seconds()
    if length < 0:
        raise Implausible("it ended before it was requested")
    if times.ended_at > now + MAX_CLOCK_DIFFERENCE:
        raise Implausible("it ends in the future")
    parts = (times.usable_seconds, times.ready_seconds, *times.steps.values(), *times.undos.values())
    if any(part is not None and not 0 <= part <= length for part in parts):
        raise Implausible("a part of it took longer than the whole, or less than no time")
    return times


def seconds_between(start: datetime, end: datetime | None) -> float | None:
    """Return the seconds from start to end; None without an end."""
    return None if end is None else (end - start).total_seconds()


def _failure(outcome: Outcome, problem: Problem | None) -> Failure | None:
    if outcome is not Outcome.FAILED or problem is None:
        return None
    return Failure.of(problem.step, problem.system, problem.type)
