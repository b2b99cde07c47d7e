"""The activities of the reconcile sweep: a survey of all systems, and what becomes of each orphan.

What is adopted or undone is so by the workflow of its environment, which these activities start. They decide
by the rules of `contracts.reconcile`, and look again right before they start one.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from temporalio import activity
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowQueryFailedError,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from activities import activity_context
from activities.environment_runs import (
    CALL_TIMEOUT,
    OPEN_RUNS,
    UNREADABLE_ERRORS,
    describe_latest,
    life_of,
    start_of,
)
from activities.environment_updates import (
    FAILURES,
    UPDATE_TIMEOUT,
    FailureKind,
    describe_failure,
)
from activities.freeze_state import freeze_reason
from activities.reconcile.drift import GuardLook, deviations_of
from activities.reconcile.guards import GuardReader
from activities.reconcile.inventory import MarkedSystems
from activities.reconcile.runs import latest_run
from clients.errors import ClientError
from contracts.activities import ReconcileActivities
from contracts.environment import Environment, EnvironmentStatus, Phase
from contracts.environment_workflow import (
    ENVIRONMENT_WORKFLOW,
    QUERY_STATUS,
    EnvironmentStart,
    LifecycleTimeouts,
)
from contracts.lost_lives import adoption_start, forced_start, stand_in_environment
from contracts.reconcile.drift import UPDATE_DRIFT, DriftedLife, DriftInput
from contracts.reconcile.models import (
    MAX_ORPHANS,
    RECONCILE_DRY_RUN,
    RECONCILE_WORKFLOW,
    Orphan,
    ReconcileResult,
    SettledLine,
    SettleInput,
    SettleResult,
    Survey,
    SurveyInput,
    Verdict,
)
from contracts.reconcile.rules import Findings, Judgement, LatestRun, RunKind, first_seen, judge
from contracts.size_limits import truncate_lines
from contracts.temporal import search_attributes
from contracts.temporal.environment_start import start_options
from contracts.types.naming import OwnerMark, is_name, name_from_workflow_id, workflow_id

PAGE_SIZE = 500
#: Lives that are looked at concurrently: some calls to every system for each.
CONCURRENCY = 8
#: A start needs no worker. It is longer than that of other calls, because a lost answer tells nothing.
START_TIMEOUT = timedelta(seconds=20)
#: A closed run is replayed for the query.
QUERY_TIMEOUT = timedelta(seconds=20)
#: Runs that were closed from outside, the newest first: one is too many already.
MAX_LOST = 100
#: Sweeps that are read for when an orphan was first seen: the last one, unless its key is gone.
MAX_PREVIOUS = 3

_LOST = (
    f"WorkflowType = '{ENVIRONMENT_WORKFLOW}' AND ExecutionStatus IN ('Canceled', 'Terminated', 'TimedOut')"
)
_FORMER = (
    f"WorkflowType = '{RECONCILE_WORKFLOW}' AND ExecutionStatus = 'Completed' "
    f"AND WorkflowId != '{RECONCILE_DRY_RUN}'"
)

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True)
class _Open:
    """An open environment as visibility lists it; `life` is "" if that cannot be read."""

    name: str
    life: str
    phase: str
    host: str
    template: str


@dataclass(frozen=True)
class _Case:
    """One life that no open environment owns, as it is now."""

    mark: OwnerMark
    run: LatestRun
    described: WorkflowExecutionDescription | None
    found: Findings
    judgement: Judgement


class ReconcileSweep(ReconcileActivities):
    """Reads the systems and Temporal, and starts workflows of environments."""

    def __init__(self, temporal: Client, systems: MarkedSystems, timeouts: LifecycleTimeouts) -> None:
        self._temporal = temporal
        self._systems = systems
        self._timeouts = timeouts

    @activity.defn(name="reconcile.survey")
    async def survey(self, input: SurveyInput) -> Survey:
        """Compare what bears our marks with the open environments, as visibility lists them.

        Visibility may be late, so an orphan counts as one only when its run itself has been described.
        """
        inventory = await self._systems.list_all()
        activity_context.report_progress(f"{len(inventory.marks)} lives have marks; listing what is open")
        listed = {one.name: one async for one in self._open()}
        open_lives = {name: one.life for name, one in listed.items()}
        marks = dict.fromkeys((*inventory.marks, *[mark async for mark in self._lost()]))
        left = [mark for mark in marks if open_lives.get(mark.name) != mark.life]
        activity_context.report_progress(f"looking at {len(left)} lives that are not listed as open")
        last = await self._last_result()
        skipped = list(inventory.skipped)

        async def look(mark: OwnerMark) -> Orphan | None:
            try:
                case = await self._case(mark)
            except ClientError as error:
                skipped.append(f"{mark.name}: {error}")
                return None
            if case is None:
                return None
            return self._orphan(case, first_seen(last.orphans, mark.life, case.judgement.verdict, input.now))

        orphans = [one for one in await _each(look, left[:MAX_ORPHANS]) if one]
        before = {one.life for one in last.drifted if one.found}
        reader = GuardReader()

        async def compare(one: _Open) -> DriftedLife | None:
            mark = OwnerMark(installation=self._systems.installation, name=one.name, life=one.life)
            try:
                found = await deviations_of(
                    self._systems,
                    mark,
                    one.host,
                    in_directory=inventory.in_directory,
                    guards=GuardLook(reader, one.template, lambda: self._current(mark)),
                )
            except ClientError as error:
                skipped.append(f"{one.name}: {error}")
                return None
            except (WorkflowQueryFailedError, RPCError, *UNREADABLE_ERRORS) as error:
                skipped.append(f"{one.name}: its run cannot be read ({type(error).__name__})")
                return None
            found = tuple(each for each in found if each.kind not in input.ignore)
            repair = tuple(each.step for each in found if each.kind in input.repair)
            is_listed = found or one.life in before
            return (
                DriftedLife(name=one.name, life=one.life, found=found, repair=repair) if is_listed else None
            )

        ready = [one for one in listed.values() if one.life and one.phase == Phase.READY]
        drifted = [one for one in await _each(compare, ready) if one][:MAX_ORPHANS]
        return Survey(
            open=len(open_lives),
            orphans=tuple(orphans),
            drifted=tuple(drifted),
            more=max(0, len(left) - MAX_ORPHANS),
            skipped=truncate_lines(sorted(set(skipped))),
            frozen=await freeze_reason(self._temporal),
        )

    async def _open(self) -> AsyncIterator[_Open]:
        """Yield each open environment."""
        runs = self._temporal.list_workflows(OPEN_RUNS, page_size=PAGE_SIZE, rpc_timeout=CALL_TIMEOUT)
        number = 0
        async for run in runs:
            number += 1
            if number % PAGE_SIZE == 0:
                activity_context.raise_if_stopping()
            attributes = run.typed_search_attributes
            yield _Open(
                name_from_workflow_id(run.id),
                await life_of(run),
                attributes.get(search_attributes.PHASE) or "",
                attributes.get(search_attributes.HOST) or "",
                attributes.get(search_attributes.TEMPLATE) or "",
            )

    async def _lost(self) -> AsyncIterator[OwnerMark]:
        """Yield the last lives whose runs were closed from outside; they may have left nothing at all."""
        runs = self._temporal.list_workflows(
            _LOST, page_size=MAX_LOST, limit=MAX_LOST, rpc_timeout=CALL_TIMEOUT
        )
        async for run in runs:
            name, life = name_from_workflow_id(run.id), await life_of(run)
            if life and is_name(name):
                yield OwnerMark(installation=self._systems.installation, name=name, life=life)

    async def _last_result(self) -> ReconcileResult:
        """Return the result of the last sweep that could look; an empty one without it."""
        runs = self._temporal.list_workflows(
            _FORMER, page_size=MAX_PREVIOUS, limit=MAX_PREVIOUS, rpc_timeout=CALL_TIMEOUT
        )
        async for run in runs:
            handle = self._temporal.get_workflow_handle(
                run.id, run_id=run.run_id, result_type=ReconcileResult
            )
            with suppress(*UNREADABLE_ERRORS, RPCError):
                last: ReconcileResult = await handle.result(rpc_timeout=CALL_TIMEOUT)
                if not last.problem:
                    return last
        return ReconcileResult(now=datetime.now(UTC))

    async def _case(self, mark: OwnerMark) -> _Case | None:
        """Return the life as it is now; None if an open run owns it, or nothing is left of it."""
        # Look at what is there before the run: a run that starts meanwhile is seen as its owner.
        found = await self._systems.examine(mark)
        described = await describe_latest(self._temporal, mark.name)
        run = await latest_run(described, mark)
        # A lost run keeps its name until a teardown has found that nothing is left.
        if run.kind is RunKind.OWNER or not (found.things or run.kind is RunKind.LOST):
            return None
        judgement = judge(found, run)
        if judgement.verdict is Verdict.UNDO and (reason := self._why_unseen(run, found)):
            judgement = Judgement(Verdict.LOOK, reason)
        return _Case(mark, run, described, found, judgement)

    def _why_unseen(self, run: LatestRun, found: Findings) -> str:
        """Return why the life may have a part on a host that this worker does not reach; "" if it has none.

        The parts that are seen must not be undone then: the environment may be whole.
        """
        life_mark = found.life_mark
        recorded = run.host or (life_mark.environment.host if life_mark else "")
        return self._systems.why_unseen(recorded, found.host)

    def _orphan(self, case: _Case, first_seen: datetime) -> Orphan:
        life_mark = case.found.life_mark
        owner = life_mark.environment.owner if life_mark else ""
        if case.described is not None and case.run.kind is RunKind.LOST:
            owner = case.described.typed_search_attributes.get(search_attributes.OWNER) or owner
        return Orphan(
            name=case.mark.name,
            life=case.mark.life,
            owner=owner,
            found=case.found.things,
            verdict=case.judgement.verdict,
            reason=case.judgement.reason,
            first_seen=first_seen,
        )

    @activity.defn(name="reconcile.settle")
    async def settle(self, input: SettleInput) -> SettleResult:
        """Start the workflow of each orphan, one after the other."""
        lines = []
        for number, orphan in enumerate(input.orphans, 1):
            activity_context.raise_if_stopping()
            lines.append(await self._settle(orphan, input))
            activity_context.report_progress(f"{number} of {len(input.orphans)} orphans")
        for number, drifted in enumerate(input.drifted, 1):
            activity_context.raise_if_stopping()
            lines.append(await self._tell(drifted, input.actor))
            activity_context.report_progress(f"{number} of {len(input.drifted)} environments notified")
        return SettleResult(lines=tuple(lines))

    async def _tell(self, drifted: DriftedLife, actor: str) -> SettledLine:
        """Tell the environment what has changed; it repairs itself, or refuses if it is not ready."""
        update = DriftInput(life=drifted.life, actor=actor, found=drifted.found, repair=drifted.repair)
        verdict = Verdict.REPAIR if drifted.repair else None
        failed = False
        try:
            async with asyncio.timeout(UPDATE_TIMEOUT.total_seconds()):
                result = await self._temporal.get_workflow_handle(workflow_id(drifted.name)).execute_update(
                    UPDATE_DRIFT, update, result_type=str
                )
        except FAILURES as error:
            failure = describe_failure(error)
            result, failed, verdict = failure.reason, failure.kind is FailureKind.FAILED, None
        return SettledLine(
            name=drifted.name, life=drifted.life, result=result, verdict=verdict, failed=failed
        )

    async def _settle(self, orphan: Orphan, input: SettleInput) -> SettledLine:
        mark = OwnerMark(installation=self._systems.installation, name=orphan.name, life=orphan.life)

        def line(result: str, verdict: Verdict | None = None, *, failed: bool = False) -> SettledLine:
            return SettledLine(
                name=orphan.name, life=orphan.life, result=result, verdict=verdict, failed=failed
            )

        try:
            case = await self._case(mark)
            if case is None:
                return line("an open environment owns it, or nothing is left of it")
            if case.judgement.verdict is not orphan.verdict:
                return line(f"left alone: it has changed meanwhile; {case.judgement.reason}")
            start = await self._start_of(case, input.actor)
            await self._temporal.start_workflow(
                ENVIRONMENT_WORKFLOW,
                start,
                task_queue=input.task_queue,
                rpc_timeout=START_TIMEOUT,
                **start_options(start),
            )
        except WorkflowAlreadyStartedError:
            return line("its name has a run again")
        except ClientError as error:
            return line(f"left alone: {error}", failed=True)
        except (WorkflowQueryFailedError, RPCError, *UNREADABLE_ERRORS) as error:
            return line(f"left alone: its run cannot be read ({type(error).__name__})", failed=True)
        activity.logger.info("%s: %s (%s)", orphan.verdict.value, orphan.name, case.judgement.reason)
        if orphan.verdict is Verdict.ADOPT:
            return line("adopted", orphan.verdict)
        return line("its teardown has started", orphan.verdict)

    async def _start_of(self, case: _Case, actor: str) -> EnvironmentStart:
        found, mark = case.found, case.mark
        requested_at = found.life_mark.requested_at if found.life_mark else found.made_at or datetime.now(UTC)
        status = None
        if case.described is not None and case.run.kind in (RunKind.LOST, RunKind.ENDED):
            before = await start_of(self._temporal, case.described)
            if case.run.kind is RunKind.LOST:
                requested_at = case.described.start_time
                try:
                    status = await self._last_status(case.described)
                except (WorkflowQueryFailedError, RPCError):
                    # A run that was closed before its first task cannot say how it stood.
                    if case.judgement.verdict is Verdict.ADOPT:
                        raise
        elif found.life_mark:
            life_mark = found.life_mark
            before = EnvironmentStart(
                environment=life_mark.environment,
                request_id=life_mark.request_id,
                people_are_checked=True,
            )
        else:
            host = found.host or next(iter(self._systems.hosts))
            environment = stand_in_environment(
                mark, self._systems.prefix, host, has_identity_provider=self._systems.directory is not None
            )
            before = EnvironmentStart(environment=environment, request_id="", people_are_checked=True)
        if case.judgement.verdict is Verdict.ADOPT:
            return adoption_start(
                before,
                status,
                actor,
                timeouts=self._timeouts,
                requested_at=requested_at,
                now=datetime.now(UTC),
                is_asleep=found.is_asleep,
            )
        return forced_start(before, status, actor, timeouts=self._timeouts, requested_at=requested_at)

    async def _current(self, mark: OwnerMark) -> Environment | None:
        """Return the environment as it is now; None if it is not ready, or being changed to a template."""
        status: EnvironmentStatus = await self._temporal.get_workflow_handle(workflow_id(mark.name)).query(
            QUERY_STATUS, result_type=EnvironmentStatus, rpc_timeout=QUERY_TIMEOUT
        )
        is_settled = status.phase is Phase.READY and status.change is None
        return status.environment if is_settled and status.environment.mark == mark else None

    async def _last_status(self, run: WorkflowExecution) -> EnvironmentStatus:
        """Return the last status of a run that was closed from outside; a worker replays it for that."""
        handle = self._temporal.get_workflow_handle(run.id, run_id=run.run_id)
        status: EnvironmentStatus = await handle.query(
            QUERY_STATUS, result_type=EnvironmentStatus, rpc_timeout=QUERY_TIMEOUT
        )
        return status


async def _each(look: Callable[[_T], Awaitable[_R]], lives: Sequence[_T]) -> list[_R]:
    return await activity_context.call_each(
        look,
        lives,
        concurrency=CONCURRENCY,
        progress=lambda done: f"{done} of {len(lives)} lives looked at",
    )
