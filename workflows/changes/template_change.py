"""Changes the template of an environment that is ready: another size, or a newer version.

If its vCluster can, it takes a snapshot first. Then the steps that hold the template ensure it with the new
values. If one of them does not succeed in its time, the same steps ensure the template of before again, until
they succeed. People keep their access meanwhile.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, FailureError

with workflow.unsafe.imports_passed_through():
    from contracts.activities.fleet import CapacityActivities
    from contracts.capacity.models import CAPACITY_ID, SIGNAL_RESIZED, ResizedInput, ResizeInput
    from contracts.capacity.sizes import size_of
    from contracts.environment.chart_values import compose_values
    from contracts.environment.models import Environment, Phase, Problem, StepName, StepState, System
    from contracts.environment.template_change import describe_template
    from contracts.environment_workflow import (
        AnswerKind,
        ChangeTemplateInput,
        EnvironmentStart,
        undo_queue,
    )
    from contracts.errors import ErrorType, Refusal, RefusalReason

from workflows.activity_failures import is_in_doubt, problem_of, require_genuine
from workflows.changes.snapshots import SnapshotTaker
from workflows.record.state import EnvironmentState
from workflows.step_executor import StepExecutor
from workflows.steps import Step, steps_of

#: The steps that hold what a template says, in their order.
_STEPS = (StepName.NAMESPACE, StepName.VCLUSTER, StepName.KUBECONFIG)
#: Limit of the request for room: the caller waits for the answer.
ADMISSION_TIMEOUT = timedelta(seconds=8)
_FIRST_RETRY = timedelta(milliseconds=300)


class TemplateChanger:
    """The change of the template of one environment that is in progress.

    A change goes forward in one run. If that run is lost, or the change fails, the environment goes back to
    the template before it, in later runs too. `is_ending` returns whether the environment ends.
    """

    def __init__(
        self,
        start: EnvironmentStart,
        state: EnvironmentState,
        snapshots: SnapshotTaker,
        is_ending: Callable[[], bool],
    ) -> None:
        self._start = start
        self._state = state
        self._snapshots = snapshots
        self._is_ending = is_ending
        self._stopped = False
        self._task: asyncio.Task[None] | None = None
        self._is_asking = False
        self._has_doubt = False
        #: Whether the environment has another template than at the start of this run.
        self.has_changed = False
        #: Whether a call of a change that was stopped may still have an effect.
        self.is_in_doubt = False

    @property
    def is_busy(self) -> bool:
        """Whether a change goes forward, from the request for room on: only this run can complete it."""
        return self._is_asking or (self._is_running and not self._is_going_back)

    @property
    def _is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def _is_going_back(self) -> bool:
        change = self._state.status.change
        return change is not None and change.problem is not None

    def start(self) -> None:
        """Go back to the template before a change that the former run has left."""
        self._stopped = False
        change = self._state.status.change
        if change is None or self._is_asking or self._is_running:
            return
        if change.problem is None:
            self._state.template.roll_back_change(_lost_problem())
        # It is not known which calls of the former run may still have an effect.
        self._task = asyncio.create_task(self._go_back(self._state.status.environment, in_doubt=True))

    async def change(self, ask: ChangeTemplateInput, id: str) -> tuple[AnswerKind, str]:
        """Ask for room, and start the change; return the answer.

        Raises:
            ApplicationError: There is no room; the details are a `Refusal`.
        """
        before = self._state.status.environment
        what = describe_template(ask.template)
        if (before.template, before.spec) == (ask.template, ask.spec):
            return AnswerKind.NOTHING_TO_DO, f"{before.name} has {what} already."
        self._is_asking = True
        # From now on, sleep and repairs are refused.
        self._state.template.begin_change(id, ask.actor, ask.template, ask.spec)
        try:
            if refusal := await self._ask_for_room(ask):
                raise ApplicationError(
                    refusal.message, refusal, type=ErrorType.REQUEST_REFUSED, non_retryable=True
                )
            if self._is_ending() or self._state.phase is not Phase.READY:
                await self._settle(before)
                raise _being_torn_down(before.name)
            self._state.add_log_entry(ask.actor, f"asked to change it to {what}")
            self._task = asyncio.create_task(self._run(before, ask))
        finally:
            self._is_asking = False
            if not self._is_running:
                self._state.template.drop_change()
        return AnswerKind.ACCEPTED, f"{before.name} is being changed to {what}."

    async def stop_rollback(self) -> None:
        """Stop going back, for another run to go on with it; leave a change that goes forward alone."""
        if self._is_running and self._is_going_back:
            await self._stop()

    async def stop(self) -> None:
        """Stop the change, because the environment ends; return when no call is in progress."""
        await workflow.wait_condition(lambda: not self._is_asking)
        # A task that was stopped by `stop_rollback` has left its change.
        self.is_in_doubt = self._state.status.change is not None
        if self._is_running:
            await self._stop()
        self._state.template.drop_change()

    async def _stop(self) -> None:
        # The cancellation alone is not enough: a step that completes all the same does not pass it on.
        self._stopped = True
        task = self._task
        if task is not None:
            task.cancel()
            await workflow.wait_condition(task.done)

    async def _ask_for_room(self, ask: ChangeTemplateInput) -> Refusal | None:
        try:
            decision = require_genuine(
                await workflow.execute_activity_method(
                    CapacityActivities.resize,
                    ResizeInput(request=ask.request, asked_at=workflow.now()),
                    task_queue=undo_queue(workflow.info().task_queue),
                    start_to_close_timeout=ADMISSION_TIMEOUT,
                    schedule_to_close_timeout=ADMISSION_TIMEOUT,
                    retry_policy=RetryPolicy(initial_interval=_FIRST_RETRY),
                    summary="room for another size",
                )
            )
        except ActivityError:
            # It may have been given, so settle what the environment has.
            await self._settle(self._state.status.environment)
            message = f"Whether there is room for {ask.request.name} is not known now: ask again."
            return Refusal(reason=RefusalReason.NOT_KNOWN, message=message)
        return decision.refusal

    async def _run(self, before: Environment, ask: ChangeTemplateInput) -> None:
        after = before.model_copy(update={"template": ask.template, "spec": ask.spec})
        if ask.with_snapshot:
            # A change goes on without one: a full volume may be the reason for it.
            what = f"the change to {describe_template(ask.template)}"
            await self._snapshots.take_before(ask.actor, what)
        problem, in_doubt = await self._ensure(after)
        if problem is None:
            await self._settle(after)
            self._state.template.complete_change(after)
            self.has_changed = True
            return
        self._state.template.roll_back_change(problem)
        await self._go_back(before, in_doubt=in_doubt)

    async def _go_back(self, before: Environment, *, in_doubt: bool) -> None:
        await self._restore(before)
        if in_doubt:
            # A late call of the change may have come after the first of these.
            await self._rest(self._start.timeouts.late_response_window, "late answers of the change")
            await self._restore(before)
        await self._settle(before)
        self._state.template.end_rollback()

    async def _restore(self, before: Environment) -> None:
        """Ensure the template of before, until that succeeds."""
        pause = self._start.timeouts.first_pause
        while True:
            problem, _ = await self._ensure(before)
            if problem is None:
                return
            await self._rest(pause, "pause before the next rollback")
            pause = min(2 * pause, self._start.timeouts.longest_pause)

    async def _rest(self, length: timedelta, summary: str) -> None:
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._stopped, timeout=length, timeout_summary=summary)

    async def _ensure(self, environment: Environment) -> tuple[Problem | None, bool]:
        """Ensure the template of this environment; return the problem, and whether a call is in doubt."""
        steps = steps_of(environment)
        start = self._start.model_copy(update={"environment": environment})
        executor = StepExecutor(start, steps, self._state, self._record_doubt)
        for step in steps:
            if step.name in _STEPS and (problem := await self._ensure_step(executor, step)):
                return problem[0], problem[1] or self._has_doubt
        return None, False

    def _record_doubt(self) -> None:
        self._has_doubt = True

    async def _ensure_step(self, executor: StepExecutor, step: Step) -> tuple[Problem, bool] | None:
        if self._stopped:
            raise asyncio.CancelledError
        self._state.set_step_state(step.name, StepState.RUNNING)
        try:
            receipt = await executor.execute_ensure(step, in_place=True)
        except ActivityError as error:
            if isinstance(error.cause, CancelledError):
                self._state.set_step_state(step.name, StepState.DONE)
                raise asyncio.CancelledError from None
            problem = problem_of(error, step.name, step.system)
            # What was there before is still there, so the step stays one that has to be undone.
            self._state.set_step_state(step.name, StepState.DONE, problem.cause)
            return problem, is_in_doubt(error)
        self._state.set_step_state(step.name, StepState.DONE, receipt=receipt)
        return None

    async def _settle(self, environment: Environment) -> None:
        """Tell the capacity workflow what the environment holds now."""
        settled = ResizedInput(
            name=environment.name,
            life=environment.mark.life,
            template=environment.template.name,
            size=size_of(environment.template.size, compose_values(environment)),
            settled_at=workflow.now(),
        )
        # Without that workflow there is nothing to correct: a new one reads what every environment has.
        with suppress(FailureError):
            await workflow.get_external_workflow_handle(CAPACITY_ID).signal(SIGNAL_RESIZED, settled)


def _being_torn_down(name: str) -> ApplicationError:
    message = f"{name} is being torn down: it cannot be changed any more."
    refusal = Refusal(reason=RefusalReason.BEING_TORN_DOWN, message=message)
    return ApplicationError(message, refusal, type=ErrorType.REQUEST_REFUSED, non_retryable=True)


def _lost_problem() -> Problem:
    return Problem(
        step=StepName.VCLUSTER,
        system=System.HOST_CLUSTER,
        cause="the run of the workflow that made the change was lost.",
        remedy="Ask for the change again.",
        type="Lost",
    )
