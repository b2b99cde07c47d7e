"""Runs the steps forward, and compensates them until nothing is left.

Neither direction handles cancellation: `workflows.environment.workflow` runs each as a separate task, and
only that module cancels them. The forward task may be cancelled at any await. The compensation task is never
cancelled.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from contracts.activities.steps import MemberRepair
    from contracts.environment.models import (
        MOORAGE_ACTOR,
        Certificate,
        Environment,
        Finding,
        Phase,
        Problem,
        StepName,
        StepState,
    )
    from contracts.environment_workflow import AnswerKind, EnvironmentStart
    from contracts.telemetry.metrics import STEP_DURATION, STEP_FAILURES, cause_label

from workflows.activity_failures import is_in_doubt, problem_of
from workflows.record.state import EnvironmentState
from workflows.step_executor import StepExecutor
from workflows.steps import Step, steps_of
from workflows.telemetry import metrics

#: Lines in a certificate about what was removed by force in one step, over all passes together.
MAX_FORCED_LINES = 40


class Saga:
    """The steps of one environment: which may have left something, and how to undo those."""

    def __init__(self, start: EnvironmentStart, state: EnvironmentState) -> None:
        self._environment = start.environment
        self._people_are_checked = start.people_are_checked
        self._timeouts = start.timeouts
        self._state = state
        self._steps = steps_of(start.environment)
        self._executor = StepExecutor(start, self._steps, state, lambda: self.record_doubt(True))
        over = (StepState.WAITING, StepState.UNDONE)
        self._started_steps = [step for step in self._steps if state.state_of(step.name) not in over]
        # A late response may still come to the calls that a life had in progress when its run was closed from
        # outside, and to those of a repair in the former run.
        is_late = start.forced_by or state.status.drift
        self._late_until = workflow.now() + start.timeouts.late_response_window if is_late else None
        self._forced: dict[StepName, tuple[str, ...]] = {}
        self._stopped = False
        self._resumed = False

    @property
    def executor(self) -> StepExecutor:
        """What executes the activities of this life."""
        return self._executor

    async def forward(self) -> Problem | None:
        """Run the steps in order; return the problem that stopped them.

        Returns None when all steps are done or when this task was cancelled. Every started step is in the
        undo list before its activity is scheduled, because the activity may do its work and never be able to
        report it.
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
        """Make `forward` start no further step. Call it together with the cancellation of its task.

        The cancellation alone is not enough: a step in the middle of a call completes the call and succeeds,
        and then the cancellation does not reach `forward`.
        """
        self._stopped = True

    async def compensate(self) -> None:
        """Undo every step that may have happened, in reverse, until nothing is left.

        It works in passes with growing pauses, and returns only when an inspection finds nothing left. When
        `give_up_after` has passed without success, the environment is `teardown_incomplete` until `resume` is
        called.
        """
        if self._state.phase is Phase.TEARDOWN_INCOMPLETE:
            # The teardown gave up in the previous run, which continued as this run.
            await self._wait_for_resume()
        give_up_at = workflow.now() + self._timeouts.give_up_after
        pause = self._timeouts.first_pause
        while True:
            problems = await self._pass()
            self._state.unfinished(problems)
            if not problems:
                if self._state.status.certificate:
                    return
                await self._wait_for_late_responses()
            elif workflow.now() < give_up_at:
                await self._pause(pause)
                pause = min(2 * pause, self._timeouts.longest_pause)
            else:
                await self._give_up_until_resumed()
                give_up_at = workflow.now() + self._timeouts.give_up_after
                pause = self._timeouts.first_pause

    def resume(self) -> None:
        """Resume a teardown that has given up, or end its pause."""
        self._resumed = True

    def resume_by(self, actor: str) -> tuple[AnswerKind, str]:
        """Resume for a person, and return the answer."""
        name, has_given_up = self._environment.name, self._state.phase is Phase.TEARDOWN_INCOMPLETE
        if not (has_given_up or self._state.status.next_pass_at):
            return AnswerKind.NOTHING_TO_DO, f"{name} is being torn down, and a pass is under way now."
        what = "resumed the teardown" if has_given_up else "had the next pass start at once"
        self._state.add_log_entry(actor, what)
        self.resume()
        return AnswerKind.ACCEPTED, f"The teardown of {name} goes on."

    @property
    def is_waiting_for_resume(self) -> bool:
        """Whether the teardown waits for a person, and so can also wait in another run."""
        incomplete = self._state.phase is Phase.TEARDOWN_INCOMPLETE
        return incomplete and not self._resumed and self._is_past_late_responses()

    async def _check_people(self) -> Problem | None:
        try:
            await self._executor.check_people()
        except ActivityError as error:
            return self._failure(error, "people", self._environment.people_system, "check")
        return None

    async def _ensure(self, step: Step) -> Problem | None:
        if step not in self._started_steps:
            self._started_steps.append(step)
        self._state.set_step_state(step.name, StepState.RUNNING)
        if step.name is StepName.NAMESPACE and self._environment.standby:
            # With the namespace of its standby it takes over the vCluster, which must be undone as well.
            vcluster = next(one for one in self._steps if one.name is StepName.VCLUSTER)
            self._started_steps.append(vcluster)
            self._state.set_step_state(vcluster.name, StepState.RUNNING)
        started_at = workflow.now()
        try:
            receipt = await self._executor.execute_ensure(step)
        except ActivityError as error:
            self.record_doubt(is_in_doubt(error))
            problem = self._failure(error, step.name, step.system, "ensure")
            self._state.set_step_state(step.name, StepState.FAILED, problem.cause)
            return problem
        metrics.observe(STEP_DURATION, workflow.now() - started_at, {"step": step.name, "action": "ensure"})
        self.record_doubt(receipt.in_doubt)
        self._state.set_step_state(step.name, StepState.DONE, receipt.name, receipt)
        if step.name is StepName.KUBECONFIG:
            self._state.enter_phase(Phase.USABLE)
        return None

    async def repair(
        self,
        step: Step,
        environment: Environment,
        *,
        in_place: bool = False,
        members: MemberRepair | None = None,
    ) -> Problem | None:
        """Do a step again that is done, with the people of now; return the problem that has stopped it.

        `in_place` and `members` are as in `EnsureInput`.
        """
        started_at = workflow.now()
        try:
            receipt = await self._executor.execute_ensure(
                step, environment, in_place=in_place, members=members
            )
        except ActivityError as error:
            self.record_doubt(is_in_doubt(error))
            return self._failure(error, step.name, step.system, "ensure")
        metrics.observe(STEP_DURATION, workflow.now() - started_at, {"step": step.name, "action": "ensure"})
        self.record_doubt(receipt.in_doubt)
        self._state.set_step_state(step.name, StepState.DONE, receipt.name, receipt)
        return None

    async def _pass(self) -> tuple[Problem, ...]:
        undo_problems = await self._undo()
        # Inspect also when some steps could not be undone: a late response in a step that is already undone
        # may have created what blocks them, and only the inspection finds that.
        left, unknown = await self._inspect()
        if undo_problems:
            # The next pass inspects what could not be inspected now. There is a next pass in any case.
            return (*undo_problems, *left)
        return (*left, *unknown)

    async def _undo(self) -> tuple[Problem, ...]:
        problems: list[Problem] = []
        for step in reversed(self._started_steps.copy()):
            blockers = step.undo_after & {other.name for other in self._started_steps}
            if blockers:
                blocked = _blocked_problem(step, blockers)
                self._state.set_step_state(step.name, StepState.UNDO_FAILED, blocked.cause)
                problems.append(blocked)
            elif problem := await self._remove(step):
                problems.append(problem)
            else:
                self._started_steps.remove(step)
        return tuple(problems)

    async def _remove(self, step: Step) -> Problem | None:
        self._state.set_step_state(step.name, StepState.UNDOING)
        if not step.has_undo:
            self._state.set_step_state(step.name, StepState.UNDONE, "nothing to undo")
            return None
        # The virtual cluster can answer for itself only as long as it exists and is awake.
        exists = StepName.VCLUSTER in {other.name for other in self._started_steps}
        force = not exists or self._state.status.sleep is not None
        started_at = workflow.now()
        try:
            result = await self._executor.execute_remove(step, force=force)
        except ActivityError as error:
            problem = self._failure(error, step.name, step.system, "remove")
            self._state.set_step_state(step.name, StepState.UNDO_FAILED, problem.cause)
            return problem
        metrics.observe(STEP_DURATION, workflow.now() - started_at, {"step": step.name, "action": "remove"})
        self._state.set_step_state(step.name, StepState.UNDONE, result.note)
        if result.forced:
            # Every pass has its own forced removals, so the lines of all passes are merged here.
            lines = dict.fromkeys((*self._forced.get(step.name, ()), *result.forced))
            self._forced[step.name] = tuple(lines)[:MAX_FORCED_LINES]
        return None

    async def _inspect(self) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
        """Inspect all undone steps; return what is there, and what could not be inspected.

        What is there was not removed or has appeared again; the next pass undoes it. When all steps are
        undone, nothing is left, and no late response can come any more, this method records the certificate.
        """
        is_late_enough = self._is_past_late_responses()
        touched = [
            step
            for step in self._steps
            if self._has_started(step) and step.has_undo and step not in self._started_steps
        ]
        inspections = [asyncio.ensure_future(self._inspect_step(step)) for step in touched]
        if inspections:
            await workflow.wait(inspections)
        findings: list[Finding] = []
        left: list[Problem] = []
        unknown: list[Problem] = []
        for step, look in zip(touched, inspections, strict=True):
            result = look.result()
            if isinstance(result, Problem):
                unknown.append(result)
                continue
            findings.append(result)
            if result.left:
                self._started_steps.append(step)
                left.append(_remaining_problem(step, result))
        self._started_steps.sort(key=self._steps.index)
        # An inspection counts only if all of it happened after the last moment of a late response.
        if is_late_enough and not self._started_steps and not unknown:
            self._state.set_certificate(Certificate(inspected_at=workflow.now(), findings=tuple(findings)))
        return tuple(left), tuple(unknown)

    async def _inspect_step(self, step: Step) -> Finding | Problem:
        try:
            result = await self._executor.execute_inspect(step)
        except ActivityError as error:
            return self._failure(error, step.name, step.system, "inspect")
        forced = self._forced.get(step.name, ())
        return Finding(step=step.name, system=step.system, left=result.left, kept=result.kept, forced=forced)

    def _failure(self, error: ActivityError, step: str, system: str, action: str) -> Problem:
        """Return why the action has failed, and count it."""
        problem = problem_of(error, step, system)
        # A step that ends because its life was cancelled has not failed.
        if action in ("remove", "inspect") or not self._stopped:
            labels = {"step": step, "action": action, "cause": cause_label(problem.type)}
            metrics.count(STEP_FAILURES, labels)
        return problem

    def _has_started(self, step: Step) -> bool:
        return self._state.state_of(step.name) is not StepState.WAITING

    def record_doubt(self, in_doubt: bool) -> None:
        """Record that a call may still have an effect, for some time from now, if it is in doubt."""
        if in_doubt:
            self._late_until = workflow.now() + self._timeouts.late_response_window

    def _is_past_late_responses(self) -> bool:
        return self._late_until is None or workflow.now() >= self._late_until

    async def _wait_for_late_responses(self) -> None:
        # Some call had no response. As long as that call may be in progress, its result may still appear.
        assert self._late_until  # noqa: S101  (without a certificate there is a time)
        await self.settle()

    async def settle(self) -> None:
        """Wait until no call of this life can have an effect any more."""
        if self._late_until and not self._is_past_late_responses():
            await workflow.sleep(
                self._late_until - workflow.now(),
                summary="look again when no late answer can come",
            )

    async def _pause(self, length: timedelta) -> None:
        """Wait for the next pass, or until `resume` is called."""
        self._resumed = False
        self._state.pause(workflow.now() + length)
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._resumed,
                timeout=length,
                timeout_summary="pause before the next pass of the teardown",
            )
        self._state.pause(None)

    async def _give_up_until_resumed(self) -> None:
        self._resumed = False
        self._state.enter_phase(Phase.TEARDOWN_INCOMPLETE)
        self._state.add_log_entry(
            MOORAGE_ACTOR, "stopped trying to undo it", "waits for the platform team to resume the teardown"
        )
        await self._wait_for_resume()

    async def _wait_for_resume(self) -> None:
        await workflow.wait_condition(lambda: self._resumed)
        self._state.enter_phase(Phase.TEARING_DOWN)


def _remaining_problem(step: Step, finding: Finding) -> Problem:
    return Problem(
        step=step.name,
        system=step.system,
        cause=f"still there: {', '.join(finding.left)}.",
        remedy="The next pass of the teardown removes it.",
        type="StillThere",
    )


def _blocked_problem(step: Step, blockers: frozenset[StepName]) -> Problem:
    return Problem(
        step=step.name,
        system=step.system,
        cause=f"it cannot be undone before {', '.join(sorted(blockers))}.",
        remedy="It follows by itself.",
        type="Blocked",
    )
