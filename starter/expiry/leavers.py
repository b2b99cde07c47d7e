"""Leaver sweeps on request, and the result of the last one."""

from temporalio.client import Client

from contracts.sweeps.leavers import LEAVER_MANUAL, LEAVER_WORKFLOW, LeaverSweepResult
from contracts.types.models import Frozen
from starter.expiry.schedules import leaver_input
from starter.expiry.sweep_runs import SweepRuns
from worker.settings.groups.expiry import Sweep
from workflows.sweeps.leavers import LeaverSweepWorkflow

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
        self._runs = SweepRuns[LeaverSweepResult](client, LeaverSweepWorkflow.run, "leaver sweep")
        self._settings = settings

    async def last(self) -> LeaversView:
        """Return the result of the last sweep that was completed, by schedule or on request."""
        return LeaversView(**vars(await self._runs.last(_COMPLETED)))

    async def start(self, *, confirmed: tuple[str, ...], by: str) -> LeaversView:
        """Start a sweep in which the brake does not count the `confirmed`, or join the running one."""
        input = leaver_input(self._settings, confirmed=confirmed, by=by)
        return await self.wait(await self._runs.start(input, id=LEAVER_MANUAL, by=by))

    async def wait(self, run_id: str) -> LeaversView:
        """Wait a while for a sweep on request; raise UnknownSweep or NoWorker."""
        return LeaversView(**vars(await self._runs.wait(LEAVER_MANUAL, run_id)))
