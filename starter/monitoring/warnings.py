"""Warnings about a running installation: no worker polls, no sweep runs, environments are stuck.

All of it comes from Temporal's server, so that it is available while no worker answers.
"""

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from contracts.environment.models import Phase, System
from contracts.environment_workflow import ENVIRONMENT_WORKFLOW, TASK_QUEUE, undo_queue
from contracts.reconcile.models import RECONCILE_COMPLETED, ReconcileResult
from contracts.sweeps.expiry import SWEEP_SCHEDULE
from contracts.sweeps.leavers import LEAVER_WORKFLOW, LeaverSweepResult
from contracts.temporal import search_attributes
from contracts.temporal.task_queues import NO_OWN_QUEUES, OwnQueues, system_queue
from contracts.types.durations import format_duration
from contracts.types.models import Frozen
from contracts.types.naming import name_from_workflow_id
from starter.temporal.errors import CALL_TIMEOUT
from worker.codec import DecodeError
from worker.settings.groups.expiry import Sweep

#: A worker polls at least once a minute, because the server lets a poll wait for so long. (Measured: at most
#: 55 s since the last poll of an idle worker.)
MAX_POLL_AGE = timedelta(seconds=65)
#: Number of sweeps that may be missed before there is a warning.
MISSED_SWEEPS = 2
#: An environment that is not ready after this time is stuck; without errors, one is ready earlier.
PROVISIONING_LIMIT = timedelta(minutes=20)
#: Minimum interval between reads from Temporal: probes call every few seconds, and anyone can call.
READ_INTERVAL_SECONDS = 10.0
#: Status codes of a server that shows such information only to administrators.
HIDDEN_STATUSES = frozenset({RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED})
#: The note that a thaw leaves in the schedule: before that time no sweep was due.
_THAWED = re.compile(r"Thawed by \S+ at (?P<at>\S+)")
#: Task queues that are read at once: an installation may have hundreds of hosts.
MAX_READS = 10
#: Maximum number of environments that are named for each warning.
MAX_NAMED = 10

_R = TypeVar("_R")

#: The queues that each installation has.
_COMMON = (
    (TASK_QUEUE, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, "workflows"),
    (TASK_QUEUE, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY, "steps"),
    (undo_queue(TASK_QUEUE), TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY, "undos and sweeps"),
)


class InstallationWarnings(Frozen):
    """The warnings, one sentence each. Names of environments are only in `named`."""

    workers: tuple[str, ...] = ()
    sweep: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    leavers: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """All warnings, without names of environments."""
        return (*self.workers, *self.sweep, *self.environments, *self.leavers)


async def find_unpolled_queues(client: Client, own_queues: OwnQueues = NO_OWN_QUEUES) -> tuple[str, ...]:
    """Return a warning for each task queue that no worker has polled for MAX_POLL_AGE.

    Raises:
        RPCError: Temporal does not answer, or refuses the call.
    """
    found = []
    for queue in await read_polled_queues(client, own_queues):
        if not queue.pollers:
            last = max(queue.polls, default=None)
            ago = f"for {format_duration(datetime.now(UTC) - last)}" if last else "at all"
            with_host = f": moorage worker --host {queue.host}" if queue.host else ""
            found.append(
                f"No worker has asked for {queue.what} (task queue {queue.name}) {ago}: start one{with_host}."
            )
    return tuple(found)


@dataclass(frozen=True)
class PolledQueue:
    """A task queue that workers poll, and the last poll of each of them that the server remembers.

    `host` is the host whose worker polls it; "" for all other queues.
    """

    name: str
    kind: TaskQueueType.ValueType
    what: str
    polls: tuple[datetime, ...]
    host: str = ""

    @property
    def pollers(self) -> int:
        """How many workers poll it now."""
        return sum(datetime.now(UTC) - poll <= MAX_POLL_AGE for poll in self.polls)


