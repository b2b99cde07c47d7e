"""Sweeps on request: start a sweep and wait for its result.

One sweep of each kind, real or dry run, runs at a time; later callers join it.
"""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError

from contracts.environment_workflow import TASK_QUEUE
from contracts.expiry_sweep import SWEEP_DRY_RUN, SWEEP_MANUAL, SweepResult
from contracts.types.models import Frozen
from starter.environments.closed_workflows import CLOSED_FROM_OUTSIDE
from starter.expiry.schedules import sweep_input
from starter.temporal.errors import CALL_TIMEOUT, NoWorker, map_rpc_errors
from worker.codec import DecodeError
from worker.settings.groups.expiry import Sweep
from workflows.expiry_sweep import ExpirySweepWorkflow

#: How long one call waits for the result: shorter than the timeouts of clients and proxies.
RESULT_TIMEOUT = timedelta(seconds=10)

#: Length of a history that no worker has accepted: the start, and the first task that waits for a worker.
NOT_ACCEPTED = 2


class SweepView(Frozen):
    """A sweep on request. `result` is None while it runs, or if it was stopped."""

    id: str
    dry_run: bool
    over: bool
    result: SweepResult | None = None
    message: str


class UnknownSweep(Exception):
    """There is no sweep of this id, or Temporal has dropped it."""


class Sweeps:
    """Starts sweeps and waits for them."""

    def __init__(self, client: Client, settings: Sweep) -> None:
        self._client = client
        self._settings = settings

    async def start(self, *, dry_run: bool, by: str) -> str:
        """Start a sweep, or join the running one, and return its run id."""
        with map_rpc_errors():
            handle = await self._client.start_workflow(
                ExpirySweepWorkflow.run,
                sweep_input(self._settings, dry_run=dry_run, by=by),
                id=_workflow_id(dry_run),
                task_queue=TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary=f"{'dry run, ' if dry_run else ''}asked for by {by}"[:200],
                rpc_timeout=CALL_TIMEOUT,
            )
        return handle.result_run_id or ""

    async def wait(self, run_id: str, *, dry_run: bool) -> SweepView:
        """Wait up to RESULT_TIMEOUT for the sweep and return its state; raise UnknownSweep or NoWorker."""
        try:
            # Check the form here, because Temporal answers a malformed id as if it had an internal error.
            uuid.UUID(run_id)
        except ValueError:
            raise UnknownSweep from None
        handle = self._client.get_workflow_handle_for(
            ExpirySweepWorkflow.run, _workflow_id(dry_run), run_id=run_id
        )

        def view(message: str, *, over: bool = True, result: SweepResult | None = None) -> SweepView:
            return SweepView(id=run_id, dry_run=dry_run, over=over, result=result, message=message)

        try:
            with map_rpc_errors():
                async with asyncio.timeout(RESULT_TIMEOUT.total_seconds()):
                    result = await handle.result()
        except TimeoutError:
            await ensure_accepted(handle)
            return view("The sweep is under way.", over=False)
        except (WorkflowFailureError, DecodeError) as error:
            return view(f"The sweep {await describe_stop(handle, error)}")
        except RPCError:
            raise UnknownSweep from None
        return view(f"{result.sentence[:1].upper()}{result.sentence[1:]}.", result=result)


async def ensure_accepted(handle: WorkflowHandle[Any, Any]) -> None:
    """Raise NoWorker if no worker has accepted the sweep yet; it is executed once one runs."""
    try:
        with map_rpc_errors():
            found = await handle.describe(rpc_timeout=CALL_TIMEOUT)
    except RPCError:
        raise UnknownSweep from None
    if found.status is WorkflowExecutionStatus.RUNNING and found.history_length <= NOT_ACCEPTED:
        raise NoWorker


async def describe_stop(handle: WorkflowHandle[Any, Any], error: Exception) -> str:
    """Return how a sweep was closed whose result cannot be read because of `error`.

    Another client of Temporal may have closed the run, with details that it has not encrypted.

    Raises:
        Exception: `error`, if the sweep was completed: the key of its result is missing.
        UnknownSweep: The retention of the run has just ended.
    """
    try:
        with map_rpc_errors():
            status = (await handle.describe(rpc_timeout=CALL_TIMEOUT)).status
    except RPCError:
        raise UnknownSweep from None
    if status is WorkflowExecutionStatus.COMPLETED:
        raise error
    how = "was stopped" if status in CLOSED_FROM_OUTSIDE else "has failed"
    return f"{how} before it was through: Temporal's Web UI tells why."


def _workflow_id(dry_run: bool) -> str:
    return SWEEP_DRY_RUN if dry_run else SWEEP_MANUAL
