"""Restores a snapshot of the virtual cluster of one environment, and goes back if that fails.

First the present state becomes a snapshot: it is the way back. Then the vCluster is paused, a pod puts the
objects of the wanted snapshot onto its volume, and it is resumed. If one of these does not succeed, the same
is done with the snapshot of the present state, until it succeeds. What has failed is shown, and the
environment can be deleted at any time.

A vCluster that runs again keeps its state: its syncer deletes on the host what that state does not have,
volumes too, so there is no way back any more.

The snapshot has the rights of people who were removed since, and there is no way to take them away before its
API server runs. So for the seconds until that is done, a person who was removed can use a credential that
they still hold; it ends after an hour at most, and they get no other.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from contracts.activities.vcluster import (
        RestoreSnapshotInput,
        SettlePeopleInput,
        SleepActivities,
        SleepInput,
        SnapshotActivities,
    )
    from contracts.environment.models import MOORAGE_ACTOR, Environment, Problem, Restore, System
    from contracts.environment.snapshot_support import LEFT_OUT, restore_attempt
    from contracts.environment_workflow import AnswerKind, LifecycleTimeouts, RestoreInput

from workflows.activity_failures import is_cancelled, is_in_doubt, problem_of, require_genuine
from workflows.changes.sleep import PAUSE_TIMEOUT
from workflows.changes.snapshots import SnapshotTaker
from workflows.record.state import EnvironmentState
from workflows.steps import START_TIMEOUT
from workflows.task_queues import Placement, TaskQueues

#: One pod that reads some hundred megabytes and writes them into a database, with the start of its image.
RESTORE_TIMEOUT = timedelta(minutes=10)
#: Some calls for each person who was removed since.
PEOPLE_TIMEOUT = timedelta(minutes=5)
#: The step in problems of restores.
RESTORE_STEP = "restore"


@dataclass(frozen=True)
class _Result:
    """Why calls have failed, if they have; and whether one of them may still have an effect."""

    problem: Problem | None = None
    is_in_doubt: bool = False


class SnapshotRestorer:
    """The restore of a snapshot of one environment that is in progress.

    A restore goes forward in one run, until the vCluster runs again. If that run is lost, or the restore
    fails, the environment goes back to the state before it, in later runs too.
    """

    def __init__(
        self, state: EnvironmentState, snapshots: SnapshotTaker, timeouts: LifecycleTimeouts
    ) -> None:
        self._state = state
        self._snapshots = snapshots
        self._timeouts = timeouts
        self._queues = TaskQueues(state, timeouts)
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        #: Whether a call of a restore that was stopped may still have an effect.
        self.is_in_doubt = False

    @property
    def is_busy(self) -> bool:
        """Whether a restore goes forward: only this run can complete it."""
        return self._is_running and not self._can_change_runs

    @property
    def _is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def _can_change_runs(self) -> bool:
        restore = self._state.status.restore
        return restore is not None and (restore.problem is not None or restore.is_resumed)

    @property
    def _restore(self) -> Restore:
        """The restore that is in progress."""
        restore = self._state.status.restore
        assert restore  # noqa: S101  (only `stop` and the ends of a task drop it)
        return restore

    def start(self) -> None:
        """Go on with a restore that the former run has left: back, if the vCluster does not run again."""
        self._stopped = False
        restore = self._state.status.restore
        if restore is None or self._is_running:
            return
        if restore.is_resumed:
            self._task = asyncio.create_task(self._settle())
            return
        if restore.problem is None:
            self._fail(_lost_problem())
        # It is not known which calls of the former run may still have an effect.
        self._task = asyncio.create_task(self._go_back(in_doubt=True))

    def ask(self, ask: RestoreInput, number: int) -> tuple[AnswerKind, str]:
        """Start to restore the snapshot; return the answer. Callers follow it in the status."""
        restore = Restore(number=number, actor=ask.actor, started_at=workflow.now())
        self._state.set_fields(restore=restore, restore_problem=None)
        self._state.add_log_entry(ask.actor, f"asked to restore snapshot {number}", LEFT_OUT)
        self._task = asyncio.create_task(self._run())
        name = self._state.status.environment.name
        return AnswerKind.ACCEPTED, f"Snapshot {number} of {name} is being restored; {LEFT_OUT}."

    async def stop_rollback(self) -> None:
        """Stop what another run can go on with; leave a restore that goes forward alone."""
        if self._is_running and self._can_change_runs:
            await self._stop()

    async def stop(self) -> None:
        """Stop the restore, because the environment ends; return when no call is in progress."""
        self.is_in_doubt = self._state.status.restore is not None
        if self._is_running:
            await self._stop()
        if self._state.status.restore:
            self._state.set_fields(restore=None)

    async def _stop(self) -> None:
        # The cancellation alone is not enough: a call that completes all the same does not pass it on.
        self._stopped = True
        task = self._task
        if task is not None:
            task.cancel()
            await workflow.wait_condition(task.done)

    async def _run(self) -> None:
        restore = self._restore
        before = f"the restore of snapshot {restore.number}"
        way_back = await self._snapshots.take_before(restore.actor, before)
        if way_back is None or way_back.problem:
            self._end_as_before(way_back.problem if way_back else None)
            return
        self._update(way_back=way_back.number)
        result = await self._put_back(restore.number)
        if result.problem:
            self._fail(result.problem)
            await self._go_back(in_doubt=result.is_in_doubt)
        else:
            await self._settle()

    async def _go_back(self, *, in_doubt: bool) -> None:
        """Return to the state before, until that succeeds."""
        restore = self._restore
        way_back = restore.way_back
        if way_back is None:
            # Not even a pause was tried.
            self._end_as_before(restore.problem)
            return
        if restore.tries:
            # A pod that comes late must find the vCluster paused, or be found by the next restore.
            await self._repeat(lambda: self._put_back(way_back), in_doubt=in_doubt)
        else:
            await self._repeat(self._resume, in_doubt=in_doubt)
        await self._settle()

    async def _settle(self) -> None:
        """Take the access of people away who were removed since, until that succeeds, and end."""
        restore = self._restore
        if restore.tries:
            await self._repeat(self._settle_people)
        if restore.problem:
            self._end_as_before(restore.problem)
            return
        self._state.set_fields(restore=None)
        self._state.add_log_entry(MOORAGE_ACTOR, f"restored snapshot {restore.number}", LEFT_OUT)

    async def _repeat(self, attempt: Callable[[], Awaitable[_Result]], *, in_doubt: bool = False) -> None:
        """Repeat the attempt until it succeeds; the record says why one has failed, and when the next is."""
        pause = self._timeouts.first_pause
        while True:
            if in_doubt:
                await self._rest(self._timeouts.late_response_window, "late answers of the restore")
            result = await attempt()
            if result.problem is None:
                self._update(obstacle=None)
                return
            in_doubt = result.is_in_doubt
            wait = pause + (self._timeouts.late_response_window if in_doubt else timedelta())
            self._update(obstacle=result.problem.truncated, next_try_at=workflow.now() + wait)
            await self._rest(pause, "pause before the restore is tried again")
            pause = min(2 * pause, self._timeouts.longest_pause)

    async def _put_back(self, number: int) -> _Result:
        """Put a snapshot back, and have the vCluster run again."""
        environment = self._environment
        pause = SleepInput(environment=environment)
        result = await self._call(SleepActivities.pause, pause, PAUSE_TIMEOUT, "pause it")
        if result.problem:
            return result
        restore = self._restore
        self._update(tries=restore.tries + 1)
        input = RestoreSnapshotInput(
            environment=environment,
            number=number,
            attempt=restore_attempt(restore.started_at, restore.tries + 1),
        )
        summary = f"restore snapshot {number}"
        result = await self._call(SnapshotActivities.restore, input, RESTORE_TIMEOUT, summary)
        return result if result.problem else await self._resume()

    async def _resume(self) -> _Result:
        input = SleepInput(environment=self._environment)
        result = await self._call(SleepActivities.resume, input, START_TIMEOUT, "resume it")
        if result.problem is None:
            self._update(is_resumed=True)
        return result

    async def _settle_people(self) -> _Result:
        # Those of now: they may have changed since the restore began.
        status = self._state.status
        without = {status.environment.owner} if status.owner_left else set()
        people = tuple(one for one in status.environment.people if one not in without)
        input = SettlePeopleInput(environment=self._environment, people=people)
        summary = "take access of removed people away"
        return await self._call(SnapshotActivities.settle, input, PEOPLE_TIMEOUT, summary)

    @property
    def _environment(self) -> Environment:
        return self._state.status.environment.without_values

    async def _call(
        self, method: Callable[[Any, Any], Awaitable[None]], input: Any, limit: timedelta, summary: str
    ) -> _Result:
        """Have an activity done within the limit, which is that of all its attempts."""
        if self._stopped:
            raise asyncio.CancelledError
        self._update(next_try_at=None)

        async def schedule(placement: Placement) -> None:
            require_genuine(
                await workflow.execute_activity_method(  # type: ignore[func-returns-value]
                    method,
                    input,
                    task_queue=placement.task_queue,
                    schedule_to_close_timeout=placement.limit,
                    schedule_to_start_timeout=placement.wait,
                    heartbeat_timeout=self._timeouts.heartbeat_timeout,
                    retry_policy=RetryPolicy(
                        initial_interval=self._timeouts.first_retry,
                        maximum_interval=self._timeouts.longest_retry,
                    ),
                    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                    summary=summary,
                )
            )

        doubts: list[bool] = []
        limit = min(limit, self._timeouts.step_timeout or limit)
        try:
            await self._queues.execute(
                System.HOST_CLUSTER,
                schedule,
                limit=limit,
                is_undo=False,
                on_doubt=lambda: doubts.append(True),
            )
        except ActivityError as error:
            if is_cancelled(error):
                raise asyncio.CancelledError from None
            in_doubt = is_in_doubt(error) or bool(doubts)
            return _Result(problem_of(error, RESTORE_STEP, System.HOST_CLUSTER), in_doubt)
        return _Result()

    async def _rest(self, length: timedelta, summary: str) -> None:
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._stopped, timeout=length, timeout_summary=summary)

    def _update(self, **fields: object) -> None:
        self._state.set_fields(restore=self._restore.model_copy(update=fields))

    def _fail(self, problem: Problem) -> None:
        """Record why it goes back."""
        problem = problem.truncated
        self._update(problem=problem)
        self._state.set_fields(restore_problem=problem)
        what = f"could not restore snapshot {self._restore.number}"
        self._state.add_log_entry(MOORAGE_ACTOR, what, problem.cause)

    def _end_as_before(self, problem: Problem | None) -> None:
        """Record that the environment has the state of before."""
        restore = self._restore
        self._state.set_fields(restore=None, restore_problem=problem.truncated if problem else None)
        what = "went back to the state before" if restore.tries else "changed nothing for"
        self._state.add_log_entry(MOORAGE_ACTOR, f"{what} the restore of snapshot {restore.number}")


def _lost_problem() -> Problem:
    return Problem(
        step=RESTORE_STEP,
        system=System.HOST_CLUSTER,
        cause="the run of the workflow that restored it was lost.",
        remedy="Ask for it again.",
        type="Lost",
    )
