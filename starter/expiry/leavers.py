"""Leaver sweeps on request, and the result of the last one."""

import asyncio
import uuid

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError

from contracts.environment_workflow import TASK_QUEUE
from contracts.leaver_rules import LEAVER_MANUAL, LEAVER_WORKFLOW, LeaverSweepResult
from contracts.types.models import Frozen
from starter.expiry.schedules import leaver_input
from starter.expiry.sweeps import RESULT_TIMEOUT, UnknownSweep, describe_stop, ensure_accepted
from starter.temporal.errors import CALL_TIMEOUT, map_rpc_errors
from worker.codec import DecodeError
from worker.settings.groups.expiry import Sweep
from workflows.leaver_sweep import LeaverSweepWorkflow

_COMPLETED = f"WorkflowType = '{LEAVER_WORKFLOW}' AND ExecutionStatus = 'Completed'"


class LeaversView(Frozen):
    """A leaver sweep. `result` is None while it runs, if it was stopped, and if there was none."""

    id: str = ""
    over: bool
    result: LeaverSweepResult | None = None
    message: str


class Leavers:
    """Starts leaver sweeps and reads their results."""

    def __init__(self, client: Client, settings: Sweep) -> None:
        self._client = client
        self._settings = settings

    async def last(self) -> LeaversView:
        """Return the result of the last sweep that was completed, by schedule or on request."""
        with map_rpc_errors():
            runs = self._client.list_workflows(_COMPLETED, page_size=1, rpc_timeout=CALL_TIMEOUT)
            await runs.fetch_next_page()
        for run in runs.current_page or ():
            return await self._wait(run.id, run.run_id)
        return LeaversView(over=True, message="No leaver sweep was completed yet.")

    async def start(self, *, confirmed: tuple[str, ...], by: str) -> LeaversView:
        """Start a sweep in which the brake does not count the `confirmed`, or join the running one."""
        with map_rpc_errors():
            handle = await self._client.start_workflow(
                LeaverSweepWorkflow.run,
                leaver_input(self._settings, confirmed=confirmed, by=by),
                id=LEAVER_MANUAL,
                task_queue=TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary=f"asked for by {by}"[:200],
                rpc_timeout=CALL_TIMEOUT,
            )
        return await self._wait(LEAVER_MANUAL, handle.result_run_id or "")

    async def wait(self, run_id: str) -> LeaversView:
        """Wait up to RESULT_TIMEOUT for a sweep on request; raise UnknownSweep or NoWorker."""
        try:
            # Check the form here, because Temporal answers a malformed id as if it had an internal error.
            uuid.UUID(run_id)
        except ValueError:
            raise UnknownSweep from None
        return await self._wait(LEAVER_MANUAL, run_id)

    async def _wait(self, id: str, run_id: str) -> LeaversView:
        handle: WorkflowHandle[LeaverSweepWorkflow, LeaverSweepResult] = self._client.get_workflow_handle_for(
            LeaverSweepWorkflow.run, id, run_id=run_id
        )
        try:
            with map_rpc_errors():
                async with asyncio.timeout(RESULT_TIMEOUT.total_seconds()):
                    result = await handle.result()
        except TimeoutError:
            await ensure_accepted(handle)
            return LeaversView(id=run_id, over=False, message="The leaver sweep is under way.")
        except (WorkflowFailureError, DecodeError) as error:
            message = f"The leaver sweep {await describe_stop(handle, error)}"
            return LeaversView(id=run_id, over=True, message=message)
        except RPCError:
            raise UnknownSweep from None
        sentence = result.sentence
        message = f"{sentence[:1].upper()}{sentence[1:].rstrip('.')}."
        return LeaversView(id=run_id, over=True, result=result, message=message)
