"""What Temporal says about the latest run of an environment's name, seen from one life. Needs no worker."""

from temporalio.client import WorkflowExecutionDescription, WorkflowExecutionStatus

from activities.environment_runs import life_of
from contracts.environment import Phase
from contracts.reconcile.rules import LatestRun, RunKind
from contracts.temporal import search_attributes
from contracts.types.naming import OwnerMark

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
