"""Updates of environments by the sweeps: which environments may get one, and why one has failed."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

from pydantic import ValidationError
from temporalio.client import (
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.environment_runs import OPEN_RUNS, UNREADABLE_ERRORS
from contracts.environment.models import Phase
from contracts.errors import ErrorType, Refusal
from contracts.temporal import search_attributes

#: Timeout of the update of one environment.
UPDATE_TIMEOUT = timedelta(seconds=15)

#: Error type of an update whose run closed before it was answered.
_RUN_CLOSED = "AcceptedUpdateCompletedWorkflow"

#: Phases with people and an end. In teardown, an environment is ending already, and a failed one, too.
_PHASES = (
    Phase.PROVISIONING,
    Phase.USABLE,
    Phase.READY,
    Phase.FALLING_ASLEEP,
    Phase.ASLEEP,
    Phase.WAKING,
)
#: The query for the environments that a sweep asks.
OPEN = (
    f"{OPEN_RUNS} AND {search_attributes.PHASE.name} IN ({', '.join(repr(phase.value) for phase in _PHASES)})"
)

#: The errors of one environment. A sweep reports them and continues with the other environments.
FAILURES = (
    TimeoutError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    RPCError,
    *UNREADABLE_ERRORS,
)


class FailureKind(Enum):
    """Whether an environment has refused an update, has ended before it, or has failed."""

    REFUSED = auto()
    ENDED = auto()
    FAILED = auto()


@dataclass(frozen=True)
class UpdateFailure:
    """Why an environment did not do what a sweep asked, in words."""

    kind: FailureKind
    reason: str


_ENDED = UpdateFailure(FailureKind.ENDED, "it has ended meanwhile")


def describe_failure(error: Exception) -> UpdateFailure:
    """Return what one of the FAILURES means."""
    match error:
        case TimeoutError() | WorkflowUpdateRPCTimeoutOrCancelledError():
            return _failed("it gave no answer in time")
        case WorkflowQueryFailedError():
            return _failed(f"it cannot say what is due: {error.message}")
        case WorkflowUpdateFailedError():
            return _describe_update_failure(error.cause)
        case RPCError():
            is_gone = error.status is RPCStatusCode.NOT_FOUND
            return _ENDED if is_gone else _failed(f"Temporal: {error.status.name}")
        case _:
            return _failed(f"its answer cannot be read ({type(error).__name__})")


def _describe_update_failure(cause: BaseException) -> UpdateFailure:
    if isinstance(cause, ApplicationError):
        if cause.type == ErrorType.REQUEST_REFUSED and cause.details:
            with suppress(ValidationError):  # The details may be of another version.
                return UpdateFailure(FailureKind.REFUSED, Refusal.model_validate(cause.details[0]).message)
        if cause.type == _RUN_CLOSED:
            return _ENDED
    return _failed(f"it could not do it: {cause}")


def _failed(reason: str) -> UpdateFailure:
    return UpdateFailure(FailureKind.FAILED, reason)
