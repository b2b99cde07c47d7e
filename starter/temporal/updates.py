"""How updates are answered: what a workflow refuses, and what a run that closes meanwhile means."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from contracts.errors import ErrorType, Refusal
from starter.temporal.errors import NoWorker, told

#: The type of the error that an update gets whose run closed before it was answered.
_RUN_CLOSED = "AcceptedUpdateCompletedWorkflow"


class Refused(Exception):
    """The environment does not accept it, and says why."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.message)


class NoCapacity(Refused):
    """There is no room for it: nothing was started. When the next one ends there, and what would fit."""

    def __init__(self, refusal: Refusal, next_end: datetime | None, fits: tuple[str, ...] = ()) -> None:
        self.next_end = next_end
        self.fits = fits
        super().__init__(refusal)


class WorkflowClosed(Exception):
    """The run closed while it was being asked."""


@asynccontextmanager
async def answered(patience: timedelta) -> AsyncIterator[None]:
    """Updates in it are answered, or end as one of the errors of this module or of `errors`."""
    try:
        with told():
            async with asyncio.timeout(patience.total_seconds()):
                yield
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
        raise NoWorker from error
    except WorkflowUpdateFailedError as error:
        raise _meaning(error) from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise WorkflowClosed from error
        raise


async def update_with_start(
    client: Client, update: Any, ask: Any, start: WithStartWorkflowOperation[Any, Any], **more: Any
) -> Any:
    """Start the run if there is none, send the update, and wait for its answer. Raises as the SDK does.

    The SDK leaves the error of a start in its operation too (`WithStartWorkflowOperation.workflow_handle`);
    asyncio would log what nobody takes out of there, with all that the server has said.
    """
    try:
        return await client.execute_update_with_start_workflow(
            update, ask, start_workflow_operation=start, **more
        )
    except BaseException:
        # Not awaited: a cancellation that came here meanwhile would be lost.
        asyncio.ensure_future(start.workflow_handle()).add_done_callback(_taken)
        raise


def _taken(handle: "asyncio.Future[Any]") -> None:
    if not handle.cancelled():
        handle.exception()


def _meaning(error: WorkflowUpdateFailedError) -> Exception:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        if cause.type == _RUN_CLOSED:
            return WorkflowClosed()
        if cause.type == ErrorType.REQUEST_REFUSED and cause.details:
            return Refused(Refusal.model_validate(cause.details[0]))
    return error
