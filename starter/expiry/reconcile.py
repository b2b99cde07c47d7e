"""Reconcile sweeps on request, and the result of the last one."""

from temporalio.client import Client

from contracts.reconcile.models import (
    RECONCILE_COMPLETED,
    RECONCILE_DRY_RUN,
    RECONCILE_MANUAL,
    RECONCILE_SCHEDULE,
    ReconcileResult,
)
from contracts.types.models import Frozen
from starter.expiry.schedules import reconcile_input
from starter.expiry.sweep_runs import SweepRuns
from starter.expiry.sweep_schedule import SweepSchedule, describe_schedule
from worker.settings.groups.reconcile import Reconcile
from workflows.sweeps.reconcile import ReconcileWorkflow


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
        self._runs = SweepRuns[ReconcileResult](client, ReconcileWorkflow.run, "reconcile sweep")
        self._handle = client.get_schedule_handle(RECONCILE_SCHEDULE)
        self._settings = settings

    async def schedule(self) -> SweepSchedule:
        """Return when the sweep ran last by its schedule, and when it runs next."""
        return SweepSchedule.of(await describe_schedule(self._handle), self._settings.interval)

    async def last(self) -> ReconcileView:
        """Return the result of the last sweep that was completed, by schedule or on request."""
        return ReconcileView(**vars(await self._runs.last(RECONCILE_COMPLETED)))

    async def start(self, *, dry_run: bool, confirmed: tuple[str, ...], by: str) -> ReconcileView:
        """Start a sweep in which the brake does not count the `confirmed` lives, or join the running one."""
        input = reconcile_input(self._settings, dry_run=dry_run, confirmed=confirmed, by=by)
        run_id = await self._runs.start(input, id=_workflow_id(dry_run), by=by, dry_run=dry_run)
        return await self.wait(run_id, dry_run=dry_run)

    async def wait(self, run_id: str, *, dry_run: bool) -> ReconcileView:
        """Wait a while for a sweep on request; raise UnknownSweep or NoWorker."""
        state = await self._runs.wait(_workflow_id(dry_run), run_id)
        return ReconcileView(dry_run=dry_run, **vars(state))


def _workflow_id(dry_run: bool) -> str:
    return RECONCILE_DRY_RUN if dry_run else RECONCILE_MANUAL
