"""The expiry sweep: the only mechanism that warns and ends.

A schedule or a person starts it.
"""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from contracts.activities.fleet import ExpirySweepActivities
    from contracts.sweeps.expiry import SWEEP_WORKFLOW, SweepInput, SweepOutcome, SweepPassInput, SweepResult
    from contracts.telemetry.metrics import SWEEPS, SWEPT

from workflows.sweeps.activity import execute_sweep_activity
from workflows.telemetry import metrics

#: One attempt of a whole sweep. The activity keeps its page, so the next attempt continues from there after
#: this timeout.
ATTEMPT_TIMEOUT = timedelta(minutes=15)
#: A longer sweep blocks the next sweep, which would start from the first page.
SWEEP_TIMEOUT = timedelta(minutes=30)
#: A worker that sends no heartbeat for this long counts as lost, and another worker continues.
HEARTBEAT_TIMEOUT = timedelta(seconds=10)


@workflow.defn(name=SWEEP_WORKFLOW)
class ExpirySweepWorkflow:
    """One sweep over all environments for which something is due.

    The whole sweep is one activity, so the history has few events for any number of environments.
    """

    @workflow.run
    async def run(self, sweep: SweepInput) -> SweepResult:
        """Sweep once; return how many environments were checked, and the outcome of each."""
        try:
            result = await execute_sweep_activity(
                ExpirySweepActivities.run,
                SweepPassInput(sweep=sweep, now=workflow.now()),
                attempt=ATTEMPT_TIMEOUT,
                limit=SWEEP_TIMEOUT,
                heartbeat=HEARTBEAT_TIMEOUT,
                summary="look, and ask each" if sweep.dry_run else "look, warn and end",
            )
        except ActivityError as error:
            _count(sweep, "cancelled" if is_cancelled_exception(error) else "failed")
            raise
        except asyncio.CancelledError:
            _count(sweep, "cancelled")
            workflow.set_current_details("Cancelled: ends are frozen, or a user has cancelled it.")
            raise
        workflow.set_current_details(result.sentence)
        _count(sweep, "completed")
        for outcome in () if sweep.dry_run else SweepOutcome:
            metrics.count(SWEPT, {"outcome": outcome.value}, getattr(result, outcome.value).count)
        return result


def _count(sweep: SweepInput, result: str) -> None:
    if not sweep.dry_run:
        metrics.count(SWEEPS, {"result": result})
