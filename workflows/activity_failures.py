"""What a failed activity means, in words, and whether something of it may still be on its way."""

from collections.abc import Mapping
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutError, TimeoutType

with workflow.unsafe.imports_passed_through():
    from pydantic import ValidationError

    from contracts.activities import Waiting
    from contracts.environment import Problem
    from contracts.errors import ErrorType, StepErrorDetails
    from contracts.tampering import Tampered

_Result = TypeVar("_Result")

_TIMED_OUT = {
    TimeoutType.HEARTBEAT: "the worker that did it has gone silent",
    TimeoutType.START_TO_CLOSE: "it did not finish in its time",
    TimeoutType.SCHEDULE_TO_CLOSE: "it did not succeed in the time that it has",
    TimeoutType.SCHEDULE_TO_START: "no worker took it up",
}

_SEE_THE_LOG = "See the worker's log."
_REMEDIES: Mapping[str, str] = {
    ErrorType.TAMPERED: "Somebody answered Temporal in the worker's stead: see who can reach its frontend.",
}


def genuine(result: _Result) -> _Result:
    """The result of an activity, if a worker of ours gave it; ActivityError, and in doubt, if not."""
    if isinstance(result, Tampered):
        raise ActivityError(
            "the result was refused",
            scheduled_event_id=0,
            started_event_id=0,
            identity="",
            activity_type="",
            activity_id="",
            retry_state=None,
        ) from ApplicationError(result.why, type=ErrorType.TAMPERED, non_retryable=True)
    return result


def problem_of(error: ActivityError, step: str, system: str) -> Problem:
    """Why the activity failed, for people. `system` is said where the error names none itself."""
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
            # That of the last try, which the cause goes on to tell of.
            system=last.system if last else system,
            cause=f"{_timed_out(cause).rstrip('.')}.",
            remedy="If it happens again, `moorage doctor` of the platform team says which system is slow.",
            type="Timeout",
        )
    if isinstance(cause, CancelledError):
        return Problem(step=step, system=system, cause="it was cancelled.", remedy="", type="Cancelled")
    return Problem(step=step, system=system, cause=str(cause or error), remedy=_SEE_THE_LOG, type="")


def is_in_doubt(error: ActivityError) -> bool:
    """Whether something may still come into being although the activity has ended.

    Only an error that says that it is not leaves no doubt: a timeout, a lost worker and a cancellation
    tell nothing about the last call that was made.
    """
    details = _details(error.cause) if isinstance(error.cause, ApplicationError) else None
    return details is None or details.in_doubt


def _details(error: ApplicationError) -> StepErrorDetails | None:
    try:
        return StepErrorDetails.model_validate(error.details[0]) if error.details else None
    except ValidationError:
        return None


def _timed_out(error: TimeoutError) -> str:
    words = _TIMED_OUT[error.type] if error.type else "it timed out"
    if error.last_heartbeat_details:
        try:
            waiting = Waiting.model_validate(error.last_heartbeat_details[0])
        except ValidationError:
            return words
        if waiting.waiting_for:
            return f"{words}; it was waiting for: {waiting.waiting_for}"
    last_failure = error.cause
    if isinstance(last_failure, ApplicationError):
        return f"{words}; the last try: {last_failure.message}"
    return words
