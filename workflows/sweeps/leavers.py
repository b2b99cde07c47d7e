"""The leaver sweep: it ends the access of people whom the directory does not know any more.

It looks twice before it acts, and acts on few people at a time: what a broken directory says ends no
access. A schedule or a person starts it.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from contracts.activities.fleet import LeaverActivities
    from contracts.sweeps.leavers import (
        LEAVER_ACTOR,
        LEAVER_WORKFLOW,
        MAX_PEOPLE,
        ApplyInput,
        LeaverLine,
        LeaverSweepInput,
        LeaverSweepResult,
        LookInput,
        LookResult,
        judged,
    )
    from contracts.telemetry.metrics import LEAVER_SWEEPS

from workflows.activity_failures import problem_of
from workflows.sweeps.activity import execute_sweep_activity
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
        """Look at the people in batches, and act after each: what a large directory takes delays no leaver.

        The brake judges all people whom this sweep has asked for until then.
        """
        result = LeaverSweepResult(now=workflow.now())
        looked = LookResult()
        try:
            while True:
                batch = await self._look_up_batch(sweep, after=looked.last)
                looked = looked.plus(batch)
                gone = await self._look_again(sweep, batch.missing)
                acted = set(result.left) - set(result.waiting)
                result = judged(result, looked, gone, sweep)
                leaving = tuple(person for person in result.left if person not in {*acted, *result.waiting})
                lines = await self._update(sweep, leaving, batch.back)
                result = result.model_copy(update={"lines": result.lines + lines})
                if not looked.last:
                    return result
        except ActivityError as error:
            problem = problem_of(error, "people", "directory")
            return result.model_copy(update={"problem": f"{problem.cause} {problem.remedy}".strip()})

    async def _look_up_batch(self, sweep: LeaverSweepInput, *, after: str) -> LookResult:
        pace = sweep.lookups_per_minute
        input = LookInput(after=after, at_most=sweep.batch, lookups_per_minute=pace)
        return await self._look(input, "look up more people" if after else "look up people")

    async def _look_again(self, sweep: LeaverSweepInput, missing: tuple[str, ...]) -> tuple[str, ...]:
        """Return who is still missing: a directory that restarts is complete again after a while."""
        if not missing:
            return ()
        await workflow.sleep(sweep.second_look_after, summary="before the second look")
        again = LookInput(people=missing[:MAX_PEOPLE], lookups_per_minute=sweep.lookups_per_minute)
        return (await self._look(again, "look up again who was missing")).missing

    async def _update(
        self, sweep: LeaverSweepInput, leaving: tuple[str, ...], returned: tuple[str, ...]
    ) -> tuple[LeaverLine, ...]:
        if not (leaving or returned):
            return ()
        by = f", confirmed by {sweep.requested_by}" if sweep.confirmed else ""
        answers = await execute_sweep_activity(
            LeaverActivities.apply,
            ApplyInput(left=leaving, returned=returned, actor=LEAVER_ACTOR + by),
            attempt=APPLY_TIMEOUT,
            limit=APPLY_TIMEOUT,
            heartbeat=HEARTBEAT_TIMEOUT,
            summary="update their environments",
        )
        return answers.lines

    async def _look(self, input: LookInput, summary: str) -> LookResult:
        return await execute_sweep_activity(
            LeaverActivities.look,
            input,
            attempt=LOOK_ATTEMPT_TIMEOUT,
            limit=LOOK_TIMEOUT,
            heartbeat=HEARTBEAT_TIMEOUT,
            summary=summary,
        )
