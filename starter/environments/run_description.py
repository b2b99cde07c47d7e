"""What Temporal tells about a run without a worker: memo, search attributes, pending activities."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import structlog
from pydantic import ValidationError
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import WorkflowExecution, WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError, FailureError

from contracts.activities.steps import HeartbeatDetails
from contracts.environment.models import Outcome, Phase
from contracts.errors import ErrorType, StepErrorDetails
from contracts.temporal import search_attributes, workflow_memo
from contracts.types.labels import labels_of
from contracts.types.naming import life_id, name_from_workflow_id
from starter.environments.closed_workflows import CLOSED_FROM_OUTSIDE
from starter.environments.schemas import EnvironmentView, Progress
from worker.codec import DecodeError, ForeignPayload

#: Longest part of a failed attempt's message that is shown beside a step, in characters.
MAX_FAILURE = 300

#: A free worker takes an activity up within moments. After this time it is worth a word that none has.
MAX_QUEUE_TIME = timedelta(seconds=5)

_log = structlog.get_logger(__name__)

_Value = TypeVar("_Value", str, list[str])
_TYPES: Mapping[type, Any] = {str: str, list: list[str]}


async def memo_value(run: WorkflowExecution, key: str, default: _Value) -> _Value:
    """Return a value of a run's memo, or the default if it is missing or not written by Moorage.

    Raises:
        KeyMissing: The encryption key of the value is not configured any more.
    """
    try:
        value: _Value = await run.memo_value(key, default, type_hint=_TYPES[type(default)])
    except ForeignPayload as error:
        _log.warning("a memo in Temporal was refused", workflow_id=run.id, key=key, cause=str(error))
        return default
    return value


def attribute(run: WorkflowExecution, key: SearchAttributeKey[str], default: str = "") -> str:
    """Return the value of a search attribute of a run, or the default if it has none."""
    return run.typed_search_attributes.get(key) or default


def run_labels(run: WorkflowExecution) -> dict[str, str]:
    """Return the labels from a run's search attributes."""
    return labels_of(run.typed_search_attributes.get(search_attributes.LABELS) or ())


def phase_of(run: WorkflowExecution) -> Phase:
    """Return the phase from a run's search attributes; GONE if the run completed or failed."""
    if run.status in CLOSED_FROM_OUTSIDE:
        return Phase.ORPHANED
    if run.status in (WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.FAILED):
        return Phase.GONE
    known = attribute(run, search_attributes.PHASE, Phase.PROVISIONING.value)
    return Phase(known) if known in set(Phase) else Phase.PROVISIONING


async def owner_left_at(run: WorkflowExecution) -> datetime | None:
    """Return since when the owner has left, from the memo of the run; None while it has an owner."""
    left = await memo_value(run, workflow_memo.OWNER_LEFT, "")
    return datetime.fromisoformat(left) if left else None


def view_of_run(
    run: WorkflowExecution,
    request_id: str,
    collaborators: tuple[str, ...],
    remark: str,
    owner_left: datetime | None = None,
) -> EnvironmentView:
    """Build the view of an environment from Temporal's description alone, without a worker."""
    return EnvironmentView(
        name=name_from_workflow_id(run.id),
        life=life_id(request_id) if request_id else "",
        owner=attribute(run, search_attributes.OWNER),
        team=attribute(run, search_attributes.TEAM),
        template=attribute(run, search_attributes.TEMPLATE),
        host=attribute(run, search_attributes.HOST),
        collaborators=collaborators,
        labels=run_labels(run),
        phase=phase_of(run),
        outcome=Outcome.FAILED if run.status is WorkflowExecutionStatus.FAILED else None,
        ended=run.status is not WorkflowExecutionStatus.RUNNING,
        requested_at=run.start_time,
        ended_at=run.close_time,
        expires_at=run.typed_search_attributes.get(search_attributes.EXPIRES_AT),
        remark=remark,
        run_id=run.run_id,
        owner_left_at=owner_left,
    )


def _is_untaken(pending: PendingActivityInfo) -> bool:
    """Return whether the first attempt has waited for a worker for longer than MAX_QUEUE_TIME."""
    is_scheduled = pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
    if not is_scheduled or pending.attempt > 1 or not pending.HasField("scheduled_time"):
        return False
    return datetime.now(UTC) - pending.scheduled_time.ToDatetime(tzinfo=UTC) > MAX_QUEUE_TIME


async def progress_of(converter: DataConverter, pending: PendingActivityInfo) -> Progress:
    """Return what a pending activity waits for, from its heartbeat, and its attempts so far."""
    waiting_for, failure, throttled_by = "", "", ""
    if pending.heartbeat_details.payloads:
        try:
            [details] = await converter.decode(pending.heartbeat_details.payloads, [HeartbeatDetails])
            waiting_for = details.waiting_for
        except (ValueError, RuntimeError, TypeError, AttributeError):
            waiting_for = ""  # A worker of another version wrote the heartbeat; the step itself continues.
    if not waiting_for and _is_untaken(pending):
        waiting_for = "a worker to take it up"
    if pending.HasField("last_failure"):
        error = await _failure(converter, pending.last_failure)
        message = error.message if isinstance(error, FailureError) else str(error)
        failure = message[:MAX_FAILURE]
        throttled_by = _throttled_by(error)
    next_attempt = None
    if pending.HasField("next_attempt_schedule_time"):
        next_attempt = pending.next_attempt_schedule_time.ToDatetime(tzinfo=UTC)
        if next_attempt <= datetime.now(UTC):
            next_attempt = None
    return Progress(
        waiting_for=waiting_for,
        attempt=max(1, pending.attempt),
        next_attempt_at=next_attempt,
        last_failure=failure,
        throttled_by=throttled_by,
    )


async def _failure(converter: DataConverter, failure: Failure) -> BaseException:
    try:
        return await converter.decode_failure(failure)
    except DecodeError as error:
        return error


def _throttled_by(error: BaseException) -> str:
    if not isinstance(error, ApplicationError) or error.type != ErrorType.THROTTLED:
        return ""
    try:
        return StepErrorDetails.model_validate(error.details[0]).system if error.details else ""
    except ValidationError:
        return ""
