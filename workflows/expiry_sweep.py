"""The expiry sweep: the one mechanism that warns and ends. A schedule starts it, or a person."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from contracts.activities import SweepActivities
    from contracts.environment_workflow import undo_queue
    from contracts.expiry_sweep import SWEEP_WORKFLOW, SweepInput, SweepPassInput, SweepResult

from workflows.activity_failures import genuine

#: One try of a whole sweep. It keeps its page, so that one that is cut off here goes on from there.
ATTEMPT = timedelta(minutes=15)
#: A sweep that lasts longer stands in the way of the next one, which would begin afresh.
LIMIT = timedelta(minutes=30)
#: A worker that is silent for so long is taken for dead, and another goes on.
HEARTBEAT_TIMEOUT = timedelta(seconds=10)
FIRST_RETRY = timedelta(milliseconds=500)
LONGEST_RETRY = timedelta(seconds=20)


@workflow.defn(name=SWEEP_WORKFLOW)
class ExpirySweepWorkflow:
    """One look at all environments whose time has come for something.

    All of it is one activity, so its history is a handful of events however many environments there are.
    """

    @workflow.run
    async def run(self, sweep: SweepInput) -> SweepResult:
        """Sweep once; the result says how many were looked at, and what came of each."""
        try:
            result = genuine(
                await workflow.execute_activity_method(
                    SweepActivities.sweep,
                    SweepPassInput(sweep=sweep, now=workflow.now()),
                    task_queue=undo_queue(workflow.info().task_queue),
                    start_to_close_timeout=ATTEMPT,
                    schedule_to_close_timeout=LIMIT,
                    heartbeat_timeout=HEARTBEAT_TIMEOUT,
                    retry_policy=RetryPolicy(initial_interval=FIRST_RETRY, maximum_interval=LONGEST_RETRY),
                    # Once a sweep that was cancelled is over, nothing of it can come about any more.
                    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                    summary="look, and ask each" if sweep.dry_run else "look, warn and end",
                )
            )
        except asyncio.CancelledError:
            workflow.set_current_details("Cancelled: ends are frozen, or somebody has cancelled it.")
            raise
        workflow.set_current_details(result.sentence)
        return result
