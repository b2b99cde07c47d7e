"""The workflow of one standby: until an environment has taken it over, or nothing is left of it.

It makes and undoes as an environment does, with the steps on the host alone. The mark on its namespace says
whether an environment has taken it over, so this workflow asks there before it undoes anything.
"""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from contracts.environment.models import MOORAGE_ACTOR, EnvironmentStatus, Outcome, Phase, Problem
    from contracts.environment_workflow import ActorInput, Answer, EnvironmentStart
    from contracts.standby import STANDBY_WORKFLOW, StandbyEnd, StandbyResult, WithdrawInput
    from contracts.types.naming import OwnerMark

from workflows.activity_failures import problem_of
from workflows.capacity.place_reports import release_capacity, report_standby
from workflows.record.state import EnvironmentState
from workflows.record.update_rules import UpdateRules
from workflows.saga import Saga
from workflows.shielded_waits import ShieldedWaits
from workflows.update_decorator import described_update

#: The pause after a withdrawal that could not be made: the host does not answer.
WITHDRAW_PAUSE = timedelta(seconds=30)
#: Runs that began before this leave what they hold, when they were taken over, to the capacity audit.
_RELEASE_WHEN_TAKEN = "release-when-taken"
#: What is said of a standby that has become too old.
AGED_OUT = "it is too old"


@workflow.defn(name=STANDBY_WORKFLOW)
class StandbyWorkflow:
    """One standby: made, offered, and taken over by an environment, or undone.

    Its time to live begins when it is offered. A cancellation ends it as well.
    """

    @workflow.init
    def __init__(self, start: EnvironmentStart) -> None:
        # Create all state here, because a signal may be handled before the first line of `run`.
        self._mark = start.environment.mark
        self._booking = start.environment.booking
        self._ttl = start.environment.ttl
        self._state = EnvironmentState(start)
        self._saga = Saga(start, self._state)
        self._reason = ""
        #: When it ends and why, once it is offered.
        self._due: tuple[datetime, str] | None = None
        self._problem: Problem | None = None
        self._rules = UpdateRules(start, self._state, lambda: self._is_ending)
        self._waits = ShieldedWaits(lambda: self._end("it was cancelled in Temporal"))

    @workflow.run
    async def run(self, start: EnvironmentStart) -> StandbyResult:  # noqa: ARG002  (`__init__` reads it)
        """Run one standby to its end."""
        if await self._make():
            await self._wait_for_its_end()
        if taken_by := await self._withdraw():
            if self._booking and workflow.patched(_RELEASE_WHEN_TAKEN):
                await self._waits.run(release_capacity(self._mark))
            self._state.enter_phase(Phase.GONE)
            return StandbyResult(end=StandbyEnd.CLAIMED, taken_by=taken_by, reason=self._reason)
        outcome = Outcome.FAILED if self._problem else Outcome.EXPIRED
        self._state.set_outcome(outcome, MOORAGE_ACTOR, self._problem)
        self._state.enter_phase(Phase.TEARING_DOWN)
        await self._waits.run(self._saga.compensate())
        await self._waits.run(release_capacity(self._mark))
        self._state.enter_phase(Phase.GONE)
        return StandbyResult(
            end=StandbyEnd.FAILED if self._problem else StandbyEnd.ENDED,
            reason=self._reason,
            problem=self._problem,
            certificate=self._state.status.certificate,
        )

    async def _make(self) -> bool:
        """Make it and offer it; return False if it has to end before."""
        making = asyncio.create_task(self._make_and_offer())
        await self._waits.until(lambda: making.done() or self._is_ending)
        if not making.done():
            self._saga.stop()
            making.cancel()
            await self._waits.until(making.done)
        problem = None
        with suppress(asyncio.CancelledError):
            problem = making.result()
        if problem and not self._is_ending:
            self._problem = problem
            self._end(problem.cause)
            await self._waits.run(report_standby(self._mark, problem=problem.cause))
        return not self._is_ending

    async def _make_and_offer(self) -> Problem | None:
        if problem := await self._saga.forward():
            return problem
        # A late call would undo what the environment applies in its place.
        await self._saga.settle()
        try:
            await self._saga.executor.execute_offer()
        except ActivityError as error:
            return problem_of(error, "offer", "host cluster")
        return None

    async def _wait_for_its_end(self) -> None:
        self._due = (workflow.now() + self._ttl, AGED_OUT)
        await self._waits.run(report_standby(self._mark))
        aging = asyncio.create_task(self._age())
        await self._waits.until(lambda: aging.done() or self._is_ending)
        aging.cancel()

    async def _age(self) -> None:
        """Return when its end is due, which may be moved meanwhile."""
        assert self._due  # noqa: S101  (it is offered)
        while (left := self._due[0] - workflow.now()) > timedelta(0):
            moved = partial(self._is_moved, self._due)
            with suppress(TimeoutError):
                await workflow.wait_condition(moved, timeout=left, timeout_summary="until its end")
        self._end(self._due[1])

    def _is_moved(self, due: tuple[datetime, str]) -> bool:
        return self._due != due

    async def _withdraw(self) -> OwnerMark | None:
        """End the offer; return the environment that has it. Tries until the host says one or the other."""
        found: list[OwnerMark | None] = []

        async def attempt() -> None:
            try:
                found.append((await self._saga.executor.execute_withdraw()).taken_by)
            except ActivityError as error:
                self._state.unfinished((problem_of(error, "withdraw", "host cluster"),))
                await workflow.sleep(WITHDRAW_PAUSE, summary="before the next try to withdraw it")

        while not found:
            await self._waits.run(attempt())
        self._state.unfinished(())
        return found[0]

    @property
    def _is_ending(self) -> bool:
        return bool(self._reason) or workflow.cancellation_reason() is not None

    def _end(self, reason: str) -> None:
        """End it; the first reason counts."""
        if not self._reason:
            self._reason = reason
            self._state.add_log_entry(MOORAGE_ACTOR, "ends it", reason)

    @workflow.signal(description="Its place is needed, or an environment has it")
    def withdraw(self, input: WithdrawInput | None = None) -> None:
        """End it, now or after the time in which an environment may still take it over."""
        if input is None:
            return
        due = workflow.now() + input.after
        if self._state.phase is Phase.USABLE:
            # From now on, a list of standbys shows that it is not to be handed out.
            self._state.enter_phase(Phase.TEARING_DOWN)
        if self._due is None or not input.after:
            self._end(input.reason)
        elif due < self._due[0]:
            self._due = (due, input.reason)

    @workflow.signal(description="End it: another takes its place, with the key and version of now")
    def renew(self) -> None:
        """End it."""
        self._end("it is of a former key or version of the workers")

    @workflow.query(description="How the standby stands")
    def status(self) -> EnvironmentStatus:
        """Return the standby's status."""
        return self._state.status

    @described_update("Try again to undo what could not be undone")
    async def resume_teardown(self, by: ActorInput) -> Answer:
        """Resume a teardown that has given up, or end the pause before its next pass."""
        kind, message = self._saga.resume_by(by.actor)
        return Answer(kind=kind, message=message, life=self._mark.life)

    @resume_teardown.validator
    def _check_resume(self, by: ActorInput) -> None:
        self._rules.check_life(by)
        self._rules.check_resume()
