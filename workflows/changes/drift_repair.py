"""Records what the reconcile sweep finds missing or altered under a ready environment, and repairs it.

A repair is the ensure of the steps, in order. It fails without an end of the environment: the next sweep
tries again.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from contracts.activities.steps import MemberRepair
    from contracts.environment.models import MOORAGE_ACTOR, Drift, Environment, Phase, Problem
    from contracts.errors import ErrorType, Refusal, RefusalReason
    from contracts.phases import DriftKind, StepName
    from contracts.reconcile.drift import (
        UPDATE_DRIFT,
        DriftInput,
        key_of,
        kind_of,
        merge_drift,
        steps_to_repair,
    )

from workflows.changes.access import AccessUpdater
from workflows.record.state import EnvironmentState
from workflows.record.update_rules import UpdateRules
from workflows.saga import Saga
from workflows.steps import Step, steps_of


class DriftRepair:
    """The drift of one environment."""

    def __init__(
        self, saga: Saga, state: EnvironmentState, access: AccessUpdater, rules: UpdateRules
    ) -> None:
        self._saga = saga
        self._state = state
        self._access = access
        self._rules = rules
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        workflow.set_update_handler(UPDATE_DRIFT, self._note, validator=self._check)

    @property
    def is_busy(self) -> bool:
        """Whether a repair is in progress."""
        return self._task is not None and not self._task.done()

    def _check(self, ask: DriftInput) -> None:
        self._rules.check_life(ask)
        self._rules.check_sleep()
        if self._state.phase is not Phase.READY:
            message = f"{self._state.status.environment.name} is {self._state.phase.words}."
            refusal = Refusal(reason=RefusalReason.NOT_NOW, message=message)
            raise ApplicationError(message, refusal, type=ErrorType.REQUEST_REFUSED, non_retryable=True)

    async def _note(self, ask: DriftInput) -> str:
        """Record what the sweep has found, and start to repair what it allows; return what is done."""
        before = self._state.status.drift
        now = merge_drift(before, ask, workflow.now())
        if [one.what for one in now] != [one.what for one in before]:
            result = "; ".join(one.what for one in now)
            action = "found it altered" if now else "found it as it should be"
            self._state.add_log_entry(ask.actor, action, result)
        self._state.set_drift(now)
        self._begin()
        repaired = [_describe(one.step, is_of_members=bool(one.members)) for one in now if one.repairs]
        if repaired:
            return f"repairs {', '.join(dict.fromkeys(repaired))}"
        return "reported" if now else "as it should be"

    def start(self) -> None:
        """Repair what is to be repaired, also what the former run has left, and after `stop`."""
        self._stopped = False
        self._begin()

    def _begin(self) -> None:
        is_wanted = self._is_allowed and any(one.repairs for one in self._state.status.drift)
        if is_wanted and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop, and wait until nothing is in progress."""
        self._stopped = True
        await workflow.wait_condition(lambda: self._task is None or self._task.done())

    @property
    def _is_allowed(self) -> bool:
        status = self._state.status
        is_settled = status.change is None and status.restore is None
        return not self._stopped and status.phase is Phase.READY and is_settled

    async def _run(self) -> None:
        environment = self._state.status.environment
        drifted = [one for one in self._state.status.drift if one.repairs]
        wanted, kinds = {key_of(one) for one in drifted}, {kind_of(one) for one in drifted}
        whole = steps_to_repair(kinds)
        members = _member_repairs(drifted)
        in_place = DriftKind.NAMESPACE not in kinds
        repairs = _in_order(steps_of(environment), whole, members)
        for step, only in repairs:
            is_in_place = in_place and step.name is StepName.NAMESPACE
            problem = await self._repair(step, environment, in_place=is_in_place, members=only)
            if not self._is_allowed:
                return  # another run, or the next sweep, goes on
            if problem:
                self._set_problem(problem, wanted)
                return
        left = tuple(one for one in self._state.status.drift if key_of(one) not in wanted)
        self._state.set_drift(left)
        mended = [_describe(step.name, is_of_members=bool(only)) for step, only in repairs]
        self._state.add_log_entry(MOORAGE_ACTOR, "repaired it", ", ".join(mended))

    async def _repair(
        self, step: Step, environment: Environment, *, in_place: bool, members: MemberRepair | None
    ) -> Problem | None:
        """Do the step; stop early when the environment is ending, goes to sleep or goes on in another run."""
        repair = self._saga.repair(step, environment, in_place=in_place, members=members)
        task = asyncio.create_task(repair)
        await workflow.wait_condition(lambda: task.done() or not self._is_allowed)
        if not task.done():
            task.cancel()
            await workflow.wait_condition(task.done)
        self._take_back(environment)
        return None if task.cancelled() else task.result()

    def _take_back(self, environment: Environment) -> None:
        """Revoke the access of people who were removed while a step gave it to them."""
        access = self._state.status.access
        status = self._state.status
        removed = set(environment.people) - set(status.environment.people)
        if status.owner_left:
            removed.add(status.environment.owner)
        for person in sorted(removed):
            access = access.revoke(person)
        if removed:
            self._state.people.set_access(access, self._state.status.access_problem)
            self._access.apply()

    def _set_problem(self, problem: Problem, wanted: set[tuple[StepName, DriftKind]]) -> None:
        drift: tuple[Drift, ...] = tuple(
            one.model_copy(update={"problem": problem}) if key_of(one) in wanted else one
            for one in self._state.status.drift
        )
        self._state.set_drift(drift)
        self._state.add_log_entry(MOORAGE_ACTOR, "could not repair it", problem.cause)


def _describe(step: StepName, *, is_of_members: bool) -> str:
    return f"members of {step}" if is_of_members else step.value


def _member_repairs(drifted: Iterable[Drift]) -> Mapping[StepName, MemberRepair]:
    """Return the repair of the members of each step's group."""
    repairs: dict[StepName, MemberRepair] = {}
    for one in drifted:
        if one.members:
            before = repairs.get(one.step, MemberRepair())
            adds = before.adds or one.members is DriftKind.MEMBERS
            repairs[one.step] = MemberRepair(adds=adds, extra=(*before.extra, *one.extra))
    return repairs


def _in_order(
    steps: Iterable[Step], whole: Collection[StepName], members: Mapping[StepName, MemberRepair]
) -> list[tuple[Step, MemberRepair | None]]:
    """Return the repairs in the order of the steps: a whole step before the members of its group."""
    ordered: list[tuple[Step, MemberRepair | None]] = []
    for step in steps:
        if step.name in whole:
            ordered.append((step, None))
        if repair := members.get(step.name):
            ordered.append((step, repair))
    return ordered
