"""Standbys: vClusters that are made ahead of any request, for a warm pool.

A standby is an `Environment` without an owner that has only the steps on its host. Its workflow has the id
that an environment of its name would have, so a search for the owner of its mark finds it.
"""

from datetime import timedelta
from enum import StrEnum

from contracts.environment.models import Certificate, Environment, Problem
from contracts.environment_workflow import EnvironmentStart
from contracts.types.models import Frozen
from contracts.types.naming import OwnerMark

#: How long a standby waits to be taken over, before another takes its place.
STANDBY_TTL = timedelta(days=1)
STANDBY_WORKFLOW = "StandbyWorkflow"
SIGNAL_WITHDRAW = "withdraw"
STANDBY_OFFER = "standby.offer"
STANDBY_WITHDRAW = "standby.withdraw"


class StandbyInput(Frozen):
    """The standby whose offer begins or ends."""

    environment: Environment


class StartStandbyInput(Frozen):
    """The start of a standby, its pool, and the task queue of its workflow."""

    start: EnvironmentStart
    pool: str
    task_queue: str


class WithdrawResult(Frozen):
    """The environment that has taken the standby over; None if none has, and none can any more."""

    taken_by: OwnerMark | None = None


class WithdrawInput(Frozen):
    """The reason to end a standby, and how long an environment may still take it over before."""

    reason: str
    after: timedelta = timedelta(0)


class StandbyEnd(StrEnum):
    """How a standby has ended."""

    CLAIMED = "claimed"  #: an environment has taken it over
    ENDED = "ended"  #: it was undone, and nothing is left
    FAILED = "failed"  #: it could not be made, and was undone


class StandbyResult(Frozen):
    """The result of a standby's workflow; the certificate is of one that was undone."""

    end: StandbyEnd
    reason: str = ""
    taken_by: OwnerMark | None = None
    problem: Problem | None = None
    certificate: Certificate | None = None
