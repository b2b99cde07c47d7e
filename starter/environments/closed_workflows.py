"""Workflows of environments that have closed: the status in a failure, or how one was closed from outside."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowHistoryEventFilterType,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from contracts.environment.models import AuditLogEntry, EnvironmentStatus, Phase, StepState, StepStatus
from contracts.errors import ErrorType
from starter.temporal.errors import CALL_TIMEOUT, map_rpc_errors

#: Close statuses that only a caller of Temporal or a timeout causes: an environment's workflow completes, or
#: fails with its status, and never ends in another way.
CLOSED_FROM_OUTSIDE = frozenset(
    {
        WorkflowExecutionStatus.TERMINATED,
        WorkflowExecutionStatus.TIMED_OUT,
        WorkflowExecutionStatus.CANCELED,
    }
)
#: Longest part of a termination reason that is shown, in characters; users write it in Temporal.
MAX_REASON = 200
_CUT_OFF_STATES = {StepState.RUNNING: StepState.FAILED, StepState.UNDOING: StepState.UNDO_FAILED}


@dataclass(frozen=True)
class Closing:
    """How a run was closed from outside, such as "terminated", by whom and why, if Temporal reports it."""

    how: str
    at: datetime | None
    by: str = ""
    why: str = ""

    @property
    def text(self) -> str:
        """The closing as text."""
        by = f" by {self.by}" if self.by else ""
        return f"{self.how}{by}" + (f": {self.why}" if self.why else "")


def status_in_failure(cause: BaseException) -> EnvironmentStatus | None:
    """Return the status in the details of a failure, whatever type they were decoded to."""
    if not isinstance(cause, ApplicationError) or cause.type != ErrorType.PROVISIONING_FAILED:
        return None
    details: Any = cause.details[0] if cause.details else None
    try:
        return EnvironmentStatus.model_validate(details)
    except ValidationError:
        return None


async def read_closing(client: Client, run: WorkflowExecution) -> Closing:
    """Return how the run was closed, from the last event of its history."""
    how = (run.status.name if run.status else "unknown").lower().replace("_", " ")
    handle = client.get_workflow_handle(run.id, run_id=run.run_id)
    try:
        with map_rpc_errors():
            events = handle.fetch_history_events(
                event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT, rpc_timeout=CALL_TIMEOUT
            )
            last = [event async for event in events][-1:]
    except RPCError:
        last = []  # The retention of the run has just ended.
    if not last or last[0].event_type != EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED:
        return Closing(how, run.close_time)
    about = last[0].workflow_execution_terminated_event_attributes
    return Closing(how, run.close_time, about.identity, about.reason[:MAX_REASON])


def with_closing(status: EnvironmentStatus, closing: Closing) -> EnvironmentStatus:
    """Return the status after the workflow was closed from outside: no step is running any more."""
    is_gone = status.certificate is not None and status.certificate.nothing_left
    at = closing.at or status.requested_at
    entry = AuditLogEntry(
        at=at, actor="Temporal", action="closed its workflow from outside", result=closing.text
    )
    return status.model_copy(
        update={
            "phase": Phase.GONE if is_gone else Phase.ORPHANED,
            "ended_at": closing.at,
            "next_pass_at": None,
            "steps": tuple(_cut_off(step, at) for step in status.steps),
            "audit_log": (*status.audit_log, entry),
        }
    )


def orphan_remark(name: str, closing: Closing, status: EnvironmentStatus | None) -> str:
    """Return sentences that say what has happened and what to do."""
    what = f"Its workflow was closed from outside ({closing.text})"
    if status and status.phase is Phase.GONE:
        return f"{what} after everything had been taken down."
    return (
        f"{what}, so nothing was taken down, and what it made may still be there: "
        f"the platform team removes it with: moorage teardown {name} --force"
    )


def _cut_off(step: StepStatus, at: datetime) -> StepStatus:
    if step.state not in _CUT_OFF_STATES:
        return step
    note = "cut off when its workflow was closed"
    return step.model_copy(update={"state": _CUT_OFF_STATES[step.state], "ended_at": at, "note": note})
