"""Updates to workflows: maps a refusal, and a run that closes during the update, to exceptions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from contracts.errors import ErrorType, Refusal, RefusalReason
from starter.temporal.errors import NoWorker, map_rpc_errors
from worker.codec import KeyMissing

#: Error type of an update whose run closed before the update completed.
_RUN_CLOSED = "AcceptedUpdateCompletedWorkflow"
#: Error type of an update that a worker was given and has not handled, such as one whose cached run it lost.
_UNPROCESSED = "UnprocessedUpdate"
#: In the messages of RESOURCE_EXHAUSTED about one run: it has more updates at once than it may, is about to
#: continue as new or to close, or is locked. All of them pass in a moment; other limits are those of a
#: namespace.
_NOT_NOW = ("concurrent in-flight updates", "workflow is closing", "Workflow is busy")
RETRY_SECONDS = 0.2
#: Start of the message with which the SDK rejects an update that the code of the worker does not have.
_NO_HANDLER = "Update handler for "

_OLDER_WORKER = (
    "The worker that serves it has another version than this API, and cannot do this: ask again when the "
    "upgrade is over."
)

_T = TypeVar("_T")


class Refused(Exception):
    """The workflow refuses the update; `refusal` has the reason."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.message)


class NoCapacity(Refused):
    """No host has capacity, and nothing was started.

    `next_end` is when the next environment in the way ends; `fits` has the names of templates that would fit.
    """

    def __init__(self, refusal: Refusal, next_end: datetime | None, fits: tuple[str, ...] = ()) -> None:
        self.next_end = next_end
        self.fits = fits
        super().__init__(refusal)


class WorkflowClosed(Exception):
    """The run closed during the call."""


@asynccontextmanager
async def map_update_errors(timeout: timedelta) -> AsyncIterator[None]:
    """Map errors of the update in the block to exceptions of this module and of `errors`.

    `timeout` is the timeout of the whole block; NoWorker after it.
    """
    try:
        with map_rpc_errors():
            async with asyncio.timeout(timeout.total_seconds()):
                yield
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
        raise NoWorker from error
    except WorkflowUpdateFailedError as error:
        raise _meaning(error) from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise WorkflowClosed from error
        raise


async def send_until_taken(send: Callable[[], Awaitable[_T]]) -> _T:
    """Send an update, and again while its run did not take it: such an update leaves nothing behind.

    Call it in a block of `map_update_errors`, which ends it.
    """
    while True:
        try:
            return await send()
        except (RPCError, WorkflowUpdateFailedError) as error:
            if not _is_not_taken(error):
                raise
            await asyncio.sleep(RETRY_SECONDS)


def _is_not_taken(error: RPCError | WorkflowUpdateFailedError) -> bool:
    if isinstance(error, WorkflowUpdateFailedError):
        return isinstance(error.cause, ApplicationError) and error.cause.type == _UNPROCESSED
    is_limit = error.status is RPCStatusCode.RESOURCE_EXHAUSTED
    return is_limit and any(message in error.message for message in _NOT_NOW)


async def update_with_start(
    client: Client, update: Any, ask: Any, start: WithStartWorkflowOperation[Any, Any], **more: Any
) -> Any:
    """Start the run if there is none, send the update, and return its result.

    It raises the errors of the SDK. The SDK also stores the error of a start in its operation
    (`WithStartWorkflowOperation.workflow_handle`). If nothing retrieves it from there, asyncio logs it, with
    everything that the server has sent.
    """
    try:
        return await client.execute_update_with_start_workflow(
            update, ask, start_workflow_operation=start, **more
        )
    except BaseException:
        # Do not await it, because a cancellation that arrives here meanwhile would be lost.
        asyncio.ensure_future(start.workflow_handle()).add_done_callback(_taken)
        raise


def _taken(handle: "asyncio.Future[Any]") -> None:
    if not handle.cancelled():
        handle.exception()


def _meaning(error: WorkflowUpdateFailedError) -> Exception:
    cause: BaseException | None = error.cause
    if isinstance(cause, ApplicationError):
        if cause.type == _RUN_CLOSED:
            return WorkflowClosed()
        if cause.type == ErrorType.REQUEST_REFUSED and cause.details:
            return Refused(Refusal.model_validate(cause.details[0]))
        if cause.message.startswith(_NO_HANDLER):
            return Refused(Refusal(reason=RefusalReason.NOT_NOW, message=_OLDER_WORKER))
    while cause is not None:
        if isinstance(cause, ApplicationError) and cause.type == KeyMissing.__name__:
            # The SDK of the worker wraps it in an error about arguments.
            return KeyMissing(
                f"a worker cannot read what this process has written to Temporal: {cause.message}"
            )
        cause = cause.__cause__
    return error
