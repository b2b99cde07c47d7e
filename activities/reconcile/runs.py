"""What Temporal says about the runs of environments and of earlier sweeps. Needs no worker."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError

from activities import activity_context
from activities.environment_runs import (
    CALL_TIMEOUT,
    CLOSED_FROM_OUTSIDE,
    OPEN_RUNS,
    UNREADABLE_ERRORS,
    life_of,
)
from contracts.environment.models import Phase
from contracts.environment_workflow import ENVIRONMENT_WORKFLOW
from contracts.reconcile.models import RECONCILE_COMPLETED, ReconcileResult
from contracts.reconcile.orphan_rules import LatestRun, RunKind
from contracts.standby import STANDBY_WORKFLOW
from contracts.temporal import search_attributes
from contracts.types.naming import OwnerMark, is_name, name_from_workflow_id

PAGE_SIZE = 500
#: Runs that were closed from outside, the newest first: one is too many already.
MAX_LOST = 100
#: Sweeps that are read for when an orphan was first seen: the last one, unless its key is gone.
MAX_PREVIOUS = 3

_LOST = (
    f"WorkflowType IN ('{ENVIRONMENT_WORKFLOW}', '{STANDBY_WORKFLOW}') "
    "AND ExecutionStatus IN ('Canceled', 'Terminated', 'TimedOut')"
)


@dataclass(frozen=True)
class OpenLife:
    """An open environment as visibility lists it; `life` is "" if that cannot be read."""

    name: str
    life: str
    phase: str
    host: str
    template: str


async def latest_run(run: WorkflowExecutionDescription | None, mark: OwnerMark) -> LatestRun:
    """Return the latest run of a name; `run` is None if Temporal has none."""
    if run is None:
        return LatestRun(RunKind.MISSING)
    life = await life_of(run)
    is_open = run.status is WorkflowExecutionStatus.RUNNING
    if is_open:
        # A life that cannot be read may be this one.
        kind = RunKind.OWNER if life in ("", mark.life) else RunKind.OTHER_OPEN
    elif life != mark.life:
        # Also one that cannot be read: that it has ended says nothing about this life.
        kind = RunKind.OTHER_CLOSED
    else:
        kind = RunKind.LOST if run.status in CLOSED_FROM_OUTSIDE else RunKind.ENDED
    phase = run.typed_search_attributes.get(search_attributes.PHASE)
    known = Phase(phase) if phase in set(Phase) else None
    has_failed = run.status is WorkflowExecutionStatus.FAILED
    # A run of another life says nothing about where this one was.
    is_of_life = kind in (RunKind.LOST, RunKind.ENDED)
    host = (run.typed_search_attributes.get(search_attributes.HOST) or "") if is_of_life else ""
    return LatestRun(kind, run.run_id, known, run.start_time, has_failed, host)


async def list_open_lives(temporal: Client) -> AsyncIterator[OpenLife]:
    """Yield each open environment, as visibility lists it."""
    runs = temporal.list_workflows(OPEN_RUNS, page_size=PAGE_SIZE, rpc_timeout=CALL_TIMEOUT)
    number = 0
    async for run in runs:
        number += 1
        if number % PAGE_SIZE == 0:
            activity_context.raise_if_stopping()
        attributes = run.typed_search_attributes
        yield OpenLife(
            name_from_workflow_id(run.id),
            await life_of(run),
            attributes.get(search_attributes.PHASE) or "",
            attributes.get(search_attributes.HOST) or "",
            attributes.get(search_attributes.TEMPLATE) or "",
        )


async def list_lost_lives(temporal: Client, installation: str) -> AsyncIterator[OwnerMark]:
    """Yield the last lives whose runs were closed from outside; they may have left nothing at all."""
    runs = temporal.list_workflows(_LOST, page_size=MAX_LOST, limit=MAX_LOST, rpc_timeout=CALL_TIMEOUT)
    async for run in runs:
        name, life = name_from_workflow_id(run.id), await life_of(run)
        if life and is_name(name):
            yield OwnerMark(installation=installation, name=name, life=life)


async def last_result(temporal: Client) -> ReconcileResult:
    """Return the result of the last sweep that could look; an empty one without it."""
    runs = temporal.list_workflows(
        RECONCILE_COMPLETED, page_size=MAX_PREVIOUS, limit=MAX_PREVIOUS, rpc_timeout=CALL_TIMEOUT
    )
    async for run in runs:
        handle = temporal.get_workflow_handle(run.id, run_id=run.run_id, result_type=ReconcileResult)
        with suppress(*UNREADABLE_ERRORS, RPCError):
            last: ReconcileResult = await handle.result(rpc_timeout=CALL_TIMEOUT)
            if not last.problem:
                return last
    return ReconcileResult(now=datetime.now(UTC))
