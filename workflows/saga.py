"""Drives the steps forward, and unwinds them to the very end.

Neither direction handles cancellation: `workflows/environment.py` runs each as a task of its own, which
only it cancels. The forward task may be cancelled at any await; the unwinding is never cancelled.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from contracts.activities import (
        CheckPeopleInput,
        EnsureInput,
        InspectInput,
        PeopleActivities,
        RemoveInput,
    )
    from contracts.environment import Certificate, Finding, Phase, Problem, StepName, StepState, System
    from contracts.environment_workflow import EnvironmentStart, undo_queue

from workflows.activity_failures import genuine, is_in_doubt, problem_of
from workflows.environment_state import ITSELF, EnvironmentState
from workflows.steps import FEW_CALLS, Step, steps_of

#: The directory may be down for a moment, and hundreds may wait before it; a developer is told soon.
PEOPLE_LIMIT = timedelta(minutes=5)
#: Lines of a certificate about what one step has ended by force, of all passes together.
MAX_FORCED = 40
#: One look at one system; what it cannot answer in this time is looked at in the next pass.
INSPECT_LIMIT = timedelta(minutes=2)
#: The change by which a pass that could not undo everything looks at the rest all the same.
LOOK_EACH_TIME = "look-in-every-pass"
#: The change by which an inspection counts only if all of it was after the last moment of a late answer.
LOOKED_TOO_SOON = "looked-too-soon"
#: The steps that install, or reckon with, what the template's values say; all others are not told them.
NEED_VALUES = frozenset({StepName.NAMESPACE, StepName.VCLUSTER})
#: Temporal's priorities go from 1 to this one, which waits for all others.
#: https://docs.temporal.io/develop/task-queue-priority-fairness
LAST_PRIORITY = 5


class Saga:
    """The steps of one environment: which of them may have left something, and how to undo those."""

    def __init__(self, start: EnvironmentStart, record: EnvironmentState) -> None:
        self._environment = start.environment
        #: For all that needs no values: a template's may be large, and a history holds each argument.
        self._slim = start.environment.without_values
        self._people_are_checked = start.people_are_checked
        self._pace = start.pace
        self._record = record
        self._begun_at = record.status.requested_at
        self._steps = steps_of(start.environment)
        over = (StepState.WAITING, StepState.UNDONE)
        self._begun = [step for step in self._steps if record.state_of(step.name) not in over]
        # What a life that was cut off had under way may still be answered.
        self._settled_at = workflow.now() + start.pace.settle if start.forced_by else None
        self._forced: dict[StepName, tuple[str, ...]] = {}
        self._stopped = False
        self._resumed = False

    async def forward(self) -> Problem | None:
        """Do the steps in order; return what stopped them, or None when all are done or this was cancelled.

        Every step that is begun is in the undo list before its activity is scheduled: the activity may
        do its work and never be able to say so.
        """
        try:
            if not self._people_are_checked and (problem := await self._check_people()):
                return problem
            for step in self._steps:
                if self._stopped:
                    return None
                if problem := await self._ensure(step):
                    return problem
        except asyncio.CancelledError:
            pass
        return None

    def stop(self) -> None:
        """Let `forward` begin no further step. To be said together with the cancellation of its task.

        The cancellation alone is not enough: a step that is in the middle of a call sees it through and
        succeeds, and then nothing of the cancellation reaches `forward`.
        """
        self._stopped = True

    async def compensate(self) -> None:
        """Undo every step that may have happened, in reverse, until an inspection finds nothing left.

        It goes in passes with growing pauses. When `give_up_after` has passed without success, the
        environment is `teardown_incomplete` until `resume` is called. Returns only when nothing is left.
        """
        if self._record.phase is Phase.TEARDOWN_INCOMPLETE:
            # In the run before, which went on in this one.
            await self._resumption()
        patience_ends = workflow.now() + self._pace.give_up_after
        pause = self._pace.first_pause
        while True:
            problems = await self._pass()
            self._record.unfinished(problems)
            if not problems:
                if self._record.status.certificate:
                    return
                await self._settle()
            elif workflow.now() < patience_ends:
                await self._pause(pause)
                pause = min(2 * pause, self._pace.longest_pause)
            else:
                await self._wait_to_be_resumed()
                patience_ends = workflow.now() + self._pace.give_up_after
                pause = self._pace.first_pause

    def resume(self) -> None:
        """Take up a teardown that has given up, or end its pause."""
        self._resumed = True

    @property
    def is_at_rest(self) -> bool:
        """Whether it waits for somebody to resume the teardown, and another run could as well."""
        incomplete = self._record.phase is Phase.TEARDOWN_INCOMPLETE
        return incomplete and not self._resumed and self._is_settled()

    async def _check_people(self) -> Problem | None:
        try:
            genuine(
                await workflow.execute_activity_method(  # type: ignore[func-returns-value]
                    PeopleActivities.check,
                    CheckPeopleInput(environment=self._slim),
                    start_to_close_timeout=FEW_CALLS,
                    schedule_to_close_timeout=self._limit(PEOPLE_LIMIT),
                    heartbeat_timeout=self._pace.heartbeat_timeout,
                    retry_policy=self._retries(),
                    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                    priority=self._priority(0),
                    summary="everybody is known",
                )
            )
        except ActivityError as error:
            system = (
                System.IDENTITY_PROVIDER if self._environment.has_identity_provider else System.CONTROL_PLANE
            )
            return problem_of(error, "people", system)
        return None

    async def _ensure(self, step: Step) -> Problem | None:
        self._begun.append(step)
        self._record.step(step.name, StepState.RUNNING)
        try:
            # WAIT_CANCELLATION_COMPLETED: the undo must not overtake a do that is still on its way.
            receipt = genuine(
                await workflow.execute_activity_method(
                    step.ensure,
                    EnsureInput(environment=self._environment if step.name in NEED_VALUES else self._slim),
                    start_to_close_timeout=step.attempt,
                    schedule_to_close_timeout=self._limit(step.limit),
                    heartbeat_timeout=self._pace.heartbeat_timeout,
                    retry_policy=self._retries(),
                    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                    priority=self._priority(self._steps.index(step)),
                    summary=step.summary,
                )
            )
        except ActivityError as error:
            self._doubt(is_in_doubt(error))
            problem = problem_of(error, step.name, step.system)
            self._record.step(step.name, StepState.FAILED, problem.cause)
            return problem
        self._doubt(receipt.in_doubt)
        self._record.step(step.name, StepState.DONE, receipt.name, receipt)
        if step.name is StepName.KUBECONFIG:
            self._record.enter(Phase.USABLE)
        return None

    async def _pass(self) -> tuple[Problem, ...]:
        undone = await self._undo()
        if undone and not workflow.patched(LOOK_EACH_TIME):
            return undone
        # Also when something could not be undone: what holds it may be a late answer's work in a step
        # that is undone already, and nobody but the inspection finds that.
        left, unknown = await self._inspect()
        if undone:
            # What could not be looked at is looked at in the next pass: there is one anyway.
            return (*undone, *left)
        return (*left, *unknown)

    async def _undo(self) -> tuple[Problem, ...]:
        problems: list[Problem] = []
        for step in reversed(self._begun.copy()):
            blockers = step.undo_after & {other.name for other in self._begun}
            if blockers:
                blocked = _blocked(step, blockers)
                self._record.step(step.name, StepState.UNDO_FAILED, blocked.cause)
                problems.append(blocked)
            elif problem := await self._remove(step):
                problems.append(problem)
            else:
                self._begun.remove(step)
        return tuple(problems)

    async def _remove(self, step: Step) -> Problem | None:
        self._record.step(step.name, StepState.UNDOING)
        if step.remove is None:
            self._record.step(step.name, StepState.UNDONE, "nothing of its own")
            return None
        # The virtual cluster can speak for itself only as long as it is there.
        force = StepName.VCLUSTER not in {other.name for other in self._begun}
        try:
            result = genuine(
                await workflow.execute_activity_method(
                    step.remove,
                    RemoveInput(environment=self._slim, force=force, begun_at=self._begun_at),
                    task_queue=undo_queue(workflow.info().task_queue),
                    start_to_close_timeout=self._pace.longest_undo,
                    schedule_to_close_timeout=self._pace.longest_undo,
                    heartbeat_timeout=self._pace.heartbeat_timeout,
                    retry_policy=self._retries(),
                    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                    priority=self._priority(len(self._steps) - 1 - self._steps.index(step)),
                    summary=f"undo: {step.summary}",
                )
            )
        except ActivityError as error:
            problem = problem_of(error, step.name, step.system)
            self._record.step(step.name, StepState.UNDO_FAILED, problem.cause)
            return problem
        self._record.step(step.name, StepState.UNDONE, result.note)
        if result.forced:
            # Every pass has its own.
            lines = dict.fromkeys((*self._forced.get(step.name, ()), *result.forced))
            self._forced[step.name] = tuple(lines)[:MAX_FORCED]
        return None

    async def _inspect(self) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
        """Look at all that is undone: what is there again or still, and what could not be looked at.

        What is there is to be undone in the next pass. When all is undone, nothing is left, and no
        late answer can come any more, certify it.
        """
        settled = self._is_settled()
        touched = [
            step
            for step in self._steps
            if self._has_started(step) and step.inspect and step not in self._begun
        ]
        looks = [asyncio.ensure_future(self._look(step)) for step in touched]
        if looks:
            await workflow.wait(looks)
        findings: list[Finding] = []
        left: list[Problem] = []
        unknown: list[Problem] = []
        for step, look in zip(touched, looks, strict=True):
            result = look.result()
            if isinstance(result, Problem):
                unknown.append(result)
                continue
            findings.append(result)
            if result.left:
                self._begun.append(step)
                left.append(_still_there(step, result))
        self._begun.sort(key=self._steps.index)
        if not settled and self._is_settled():
            # Looked at too soon, if only in part.
            settled = not workflow.patched(LOOKED_TOO_SOON)
        if settled and not self._begun and not unknown:
            self._record.certify(Certificate(inspected_at=workflow.now(), findings=tuple(findings)))
        return tuple(left), tuple(unknown)

    async def _look(self, step: Step) -> Finding | Problem:
        assert step.inspect  # noqa: S101  (the caller chose those that have one)
        try:
            result = genuine(
                await workflow.execute_activity_method(
                    step.inspect,
                    InspectInput(environment=self._slim, begun_at=self._begun_at),
                    task_queue=undo_queue(workflow.info().task_queue),
                    start_to_close_timeout=FEW_CALLS,
                    schedule_to_close_timeout=min(INSPECT_LIMIT, self._pace.longest_undo),
                    heartbeat_timeout=self._pace.heartbeat_timeout,
                    retry_policy=self._retries(),
                    priority=self._priority(len(self._steps) - 1),
                    summary=f"inspect: {step.summary}",
                )
            )
        except ActivityError as error:
            return problem_of(error, step.name, step.system)
        forced = self._forced.get(step.name, ())
        return Finding(step=step.name, system=step.system, left=result.left, kept=result.kept, forced=forced)

    def _has_started(self, step: Step) -> bool:
        return self._record.state_of(step.name) is not StepState.WAITING

    def _doubt(self, in_doubt: bool) -> None:
        if in_doubt:
            self._settled_at = workflow.now() + self._pace.settle

    def _is_settled(self) -> bool:
        return self._settled_at is None or workflow.now() >= self._settled_at

    async def _settle(self) -> None:
        # Some call had no answer: for as long as it may be under way, its work may still appear.
        assert self._settled_at  # noqa: S101  (not certified, so there is a moment)
        if not self._is_settled():
            await workflow.sleep(
                self._settled_at - workflow.now(), summary="look again when no late answer can come"
            )

    async def _pause(self, length: timedelta) -> None:
        """Wait for the next pass, or until `resume` is called."""
        self._resumed = False
        self._record.pause(workflow.now() + length)
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._resumed,
                timeout=length,
                timeout_summary="pause before the next pass of the teardown",
            )
        self._record.pause(None)

    async def _wait_to_be_resumed(self) -> None:
        self._resumed = False
        self._record.enter(Phase.TEARDOWN_INCOMPLETE)
        self._record.note(ITSELF, "stopped trying to undo it", "waits for somebody to resume the teardown")
        await self._resumption()

    async def _resumption(self) -> None:
        await workflow.wait_condition(lambda: self._resumed)
        self._record.enter(Phase.TEARING_DOWN)

    def _limit(self, limit: timedelta) -> timedelta:
        return min(limit, self._pace.longest_step or limit)

    def _priority(self, steps_before: int) -> Priority:
        """What is nearer to its end goes first.

        So when hundreds come at once, few are under way and each is soon over, where all would otherwise take
        every step together: the last of them ready no sooner, and more of them than a worker has in memory.
        """
        return Priority(priority_key=LAST_PRIORITY - steps_before * LAST_PRIORITY // len(self._steps))

    def _retries(self) -> RetryPolicy:
        # No limit of attempts: time is what a person feels, and every activity has its limit in time.
        return RetryPolicy(initial_interval=self._pace.first_retry, maximum_interval=self._pace.longest_retry)


def _still_there(step: Step, finding: Finding) -> Problem:
    return Problem(
        step=step.name,
        system=step.system,
        cause=f"still there: {', '.join(finding.left)}.",
        remedy="The next pass of the teardown removes it.",
        type="StillThere",
    )


def _blocked(step: Step, blockers: frozenset[StepName]) -> Problem:
    return Problem(
        step=step.name,
        system=step.system,
        cause=f"it cannot be undone before {', '.join(sorted(blockers))}.",
        remedy="It follows by itself.",
        type="Blocked",
    )
