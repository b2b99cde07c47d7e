"""The state of the installation as gauges, read from Temporal by the API for each scrape.

Every API process serves the same values, so that one of them is enough: aggregate with `max`. They are here
and not in the workers, because a worker that restarts, or none at all, must not make them disappear.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.client import Client
from temporalio.service import RPCError

from contracts.capacity.models import Amount, CapacityState, Limits
from contracts.capacity.warm_pools import PoolCount
from contracts.environment.models import Phase
from contracts.environment_workflow import ENVIRONMENT_WORKFLOW
from contracts.sweeps.expiry import SWEEP_SCHEDULE, SWEEP_SCHEDULED, SWEEP_WORKFLOW
from contracts.telemetry import metrics
from contracts.temporal import search_attributes
from contracts.temporal.task_queues import NO_OWN_QUEUES, OwnQueues
from starter.monitoring.booking_metrics import BookingState, booking_gauges
from starter.monitoring.gauges import gauge, labelled
from starter.monitoring.reconcile_metrics import ReconcileState, ReconcileSweepReader, reconcile_gauges
from starter.monitoring.warnings import (
    PolledQueue,
    SweepStart,
    last_sweep_start,
    read_polled_queues,
    requested_before_limit,
)
from starter.temporal.errors import CALL_TIMEOUT, NoWorker, TemporalUnavailable
from worker.certificates import Certificates
from worker.settings.groups.expiry import Sweep
from worker.settings.groups.reconcile import Reconcile

#: Shortest time between two reads: several Prometheus servers may scrape every few seconds.
READ_INTERVAL_SECONDS = 10.0
#: How long a scrape waits for a read: Prometheus gives up after 10 s by default. The read goes on.
MAX_WAIT_SECONDS = 4.0
#: Older values are not served: a gap in a graph is better than a value that is not true any more.
MAX_AGE_SECONDS = 120.0
#: Orphans are few, change seldom, and each costs a call.
ORPHANS_INTERVAL_SECONDS = 60.0

_OPEN_PHASES = (
    Phase.PROVISIONING, Phase.USABLE, Phase.READY, Phase.FALLING_ASLEEP, Phase.ASLEEP, Phase.WAKING,
    Phase.TEARING_DOWN, Phase.TEARDOWN_INCOMPLETE,
)  # fmt: skip
_TASK_TYPES = {
    TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW: "workflow",
    TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY: "activity",
}
#: The fields of an amount: the label of the resource, its unit, and how many of an amount are one unit.
_RESOURCES = (("environments", "environment", 1), ("cpu", "core", 1000), ("memory", "byte", 1))

_log = structlog.get_logger(__name__)


@dataclass
class InstallationState:
    """What was read last; None or empty where that has failed."""

    is_temporal_up: bool = True
    phases: dict[Phase, int] = field(default_factory=dict)
    stuck: int | None = None
    queues: tuple[PolledQueue, ...] = ()
    sweep: SweepStart | None = None
    swept_at: datetime | None = None
    reconcile: ReconcileState | None = None
    capacity: CapacityState | None = None
    pools: tuple[PoolCount, ...] = ()
    bookings: BookingState = field(default_factory=BookingState)


class InstallationMetrics(Collector):
    """Collects the gauges.

    `capacity`, `orphans`, `pools` and `bookings` read what other parts of the API know.
    """

    def __init__(
        self,
        client: Client,
        settings: Sweep,
        reconciling: Reconcile,
        *,
        capacity: Callable[[], Awaitable[CapacityState]],
        orphans: Callable[[], Awaitable[int]],
        pools: Callable[[], Awaitable[tuple[PoolCount, ...]]],
        bookings: Callable[[], Awaitable[BookingState]],
        own_queues: OwnQueues = NO_OWN_QUEUES,
    ) -> None:
        self._client = client
        self._own_queues = own_queues
        self._interval = settings.interval
        self._reconcile_interval = reconciling.interval
        self._reconcile_sweeps = ReconcileSweepReader(client)
        self._capacity = capacity
        self._orphans = orphans
        self._pools = pools
        self._bookings = bookings
        self._orphaned: int | None = None
        self._orphans_read_at = float("-inf")
        self._state: InstallationState | None = None
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Read all values if they are not of this moment; return after MAX_WAIT_SECONDS at the latest."""
        is_reading = self._reading is not None and not self._reading.done()
        if not is_reading and time.monotonic() - self._read_at >= READ_INTERVAL_SECONDS:
            self._reading = asyncio.create_task(self._read())
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=MAX_WAIT_SECONDS)

    async def stop(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing: the registry would collect the values to learn the names."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges of the last read."""
        yield gauge(metrics.SWEEP_INTERVAL, self._interval.total_seconds())
        yield gauge(metrics.RECONCILE_INTERVAL, self._reconcile_interval.total_seconds())
        state = self._state
        if state is None or time.monotonic() - self._read_at > MAX_AGE_SECONDS:
            return
        yield gauge(metrics.TEMPORAL_UP, state.is_temporal_up)
        phases = {phase.value: count for phase, count in state.phases.items()}
        if self._orphaned is not None:
            phases[Phase.ORPHANED.value] = self._orphaned
        yield labelled(metrics.ENVIRONMENTS, {(phase,): count for phase, count in phases.items()})
        if state.stuck is not None:
            yield labelled(metrics.STUCK, {(Phase.PROVISIONING.value,): state.stuck})
        pollers = {(queue.name, _TASK_TYPES[queue.kind]): queue.pollers for queue in state.queues}
        yield labelled(metrics.POLLERS, pollers)
        if state.sweep is not None:
            yield gauge(metrics.SWEEP_STARTED, state.sweep.at.timestamp())
            yield gauge(metrics.FROZEN, state.sweep.is_frozen)
        if state.swept_at is not None:
            yield gauge(metrics.SWEEP_COMPLETED, state.swept_at.timestamp())
        if state.reconcile is not None:
            yield from reconcile_gauges(state.reconcile)
        if state.capacity is not None:
            yield from _capacity_gauges(state.capacity)
        if state.pools:
            yield from _pool_gauges(state.pools)
        yield from booking_gauges(state.bookings)

    async def _read(self) -> None:
        state = InstallationState()
        reads = (
            self._read_phases,
            self._read_queues,
            self._read_sweep,
            self._read_reconcile,
            self._read_capacity,
            self._read_pools,
            self._read_bookings,
        )
        results = await asyncio.gather(
            *(read(state) for read in reads), self._read_orphans(), return_exceptions=True
        )
        for error in results:
            if isinstance(error, RPCError | TemporalUnavailable):
                state.is_temporal_up = False
            elif isinstance(error, Exception) and not isinstance(error, NoWorker):
                # A value that cannot be read is left out, and the others are served.
                _log.warning("a value for the metrics could not be read", cause=str(error))
        self._state, self._read_at = state, time.monotonic()

    async def _read_phases(self, state: InstallationState) -> None:
        open_runs = f"WorkflowType = '{ENVIRONMENT_WORKFLOW}' AND ExecutionStatus = 'Running' AND "
        phase = search_attributes.PHASE.name
        counts = [await self._count(f"{open_runs}{phase} = '{each}'") for each in _OPEN_PHASES]
        state.phases = dict(zip(_OPEN_PHASES, counts, strict=True))
        working = f"{phase} IN ('{Phase.PROVISIONING}', '{Phase.USABLE}') AND {requested_before_limit()}"
        state.stuck = await self._count(open_runs + working)

    async def _count(self, query: str) -> int:
        return (await self._client.count_workflows(query, rpc_timeout=CALL_TIMEOUT)).count

    async def _read_queues(self, state: InstallationState) -> None:
        state.queues = await read_polled_queues(self._client, self._own_queues)

    async def _read_sweep(self, state: InstallationState) -> None:
        state.sweep = await last_sweep_start(self._client, SWEEP_SCHEDULE)
        query = (
            f"WorkflowType = '{SWEEP_WORKFLOW}' AND ExecutionStatus = 'Completed' "
            f"AND WorkflowId STARTS_WITH '{SWEEP_SCHEDULED}'"
        )
        # The newest one is first.
        async for run in self._client.list_workflows(query, limit=1, page_size=1, rpc_timeout=CALL_TIMEOUT):
            state.swept_at = run.close_time

    async def _read_reconcile(self, state: InstallationState) -> None:
        state.reconcile = await self._reconcile_sweeps.read()

    async def _read_capacity(self, state: InstallationState) -> None:
        state.capacity = await self._capacity()

    async def _read_pools(self, state: InstallationState) -> None:
        state.pools = await self._pools()

    async def _read_bookings(self, state: InstallationState) -> None:
        state.bookings = await self._bookings()

    async def _read_orphans(self) -> None:
        if time.monotonic() - self._orphans_read_at >= ORPHANS_INTERVAL_SECONDS:
            self._orphaned = await self._orphans()
            self._orphans_read_at = time.monotonic()


class CertificateCollector(Collector):
    """Collects when the certificates of this process expire."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing, as above."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge."""
        found = {(one.use, one.host): one.expires_at.timestamp() for one in self._certificates.read()}
        yield labelled(metrics.CERTIFICATE_EXPIRY, found)


def _capacity_gauges(state: CapacityState) -> Iterator[GaugeMetricFamily]:
    if state.audited_at is not None:
        yield gauge(metrics.AUDITED, state.audited_at.timestamp())
    hosts = {host.capacity.name: host for host in state.hosts}
    yield labelled(metrics.HOST_KNOWN, {(name,): host.capacity.known for name, host in hosts.items()})
    for metric, amounts in (
        (metrics.HOST_CAPACITY, {name: host.capacity.total for name, host in hosts.items()}),
        (metrics.HOST_RESERVED, {name: host.reserved for name, host in hosts.items()}),
    ):
        yield labelled(
            metric,
            {
                (name, resource, unit): value / size
                for name, amount in amounts.items()
                for resource, unit, size in _RESOURCES
                if (value := _value(amount, resource)) is not None
            },
        )


def _pool_gauges(pools: Iterable[PoolCount]) -> Iterator[GaugeMetricFamily]:
    by_template = {pool.template: pool for pool in pools}
    standbys = {(name, "ready"): pool.ready for name, pool in by_template.items()}
    standbys |= {(name, "making"): pool.making for name, pool in by_template.items()}
    yield labelled(metrics.POOL_STANDBYS, standbys)
    for metric, count in (
        (metrics.POOL_WANTED, "wanted"),
        (metrics.POOL_TAKEN, "taken"),
        (metrics.POOL_MISSED, "missed"),
        (metrics.POOL_STOPPED, "has_stopped"),
    ):
        yield labelled(metric, {(name,): getattr(pool, count) for name, pool in by_template.items()})


def _value(amount: Amount | Limits, resource: str) -> int | None:
    value: int | None = getattr(amount, resource)
    return value
