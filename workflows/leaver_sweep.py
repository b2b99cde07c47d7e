"""The leaver sweep: it ends the access of people whom the directory does not know any more.

It looks twice before it acts, and acts on few people at a time: what a broken directory says ends no
access. A schedule or a person starts it.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from contracts.fleet_activities import LeaverActivities
    from contracts.leaver_rules import (
        LEAVER_ACTOR,
        LEAVER_WORKFLOW,
        MAX_PEOPLE,
        ApplyInput,
        LeaverSweepInput,
        LeaverSweepResult,
        LookInput,
        LookResult,
        brake_reason,
    )
    from contracts.telemetry.metrics import LEAVER_SWEEPS

from workflows.activity_failures import problem_of
from workflows.sweep_activity import execute_sweep_activity
from workflows.telemetry import metrics

#: One attempt of a look at all people: thousands, at some hundred a minute.
LOOK_ATTEMPT_TIMEOUT = timedelta(minutes=45)
#: All attempts. After a longer outage of the directory the next sweep starts from the first person.
LOOK_TIMEOUT = timedelta(minutes=60)
#: Telling the environments of those who have left: few, because of the brake.
APPLY_TIMEOUT = timedelta(minutes=5)
#: A worker that sends no heartbeat for this long counts as lost, and another worker continues.
HEARTBEAT_TIMEOUT = timedelta(seconds=20)


@workflow.defn(name=LEAVER_WORKFLOW)
class LeaverSweepWorkflow:
    """One sweep over the people of all open environments."""

    @workflow.run
    async def run(self, sweep: LeaverSweepInput) -> LeaverSweepResult:
        """Look, look again, and act; return what was found and done."""
        result = await self._sweep(sweep)
        workflow.set_current_details(result.sentence)
        outcome = "failed" if result.problem else "stopped" if result.brake else "completed"
        metrics.count(LEAVER_SWEEPS, {"result": outcome})
        return result

    async def _sweep(self, sweep: LeaverSweepInput) -> LeaverSweepResult:
        started_at, pace = workflow.now(), sweep.lookups_per_minute
        try:
            first = await self._look(LookInput(lookups_per_minute=pace), "look up all people")
            result = LeaverSweepResult(now=started_at, asked=first.asked, unclear=len(first.unclear))
            left: tuple[str, ...] = ()
            if first.missing:
                # A directory that is being restarted or synchronized is complete again after a while.
                await workflow.sleep(sweep.second_look_after, summary="before the second look")
                again = LookInput(people=first.missing[:MAX_PEOPLE], lookups_per_minute=pace)
                left = (await self._look(again, "look up again who was missing")).missing
            brake = brake_reason(first, left, sweep.confirmed, sweep.limit_percent)
            waiting = tuple(person for person in left if brake and person not in sweep.confirmed)
            result = result.model_copy(update={"left": left, "waiting": waiting, "brake": brake})
            leaving = tuple(person for person in left if person not in waiting)
            if not (leaving or first.back):
                return result
            by = f", confirmed by {sweep.requested_by}" if sweep.confirmed else ""
            answers = await execute_sweep_activity(
                LeaverActivities.apply,
                ApplyInput(left=leaving, returned=first.back, actor=LEAVER_ACTOR + by),
                attempt=APPLY_TIMEOUT,
                limit=APPLY_TIMEOUT,
                heartbeat=HEARTBEAT_TIMEOUT,
                summary="update their environments",
            )
        except ActivityError as error:
            problem = problem_of(error, "people", "directory")
            return LeaverSweepResult(now=started_at, problem=f"{problem.cause} {problem.remedy}".strip())
        return result.model_copy(update={"lines": answers.lines})

    async def _look(self, input: LookInput, summary: str) -> LookResult:
        return await execute_sweep_activity(
            LeaverActivities.look,
            input,
            attempt=LOOK_ATTEMPT_TIMEOUT,
            limit=LOOK_TIMEOUT,
            heartbeat=HEARTBEAT_TIMEOUT,
            summary=summary,
        )
