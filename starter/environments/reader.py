"""Reads the state of one environment: Temporal's description of its latest run, and its workflow's status."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.service import RPCError, RPCStatusCode

from contracts.environment.models import EnvironmentStatus, Phase, StepName
from contracts.standby import STANDBY_WORKFLOW
from contracts.temporal import workflow_memo
from contracts.types.naming import name_from_workflow_id, workflow_id
from starter.environments.closed_workflows import (
    CLOSED_FROM_OUTSIDE,
    orphan_remark,
    read_closing,
    status_in_failure,
    with_closing,
)
from starter.environments.run_description import memo_value, owner_left_at, progress_of, view_of_run
from starter.environments.schemas import EnvironmentView, Progress, view_of_status
from starter.shared_reads import REFRESH_AT, SharedReads
from starter.temporal.errors import CALL_TIMEOUT, NO_WORKER, QUERY_TIMEOUT, map_rpc_errors
from starter.temporal.run_messages import decode_description, describe_latest_run
from worker.codec import ForeignPayload
from workflows.environment.workflow import EnvironmentWorkflow

#: Results of closed runs in the cache: they never change, and lists of ended environments read pages of them.
MAX_ENDS = 1000
#: While its run's history does not grow, a status stays valid. When no worker has answered for this time, a
#: read checks in the background that one does; later reads say so if none does.
STATUS_VALID_SECONDS = 5.0
#: A ready environment with nothing pending is shown again for this long without a call to Temporal, and never
#: as it was before the last change that this process has made.
REST_VALID_SECONDS = 0.5
#: Up to this age it is shown while Temporal is slow; a caller waits for it no longer than until so many
#: seconds after the start of the call.
REST_USABLE_SECONDS, MAX_WAIT_SECONDS = 2.0, 0.03
#: Statuses in this cache: some kilobytes each, for the environments that callers read now.
MAX_STATUSES = 500
#: Size of the cache for runs that were closed from outside; there are few of them.
MAX_ORPHANS = 100


@dataclass(frozen=True)
class EnvironmentSnapshot:
    """The latest run of a name. `status` is None if no worker has answered; `view.remark` gives the reason.

    `history_length` is the length of the run's history when the status was read.
    """

    name: str
    run_id: str
    first_run_id: str
    history_length: int
    ended: bool
    request_id: str
    owner: str
    team: str
    collaborators: tuple[str, ...]
    status: EnvironmentStatus | None
    view: EnvironmentView

    @property
    def is_at_rest(self) -> bool:
        """Whether the view cannot change without a new event: no step runs, and there is no remark."""
        return not self.view.remark and all(step.progress is None for step in self.view.steps)

    @property
    def life(self) -> str:
        """The life that this run belongs to."""
        return self.view.life


@dataclass(frozen=True)
class Latest:
    """The request of the latest run of a name, the first run of its life, and whether it has ended.

    `closed_from_outside`: it has ended, and nothing was torn down.
    """

    request_id: str
    first_run_id: str
    ended: bool
    closed_from_outside: bool = False
    is_standby: bool = False


@dataclass
class _Known:
    """A snapshot with a status from a worker.

    `described_at` is when the last call to Temporal that confirmed the snapshot started.
    `remark` is set while no worker answers: the status is still valid, as the history has not grown.
    """

    snapshot: EnvironmentSnapshot
    described_at: float
    remark: str = ""
    check: asyncio.Task[None] | None = None

    @property
    def is_settled(self) -> bool:
        """Whether it was ready, with nothing pending and a worker there, so that it may stay for a moment."""
        view = self.snapshot.view
        is_changing = any(each is not None for each in (view.access, view.change, view.restore))
        return view.phase is Phase.READY and not is_changing and self.snapshot.is_at_rest and not self.remark


class EnvironmentReader:
    """Reads environments with caches: reads a closed run once, and does not query an unchanged run again."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ends: OrderedDict[str, EnvironmentStatus | None] = OrderedDict()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._reads = SharedReads(self._read_latest)
        self._orphans: OrderedDict[str, tuple[EnvironmentStatus | None, str]] = OrderedDict()
        self._changed_at = 0.0
        self._worker_answered_at = 0.0

    async def latest(self, name: str) -> Latest | None:
        """Return the latest run of the name without a query to a worker; None if Temporal has none."""
        described = await self._describe(name)
        if described is None:
            return None
        run = self._run(described)
        request_id = await memo_value(run, workflow_memo.REQUEST_ID, "")
        first_run_id = run.raw_description.workflow_execution_info.first_run_id
        ended = run.status is not WorkflowExecutionStatus.RUNNING
        is_standby = run.workflow_type == STANDBY_WORKFLOW
        return Latest(request_id, first_run_id, ended, run.status in CLOSED_FROM_OUTSIDE, is_standby)

    async def read(self, name: str, last: EnvironmentSnapshot | None = None) -> EnvironmentSnapshot | None:
        """Return a snapshot of the environment, or None if Temporal has no run of this name.

        A worker is asked for the status only if the run's history has grown since the last one, which is that
        of an earlier read, or of `last`. Concurrent callers share one read; with `last` each has its own, and
        gets that status with a remark if no worker answers.
        """
        return await (self._reads.read(name) if last is None else self._read_latest(name, last))

    async def read_recent(self, name: str) -> EnvironmentSnapshot | None:
        """Return a snapshot as `read` does, or one of the last moment if the environment was ready then.

        While a change of people or of the template, or a restore, is pending it is read again, because its
        callers wait for the end of it.
        For views that are shown. A change must be based on `read`.
        """
        known = self._known.get(name)
        if known is None or not known.is_settled or known.described_at <= self._changed_at:
            return await self.read(name)
        age = time.monotonic() - known.described_at
        if age < REST_VALID_SECONDS:
            if age >= REFRESH_AT * REST_VALID_SECONDS:
                self._reads.refresh(name)
            return known.snapshot
        if age < REST_USABLE_SECONDS:
            await self._reads.refresh_within(name, MAX_WAIT_SECONDS)
            now = self._known.get(name)
            if now and now.is_settled and now.described_at > self._changed_at:
                return now.snapshot
        return await self.read(name)

    def note_change(self) -> None:
        """Show nothing any more that was read before this call: this process has changed an environment."""
        self._changed_at = time.monotonic()

    async def _read_latest(
        self, name: str, last: EnvironmentSnapshot | None = None
    ) -> EnvironmentSnapshot | None:
        known, started = self._known.get(name), time.monotonic()
        snapshot = await self._read(name, known.snapshot if known else last, last)
        if snapshot is None or snapshot.status is None or snapshot.ended or snapshot.view.remark:
            self._known.pop(name, None)
            return snapshot
        now = snapshot.run_id, snapshot.history_length
        if known is None or now != (known.snapshot.run_id, known.snapshot.history_length):
            # A worker has just returned the status, or it is that of `last`, to which its health was added.
            self._keep(name, _without_health(snapshot), started)
            return snapshot
        known.described_at = started
        # All workers serve all environments, so the answer for one tells of the others.
        unsure = known.remark or time.monotonic() - self._worker_answered_at >= STATUS_VALID_SECONDS
        if unsure and known.check is None:
            known.check = asyncio.create_task(self._check_worker(known))
        if not known.remark:
            return snapshot
        return replace(snapshot, view=snapshot.view.model_copy(update={"remark": known.remark}))

    def _keep(self, name: str, snapshot: EnvironmentSnapshot, described_at: float) -> None:
        self._known[name] = _Known(snapshot, described_at)
        self._known.move_to_end(name)
        if len(self._known) > MAX_STATUSES:
            self._known.popitem(last=False)

    async def _check_worker(self, known: _Known) -> None:
        """Query the status again, although it is still valid, to notice when no worker answers any more."""
        try:
            status, known.remark = await self._query_status(
                workflow_id(known.snapshot.name), known.snapshot.run_id
            )
            if status:
                self._worker_answered_at = time.monotonic()
        finally:
            known.check = None

    async def _read(
        self, name: str, known: EnvironmentSnapshot | None, last: EnvironmentSnapshot | None
    ) -> EnvironmentSnapshot | None:
        described = await self._describe(name)
        if described is None:
            return None
        if known and _is_unchanged(known, described):
            return known
        run = self._run(described)
        if run.status is not WorkflowExecutionStatus.RUNNING:
            if status := await self.end_of(run):
                return await self._snapshot(run, status, {}, "")
            return await self._orphan(run)
        status, remark, known_at = None, "", run.history_length
        now = run.run_id, run.history_length
        if known and known.status and (known.run_id, known.history_length) == now:
            status = known.status
        else:
            status, remark = await self._query_status(run.id, run.run_id)
            if status:
                self._worker_answered_at = time.monotonic()
        if status is None and last and last.run_id == run.run_id:
            status, known_at = last.status, last.history_length
        progress = await self._progress(run)
        if status is None and (unnamed := progress.get(None)):
            remark = f"{remark} It waits for: {unnamed.waiting_for or unnamed.last_failure}."
        return await self._snapshot(run, status, progress, remark, known_at)

    async def end_after(self, before: EnvironmentSnapshot) -> EnvironmentSnapshot | None:
        """Return the end of the life of a snapshot whose name has a next life; None if unknown."""
        handle: WorkflowHandle[EnvironmentWorkflow, Any] = self._client.get_workflow_handle_for(
            EnvironmentWorkflow.run, workflow_id(before.name), run_id=before.run_id
        )
        try:
            with map_rpc_errors():
                status: EnvironmentStatus | None = await handle.result(rpc_timeout=CALL_TIMEOUT)
        except WorkflowFailureError as error:
            status = status_in_failure(error.cause)
        except (RPCError, ForeignPayload):
            # ForeignPayload: closed from outside, with details that Moorage has not encrypted.
            status = None
        if status is None:
            return None
        return replace(
            before, ended=True, status=status, view=view_of_status(status, ended=True, run_id=before.run_id)
        )

    async def end_of(self, run: WorkflowExecution) -> EnvironmentStatus | None:
        """Return the final status of a closed run; None if it was closed from outside."""
        if run.status in CLOSED_FROM_OUTSIDE:
            # Do not read the details that another client of Temporal gave: if they are not encrypted, the
            # converter refuses them, and the environment could not be shown.
            return None
        if run.run_id in self._ends:
            self._ends.move_to_end(run.run_id)
            return self._ends[run.run_id]
        handle: WorkflowHandle[EnvironmentWorkflow, Any] = self._client.get_workflow_handle_for(
            EnvironmentWorkflow.run, run.id, run_id=run.run_id
        )
        status = None
        try:
            with map_rpc_errors():
                status = await handle.result(follow_runs=False, rpc_timeout=CALL_TIMEOUT)
        except WorkflowFailureError as error:
            status = status_in_failure(error.cause)
        except RPCError:
            return None  # The retention of the run has just ended.
        self._ends[run.run_id] = status
        if len(self._ends) > MAX_ENDS:
            self._ends.popitem(last=False)
        return status

    async def _orphan(self, run: WorkflowExecutionDescription) -> EnvironmentSnapshot:
        """Return the state at the time when the run was closed from outside.

        A closed workflow still answers queries if a worker is running.
        """
        found = self._orphans.get(run.run_id)
        if found is None:
            closing = await read_closing(self._client, run)
            status, _ = await self._query_status(run.id, run.run_id)
            if status:
                status = with_closing(status, closing)
            found = status, orphan_remark(name_from_workflow_id(run.id), closing, status)
            if status:
                self._orphans[run.run_id] = found
                if len(self._orphans) > MAX_ORPHANS:
                    self._orphans.popitem(last=False)
        status, remark = found
        return await self._snapshot(run, status, {}, remark)

    async def _describe(self, name: str) -> DescribeWorkflowExecutionResponse | None:
        try:
            return await describe_latest_run(self._client, workflow_id(name))
        except RPCError:
            return None

    def _run(self, described: DescribeWorkflowExecutionResponse) -> WorkflowExecutionDescription:
        return decode_description(self._client, described)

    async def _query_status(self, id: str, run_id: str) -> tuple[EnvironmentStatus | None, str]:
        handle: WorkflowHandle[EnvironmentWorkflow, Any] = self._client.get_workflow_handle_for(
            EnvironmentWorkflow.run, id, run_id=run_id
        )
        try:
            return await handle.query(EnvironmentWorkflow.status, rpc_timeout=QUERY_TIMEOUT), ""
        except WorkflowQueryFailedError:
            return None, "Its workflow cannot say how it stands: tell the platform team."
        except RPCError as error:
            if error.status in (RPCStatusCode.UNAVAILABLE, RPCStatusCode.NOT_FOUND):
                return None, "Temporal has just stopped answering."
            # Deadline exceeded, cancelled, or Temporal's own error that no worker polls: for the caller all
            # of them mean the same.
            return (
                None,
                f"{NO_WORKER}, so this is only what Temporal knows; the work goes on when one is back.",
            )

    async def _progress(self, run: WorkflowExecutionDescription) -> dict[StepName | None, Progress]:
        """Return the progress of each pending activity by step; None is for other activities."""
        found: dict[StepName | None, Progress] = {}
        for pending in run.raw_description.pending_activities:
            name = pending.activity_type.name.partition(".")[0]
            step = StepName(name) if name in set(StepName) else None
            found[step] = await progress_of(run.data_converter, pending)
        return found

    async def _snapshot(
        self,
        run: WorkflowExecutionDescription,
        status: EnvironmentStatus | None,
        progress: Mapping[StepName | None, Progress],
        remark: str,
        known_at: int = 0,
    ) -> EnvironmentSnapshot:
        ended = run.status is not WorkflowExecutionStatus.RUNNING
        request_id = await memo_value(run, workflow_memo.REQUEST_ID, "")
        if status:
            collaborators = status.environment.collaborators
            steps = {step: details for step, details in progress.items() if step}
            view = view_of_status(status, progress=steps, ended=ended, remark=remark, run_id=run.run_id)
        else:
            collaborators = tuple(await memo_value(run, workflow_memo.COLLABORATORS, list[str]()))
            view = view_of_run(run, request_id, collaborators, remark, await owner_left_at(run))
        return EnvironmentSnapshot(
            name=name_from_workflow_id(run.id),
            run_id=run.run_id,
            first_run_id=run.raw_description.workflow_execution_info.first_run_id,
            history_length=known_at,
            ended=ended,
            request_id=request_id,
            owner=view.owner,
            team=view.team,
            collaborators=collaborators,
            status=status,
            view=view,
        )


def _is_unchanged(known: EnvironmentSnapshot, described: DescribeWorkflowExecutionResponse) -> bool:
    """Return whether the snapshot is what would be read now: its run is at rest, and the same as then."""
    info = described.workflow_execution_info
    return (
        known.status is not None
        and known.is_at_rest
        and int(info.status) == int(WorkflowExecutionStatus.RUNNING)
        and (info.execution.run_id, info.history_length) == (known.run_id, known.history_length)
        and not described.pending_activities
    )


def _without_health(snapshot: EnvironmentSnapshot) -> EnvironmentSnapshot:
    if snapshot.view.unwell is None:
        return snapshot
    return replace(snapshot, view=snapshot.view.model_copy(update={"unwell": None}))
