"""Reconcile sweeps on request, and the result of the last one."""

import asyncio
import uuid

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError

from contracts.environment_workflow import TASK_QUEUE
from contracts.reconcile.models import (
    RECONCILE_DRY_RUN,
    RECONCILE_MANUAL,
    RECONCILE_WORKFLOW,
    ReconcileResult,
)
from contracts.types.models import Frozen
from starter.expiry.schedules import reconcile_input
from starter.expiry.sweeps import RESULT_TIMEOUT, UnknownSweep, describe_stop, ensure_accepted
from starter.temporal.errors import CALL_TIMEOUT, map_rpc_errors
from worker.codec import DecodeError
from worker.settings.groups.reconcile import Reconcile
from workflows.reconcile_sweep import ReconcileWorkflow

_COMPLETED = (
    f"WorkflowType = '{RECONCILE_WORKFLOW}' AND ExecutionStatus = 'Completed' "
    f"AND WorkflowId != '{RECONCILE_DRY_RUN}'"
)


class ReconcileView(Frozen):
    """A reconcile sweep. `result` is None while it runs, if it was stopped, and if there was none."""

    id: str = ""
    dry_run: bool = False
    over: bool
    result: ReconcileResult | None = None
    message: str


class ReconcileSweeps:
    """Starts reconcile sweeps and reads their results."""

    def __init__(self, client: Client, settings: Reconcile) -> None:
        self._client = client
        self._settings = settings

    async def last(self) -> ReconcileView:
        """Return the result of the last sweep that was completed, by schedule or on request."""
        with map_rpc_errors():
            runs = self._client.list_workflows(_COMPLETED, page_size=1, rpc_timeout=CALL_TIMEOUT)
            await runs.fetch_next_page()
        for run in runs.current_page or ():
            return await self._wait(run.id, run.run_id)
        return ReconcileView(over=True, message="No reconcile sweep was completed yet.")

    async def start(self, *, dry_run: bool, confirmed: tuple[str, ...], by: str) -> ReconcileView:
        """Start a sweep in which the brake does not count the `confirmed` lives, or join the running one."""
        id = _workflow_id(dry_run)
        with map_rpc_errors():
            handle = await self._client.start_workflow(
                ReconcileWorkflow.run,
                reconcile_input(self._settings, dry_run=dry_run, confirmed=confirmed, by=by),
                id=id,
                task_queue=TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary=f"{'dry run, ' if dry_run else ''}asked for by {by}"[:200],
                rpc_timeout=CALL_TIMEOUT,
            )
        return await self._wait(id, handle.result_run_id or "")

    async def wait(self, run_id: str, *, dry_run: bool) -> ReconcileView:
        """Wait up to RESULT_TIMEOUT for a sweep on request; raise UnknownSweep or NoWorker."""
        try:
            # Check the form here, because Temporal answers a malformed id as if it had an internal error.
            uuid.UUID(run_id)
        except ValueError:
            raise UnknownSweep from None
        return await self._wait(_workflow_id(dry_run), run_id)

    async def _wait(self, id: str, run_id: str) -> ReconcileView:
        handle: WorkflowHandle[ReconcileWorkflow, ReconcileResult] = self._client.get_workflow_handle_for(
            ReconcileWorkflow.run, id, run_id=run_id
        )
        dry_run = id == RECONCILE_DRY_RUN

        def view(message: str, *, over: bool = True, result: ReconcileResult | None = None) -> ReconcileView:
            return ReconcileView(id=run_id, dry_run=dry_run, over=over, result=result, message=message)

        try:
            with map_rpc_errors():
                async with asyncio.timeout(RESULT_TIMEOUT.total_seconds()):
                    result = await handle.result()
        except TimeoutError:
            await ensure_accepted(handle)
            return view("The reconcile sweep is under way.", over=False)
        except (WorkflowFailureError, DecodeError) as error:
            return view(f"The reconcile sweep {await describe_stop(handle, error)}")
        except RPCError:
            raise UnknownSweep from None
        sentence = result.sentence
        return view(f"{sentence[:1].upper()}{sentence[1:].rstrip('.')}.", result=result)


def _workflow_id(dry_run: bool) -> str:
    return RECONCILE_DRY_RUN if dry_run else RECONCILE_MANUAL
