"""Runs of sweeps: starts one on request, and waits for its result.

One sweep of each kind, real or dry run, runs at a time; later callers join it.
"""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError

from contracts.environment_workflow import TASK_QUEUE
from starter.environments.closed_workflows import CLOSED_FROM_OUTSIDE
from starter.temporal.errors import CALL_TIMEOUT, NoWorker, map_rpc_errors
from worker.codec import DecodeError

#: How long one call waits for the result: shorter than the timeouts of clients and proxies.
RESULT_TIMEOUT = timedelta(seconds=10)

#: Length of a history that no worker has accepted: the start, and the first task that waits for a worker.
NOT_ACCEPTED = 2

_R = TypeVar("_R")


class UnknownSweep(Exception):
    """There is no sweep of this id, or Temporal has dropped it."""


@dataclass(frozen=True)
class SweepState(Generic[_R]):
    """How a sweep stands, as a sentence. `result` is None while it runs, or if it was stopped."""

    id: str
    over: bool
    message: str
    result: _R | None = None


class SweepRuns(Generic[_R]):
    """Starts sweeps of one kind and reads their results.

    Args:
        client: The client of Temporal.
        workflow: The `run` of the sweep's workflow.
        name: The sweep's name in sentences.
    """

    def __init__(self, client: Client, workflow: Any, name: str) -> None:
        self._client = client
        self._workflow = workflow
        self._name = name

    async def start(self, input: Any, *, id: str, by: str, dry_run: bool = False) -> str:
        """Start a sweep, or join the running one, and return its run id."""
        with map_rpc_errors():
            handle = await self._client.start_workflow(
                self._workflow,
                input,
                id=id,
                task_queue=TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary=f"{'dry run, ' if dry_run else ''}asked for by {by}"[:200],
                rpc_timeout=CALL_TIMEOUT,
            )
        return handle.result_run_id or ""

    async def last(self, completed: str) -> SweepState[_R]:
        """Return the latest of the sweeps that the query `completed` finds."""
        with map_rpc_errors():
            runs = self._client.list_workflows(completed, page_size=1, rpc_timeout=CALL_TIMEOUT)
            await runs.fetch_next_page()
        for run in runs.current_page or ():
            return await self._wait(run.id, run.run_id)
        return SweepState("", over=True, message=f"No {self._name} was completed yet.")

    async def wait(self, id: str, run_id: str) -> SweepState[_R]:
        """Wait up to RESULT_TIMEOUT for a sweep on request; raise UnknownSweep or NoWorker."""
        try:
            # Check the form here, because Temporal answers a malformed id as if it had an internal error.
            uuid.UUID(run_id)
        except ValueError:
            raise UnknownSweep from None
        return await self._wait(id, run_id)

    async def _wait(self, id: str, run_id: str) -> SweepState[_R]:
        handle = self._client.get_workflow_handle_for(self._workflow, id, run_id=run_id)
        try:
            with map_rpc_errors():
                async with asyncio.timeout(RESULT_TIMEOUT.total_seconds()):
                    result = await handle.result()
        except TimeoutError:
            await _ensure_accepted(handle)
            return SweepState(run_id, over=False, message=f"The {self._name} is under way.")
        except (WorkflowFailureError, DecodeError) as error:
            stop = await _describe_stop(handle, error)
            return SweepState(run_id, over=True, message=f"The {self._name} {stop}")
        except RPCError:
            raise UnknownSweep from None
        sentence = result.sentence
        message = f"{sentence[:1].upper()}{sentence[1:].rstrip('.')}."
        return SweepState(run_id, over=True, message=message, result=result)


async def _ensure_accepted(handle: WorkflowHandle[Any, Any]) -> None:
    """Raise NoWorker if no worker has accepted the sweep yet; it is executed once one runs."""
    try:
        with map_rpc_errors():
            found = await handle.describe(rpc_timeout=CALL_TIMEOUT)
    except RPCError:
        raise UnknownSweep from None
    if found.status is WorkflowExecutionStatus.RUNNING and found.history_length <= NOT_ACCEPTED:
        raise NoWorker


async def _describe_stop(handle: WorkflowHandle[Any, Any], error: Exception) -> str:
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
