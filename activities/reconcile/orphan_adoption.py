"""Reads a life that no open environment owns: what is left of it, and the start of a run that takes it up."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowQueryFailedError,
)
from temporalio.service import RPCError

from activities.environment_runs import describe_latest, start_of
from activities.reconcile.inventory import MarkedSystems
from activities.reconcile.runs import latest_run
from contracts.environment.models import EnvironmentStatus
from contracts.environment_workflow import QUERY_STATUS, EnvironmentStart, LifecycleTimeouts
from contracts.reconcile.models import Verdict
from contracts.reconcile.orphan_rules import Findings, Judgement, LatestRun, RunKind, judge
from contracts.recovery_starts import adoption_start, forced_start, stand_in_environment
from contracts.types.naming import OwnerMark

#: A closed run is replayed for the query.
QUERY_TIMEOUT = timedelta(seconds=20)


@dataclass(frozen=True)
class OrphanLife:
    """One life that no open environment owns, as it is now."""

    mark: OwnerMark
    run: LatestRun
    described: WorkflowExecutionDescription | None
    found: Findings
    judgement: Judgement


class OrphanReader:
    """Reads such lives from the systems and from Temporal; starts nothing."""

    def __init__(self, temporal: Client, systems: MarkedSystems, timeouts: LifecycleTimeouts) -> None:
        self._temporal = temporal
        self._systems = systems
        self._timeouts = timeouts

    async def read(self, mark: OwnerMark) -> OrphanLife | None:
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
        return OrphanLife(mark, run, described, found, judgement)

    def _why_unseen(self, run: LatestRun, found: Findings) -> str:
        """Return why the life may have a part on a host that this worker does not reach; "" if it has none.

        The parts that are seen must not be undone then: the environment may be whole.
        """
        life_mark = found.life_mark
        recorded = run.host or (life_mark.environment.host if life_mark else "")
        return self._systems.why_unseen(recorded, found.host)

    async def start_of(self, life: OrphanLife, actor: str) -> EnvironmentStart:
        """Return the start of the run that adopts or undoes the life, by its verdict."""
        found, mark = life.found, life.mark
        requested_at = found.life_mark.requested_at if found.life_mark else found.made_at or datetime.now(UTC)
        status = None
        if life.described is not None and life.run.kind in (RunKind.LOST, RunKind.ENDED):
            before = await start_of(self._temporal, life.described)
            if life.run.kind is RunKind.LOST:
                requested_at = life.described.start_time
                try:
                    status = await self._last_status(life.described)
                except (WorkflowQueryFailedError, RPCError):
                    # A run that was closed before its first task cannot say how it stood.
                    if life.judgement.verdict is Verdict.ADOPT:
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
        if life.judgement.verdict is Verdict.ADOPT:
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

    async def _last_status(self, run: WorkflowExecution) -> EnvironmentStatus:
        """Return the last status of a run that was closed from outside; a worker replays it for that."""
        handle = self._temporal.get_workflow_handle(run.id, run_id=run.run_id)
        status: EnvironmentStatus = await handle.query(
            QUERY_STATUS, result_type=EnvironmentStatus, rpc_timeout=QUERY_TIMEOUT
        )
        return status
