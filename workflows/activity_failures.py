"""What a failed activity means, in words and for the workflow, and whether a part of it may still appear."""

from collections.abc import Mapping
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutError, TimeoutType

with workflow.unsafe.imports_passed_through():
    from pydantic import ValidationError

    from contracts.activities.steps import HeartbeatDetails
    from contracts.environment.models import EnvironmentStatus, Problem
    from contracts.errors import ErrorType, StepErrorDetails
    from contracts.temporal.foreign_payload import RejectedPayload

_Result = TypeVar("_Result")

_TIMED_OUT = {
    TimeoutType.HEARTBEAT: "the worker that did it has gone silent",
    TimeoutType.START_TO_CLOSE: "it did not finish in its time",
    TimeoutType.SCHEDULE_TO_CLOSE: "it did not succeed in the time that it has",
    TimeoutType.SCHEDULE_TO_START: "no worker took it up",
}

_TIMEOUT_REMEDY = "If it happens again, `moorage doctor` of the platform team says which system is slow."
_NO_WORKER_REMEDY = "`moorage doctor` of the platform team says which host or system has no worker."
_SEE_THE_LOG = "See the worker's log."
_REMEDIES: Mapping[str, str] = {
    ErrorType.TAMPERED: "Another program answered Temporal instead of the worker. Restrict its frontend.",
}


def require_genuine(result: _Result) -> _Result:
    """Return the result of an activity if our worker gave it; otherwise raise an in-doubt error.

    Raises:
        ActivityError: The result was not written by Moorage (`RejectedPayload`).
    """
    if isinstance(result, RejectedPayload):
        raise ActivityError(
            "the result was refused",
            scheduled_event_id=0,
            started_event_id=0,
            identity="",
            activity_type="",
            activity_id="",
            retry_state=None,
        ) from ApplicationError(result.reason, type=ErrorType.TAMPERED, non_retryable=True)
    return result


def problem_of(error: ActivityError, step: str, system: str) -> Problem:
    """Return why the activity failed, for people.

    `system` is used where the error names no system.
    """
    cause = error.cause
    if isinstance(cause, ApplicationError):
        details = _details(cause)
        return Problem(
            step=step,
            system=details.system if details else system,
            cause=cause.message,
            remedy=details.remedy if details else _REMEDIES.get(cause.type or "", _SEE_THE_LOG),
            type=cause.type or "",
        )
    if isinstance(cause, TimeoutError):
        last = _details(cause.cause) if isinstance(cause.cause, ApplicationError) else None
        return Problem(
            step=step,
            # The system of the last attempt, because the cause below describes that attempt.
            system=last.system if last else system,
            cause=f"{_timed_out(cause).rstrip('.')}.",
            remedy=_NO_WORKER_REMEDY if cause.type is TimeoutType.SCHEDULE_TO_START else _TIMEOUT_REMEDY,
            type="Timeout",
        )
    if isinstance(cause, CancelledError):
        return Problem(step=step, system=system, cause="it was cancelled.", remedy="", type="Cancelled")
    return Problem(step=step, system=system, cause=str(cause or error), remedy=_SEE_THE_LOG, type="")


def provisioning_error(status: EnvironmentStatus, problem: Problem) -> ApplicationError:
    """Return the error with which the workflow fails after an environment could not be provisioned."""
    return ApplicationError(
        f"{status.environment.name} could not be made and was undone. {problem.step}: {problem.cause}",
        status,
        type=ErrorType.PROVISIONING_FAILED,
        non_retryable=True,
    )


def is_in_doubt(error: ActivityError) -> bool:
    """Return whether a resource may still be created although the activity has ended.

    Only an error that denies it leaves no doubt: a timeout, a lost worker and a cancellation say nothing
    about the last call that was made.
    """
    details = _details(error.cause) if isinstance(error.cause, ApplicationError) else None
    return details is None or details.in_doubt


def is_cancelled(error: ActivityError) -> bool:
    """Return whether the activity was cancelled by its workflow."""
    return isinstance(error.cause, CancelledError)


def system_of(error: ApplicationError) -> str:
    """Return the system that the error names; "" if it names none."""
    details = _details(error)
    return details.system if details else ""


def _details(error: ApplicationError) -> StepErrorDetails | None:
    try:
        return StepErrorDetails.model_validate(error.details[0]) if error.details else None
    except ValidationError:
        return None


def _timed_out(error: TimeoutError) -> str:
    words = _TIMED_OUT[error.type] if error.type else "it timed out"
    if error.last_heartbeat_details:
        try:
            waiting = HeartbeatDetails.model_validate(error.last_heartbeat_details[0])
        except ValidationError:
            return words
        if waiting.waiting_for:
            return f"{words}; it was waiting for: {waiting.waiting_for}"
    last_failure = error.cause
    if isinstance(last_failure, ApplicationError):
        return f"{words}; the last try: {last_failure.message}"
    return words
