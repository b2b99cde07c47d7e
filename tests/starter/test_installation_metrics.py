"""The gauges of an installation, also while Temporal or the workers do not answer. Temporal is pretended."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from contracts.booking_workflow import BookingPhase
from contracts.capacity.models import Amount, CapacityState, HostCapacity, HostState, Limits
from contracts.capacity.warm_pools import MAX_FAILURES, PoolCount
from contracts.environment.models import Phase, StepName, System
from contracts.reconcile.drift import Deviation, DriftedLife
from contracts.reconcile.models import RECONCILE_COMPLETED, ReconcileResult, SurveyedSystem
from contracts.templates.warm_pool import WarmPool
from starter.bookings.metrics import read_booking_state
from starter.bookings.schemas import BookingRow
from starter.environments.orphans import count_orphans
from starter.monitoring import installation_metrics
from starter.monitoring.booking_metrics import BookingState
from starter.monitoring.installation_metrics import InstallationMetrics
from starter.temporal.errors import NoWorker
from tests.starter.test_attention import Pretended, scheduled
from worker.codec import DecodeError
from worker.settings.groups.expiry import Sweep
from worker.settings.groups.reconcile import Reconcile

DOWN = RPCError("down", RPCStatusCode.UNAVAILABLE, b"")
SWEPT = datetime.now(UTC) - timedelta(seconds=30)
STATE = CapacityState(
    audited_at=SWEPT,
    hosts=(
        HostState(
            capacity=HostCapacity(name="one", total=Limits(environments=20, cpu=16_000)),
            reserved=Amount(environments=2, cpu=3_500, memory=2**30),
        ),
        HostState(capacity=HostCapacity(name="two", known=False), reserved=Amount()),
    ),
    person=Amount(),
    teams={},
    reservations=2,
)


class Installation(Pretended):
    """A Temporal whose queries for a phase find as many environments as the phase has letters."""

    async def count_workflows(self, query: str, **_: Any) -> Any:
        if self.error:
            raise self.error
        if "StartTime" in query:
            return SimpleNamespace(count=3)
        [phase] = [each for each in Phase if f"'{each}'" in query]
        return SimpleNamespace(count=len(phase))

    #: The results of the reconcile sweeps, the newest first; a fault in place of one that cannot be read.
    results: tuple[ReconcileResult | Exception, ...] = ()

    async def list_workflows(self, query: str, **_: Any) -> Any:
        if query == RECONCILE_COMPLETED:
            for number in range(len(self.results)):
                close_time = SWEPT - timedelta(minutes=number)
                yield SimpleNamespace(id="reconcile", run_id=str(number), close_time=close_time)
            return
        assert "moorage-sweep/scheduled" in query
        yield SimpleNamespace(close_time=SWEPT)

    def get_workflow_handle(self, _: str, *, run_id: str, **__: Any) -> Any:
        async def result(**_: Any) -> Any:
            self.asked += 1
            if isinstance(found := self.results[int(run_id)], Exception):
                raise found
            return found

        return SimpleNamespace(result=result)


Read = Callable[[], Awaitable[Any]]


def a_read(*answers: Any) -> Read:
    """A read that gives these answers one after another, and then the last one again."""
    left = list(answers)

    async def read() -> Any:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return read


def metrics_of(
    client: Any,
    capacity: Read,
    orphans: Read,
    pools: Read | None = None,
    bookings: Read | None = None,
) -> InstallationMetrics:
    return InstallationMetrics(
        client,
        Sweep(),
        Reconcile(),
        capacity=capacity,
        orphans=orphans,
        pools=pools or a_read(()),
        bookings=bookings or a_read(BookingState()),
    )


async def served(metrics: InstallationMetrics) -> dict[tuple[str, ...], float]:
    await metrics.refresh()
    registry = CollectorRegistry()
    registry.register(metrics)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


@pytest.fixture(autouse=True)
def _always_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation_metrics, "READ_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(installation_metrics, "ORPHANS_INTERVAL_SECONDS", 0.0)


async def test_all_is_read() -> None:
    found = await served(metrics_of(Installation(schedule=scheduled(70)), a_read(STATE), a_read(4)))
    assert found["moorage_temporal_up",] == 1
    assert found["moorage_environments", "ready"] == 5
    assert found["moorage_environments", "orphaned"] == 4
    assert found["moorage_environments_stuck", "provisioning"] == 3
    assert found["moorage_task_queue_pollers", "moorage", "workflow"] == 1
    assert found["moorage_sweep_last_completed_timestamp_seconds",] == pytest.approx(SWEPT.timestamp())
    last = datetime.now(UTC).timestamp() - found["moorage_sweep_last_start_timestamp_seconds",]
    assert last == pytest.approx(70, abs=60)
    assert found["moorage_ends_frozen",] == 0
    assert found["moorage_host_capacity", "one", "cpu", "core"] == 16
    assert found["moorage_host_reserved", "one", "cpu", "core"] == 3.5
    assert found["moorage_host_reserved", "one", "memory", "byte"] == 2**30
    assert ("moorage_host_capacity", "one", "memory", "byte") not in found, "it has no limit"
    assert found["moorage_host_capacity_known", "one"] == 1
    assert found["moorage_host_capacity_known", "two"] == 0


async def test_warm_pools_are_shown_by_template() -> None:
    small = PoolCount(
        template="small", key="k", policy=WarmPool(ready=3), hosts=("one",),
        ready=2, making=1, wanted=3, taken=7, missed=4,
    )  # fmt: skip
    stopped = small.model_copy(update={"template": "ci", "ready": 0, "failures": MAX_FAILURES})
    metrics = metrics_of(Installation(), a_read(STATE), a_read(0), a_read((small, stopped)))
    found = await served(metrics)
    assert found["moorage_warm_pool_standbys", "ready", "small"] == 2
    assert found["moorage_warm_pool_standbys", "making", "small"] == 1
    assert found["moorage_warm_pool_wanted", "small"] == 3
    assert found["moorage_warm_pool_taken", "small"] == 7
    assert found["moorage_warm_pool_missed", "small"] == 4
    assert [found["moorage_warm_pool_stopped", name] for name in ("small", "ci")] == [0, 1]
    without = await served(metrics_of(Installation(), a_read(STATE), a_read(0)))
    assert not [name for name, *_ in without if "warm_pool" in name]


def a_row(**fields: Any) -> BookingRow:
    now = datetime.now(UTC)
    row = {"event": "kurs", "owner": "pia@example.com", "template": "small", "phase": BookingPhase.OPEN}
    return BookingRow(**row | {"seats": 10, "taken": 3, "starts_at": now, "ends_at": now} | fields)


async def read_state(rows: tuple[BookingRow, ...], pools: Read) -> BookingState:
    reader: Any = SimpleNamespace(list_open=a_read(rows))
    return await read_booking_state(reader, pools)


async def test_bookings_are_summed_up_by_template() -> None:
    pool = PoolCount(
        template="small", key="k", policy=WarmPool(ready=7), hosts=("one",),
        ready=4, making=2, wanted=7, booking="kurs",
    )  # fmt: skip
    pools = (
        pool,
        pool.model_copy(update={"booking": "lab", "ready": 1, "making": 0, "failures": MAX_FAILURES}),
        pool.model_copy(update={"booking": ""}),
    )
    rows = (
        a_row(),
        a_row(event="lab", seats=8, taken=1),
        a_row(event="later", template="medium", seats=5, taken=0),
        a_row(event="ends", phase=BookingPhase.ENDING),
    )
    state = await read_state(rows, a_read(pools))
    metrics = metrics_of(Installation(), a_read(STATE), a_read(0), bookings=a_read(state))
    found = await served(metrics)
    ours = {key: value for key, value in found.items() if key[0].startswith("moorage_booking")}
    assert ours == {
        ("moorage_booking_seats", "taken", "small"): 4,
        ("moorage_booking_seats", "free", "small"): 14,
        ("moorage_booking_seats", "taken", "medium"): 0,
        ("moorage_booking_seats", "free", "medium"): 5,
        ("moorage_booking_standbys", "ready", "small"): 5,
        ("moorage_booking_standbys", "making", "small"): 2,
        ("moorage_booking_standbys", "ready", "medium"): 0,
        ("moorage_booking_standbys", "making", "medium"): 0,
        ("moorage_booking_standbys_wanted", "small"): 14,
        ("moorage_booking_standbys_wanted", "medium"): 0,
        ("moorage_booking_standbys_stopped", "small"): 1,
        ("moorage_booking_standbys_stopped", "medium"): 0,
    }


async def test_without_a_booking_no_worker_is_asked_for_them() -> None:
    assert await read_state((), a_read(AssertionError("it was asked"))) == BookingState()
    ending = (a_row(phase=BookingPhase.ENDING),)
    assert await read_state(ending, a_read(AssertionError("it was asked"))) == BookingState()


async def test_without_a_worker_the_seats_of_bookings_are_served() -> None:
    state = await read_state((a_row(),), a_read(NoWorker("none")))
    metrics = metrics_of(Installation(), a_read(STATE), a_read(0), bookings=a_read(state))
    found = await served(metrics)
    assert found["moorage_booking_seats", "free", "small"] == 7
    assert not [name for name, *_ in found if name.startswith("moorage_booking_standbys")]


LOOKED = ReconcileResult(
    now=SWEPT,
    waiting=("life",),
    drifted=(
        DriftedLife(name="demo", life="life", found=(Deviation(step=StepName.GROUP, what="it is missing"),)),
    ),
    systems=(
        SurveyedSystem(system=System.CONTROL_PLANE),
        SurveyedSystem(system=System.HOST_CLUSTER, host="one", skipped=4),
    ),
)


async def test_the_last_reconcile_sweep_that_could_look_is_read_once() -> None:
    client = Installation(schedule=scheduled(70), polls={})
    client.results = (ReconcileResult(now=SWEPT, problem="no answer"), LOOKED)
    metrics = metrics_of(client, a_read(STATE), a_read(0))
    found = await served(metrics)
    assert found["moorage_reconcile_interval_seconds",] == 1800
    assert found["moorage_reconcile_last_start_timestamp_seconds",] > 0
    completed = (SWEPT - timedelta(minutes=1)).timestamp()
    assert found["moorage_reconcile_last_completed_timestamp_seconds",] == pytest.approx(completed)
    assert found["moorage_reconcile_last_found", "waiting"] == 1
    assert found["moorage_reconcile_last_found", "adopted"] == 0
    assert found["moorage_reconcile_skipped_sweeps", "", "control plane"] == 0
    assert found["moorage_reconcile_skipped_sweeps", "one", "host cluster"] == 4
    asked = client.asked
    assert (await served(metrics)) == found
    assert client.asked == asked + 3, "a result was read again, beside the three task queues"


async def test_a_reconcile_sweep_that_cannot_be_read_was_completed() -> None:
    client = Installation(schedule=scheduled(70))
    client.results = (DecodeError("The key is missing."),)
    found = await served(metrics_of(client, a_read(STATE), a_read(0)))
    assert found["moorage_reconcile_last_completed_timestamp_seconds",] == pytest.approx(SWEPT.timestamp())
    assert ("moorage_reconcile_last_found", "waiting") not in found


async def test_without_a_worker_all_else_is_served() -> None:
    polls: dict[Any, list[float]] = {}
    client = Installation(schedule=scheduled(70), polls=polls)
    found = await served(metrics_of(client, a_read(NoWorker("none")), a_read(0)))
    assert found["moorage_temporal_up",] == 1
    assert found["moorage_task_queue_pollers", "moorage", "workflow"] == 0
    assert found["moorage_environments", "ready"] == 5
    assert not [name for name, *_ in found if name.startswith("moorage_host")]


async def test_without_temporal_only_that_is_served() -> None:
    client = Installation(schedule=scheduled(70), error=DOWN)
    metrics = metrics_of(client, a_read(DOWN, STATE), a_read(DOWN, 1))
    found = await served(metrics)
    assert found["moorage_temporal_up",] == 0
    assert found["moorage_sweep_interval_seconds",] == 60
    assert not [name for name, *_ in found if name in ("moorage_environments", "moorage_task_queue_pollers")]
    client.error = None
    assert (await served(metrics))["moorage_temporal_up",] == 1


async def test_a_freeze_and_no_schedule() -> None:
    frozen = await served(
        metrics_of(Installation(schedule=scheduled(9000, paused=True)), a_read(STATE), a_read(0))
    )
    assert frozen["moorage_ends_frozen",] == 1
    none = await served(metrics_of(Installation(), a_read(STATE), a_read(0)))
    assert ("moorage_ends_frozen",) not in none
    assert none["moorage_temporal_up",] == 1


async def test_a_fault_in_one_read_leaves_the_others() -> None:
    found = await served(
        metrics_of(Installation(schedule=scheduled(70)), a_read(ValueError("a bug")), a_read(2))
    )
    assert found["moorage_environments", "orphaned"] == 2
    assert found["moorage_temporal_up",] == 1


async def test_a_slow_read_holds_up_no_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that the last values are served meanwhile, until they are too old."""
    monkeypatch.setattr(installation_metrics, "MAX_WAIT_SECONDS", 0.01)
    go_on, reads = asyncio.Event(), 0

    async def capacity() -> CapacityState:
        nonlocal reads
        reads += 1
        if reads > 1:
            await go_on.wait()
        return STATE

    metrics = metrics_of(Installation(schedule=scheduled(70)), capacity, a_read(0))
    while ("moorage_temporal_up",) not in await served(metrics):
        pass
    for _ in range(3):
        assert ("moorage_temporal_up",) in await served(metrics)
    assert reads == 2, "a second read was started beside the first"
    monkeypatch.setattr(installation_metrics, "MAX_AGE_SECONDS", -1.0)
    intervals = {("moorage_sweep_interval_seconds",), ("moorage_reconcile_interval_seconds",)}
    assert set(await served(metrics)) == intervals
    await metrics.stop()


async def test_orphans_are_those_whose_latest_life_is_one() -> None:
    phases = {"a": Phase.ORPHANED, "b": Phase.READY, "c": Phase.GONE, "d": Phase.ORPHANED}

    class Client:
        async def list_workflows(self, query: str, **_: Any) -> Any:
            assert WorkflowExecutionStatus.TERMINATED.name.title() in query
            for name in ("a", "b", "a", "c", "d", "gone"):
                yield SimpleNamespace(id=f"environment/{name}")

    class Reader:
        async def read(self, name: str) -> Any:
            return SimpleNamespace(view=SimpleNamespace(phase=phases[name])) if name in phases else None

    assert await count_orphans(Client(), Reader()) == 2  # type: ignore[arg-type]
