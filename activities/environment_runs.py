"""Reads the runs of environments as Temporal has them: which are open, and what they were started with.

This needs no worker.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHistoryEventFilterType,
)
from temporalio.service import RPCError, RPCStatusCode

from contracts.environment_workflow import ENVIRONMENT_WORKFLOW, EnvironmentStart
from contracts.standby import STANDBY_WORKFLOW
from contracts.temporal import workflow_memo
from contracts.types.naming import life_id, workflow_id

#: Timeout of one page of a list or a history, one count, one description, or one query to an environment:
#: milliseconds, unless there is a fault.
CALL_TIMEOUT = timedelta(seconds=10)
#: The query for all environments that are open.
OPEN_RUNS = f"WorkflowType = '{ENVIRONMENT_WORKFLOW}' AND ExecutionStatus = 'Running'"
#: The query for all that hold a place on a host: environments, and the standbys of warm pools.
OPEN_PLACES = (
    f"WorkflowType IN ('{ENVIRONMENT_WORKFLOW}', '{STANDBY_WORKFLOW}') AND ExecutionStatus = 'Running'"
)
#: Close statuses that only a caller of Temporal or a timeout causes: the resources of such a run remain.
CLOSED_FROM_OUTSIDE = (
    WorkflowExecutionStatus.TERMINATED,
    WorkflowExecutionStatus.TIMED_OUT,
    WorkflowExecutionStatus.CANCELED,
)
#: The query for all that hold a place, and for those that were closed from outside.
LEFT_PLACES = (
    f"WorkflowType IN ('{ENVIRONMENT_WORKFLOW}', '{STANDBY_WORKFLOW}') "
    "AND ExecutionStatus IN ('Running', 'Terminated', 'TimedOut', 'Canceled')"
)
#: Errors of reading a run of another version, one that was started by hand, or one whose key is gone.
UNREADABLE_ERRORS = (RuntimeError, ValueError, LookupError)


async def describe_latest(temporal: Client, name: str) -> WorkflowExecutionDescription | None:
    """Return the latest run of an environment's name; None if Temporal has none."""
    try:
        return await temporal.get_workflow_handle(workflow_id(name)).describe(rpc_timeout=CALL_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


async def life_of(run: WorkflowExecution) -> str:
    """Return the life of a run; "" if that cannot be read."""
    request_id = ""
    with suppress(*UNREADABLE_ERRORS):
        request_id = await run.memo_value(workflow_memo.REQUEST_ID, "", type_hint=str)
    return life_id(request_id) if request_id else ""


async def start_of(temporal: Client, run: WorkflowExecution) -> EnvironmentStart:
    """Return what the run was started with.

    Raises:
        RPCError: Temporal does not know the run any more, or does not answer.
        ValueError, RuntimeError, LookupError: The input cannot be read; see UNREADABLE_ERRORS.
    """
    payloads = await start_input_of(temporal, run.id, run.run_id)
    if not payloads:
        raise ValueError("it was started with nothing")
    [start] = await run.data_converter.decode(payloads, [EnvironmentStart])
    found: EnvironmentStart = start
    return found


async def start_input_of(temporal: Client, workflow_id: str, run_id: str | None = None) -> Sequence[Payload]:
    """Return the start input of a run, as Temporal stores it."""
    events = temporal.get_workflow_handle(workflow_id, run_id=run_id).fetch_history_events(
        page_size=1, event_filter_type=WorkflowHistoryEventFilterType.ALL_EVENT, rpc_timeout=CALL_TIMEOUT
    )
    first = await anext(events)
    return first.workflow_execution_started_event_attributes.input.payloads
