"""The activities of the reconcile sweep: a survey of all systems, and what becomes of each orphan.

What is adopted or undone is so by the workflow of its environment, which these activities start. They decide
by the rules of `contracts.reconcile`, and look again right before they start one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from temporalio import activity
from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from activities import activity_context
from activities.environment_runs import UNREADABLE_ERRORS, describe_latest, life_of
from activities.reconcile.drift import GuardLook, MemberLook, deviations_of
from activities.reconcile.inventory import MarkedSystems
from activities.reconcile.members import ExpectedPeople, MemberReader
from activities.reconcile.namespace_guards import GuardReader
from activities.reconcile.orphan_adoption import QUERY_TIMEOUT, OrphanLife, OrphanReader
from activities.reconcile.runs import OpenLife, last_result, list_lost_lives, list_open_lives
from activities.sweeps.environment_updates import (
    FAILURES,
    UPDATE_TIMEOUT,
    FailureKind,
    describe_failure,
)
from activities.sweeps.expiry_freeze import freeze_reason
from clients.errors import ClientError
from contracts.activities.fleet import ReconcileActivities
from contracts.environment.models import Environment, EnvironmentStatus, Phase
from contracts.environment.payload_limits import truncate_lines
from contracts.environment_workflow import (
    ENVIRONMENT_WORKFLOW,
    QUERY_STATUS,
    EnvironmentStart,
    LifecycleTimeouts,
)
from contracts.reconcile.drift import (
    MEMBER_KINDS,
    UPDATE_DRIFT,
    DriftedLife,
    DriftInput,
    member_turn,
    settle_found,
)
from contracts.reconcile.models import (
    MAX_ORPHANS,
    Orphan,
    SettledLine,
    SettleInput,
    SettleResult,
    Survey,
    SurveyInput,
    Verdict,
)
from contracts.reconcile.orphan_rules import RunKind, count_skips, first_seen
from contracts.temporal import search_attributes
from contracts.temporal.environment_start import start_options
from contracts.types.naming import OwnerMark, workflow_id

#: Lives that are looked at concurrently: some calls to every system for each.
CONCURRENCY = 8
#: A start needs no worker. It is longer than that of other calls, because a lost answer tells nothing.
START_TIMEOUT = timedelta(seconds=20)

#: What is said about a life whose run has been started.
_STARTED = {Verdict.ADOPT: "adopted", Verdict.UNDO: "its teardown has started"}

_T = TypeVar("_T")
_R = TypeVar("_R")


class ReconcileSweep(ReconcileActivities):
    """Reads the systems and Temporal, and starts workflows of environments."""

    def __init__(self, temporal: Client, systems: MarkedSystems, timeouts: LifecycleTimeouts) -> None:
        self._temporal = temporal
        self._systems = systems
        self._orphans = OrphanReader(temporal, systems, timeouts)

    @activity.defn(name="reconcile.survey")
    async def survey(self, input: SurveyInput) -> Survey:
        """Compare what bears our marks with the open environments, as visibility lists them.

        Visibility may be late, so an orphan counts as one only when its run itself has been described.
        """
        inventory = await self._systems.list_all()
        activity_context.report_progress(f"{len(inventory.marks)} lives have marks; listing what is open")
        listed = {one.name: one async for one in list_open_lives(self._temporal)}
        open_lives = {name: one.life for name, one in listed.items()}
        lost = [mark async for mark in list_lost_lives(self._temporal, self._systems.installation)]
        marks = dict.fromkeys((*inventory.marks, *lost))
        left = [mark for mark in marks if open_lives.get(mark.name) != mark.life]
        activity_context.report_progress(f"looking at {len(left)} lives that are not listed as open")
        last = await last_result(self._temporal)
        skipped = list(inventory.skipped)

        async def look(mark: OwnerMark) -> Orphan | None:
            try:
                life = await self._orphans.read(mark)
            except ClientError as error:
                skipped.append(f"{mark.name}: {error}")
                return None
            if life is None:
                return None
            return self._orphan(life, first_seen(last.orphans, mark.life, life.judgement.verdict, input.now))

        orphans = [one for one in await _each(look, left[:MAX_ORPHANS]) if one]
        before = {one.life for one in last.drifted if one.found}
        had_members = {one.life for one in last.drifted if any(each.members for each in one.found)}
        reader = GuardReader()
        ready = [one for one in listed.values() if one.life and one.phase == Phase.READY]
        member_reader = MemberReader(self._systems.rafay, self._systems.directory)
        has_members = not set(input.ignore) >= MEMBER_KINDS
        turn = member_turn([one.life for one in ready], input.now) | had_members if has_members else set()

        async def compare(one: OpenLife) -> DriftedLife | None:
            mark = OwnerMark(installation=self._systems.installation, name=one.name, life=one.life)
            members = MemberLook(member_reader, lambda: self._people(mark))
            try:
                found = await deviations_of(
                    self._systems,
                    mark,
                    one.host,
                    in_directory=inventory.in_directory,
                    guards=GuardLook(reader, one.template, lambda: self._current(mark)),
                    members=members if one.life in turn else None,
                )
            except ClientError as error:
                skipped.append(f"{one.name}: {error}")
                return None
            except (WorkflowQueryFailedError, RPCError, *UNREADABLE_ERRORS) as error:
                skipped.append(f"{one.name}: its run cannot be read ({type(error).__name__})")
                return None
            found, repair = settle_found(found, repair=input.repair, ignore=input.ignore)
            is_listed = found or one.life in before
            return (
                DriftedLife(name=one.name, life=one.life, found=found, repair=repair) if is_listed else None
            )

        drifted = [one for one in await _each(compare, ready) if one][:MAX_ORPHANS]
        return Survey(
            open=len(open_lives),
            orphans=tuple(orphans),
            drifted=tuple(drifted),
            more=max(0, len(left) - MAX_ORPHANS),
            skipped=truncate_lines(sorted(set(skipped))),
            systems=count_skips(last.systems, inventory.systems),
            frozen=await freeze_reason(self._temporal),
        )

    def _orphan(self, life: OrphanLife, first_seen: datetime) -> Orphan:
        life_mark = life.found.life_mark
        owner = life_mark.environment.owner if life_mark else ""
        if life.described is not None and life.run.kind is RunKind.LOST:
            owner = life.described.typed_search_attributes.get(search_attributes.OWNER) or owner
        return Orphan(
            name=life.mark.name,
            life=life.mark.life,
            owner=owner,
            found=life.found.things,
            verdict=life.judgement.verdict,
            reason=life.judgement.reason,
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
        verdict = Verdict.REPAIR if drifted.is_to_repair else None
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
            life = await self._orphans.read(mark)
            if life is None:
                is_repeated = activity.info().attempt > 1
                if is_repeated and await self._has_started(mark):
                    return line(_STARTED[orphan.verdict], orphan.verdict)
                return line("an open environment owns it, or nothing is left of it")
            if life.judgement.verdict is not orphan.verdict:
                return line(f"left alone: it has changed meanwhile; {life.judgement.reason}")
            start = await self._orphans.start_of(life, input.actor)
            await self._start(start, input.task_queue, mark)
        except WorkflowAlreadyStartedError:
            return line("its name has a run again")
        except ClientError as error:
            return line(f"left alone: {error}", failed=True)
        except (WorkflowQueryFailedError, RPCError, *UNREADABLE_ERRORS) as error:
            return line(f"left alone: its run cannot be read ({type(error).__name__})", failed=True)
        activity.logger.info("%s: %s (%s)", orphan.verdict.value, orphan.name, life.judgement.reason)
        return line(_STARTED[orphan.verdict], orphan.verdict)

    async def _start(self, start: EnvironmentStart, task_queue: str, mark: OwnerMark) -> None:
        try:
            await self._temporal.start_workflow(
                ENVIRONMENT_WORKFLOW,
                start,
                task_queue=task_queue,
                rpc_timeout=START_TIMEOUT,
                **start_options(start),
            )
        except RPCError:
            if not await self._has_started(mark):
                raise

    async def _has_started(self, mark: OwnerMark) -> bool:
        """Return whether the life has a run that is younger than this activity.

        The answer to its start was lost, or the worker of an earlier attempt.
        """
        run = await describe_latest(self._temporal, mark.name)
        if run is None or await life_of(run) != mark.life:
            return False
        return run.start_time >= activity.info().scheduled_time

    async def _current(self, mark: OwnerMark) -> Environment | None:
        """Return the environment as it is now; None if it is not ready, being changed, or being restored."""
        status = await self._status(mark)
        is_settled = status is not None and status.change is None and status.restore is None
        return status.environment if status and is_settled else None

    async def _people(self, mark: OwnerMark) -> ExpectedPeople | None:
        """Return who should be in the groups now; None if it is not ready, or while access is changed."""
        status = await self._status(mark)
        if status is None or status.access.is_pending:
            return None
        environment = status.environment
        left = (environment.owner,) if status.owner_left else ()
        return ExpectedPeople(environment.people, environment.has_identity_provider, left)

    async def _status(self, mark: OwnerMark) -> EnvironmentStatus | None:
        """Return the status of the life; None if it is not ready."""
        status: EnvironmentStatus = await self._temporal.get_workflow_handle(workflow_id(mark.name)).query(
            QUERY_STATUS, result_type=EnvironmentStatus, rpc_timeout=QUERY_TIMEOUT
        )
        return status if status.phase is Phase.READY and status.environment.mark == mark else None


async def _each(look: Callable[[_T], Awaitable[_R]], lives: Sequence[_T]) -> list[_R]:
    return await activity_context.call_each(
        look,
        lives,
        concurrency=CONCURRENCY,
        progress=lambda done: f"{done} of {len(lives)} lives looked at",
    )