async def read_polled_queues(
    client: Client,
    own_queues: OwnQueues = NO_OWN_QUEUES,
) -> tuple[PolledQueue, ...]:
    """Return the task queues of these settings.

    Raises:
        RPCError: Temporal does not answer, or refuses the call.
    """

    async def read(name: str, kind: TaskQueueType.ValueType, what: str, host: str) -> PolledQueue:
        request = DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=name), task_queue_type=kind
        )
        async with at_once:
            answer = await client.workflow_service.describe_task_queue(request, timeout=CALL_TIMEOUT)
        polls = (one.last_access_time.ToDatetime(tzinfo=UTC) for one in answer.pollers)
        return PolledQueue(name, kind, what, tuple(polls), host)

    at_once = asyncio.Semaphore(MAX_READS)
    common = [read(*queue, "") for queue in _COMMON]
    return tuple(await asyncio.gather(*common, *(read(*queue) for queue in _queues_of_systems(own_queues))))


def _queues_of_systems(own_queues: OwnQueues) -> Iterator[tuple[str, TaskQueueType.ValueType, str, str]]:
    """Yield name, kind, purpose and host of each queue of a host or system."""
    of_systems = [(system, "") for system in System if system in own_queues.systems]
    of_hosts = [(System.HOST_CLUSTER, host) for host in sorted(own_queues.hosts)]
    for system, host in (*of_systems, *of_hosts):
        where = f"on host {host}" if host else f"in the {system}"
        for base, what in ((TASK_QUEUE, "steps"), (undo_queue(TASK_QUEUE), "undos")):
            name = system_queue(base, system, host)
            yield name, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY, f"{what} {where}", host


async def overdue_sweep(client: Client, settings: Sweep) -> tuple[str, ...]:
    """Return a warning if no sweep has run when it was due; during a freeze, none is due.

    Raises:
        RPCError: Temporal does not answer, or refuses the call.
    """
    last = await last_sweep_start(client, SWEEP_SCHEDULE)
    if last is None:
        return ("The sweep is not scheduled, so no environment ends: start a worker.",)
    if last.is_frozen:
        return ()
    waited = datetime.now(UTC) - last.at
    if waited <= settings.interval * MISSED_SWEEPS + settings.jitter:
        return ()
    # This also covers a sweep that was started but that no worker has accepted: the next ones wait for it.
    return (f"No sweep has run for {format_duration(waited)}, so no environment is warned or ended.",)


@dataclass(frozen=True)
class SweepStart:
    """When a sweep was last started, or its schedule created, changed or resumed if that was later."""

    at: datetime
    is_frozen: bool


