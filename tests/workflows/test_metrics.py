"""Ensures that workflows count each event once, however often a worker replays them."""

import itertools
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig
from temporalio.testing import WorkflowEnvironment

from contracts.environment.models import Outcome, Phase, StepName
from contracts.environment_workflow import ActorInput
from contracts.rollout import RolloutOutcome, UpgradeResult
from tests.contracts.test_rollout import a_rollout
from tests.support.workers import working
from tests.workflows.conftest import LIFE, Bench, a_start, until
from tests.workflows.scripted_activities import Script, fails_for_good
from tests.workflows.test_rollout import Hands
from workflows.environment.workflow import EnvironmentWorkflow
from workflows.rollout import RolloutWorkflow
from workflows.telemetry.replay_detection import forget_occurrences

pytestmark = pytest.mark.slow

_NUMBERS = itertools.count(1)
BAD = UpgradeResult(outcome=RolloutOutcome.ROLLED_BACK)
UPGRADES = Hands(results={"env-1": BAD})
UPGRADES.goes_on.set()


class Counted:
    """What the worker of a bench has counted and measured."""

    def __init__(self) -> None:
        self.buffer = MetricBuffer(10_000)
        self.runtime = Runtime(telemetry=TelemetryConfig(metrics=self.buffer))

    def read(self) -> Counter[tuple[str, ...]]:
        """The number of values by metric and labels; the added amounts for counters."""
        found: Counter[tuple[str, ...]] = Counter()
        for update in self.buffer.retrieve_updates():
            if update.metric.name.startswith("moorage_"):
                own = {"template", "host", "outcome", "step", "action", "cause", "result"}
                labels = [f"{name}={value}" for name, value in update.attributes.items() if name in own]
                is_counter = update.metric.name.endswith("_total")
                found[update.metric.name, *sorted(labels)] += int(update.value) if is_counter else 1
        return found


@pytest.fixture
async def counted(server: WorkflowEnvironment) -> AsyncIterator[tuple[Bench, Counted]]:
    """A worker that keeps no workflow, so that it replays one for each of its tasks."""
    counted = Counted()
    client = await Client.connect(
        server.client.service_client.config.target_host,
        runtime=counted.runtime,
        data_converter=pydantic_data_converter,
    )
    bench = Bench(client, f"counted-{next(_NUMBERS)}", Script())
    activities = [*bench.script.activities(), UPGRADES.activity]
    async with working(client, bench.task_queue, activities, max_cached_workflows=0):
        yield bench, counted


async def test_a_whole_life(counted: tuple[Bench, Counted]) -> None:
    bench, meter = counted
    life = await bench.begin(a_start("counted-whole"))

    async def ready() -> bool:
        return (await life.status()).phase is Phase.READY

    await until(ready, "it became ready")
    await life.handle.execute_update(
        EnvironmentWorkflow.delete, ActorInput(actor="alice@example.com", life=LIFE)
    )
    assert (await life.handle.result()).outcome is Outcome.DELETED
    for _ in range(3):
        await life.status()
    found, where = meter.read(), ("host=one", "template=small")
    assert found["moorage_environments_requested_total", *where] == 1
    assert found["moorage_request_to_usable_seconds", *where] == 1
    assert found["moorage_request_to_ready_seconds", *where] == 1
    assert found["moorage_environments_ended_total", "host=one", "outcome=deleted", "template=small"] == 1
    for step in StepName:
        assert found["moorage_step_duration_seconds", "action=ensure", f"step={step}"] == 1
        removed = 0 if step is StepName.KUBECONFIG else 1
        assert found["moorage_step_duration_seconds", "action=remove", f"step={step}"] == removed
    assert not [name for name, *_ in found if name == "moorage_step_failures_total"]


async def test_a_step_that_fails(counted: tuple[Bench, Counted]) -> None:
    bench, meter = counted
    bench.script.before["namespace.ensure"] = fails_for_good()
    life = await bench.begin(a_start("counted-fails"))
    with pytest.raises(Exception, match="failed"):
        await life.handle.result()
    found = meter.read()
    failures = {name: count for name, count in found.items() if name[0] == "moorage_step_failures_total"}
    [(name, count)] = failures.items()
    assert name[1] == "action=ensure"
    assert name[3] == "step=namespace"
    assert count == 1
    assert found["moorage_environments_ended_total", "host=one", "outcome=failed", "template=small"] == 1
    assert not [name for name, *_ in found if name == "moorage_request_to_ready_seconds"]


@pytest.mark.parametrize(
    ("size", "stop_after", "result", "upgraded"),
    [(1, 1, "completed", 1), (2, 1, "failed", 1), (3, 2, "failed", 2), (3, 1, "stopped", 1)],
)
async def test_a_rollout(
    counted: tuple[Bench, Counted], size: int, stop_after: int, result: str, upgraded: int
) -> None:
    bench, meter = counted
    rollout = a_rollout(size).model_copy(update={"wave": 1, "stop_after": stop_after})
    handle = await bench.client.start_workflow(
        RolloutWorkflow.run, rollout, id=f"counted-{next(_NUMBERS)}", task_queue=bench.task_queue
    )
    await handle.result()
    await handle.query(RolloutWorkflow.status)
    found, name = meter.read(), "moorage_rollout_environments_total"
    assert found["moorage_rollouts_total", f"result={result}", "template=small"] == 1
    assert found[name, "outcome=upgraded", "template=small"] == upgraded
    assert found[name, "outcome=rolled back", "template=small"] == (size > 1)
    assert {key[0] for key in found} == {"moorage_rollouts_total", name}


async def test_a_cancelled_rollout(counted: tuple[Bench, Counted]) -> None:
    """Ensures that it is counted once, with none of the environments that no wave has reached."""
    bench, meter = counted
    handle = await bench.client.start_workflow(
        RolloutWorkflow.run, a_rollout(2), id=f"counted-{next(_NUMBERS)}", task_queue=f"{bench.task_queue}-no"
    )
    await handle.cancel()
    async with working(bench.client, f"{bench.task_queue}-no", [UPGRADES.activity], max_cached_workflows=0):
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    found = meter.read()
    assert found["moorage_rollouts_total", "result=cancelled", "template=small"] == 1
    assert sum(found.values()) <= 2, "one that may have been asked before"


async def test_a_query_counts_nothing_again_in_another_process(counted: tuple[Bench, Counted]) -> None:
    """Ensures that a worker that never saw the life counts nothing of it when it is asked for its status."""
    bench, meter = counted
    life = await bench.begin(a_start("counted-later"))

    async def ready() -> bool:
        return (await life.status()).phase is Phase.READY

    await until(ready, "it became ready")
    # A query may see it ready ahead of the task that makes it so; after an update, that task is over.
    by_alice = ActorInput(actor="alice@example.com", life=LIFE)
    await life.handle.execute_update(EnvironmentWorkflow.reindex, by_alice)
    assert meter.read()["moorage_request_to_ready_seconds", "host=one", "template=small"] == 1
    forget_occurrences()
    for _ in range(3):
        await life.status()
    assert not meter.read()
