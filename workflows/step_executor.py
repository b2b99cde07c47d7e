"""Executes the activities of the steps: their arguments, task queues, limits, retries and priorities."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from contracts.activities.cluster_import import (
        IMPORT_BOOTSTRAP,
        IMPORT_KEY,
        IMPORT_REGISTER,
        BootstrapInput,
        BootstrapKey,
        RegisterInput,
        SealedBootstrap,
    )
    from contracts.activities.people import CheckPeopleInput, PeopleActivities
    from contracts.activities.steps import (
        EnsureInput,
        InspectInput,
        InspectResult,
        MemberRepair,
        RemoveInput,
        RemoveResult,
        StepActivities,
        step_activity_name,
    )
    from contracts.environment.models import Environment, Receipt, StepName, System
    from contracts.environment_workflow import EnvironmentStart
    from contracts.standby import STANDBY_OFFER, STANDBY_WITHDRAW, StandbyInput, WithdrawResult
    from contracts.types.models import Frozen

from workflows.activity_failures import require_genuine
from workflows.record.state import EnvironmentState
from workflows.steps import FEW_CALLS_ATTEMPT_TIMEOUT, Step
from workflows.task_queues import Placement, TaskQueues, system_of_other_queue

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

_Result = TypeVar("_Result")


class StepExecutor:
    """Executes the activities of one life. Each method raises ActivityError if its activity has failed."""

    def __init__(
        self,
        start: EnvironmentStart,
        steps: tuple[Step, ...],
        state: EnvironmentState,
        on_doubt: Callable[[], None],
    ) -> None:
        self._queues = TaskQueues(state, start.timeouts)
        self._state = state
        self._on_doubt = on_doubt
        self._environment = start.environment
        #: For the steps that need no values: a template's values may be large, and a history holds each
        #: argument.
        self._without_values = start.environment.without_values
        self._request_id = start.request_id
        self._timeouts = start.timeouts
        self._steps = steps
        self._life_started_at = state.status.requested_at

    @property
    def _current(self) -> Environment:
        """The environment as it is now: its template, with its rule for volumes, may have been changed."""
        return self._state.status.environment.without_values

    async def check_people(self) -> None:
        """Check that all people of the environment are known."""
        limit = self._limit(PEOPLE_CHECK_TIMEOUT)

        async def schedule(placement: Placement) -> None:
            require_genuine(
                await workflow.execute_activity_method(  # type: ignore[func-returns-value]
                    PeopleActivities.check,
                    CheckPeopleInput(environment=self._without_values),
                    task_queue=placement.task_queue,
                    start_to_close_timeout=FEW_CALLS_ATTEMPT_TIMEOUT,
                    schedule_to_close_timeout=placement.limit,
                    schedule_to_start_timeout=placement.wait,
                    heartbeat_timeout=self._timeouts.heartbeat_timeout,
                    retry_policy=self._retries(),
                    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                    priority=self._priority(0),
                    summary="everybody is known",
                )
            )

        await self._queues.execute(self._environment.people_system, schedule, limit=limit, is_undo=False)

    async def execute_ensure(
        self,
        step: Step,
        environment: Environment | None = None,
        *,
        in_place: bool = False,
        members: MemberRepair | None = None,
    ) -> Receipt:
        """Execute the step's ensure on the task queue of the forward steps.

        `environment` is that of now, if it has changed since its start; `in_place` and `members` are as in
        `EnsureInput`.
        """
        # It need not look for what was made a moment ago.
        needs_ids = step.name is StepName.ROLE_BINDING and environment is None
        environment = environment or self._environment
        if step.name not in STEPS_WITH_VALUES:
            environment = environment.without_values
        limit = self._limit(step.timeout)
        give_up_at = workflow.now() + limit
        while True:
            is_bootstrapped = step.name is StepName.IMPORT and self._queues.has_own(System.HOST_CLUSTER)
            if is_bootstrapped:
                await self._bootstrap(step, give_up_at)
            try:
                return await self._execute(
                    step,
                    step_activity_name(step.name, StepActivities.ensure),
                    EnsureInput(
                        environment=environment,
                        request_id=self._request_id,
                        requested_at=self._life_started_at,
                        is_bootstrapped=is_bootstrapped,
                        in_place=in_place,
                        members=members,
                        project_id=self._made_id(StepName.PROJECT) if needs_ids else "",
                        group_id=self._made_id(StepName.GROUP) if needs_ids else "",
                    ),
                    Receipt,
                    attempt=step.attempt_timeout,
                    limit=give_up_at - workflow.now(),
                    steps_before=self._steps.index(step),
                    summary=step.summary,
                )
            except ActivityError as error:
                # The import calls two systems, and its own is the control plane.
                other = system_of_other_queue(error)
                if other is not System.HOST_CLUSTER or is_bootstrapped:
                    raise
                self._state.set_own_queues((*self._state.status.environment.own_queues, other))

    def _made_id(self, step: StepName) -> str:
        """Return the id of what a step has made; "" if it is not known."""
        receipt = self._state.status.receipts.get(step)
        return receipt.reference if receipt else ""

    async def _bootstrap(self, step: Step, give_up_at: datetime) -> None:
        """Register the cluster and apply its bootstrap manifest, by workers that each reach one system."""
        environment = self._without_values

        async def execute(
            name: str, input: Frozen, result_type: type[_Result], *, what: str, system: System
        ) -> _Result:
            return await self._execute(
                step,
                name,
                input,
                result_type,
                system=system,
                attempt=step.attempt_timeout,
                limit=give_up_at - workflow.now(),
                steps_before=self._steps.index(step),
                summary=f"{step.summary}: {what}",
            )

        key = await execute(
            IMPORT_KEY,
            EnsureInput(environment=environment),
            BootstrapKey,
            what="key of the vCluster",
            system=System.HOST_CLUSTER,
        )
        registered = await execute(
            IMPORT_REGISTER,
            RegisterInput(environment=environment, public_key=key.public_key),
            SealedBootstrap,
            what="record in the control plane",
            system=System.CONTROL_PLANE,
        )
        if registered.sealed:
            await execute(
                IMPORT_BOOTSTRAP,
                BootstrapInput(environment=environment, sealed=registered.sealed),
                type(None),
                what="bootstrap in the vCluster",
                system=System.HOST_CLUSTER,
            )

    async def execute_remove(self, step: Step, *, force: bool) -> RemoveResult:
        """Execute the step's remove; `force` is as in `RemoveInput`."""
        return await self._execute(
            step,
            step_activity_name(step.name, StepActivities.remove),
            RemoveInput(environment=self._current, life_started_at=self._life_started_at, force=force),
            RemoveResult,
            is_undo=True,
            attempt=self._timeouts.undo_timeout,
            limit=self._timeouts.undo_timeout,
            steps_before=len(self._steps) - 1 - self._steps.index(step),
            summary=f"undo: {step.summary}",
        )

    async def execute_inspect(self, step: Step) -> InspectResult:
        """Execute the step's inspect."""
        return await self._execute(
            step,
            step_activity_name(step.name, StepActivities.inspect),
            InspectInput(environment=self._current, life_started_at=self._life_started_at),
            InspectResult,
            is_undo=True,
            attempt=FEW_CALLS_ATTEMPT_TIMEOUT,
            limit=min(INSPECT_TIMEOUT, self._timeouts.undo_timeout),
            steps_before=len(self._steps) - 1,
            summary=f"inspect: {step.summary}",
        )

    async def execute_offer(self) -> None:
        """Offer the standby to environments."""
        await self._execute_for_standby(STANDBY_OFFER, type(None), summary="offer it", is_undo=False)

    async def execute_withdraw(self) -> WithdrawResult:
        """End the offer of the standby; return which environment has it."""
        return await self._execute_for_standby(
            STANDBY_WITHDRAW, WithdrawResult, summary="withdraw it", is_undo=True
        )

    async def _execute_for_standby(
        self, activity: str, result_type: type[_Result], *, summary: str, is_undo: bool
    ) -> _Result:
        return await self._execute(
            next(step for step in self._steps if step.name is StepName.NAMESPACE),
            activity,
            StandbyInput(environment=self._without_values),
            result_type,
            is_undo=is_undo,
            attempt=FEW_CALLS_ATTEMPT_TIMEOUT,
            limit=self._timeouts.undo_timeout,
            steps_before=0,
            summary=summary,
        )

    async def _execute(
        self,
        step: Step,
        activity: str,
        input: Frozen,
        result_type: type[_Result],
        *,
        system: System | None = None,
        is_undo: bool = False,
        attempt: timedelta,
        limit: timedelta,
        steps_before: int,
        summary: str,
    ) -> _Result:
        """Execute an activity of a step; `attempt` is the limit of one attempt, `limit` that of all."""

        async def schedule(placement: Placement) -> _Result:
            result: _Result = require_genuine(
                await workflow.execute_activity(
                    activity,
                    input,
                    result_type=result_type,
                    task_queue=placement.task_queue,
                    start_to_close_timeout=attempt,
                    schedule_to_close_timeout=placement.limit,
                    schedule_to_start_timeout=placement.wait,
                    heartbeat_timeout=self._timeouts.heartbeat_timeout,
                    retry_policy=self._retries(),
                    # An undo must not overtake an ensure that is still in progress.
                    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                    priority=self._priority(steps_before),
                    summary=summary,
                )
            )
            return result

        return await self._queues.execute(
            system or step.system,
            schedule,
            limit=limit,
            is_undo=is_undo,
            report=lambda note: self._state.set_step_note(step.name, note),
            # A remove or an inspection creates nothing that could appear late.
            on_doubt=(lambda: None) if is_undo else self._on_doubt,
        )

    def _limit(self, limit: timedelta) -> timedelta:
        return min(limit, self._timeouts.step_timeout or limit)

    def _priority(self, steps_before: int) -> Priority:
        """Return a priority that is higher the nearer the work is to its end.

        So when hundreds of environments are requested at once, few are in progress and each is soon over.
        Otherwise all of them would go through every step together: the last would be ready no sooner, and
        there would be more of them than fit into a worker's memory.
        A standby comes after everything that a person waits for.
        """
        if self._environment.is_standby:
            return Priority(priority_key=LOWEST_PRIORITY)
        return Priority(priority_key=LOWEST_PRIORITY - steps_before * LOWEST_PRIORITY // len(self._steps))

    def _retries(self) -> RetryPolicy:
        # There is no limit of attempts: the user feels the time, and every activity has a limit in time.
        return RetryPolicy(
            initial_interval=self._timeouts.first_retry, maximum_interval=self._timeouts.longest_retry
        )
