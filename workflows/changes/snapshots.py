"""Takes snapshots of the virtual cluster of one environment: when a person asks, and before a change."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from contracts.activities.vcluster import SnapshotActivities, SnapshotInput
    from contracts.environment.models import KEPT_SNAPSHOTS, Problem, Snapshot, System
    from contracts.environment.snapshot_support import LEFT_OUT, snapshot_obstacle
    from contracts.environment_workflow import AnswerKind, LifecycleTimeouts

from workflows.activity_failures import is_cancelled, problem_of, require_genuine
from workflows.record.state import EnvironmentState
from workflows.task_queues import Placement, TaskQueues

#: The vCluster copies some hundred megabytes within its own volume. Its controller looks every ten seconds.
SNAPSHOT_TIMEOUT = timedelta(minutes=5)
#: The step in problems of snapshots.
SNAPSHOT_STEP = "snapshot"


class SnapshotTaker:
    """The snapshots of one environment, one at a time.

    A snapshot is taken in one run: that run does not end before it.
    """

    def __init__(self, state: EnvironmentState, timeouts: LifecycleTimeouts) -> None:
        self._state = state
        self._timeouts = timeouts
        self._queues = TaskQueues(state, timeouts)
        self._task: asyncio.Task[None] | None = None
        #: The number of the last snapshot that this run has started.
        self._started = 0
        #: Whether a call of a snapshot that was stopped may still have an effect.
        self.is_in_doubt = False

    @property
    def is_busy(self) -> bool:
        """Whether a snapshot is being taken that a person has asked for."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Record that a snapshot is lost which the former run has left; its vCluster may still take it."""
        if self._last and self._last.number != self._started:
            self._end_open("the run of the workflow that took it was lost.", "Lost")

    def ask(self, actor: str) -> tuple[AnswerKind, str]:
        """Start to take a snapshot; return the answer. Callers follow it in the status."""
        self._task = asyncio.create_task(self._take(self._begin(actor, "")))
        name = self._state.status.environment.name
        return AnswerKind.ACCEPTED, f"A snapshot of {name} is being taken; {LEFT_OUT}."

    async def take_before(self, actor: str, before: str) -> Snapshot | None:
        """Take a snapshot before a change and return it; None if the vCluster takes none."""
        if snapshot_obstacle(self._state.status.environment.template):
            return None
        await self._take(self._begin(actor, before))
        return self._last

    async def stop(self) -> None:
        """Stop the snapshot, because the environment ends; return when no call is in progress."""
        if self._task and self.is_busy:
            self.is_in_doubt = True
            self._task.cancel()
            await workflow.wait_condition(self._task.done)
        # A task that was cancelled before its first line has not said so.
        self._end_open("it was stopped, because the environment ends.", "Cancelled")

    def _end_open(self, cause: str, type: str) -> None:
        if self._last and self._last.is_in_progress:
            problem = Problem(
                step=SNAPSHOT_STEP, system=System.HOST_CLUSTER, cause=cause, remedy="", type=type
            )
            self._finish(self._last, problem)

    @property
    def _last(self) -> Snapshot | None:
        return self._state.status.snapshots[-1] if self._state.status.snapshots else None

    def _begin(self, actor: str, before: str) -> Snapshot:
        self._started = number = self._last.number + 1 if self._last else 1
        snapshot = Snapshot(number=number, actor=actor, asked_at=workflow.now(), before=before)
        # Those that are not listed any more are written over.
        kept = self._state.status.snapshots[-(KEPT_SNAPSHOTS - 1) :]
        self._state.set_fields(snapshots=(*kept, snapshot))
        return snapshot

    async def _take(self, snapshot: Snapshot) -> None:
        try:
            await self._execute(snapshot)
        except ActivityError as error:
            self._finish(snapshot, problem_of(error, SNAPSHOT_STEP, System.HOST_CLUSTER))
            if is_cancelled(error):
                raise asyncio.CancelledError from None
        else:
            self._finish(snapshot, None)

    async def _execute(self, snapshot: Snapshot) -> None:
        async def schedule(placement: Placement) -> None:
            require_genuine(
                await workflow.execute_activity_method(  # type: ignore[func-returns-value]
                    SnapshotActivities.take,
                    SnapshotInput(
                        environment=self._state.status.environment.without_values,
                        number=snapshot.number,
                        asked_at=snapshot.asked_at,
                    ),
                    task_queue=placement.task_queue,
                    schedule_to_close_timeout=placement.limit,
                    schedule_to_start_timeout=placement.wait,
                    heartbeat_timeout=self._timeouts.heartbeat_timeout,
                    retry_policy=RetryPolicy(
                        initial_interval=self._timeouts.first_retry,
                        maximum_interval=self._timeouts.longest_retry,
                    ),
                    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                    summary="take a snapshot",
                )
            )

        limit = min(SNAPSHOT_TIMEOUT, self._timeouts.step_timeout or SNAPSHOT_TIMEOUT)
        await self._queues.execute(System.HOST_CLUSTER, schedule, limit=limit, is_undo=False)

    def _finish(self, snapshot: Snapshot, problem: Problem | None) -> None:
        done: dict[str, object] = {"problem": problem.truncated} if problem else {"taken_at": workflow.now()}
        self._state.set_fields(
            snapshots=tuple(
                one.model_copy(update=done) if one.number == snapshot.number else one
                for one in self._state.status.snapshots
            )
        )
        before = f" before {snapshot.before}" if snapshot.before else ""
        what = f"snapshot {snapshot.number}{before}"
        if problem is None:
            self._state.add_log_entry(snapshot.actor, f"took {what}", LEFT_OUT)
        else:
            self._state.add_log_entry(snapshot.actor, f"could not take {what}", problem.cause)
