"""Expiry sweeps on request."""

from temporalio.client import Client

from contracts.sweeps.expiry import SWEEP_DRY_RUN, SWEEP_MANUAL, SweepResult
from contracts.types.models import Frozen
from starter.expiry.schedules import sweep_input
from starter.expiry.sweep_runs import SweepRuns
from worker.settings.groups.expiry import Sweep
from workflows.sweeps.expiry import ExpirySweepWorkflow


class SweepView(Frozen):
    """A sweep on request. `result` is None while it runs, or if it was stopped."""

    id: str
    dry_run: bool
    over: bool
    result: SweepResult | None = None
    message: str


class Sweeps:
    """Starts sweeps and waits for them."""

    def __init__(self, client: Client, settings: Sweep) -> None:
        self._runs = SweepRuns[SweepResult](client, ExpirySweepWorkflow.run, "sweep")
        self._settings = settings

    async def start(self, *, dry_run: bool, by: str) -> str:
        """Start a sweep, or join the running one, and return its run id."""
        input = sweep_input(self._settings, dry_run=dry_run, by=by)
        return await self._runs.start(input, id=_workflow_id(dry_run), by=by, dry_run=dry_run)

    async def wait(self, run_id: str, *, dry_run: bool) -> SweepView:
        """Wait a while for the sweep and return its state; raise UnknownSweep or NoWorker."""
        state = await self._runs.wait(_workflow_id(dry_run), run_id)
        return SweepView(dry_run=dry_run, **vars(state))


def _workflow_id(dry_run: bool) -> str:
    return SWEEP_DRY_RUN if dry_run else SWEEP_MANUAL
