"""Ensures that a running stack serves the metrics that docs/reference/metrics.md lists, with true values."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import httpx
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from contracts.reconcile.outcomes import LifeOutcome
from embedded.faults import Fault, FaultKind
from embedded.host.tls import authority
from embedded.stack.stack import Part, Stack
from embedded.stack.state_dir import free_port
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import MAKING
from tests.support.metrics_reference import COMMON_LABELS, documented, lint
from tests.support.reconcile import sweep
from tests.support.stack import hurried, unique
from tests.support.stand_ins import TLS, set_faults

pytestmark = pytest.mark.slow

FAILS = ("namespace", 403)


@dataclass
class Served:
    """What the two processes serve after the lives below."""

    worker: Mapping[str, Metric]
    api: Mapping[str, Metric]
    names: tuple[str, ...]

    @property
    def ours(self) -> list[Metric]:
        found = [*self.worker.values(), *self.api.values()]
        # The times at which counters began are of Prometheus' library.
        return [
            family
            for family in found
            if family.name.startswith("moorage_") and not family.name.endswith("_created")
        ]

    def samples(self, name: str, **labels: str) -> list[Sample]:
        """The samples of this name that have these labels."""
        return [
            sample
            for family in (*self.worker.values(), *self.api.values())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def value(self, name: str, **labels: str) -> float:
        """The sum of these samples."""
        found = self.samples(name, **labels)
        assert found, f"{name} with {labels} is not served"
        return sum(sample.value for sample in found)


async def scrape(address: str) -> dict[str, Metric]:
    async with httpx.AsyncClient(trust_env=False, verify=TLS, timeout=30) as client:
        answer = await client.get(f"http://{address}/metrics")
    assert answer.status_code == 200
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


async def requested(asking: Asking, name: str) -> None:
    """Ask until it is accepted: a busy machine may answer that no worker answers."""
    for _ in range(10):
        if (answer := await asking.request(name, key=name)).status_code != 503:
            break
        await asyncio.sleep(1)
    assert answer.status_code == 202, answer.text


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """One life that is throttled once and ready, one that fails, one that Temporal was made to forget."""
    folder = tmp_path_factory.mktemp("metrics")
    worker, api = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    options = hurried(
        environment_of={
            Part.WORKER: {"MOORAGE_WORKER__METRICS": worker},
            Part.API: {"MOORAGE_API__METRICS": api},
        },
        environment={
            "MOORAGE_SWEEP__INTERVAL": "4s",
            "MOORAGE_CONTROL_PLANE__CA_FILE": str(authority(folder)),
        },
    )
    names = unique("counted"), unique("fails"), unique("kept")
    async with Stack(folder, options) as stack, Asking(stack) as asking:
        part, operation = MAKING["project"]
        throttle = Fault(operation=operation, kind=FaultKind.STATUS, status=429, retry_after=1, times=1)
        set_faults(stack.url(part), throttle)
        await requested(asking, names[0])
        await asking.until_phase(names[0], "ready")
        await asking.delete(names[0])
        await asking.until_phase(names[0], "gone")
        part, operation = MAKING[FAILS[0]]
        set_faults(
            stack.url(part), Fault(operation=operation, kind=FaultKind.STATUS, status=FAILS[1], times=1)
        )
        await requested(asking, names[1])
        await asking.until_phase(names[1], "gone")
        await requested(asking, names[2])
        await asking.until_phase(names[2], "ready")
        await sweep(asking)
        yield Served(await scrape(worker), await scrape(api), names)


def test_all_that_is_served_is_listed(served: Served) -> None:
    pages = documented()
    for family in served.ours:
        name = family.name + ("_total" if family.type == "counter" else "")
        assert name in pages, f"docs/reference/metrics.md does not list {name}"
        assert pages[name].type == family.type
        labels = {label for sample in family.samples for label in sample.labels}
        assert labels - COMMON_LABELS - {"le"} == set(pages[name].labels) - COMMON_LABELS, name


def test_all_that_is_listed_is_served(served: Served) -> None:
    there = {family.name + ("_total" if family.type == "counter" else "") for family in served.ours}
    rare = {name for name, row in documented().items() if row.is_rare}
    assert there | rare >= set(documented())
    assert rare == {
        *("moorage_payloads_refused_total", "moorage_leaver_sweeps_total"),
        *("moorage_reconcile_sweeps_total", "moorage_reconciled_total"),
        *("moorage_reconcile_last_completed_timestamp_seconds", "moorage_reconcile_last_found"),
        *("moorage_rollouts_total", "moorage_rollout_environments_total"),
        "moorage_reconcile_skipped_sweeps",
        # No template of this stack keeps a warm pool.
        *("moorage_warm_pool_standbys", "moorage_warm_pool_wanted", "moorage_warm_pool_taken"),
        *("moorage_warm_pool_missed", "moorage_warm_pool_stopped"),
        # Nothing is booked there.
        *("moorage_booking_seats", "moorage_booking_standbys"),
        *("moorage_booking_standbys_wanted", "moorage_booking_standbys_stopped"),
    }
    assert not served.samples("moorage_payloads_refused_total"), "all payloads are ours"


def test_names_follow_the_conventions(served: Served) -> None:
    for family in served.ours:
        assert not lint(family), lint(family)


def test_the_last_reconcile_sweep_is_reported(served: Served) -> None:
    assert served.value("moorage_reconcile_last_completed_timestamp_seconds") > 0
    found = served.samples("moorage_reconcile_last_found")
    assert {sample.labels["outcome"]: sample.value for sample in found} == dict.fromkeys(LifeOutcome, 0)
    systems = {
        (sample.labels["system"], sample.labels["host"]): sample.value
        for sample in served.samples("moorage_reconcile_skipped_sweeps")
    }
    assert systems == {("control plane", ""): 0, ("identity provider", ""): 0, ("host cluster", "local"): 0}


def test_no_label_names_an_environment_or_a_person(served: Served) -> None:
    """Ensures that the number of series does not grow with what people ask for."""
    values = {
        value
        for family in served.ours
        for sample in family.samples
        for label, value in sample.labels.items()
        if label not in ("le", "version")
    }
    assert not [value for value in values if "@" in value or any(name in value for name in served.names)]


def test_times_and_outcomes_of_lives(served: Served) -> None:
    host = served.samples("moorage_request_to_ready_seconds_count")[0].labels["host"]
    labels = {"template": "small", "host": host}
    assert served.value("moorage_environments_requested_total", **labels) == 3
    assert served.value("moorage_request_to_ready_seconds_count", **labels) == 2
    assert served.value("moorage_request_to_usable_seconds_count", **labels) == 2
    assert 1 < served.value("moorage_request_to_ready_seconds_sum", **labels) < 600
    assert served.value("moorage_environments_ended_total", outcome="deleted", **labels) == 1
    assert served.value("moorage_environments_ended_total", outcome="failed", **labels) == 1
    assert served.value("moorage_environments", phase="ready") == 1
    assert served.value("moorage_environments", phase="orphaned") == 0
    buckets = {sample.labels["le"] for sample in served.samples("moorage_request_to_ready_seconds_bucket")}
    assert {"1", "60", "1800", "+Inf"} <= {bucket.removesuffix(".0") for bucket in buckets}


def test_steps_failures_and_throttles(served: Served) -> None:
    assert served.value("moorage_step_duration_seconds_count", step="project", action="ensure") == 3
    assert served.value("moorage_step_duration_seconds_count", step="vcluster", action="remove") == 1
    failure = {"step": FAILS[0], "action": "ensure", "cause": "AccessDenied"}
    assert served.value("moorage_step_failures_total", **failure) == 1
    throttled = {"system": "control plane", "cause": "Throttled"}
    assert served.value("moorage_activity_retries_total", **throttled) == 1
    assert served.value("moorage_outside_calls_total", system="control plane", result="throttled") == 1
    assert served.value("moorage_outside_calls_total", system="host cluster", result="denied") >= 1
    assert served.value("moorage_outside_calls_total", system="identity provider", result="ok") >= 1
    assert not served.samples("moorage_outside_calls_total", system="other")


def test_state_of_the_installation(served: Served) -> None:
    assert served.value("moorage_temporal_up") == 1
    assert served.value("moorage_task_queue_pollers", task_queue="moorage", task_type="workflow") >= 1
    assert served.value("moorage_task_queue_pollers", task_queue="moorage-undo") >= 1
    assert served.value("moorage_sweep_interval_seconds") == 4
    assert served.value("moorage_sweeps_total", result="completed") >= 1
    last = served.value("moorage_sweep_last_completed_timestamp_seconds")
    assert 1.7e9 < last <= served.value("moorage_sweep_last_start_timestamp_seconds") + 600
    assert served.value("moorage_ends_frozen") == 0
    assert served.value("moorage_host_reserved", resource="environments", unit="environment") == 1
    assert served.value("moorage_host_reserved", resource="memory", unit="byte") > 1e8
    assert served.value("moorage_host_capacity_known") == 1
    for component in ("worker", "api"):
        assert served.value("moorage_build_info", component=component) == 1
    expiries = served.samples("moorage_certificate_expiry_timestamp_seconds")
    assert len(expiries) == 2, "one of each process"
    assert {sample.labels["certificate"] for sample in expiries} == {"control plane ca"}


def test_queue_latency_of_the_sdk(served: Served) -> None:
    """Ensures that the names that alerts and dashboards use are those of the SDK in use."""
    for kind in ("workflow_task", "activity"):
        assert served.samples(f"temporal_{kind}_schedule_to_start_latency_bucket", task_queue="moorage")