async def last_sweep_start(client: Client, schedule: str) -> SweepStart | None:
    """Return the last start of a sweep by its schedule's id, None if none is scheduled; raise RPCError."""
    try:
        found = await client.get_schedule_handle(schedule).describe(rpc_timeout=CALL_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    ran = [one.started_at for one in found.info.recent_actions]
    changed = [found.info.last_updated_at] if found.info.last_updated_at else []
    since = max([found.info.created_at, *ran, *changed, *_thawed_at(found.schedule.state.note or "")])
    return SweepStart(since, found.schedule.state.paused)


def _thawed_at(note: str) -> Sequence[datetime]:
    found = _THAWED.match(note)
    try:
        return [datetime.fromisoformat(found["at"])] if found else []
    except ValueError:
        return []


async def stuck_environments(client: Client) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return warnings about stuck environments, without names, and the names.

    Raises:
        RPCError: Temporal does not answer, or refuses the call.
    """
    open_runs = f"WorkflowType = '{ENVIRONMENT_WORKFLOW}' AND ExecutionStatus = 'Running'"
    queries = {
        "whose teardown waits for a person": (
            f"{open_runs} AND {search_attributes.PHASE.name} = '{Phase.TEARDOWN_INCOMPLETE}'"
        ),
        f"not ready after {format_duration(PROVISIONING_LIMIT)}": (
            f"{open_runs} AND {search_attributes.PHASE.name} IN ('{Phase.PROVISIONING}', '{Phase.USABLE}') "
            f"AND {requested_before_limit()}"
        ),
    }
    sentences: list[str] = []
    names: list[str] = []
    for what, query in queries.items():
        count = (await client.count_workflows(query, rpc_timeout=CALL_TIMEOUT)).count
        if not count:
            continue
        sentences.append(f"{count} environment{'s' if count > 1 else ''} {what}.")
        found = client.list_workflows(query, limit=MAX_NAMED, page_size=MAX_NAMED, rpc_timeout=CALL_TIMEOUT)
        names += [name_from_workflow_id(run.id) async for run in found]
    return tuple(sentences), tuple(names)


def requested_before_limit() -> str:
    """Return the part of a query for environments that should be ready already."""
    return f"StartTime < '{(datetime.now(UTC) - PROVISIONING_LIMIT).strftime('%Y-%m-%dT%H:%M:%SZ')}'"


async def waiting_leavers(client: Client) -> tuple[str, ...]:
    """Return a warning if the last leaver sweep has stopped itself, or could not ask the directory.

    Raises:
        RPCError: Temporal does not answer, or refuses the call.
    """
    query = f"WorkflowType = '{LEAVER_WORKFLOW}' AND ExecutionStatus = 'Completed'"
    last = await _last_result(client, query, LeaverSweepResult)
    if last and last.problem:
        return ("The directory could not be asked who has left: moorage leavers shows why.",)
    if last and last.brake:
        return (f"No access was ended, because {last.brake}: see moorage leavers.",)
    return ()


async def waiting_reconcile(client: Client) -> tuple[str, ...]:
    """Return a warning if the last reconcile sweep has stopped itself, or could not look.

    Raises:
        RPCError: Temporal does not answer, or refuses the call.
    """
    last = await _last_result(client, RECONCILE_COMPLETED, ReconcileResult)
    if last and last.problem:
        return ("The reconcile sweep could not look: moorage reconcile --dry-run shows why.",)
    if last and last.brake:
        return (f"The reconcile sweep waits for a person, because {last.brake}: see moorage reconcile.",)
    return ()


async def _last_result(client: Client, query: str, type: type[_R]) -> _R | None:
    """Return the result of the latest sweep that the query finds, if it can be read.

    That a key is missing is reported by the command that shows the sweep.
    """
    async for run in client.list_workflows(query, limit=1, page_size=1, rpc_timeout=CALL_TIMEOUT):
        handle = client.get_workflow_handle(run.id, run_id=run.run_id, result_type=type)
        try:
            result: _R = await handle.result(rpc_timeout=CALL_TIMEOUT)
        except DecodeError:
            return None
        return result
    return None


async def find_warnings(client: Client, settings: Sweep, own_queues: OwnQueues) -> InstallationWarnings:
    """Return all warnings; raise RPCError if Temporal does not answer."""
    environments, named = await stuck_environments(client)
    return InstallationWarnings(
        workers=await find_unpolled_queues(client, own_queues),
        sweep=await overdue_sweep(client, settings),
        environments=environments,
        leavers=(*await waiting_leavers(client), *await waiting_reconcile(client)),
        named=named,
    )


class Attention:
    """Cache of the warnings, which reads from Temporal at most every READ_INTERVAL_SECONDS."""

    def __init__(
        self,
        client: Client,
        settings: Sweep,
        own_queues: OwnQueues = NO_OWN_QUEUES,
    ) -> None:
        self._client = client
        self._settings = settings
        self._own_queues = own_queues
        self._reading = asyncio.Lock()
        self._read_at: float | None = None
        self._found: tuple[str, ...] = ()

    async def warnings(self) -> tuple[str, ...]:
        """Return the warnings without names of environments, because anyone can read them.

        Raises:
            RPCError: Temporal does not answer.
        """
        async with self._reading:
            now = time.monotonic()
            if self._read_at is None or now - self._read_at >= READ_INTERVAL_SECONDS:
                try:
                    self._found = (
                        await find_warnings(self._client, self._settings, self._own_queues)
                    ).sentences
                except RPCError as error:
                    if error.status not in HIDDEN_STATUSES:
                        raise
                    self._found = ()
                self._read_at = time.monotonic()
            return self._found
