"""What the runs of environments were started with, read from their histories; needs no worker."""

from collections.abc import Sequence
from datetime import timedelta

from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowExecution, WorkflowHistoryEventFilterType

from contracts.environment_workflow import EnvironmentStart

#: Timeout of one page of a history: milliseconds, unless there is a fault.
CALL_TIMEOUT = timedelta(seconds=10)


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
