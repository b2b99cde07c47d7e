"""What Temporal says about the latest run of an environment's name, seen from one life. Needs no worker."""

from contextlib import suppress

from temporalio.client import WorkflowExecution, WorkflowExecutionDescription, WorkflowExecutionStatus

from activities.environment_updates import UNREADABLE_ERRORS
from contracts.environment import Phase
from contracts.reconcile.rules import LatestRun, RunKind
from contracts.temporal import search_attributes, workflow_memo
from contracts.types.naming import OwnerMark, life_id

#: Close statuses that only a caller of Temporal or a timeout causes.
_CLOSED_FROM_OUTSIDE = (
    WorkflowExecutionStatus.TERMINATED,
    WorkflowExecutionStatus.TIMED_OUT,
    WorkflowExecutionStatus.CANCELED,
)


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
        kind = RunKind.LOST if run.status in _CLOSED_FROM_OUTSIDE else RunKind.ENDED
    phase = run.typed_search_attributes.get(search_attributes.PHASE)
    known = Phase(phase) if phase in set(Phase) else None
    has_failed = run.status is WorkflowExecutionStatus.FAILED
    # A run of another life says nothing about where this one was.
    is_of_life = kind in (RunKind.LOST, RunKind.ENDED)
    host = (run.typed_search_attributes.get(search_attributes.HOST) or "") if is_of_life else ""
    return LatestRun(kind, run.run_id, known, run.start_time, has_failed, host)


async def life_of(run: WorkflowExecution) -> str:
    """Return the life of a run; "" if that cannot be read."""
    request_id = ""
    with suppress(*UNREADABLE_ERRORS):
        request_id = await run.memo_value(workflow_memo.REQUEST_ID, "", type_hint=str)
    return life_id(request_id) if request_id else ""
