"""Executes the activities of the steps: their arguments, task queues, limits, retries and priorities."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy

with workflow.unsafe.imports_passed_through():
    from contracts.activities import (
        CheckPeopleInput,
        EnsureInput,
        InspectInput,
        InspectResult,
        PeopleActivities,
        RemoveInput,
        RemoveResult,
        StepActivities,
        step_activity_name,
    )
    from contracts.environment import Receipt, StepName
    from contracts.environment_workflow import EnvironmentStart, undo_queue

from workflows.activity_failures import require_genuine
from workflows.steps import FEW_CALLS_ATTEMPT_TIMEOUT, Step

#: The directory may be down for a moment, and hundreds may wait before this environment. The developer should
#: still get an answer soon.
PEOPLE_CHECK_TIMEOUT = timedelta(minutes=5)
#: One inspection of one system. If the system cannot answer in this time, the next pass inspects it.
INSPECT_TIMEOUT = timedelta(minutes=2)
#: The steps that install the template's values or calculate with them. The other steps do not get the values.
STEPS_WITH_VALUES = frozenset({StepName.NAMESPACE, StepName.VCLUSTER})
#: Temporal's priorities go from 1 (first) to this value (last).
#: https://docs.temporal.io/develop/task-queue-priority-fairness
LOWEST_PRIORITY = 5

_Input = TypeVar("_Input")
_Result = TypeVar("_Result")


class StepExecutor:
    """Executes the activities of one life. Each method raises ActivityError if its activity has failed."""

    def __init__(self, start: EnvironmentStart, steps: tuple[Step, ...], life_started_at: datetime) -> None:
        self._environment = start.environment
        #: For the steps that need no values: a template's values may be large, and a history holds each
        #: argument.
        self._without_values = start.environment.without_values
        self._request_id = start.request_id
        self._timeouts = start.timeouts
        self._steps = steps
        self._life_started_at = life_started_at

    async def check_people(self) -> None:
        """Check that all people of the environment are known."""
        require_genuine(
            await workflow.execute_activity_method(  # type: ignore[func-returns-value]
                PeopleActivities.check,
                CheckPeopleInput(environment=self._without_values),
                start_to_close_timeout=FEW_CALLS_ATTEMPT_TIMEOUT,
                schedule_to_close_timeout=self._limit(PEOPLE_CHECK_TIMEOUT),
                heartbeat_timeout=self._timeouts.heartbeat_timeout,
                retry_policy=self._retries(),
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                priority=self._priority(0),
                summary="everybody is known",
            )
        )

    async def execute_ensure(self, step: Step) -> Receipt:
        """Execute the step's ensure on the task queue of the forward steps."""
        environment = self._environment if step.name in STEPS_WITH_VALUES else self._without_values
        return await self._execute(
            step,
            StepActivities.ensure,
            EnsureInput(
                environment=environment, request_id=self._request_id, requested_at=self._life_started_at
            ),
            Receipt,
            task_queue=None,
            attempt=step.attempt_timeout,
            limit=self._limit(step.timeout),
            steps_before=self._steps.index(step),
            summary=step.summary,
        )

    async def execute_remove(self, step: Step, *, force: bool) -> RemoveResult:
        """Execute the step's remove; `force` is as in `RemoveInput`."""
        return await self._execute(
            step,
            StepActivities.remove,
            RemoveInput(environment=self._without_values, life_started_at=self._life_started_at, force=force),
            RemoveResult,
            task_queue=undo_queue(workflow.info().task_queue),
            attempt=self._timeouts.undo_timeout,
            limit=self._timeouts.undo_timeout,
            steps_before=len(self._steps) - 1 - self._steps.index(step),
            summary=f"undo: {step.summary}",
        )

    async def execute_inspect(self, step: Step) -> InspectResult:
        """Execute the step's inspect."""
        return await self._execute(
            step,
            StepActivities.inspect,
            InspectInput(environment=self._without_values, life_started_at=self._life_started_at),
            InspectResult,
            task_queue=undo_queue(workflow.info().task_queue),
            attempt=FEW_CALLS_ATTEMPT_TIMEOUT,
            limit=min(INSPECT_TIMEOUT, self._timeouts.undo_timeout),
            steps_before=len(self._steps) - 1,
            summary=f"inspect: {step.summary}",
        )

    async def _execute(
        self,
        step: Step,
        method: Callable[[StepActivities, _Input], Awaitable[_Result]],
        input: _Input,
        result_type: type[_Result],
        *,
        task_queue: str | None,
        attempt: timedelta,
        limit: timedelta,
        steps_before: int,
        summary: str,
    ) -> _Result:
        """Execute an activity of a step; `attempt` is the limit of one attempt, `limit` that of all."""
        result: _Result = require_genuine(
            await workflow.execute_activity(
                step_activity_name(step.name, method),
                input,
                result_type=result_type,
                task_queue=task_queue,
                start_to_close_timeout=attempt,
                schedule_to_close_timeout=limit,
                heartbeat_timeout=self._timeouts.heartbeat_timeout,
                retry_policy=self._retries(),
                # An undo must not overtake an ensure that is still in progress.
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                priority=self._priority(steps_before),
                summary=summary,
            )
        )
        return result

    def _limit(self, limit: timedelta) -> timedelta:
        return min(limit, self._timeouts.step_timeout or limit)

    def _priority(self, steps_before: int) -> Priority:
        """Return a priority that is higher the nearer the work is to its end.

        So when hundreds of environments are requested at once, few are in progress and each is soon over.
        Otherwise all of them would go through every step together: the last would be ready no sooner, and
        there would be more of them than fit into a worker's memory.
        """
        return Priority(priority_key=LOWEST_PRIORITY - steps_before * LOWEST_PRIORITY // len(self._steps))

    def _retries(self) -> RetryPolicy:
        # There is no limit of attempts: the user feels the time, and every activity has a limit in time.
        return RetryPolicy(
            initial_interval=self._timeouts.first_retry, maximum_interval=self._timeouts.longest_retry
        )
