"""A rollout: it upgrades the environments of one template in waves, and stops at the first failures.

The input names the environments and the version: it does not look for others. Each environment decides, and
goes back by itself if its upgrade fails; this workflow only asks them in order.
"""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from contracts.activities.fleet import RolloutActivities
    from contracts.environment.payload_limits import MAX_NAME_BYTES, truncate
    from contracts.rollout import (
        FAILURES,
        FIRST_WAVE,
        ROLLOUT_WORKFLOW,
        RolloutInput,
        RolloutItem,
        RolloutOutcome,
        RolloutStatus,
        StopInput,
        UpgradeInput,
        UpgradeResult,
        waiting_lines,
    )
    from contracts.telemetry.metrics import ROLLED_OUT, ROLLOUTS

from workflows.activity_failures import problem_of
from workflows.sweeps.activity import execute_sweep_activity
from workflows.telemetry import metrics

#: One upgrade with its rollback: three steps of up to 15 minutes each, and the same again to go back.
UPGRADE_TIMEOUT = timedelta(hours=2)
#: All attempts: workers may be restarted meanwhile, and each attempt waits for the same upgrade.
ATTEMPTS_TIMEOUT = timedelta(hours=3)


@workflow.defn(name=ROLLOUT_WORKFLOW)
class RolloutWorkflow:
    """The rollout of one version of one template."""

    @workflow.init
    def __init__(self, rollout: RolloutInput) -> None:
        self._rollout = rollout
        self._stopped = ""
        self._over = False
        self._lines = {line.life: line for line in waiting_lines(rollout)}

    @workflow.run
    async def run(self, rollout: RolloutInput) -> RolloutStatus:
        """Upgrade wave after wave until all are done, or until it is stopped; return what was done."""
        try:
            await self._upgrade_all(rollout)
        except asyncio.CancelledError:
            self._count("cancelled")
            raise
        failed = self.status().count(*FAILURES)
        self._count("stopped" if self._stopped else "failed" if failed else "completed")
        return self.status()

    def _count(self, result: str) -> None:
        metrics.count(ROLLOUTS, {"template": self._rollout.template.name, "result": result})

    async def _upgrade_all(self, rollout: RolloutInput) -> None:
        left, size = list(rollout.items), FIRST_WAVE
        while left and not self._stopped:
            wave, left, size = left[:size], left[size:], rollout.wave
            await asyncio.gather(*map(self._upgrade, wave))
            failures = self.status().count(*FAILURES)
            if left and failures >= rollout.stop_after:
                self._stopped = self._stopped or f"{failures} could not be upgraded"
            workflow.set_current_details(self.status().sentence)
        if not left:
            self._stopped = ""  # It was stopped in its last wave, which has ended.
        self._over = True

    async def _upgrade(self, item: RolloutItem) -> None:
        self._record(item, RolloutOutcome.RUNNING)
        try:
            result = await execute_sweep_activity(
                RolloutActivities.upgrade,
                UpgradeInput(template=self._rollout.template, actor=self._rollout.actor, item=item),
                attempt=UPGRADE_TIMEOUT,
                limit=ATTEMPTS_TIMEOUT,
                heartbeat=self._rollout.heartbeat_timeout,
                summary=item.name,
            )
        except ActivityError as error:
            cause = problem_of(error, "upgrade", "Temporal").cause
            result = UpgradeResult(outcome=RolloutOutcome.FAILED, reason=cause)
        self._record(item, result.outcome, result.reason)
        labels = {"template": self._rollout.template.name, "outcome": result.outcome.value}
        metrics.count(ROLLED_OUT, labels)

    def _record(self, item: RolloutItem, outcome: RolloutOutcome, reason: str = "") -> None:
        line = self._lines[item.life]
        reason = truncate(reason, MAX_NAME_BYTES)
        self._lines[item.life] = line.model_copy(update={"outcome": outcome, "reason": reason})

    @workflow.query(description="What it has done so far")
    def status(self) -> RolloutStatus:
        """Return the outcome of each environment."""
        rollout = self._rollout
        return RolloutStatus(
            template=rollout.template.name,
            version=rollout.template.version,
            actor=rollout.actor,
            started_at=workflow.info().workflow_start_time,
            over=self._over,
            stopped=self._stopped,
            lines=(*self._lines.values(), *rollout.skipped),
            more=rollout.more,
        )

    @workflow.signal(description="Begin no further wave")
    def stop(self, by: StopInput | None = None) -> None:
        """Begin no further wave; what is being upgraded goes on.

        A signal without its argument is not from Moorage, and must not fail the workflow task.
        """
        if by is not None:
            self._stopped = self._stopped or f"{by.actor} has stopped it"
