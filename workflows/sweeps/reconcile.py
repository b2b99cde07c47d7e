"""The reconcile sweep: it adopts or undoes what bears our marks and belongs to no open environment.

It also tells ready environments what is missing or altered under them.

A schedule or a person starts it. It acts on few lives at a time: a lost database, or a system that tells only
a part, waits for a person.
"""

from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from contracts.activities.fleet import ReconcileActivities
    from contracts.reconcile.models import (
        RECONCILE_ACTOR,
        RECONCILE_WORKFLOW,
        ReconcileInput,
        ReconcileResult,
        SettleInput,
        SurveyInput,
        Verdict,
    )
    from contracts.reconcile.orphan_rules import brake_reason, due_orphans
    from contracts.telemetry.metrics import RECONCILE_SWEEPS, RECONCILED

from workflows.activity_failures import problem_of
from workflows.sweeps.activity import execute_sweep_activity
from workflows.telemetry import metrics

#: One attempt of a look at all systems: thousands of lives, each of which may be looked at by itself.
SURVEY_ATTEMPT_TIMEOUT = timedelta(minutes=15)
#: All attempts. After a longer outage the next sweep starts from the beginning.
SURVEY_TIMEOUT = timedelta(minutes=30)
#: Starting the workflows of orphans: few, because of the brake, or as many as a person has confirmed.
SETTLE_TIMEOUT = timedelta(minutes=15)
#: A worker that sends no heartbeat for this long counts as lost, and another worker continues. It is longer
#: than the whole list of one system takes.
HEARTBEAT_TIMEOUT = timedelta(minutes=3)


@workflow.defn(name=RECONCILE_WORKFLOW)
class ReconcileWorkflow:
    """One sweep over everything that bears our marks."""

    @workflow.run
    async def run(self, sweep: ReconcileInput) -> ReconcileResult:
        """Look, and act unless it is a dry run; return what was found and done."""
        result = await self._sweep(sweep)
        workflow.set_current_details(result.sentence)
        if not sweep.dry_run:
            outcome = "failed" if result.problem else "stopped" if result.brake else "completed"
            metrics.count(RECONCILE_SWEEPS, {"result": outcome})
            for verdict in (Verdict.ADOPT, Verdict.UNDO, Verdict.REPAIR):
                done = sum(line.verdict is verdict for line in result.lines)
                metrics.count(RECONCILED, {"verdict": verdict.value}, done)
        return result

    async def _sweep(self, sweep: ReconcileInput) -> ReconcileResult:
        now = workflow.now()
        try:
            survey = await execute_sweep_activity(
                ReconcileActivities.survey,
                SurveyInput(now=now, repair=sweep.repair, ignore=sweep.ignore),
                attempt=SURVEY_ATTEMPT_TIMEOUT,
                limit=SURVEY_TIMEOUT,
                heartbeat=HEARTBEAT_TIMEOUT,
                summary="look at what bears our marks",
            )
            undoes = not survey.skipped and not survey.frozen
            orphans = due_orphans(survey.orphans, now, sweep.grace, undoes=undoes)
            due = (
                *(one.life for one in orphans),
                *(one.life for one in survey.drifted if one.is_to_repair),
            )
            known = survey.open + len(survey.orphans) + survey.more
            brake = brake_reason(
                due, known, sweep.confirmed, limit=sweep.limit, limit_percent=sweep.limit_percent
            )
            waiting = tuple(life for life in due if brake and life not in sweep.confirmed)
            result = ReconcileResult(
                now=now,
                dry_run=sweep.dry_run,
                open=survey.open,
                orphans=survey.orphans,
                drifted=survey.drifted,
                more=survey.more,
                skipped=survey.skipped,
                systems=survey.systems,
                frozen=survey.frozen,
                due=due,
                waiting=waiting,
                brake=brake,
            )
            settled = SettleInput(
                orphans=tuple(one for one in orphans if one.life not in waiting),
                # A repair that waits is reported, so that its people see it.
                drifted=tuple(one.only_reported if one.life in waiting else one for one in survey.drifted),
                actor=_actor(sweep, due),
                task_queue=workflow.info().task_queue,
            )
            if sweep.dry_run or not (settled.orphans or settled.drifted):
                return result
            answers = await execute_sweep_activity(
                ReconcileActivities.settle,
                settled,
                attempt=SETTLE_TIMEOUT,
                limit=SETTLE_TIMEOUT,
                heartbeat=HEARTBEAT_TIMEOUT,
                summary="adopt, undo or repair them",
            )
        except ActivityError as error:
            problem = problem_of(error, "reconcile", "outside systems")
            return ReconcileResult(
                now=now, dry_run=sweep.dry_run, problem=f"{problem.cause} {problem.remedy}".strip()
            )
        return result.model_copy(update={"lines": answers.lines})


def _actor(sweep: ReconcileInput, due: Sequence[str]) -> str:
    is_confirmed = any(life in sweep.confirmed for life in due)
    return RECONCILE_ACTOR + (f", confirmed by {sweep.requested_by}" if is_confirmed else "")
