"""Chooses the task queue of each activity that calls an outside system.

A system with its own worker or rate limit has task queues; all other activities take the common ones.
The environment knows from its start which systems those are. The settings may change while it lives, and it
learns that from recorded results only: a worker hands the activity back with the error OtherQueue, or no
worker takes it up for a while and the central worker says which systems have queues now.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError, TimeoutType

with workflow.unsafe.imports_passed_through():
    from contracts.activities.host import QueueActivities, QueuesInput
    from contracts.environment.models import System
    from contracts.environment_workflow import LifecycleTimeouts, undo_queue
    from contracts.errors import ErrorType
    from contracts.temporal.task_queues import system_queue
    from contracts.types.durations import format_duration

from workflows.activity_failures import is_cancelled, require_genuine, system_of
from workflows.record.state import EnvironmentState

#: The answer comes from the settings of a central worker, without a call. If none takes it up in this time,
#: the activity goes on waiting in the queue that it had.
READ_TIMEOUT = timedelta(minutes=1)

SHORTEST_LIMIT = timedelta(seconds=1)

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Placement:
    """Where and for how long to schedule an activity.

    `task_queue` is None for the queue of the workflow. `limit` is for all attempts. `wait` is the time within
    which a worker must take the activity up, None without such a limit.
    """

    task_queue: str | None
    limit: timedelta
    wait: timedelta | None


class TaskQueues:
    """The task queues of one environment's activities.

    `report` is called with what an activity waits for, while no worker takes it up.
    """

    def __init__(self, state: EnvironmentState, timeouts: LifecycleTimeouts) -> None:
        self._state = state
        self._timeouts = timeouts

    def has_own(self, system: System) -> bool:
        """Return whether the system has task queues."""
        return system in self._state.status.environment.own_queues

    async def execute(
        self,
        system: System,
        schedule: Callable[[Placement], Awaitable[_Result]],
        *,
        limit: timedelta,
        is_undo: bool,
        report: Callable[[str], None] = lambda _: None,
        on_doubt: Callable[[], None] = lambda: None,
    ) -> _Result:
        """Schedule an activity in the queue of its system, and again in another if that has changed.

        `is_undo`: it is no forward step. `on_doubt` is called if an earlier attempt may have had an effect.

        Raises:
            ActivityError: The activity has failed. OtherQueue for another system is for the caller.
        """
        give_up_at = workflow.now() + limit
        waited_since = workflow.now()
        while True:
            is_own = self.has_own(system)
            placement = self._place(system, give_up_at - workflow.now(), is_own=is_own, is_undo=is_undo)
            try:
                return await schedule(placement)
            except ActivityError as error:
                if system_of_other_queue(error) is system and not is_own:
                    self._state.set_own_queues((*self._state.status.environment.own_queues, system))
                elif is_own and _is_untaken(error) and workflow.now() < give_up_at:
                    waited = format_duration(workflow.now() - waited_since)
                    report(f"no worker has taken it up for {waited} (task queue {placement.task_queue})")
                    await self._read_again()
                else:
                    raise
                # An earlier attempt may have been lost with its worker.
                on_doubt()

    def _place(self, system: System, limit: timedelta, *, is_own: bool, is_undo: bool) -> Placement:
        common = workflow.info().task_queue
        base = undo_queue(common) if is_undo else common
        # Temporal refuses a limit that is over, and another queue may have been found at the very end.
        limit = max(limit, SHORTEST_LIMIT)
        if is_own:
            queue = system_queue(base, system, self._state.status.environment.host)
            # Shorter than the limit, so that the error says that no worker was there.
            return Placement(queue, limit, min(self._timeouts.queue_timeout, limit * 0.9))
        return Placement(base if is_undo else None, limit, None)

    async def _read_again(self) -> None:
        """Ask a central worker which systems have queues now; change nothing if none answers."""
        try:
            found = require_genuine(
                await workflow.execute_activity_method(
                    QueueActivities.read,
                    QueuesInput(host=self._state.status.environment.host),
                    task_queue=undo_queue(workflow.info().task_queue),
                    schedule_to_close_timeout=READ_TIMEOUT,
                    retry_policy=RetryPolicy(
                        initial_interval=self._timeouts.first_retry,
                        maximum_interval=self._timeouts.longest_retry,
                    ),
                    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                    summary="which systems have task queues",
                )
            )
        except ActivityError as error:
            if is_cancelled(error):
                raise
            return
        self._state.set_own_queues(found.own_queues)


def system_of_other_queue(error: ActivityError) -> System | None:
    """Return the system into whose task queue the activity belongs; None for any other error."""
    cause = error.cause
    if not isinstance(cause, ApplicationError) or cause.type != ErrorType.OTHER_QUEUE:
        return None
    name = system_of(cause)
    return System(name) if name in set(System) else None


def _is_untaken(error: ActivityError) -> bool:
    cause = error.cause
    return isinstance(cause, TimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_START
