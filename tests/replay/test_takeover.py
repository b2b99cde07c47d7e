"""Ensures that a worker whose steps were changed takes over what an earlier one began, however long ago.

Nothing of an earlier worker is in memory then: the workflow's code is replayed with what is new in it, and
goes on. What may change freely is changed here in all steps at once: bodies, receipts, timeouts, summaries.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from contracts.activities.steps import EnsureInput
from contracts.environment.models import Outcome, Phase, Receipt, StepName
from contracts.environment_workflow import ActorInput, ExtendInput
from embedded.stack.temporal_server import extra_arguments, find_server
from tests.support.stack import unique
from tests.support.workers import working
from tests.workflows.conftest import LIFE, Bench, Life, a_start, until
from tests.workflows.scripted_activities import Script, waits
from tests.workflows.sweeping import lives_by
from workflows import step_executor, steps
from workflows.environment.workflow import EnvironmentWorkflow

pytestmark = pytest.mark.slow

BY_ALICE = ActorInput(actor="alice@example.com", life=LIFE)
MONTHS = timedelta(days=120)
#: In seconds; it takes less than one.
SKIPPED_WITHIN = 60


class Changed(Script):
    """The steps of a later version: they keep another receipt."""

    def _ensure(self, step: StepName) -> Callable[..., Any]:
        @activity.defn(name=f"{step}.ensure")
        async def ensure(input: EnsureInput) -> Receipt:
            effect = (lambda: None) if step is StepName.KUBECONFIG else (lambda: self.world.add(step))
            await self._play(f"{step}.ensure", effect)
            return Receipt(name=input.environment.derived_name, reference="of a later version")

        return ensure


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Script], Changed]:
    """Makes the code that runs from now on that of a later version, over the same pretended world."""

    def change(earlier: Script) -> Changed:
        later = tuple(
            dataclasses.replace(
                step,
                summary=f"later: {step.summary}",
                attempt_timeout=step.attempt_timeout * 2,
                timeout=step.timeout * 2,
            )
            for step in steps.STEPS
        )
        monkeypatch.setattr(steps, "STEPS", later)
        monkeypatch.setattr(step_executor, "INSPECT_TIMEOUT", step_executor.INSPECT_TIMEOUT * 2)
        return Changed(world=earlier.world)

    return change


@asynccontextmanager
async def worker(client: Client, queue: str, script: Script) -> AsyncIterator[None]:
    """A worker that remembers no workflow: each task replays the whole history."""
    async with working(client, queue, script.activities(), max_cached_workflows=0):
        yield


async def reaches(life: Life, phase: Phase) -> None:
    async def there() -> bool:
        return (await life.status()).phase is phase

    await until(there, f"it became {phase}")


@pytest.mark.parametrize("step", [StepName.PROJECT, StepName.VCLUSTER, StepName.IMPORT])
async def test_a_provisioning_half_done(
    temporal_server: WorkflowEnvironment, changed: Callable[[Script], Changed], step: StepName
) -> None:
    earlier, queue = Script(), unique(f"takeover-{step}")
    earlier.before[f"{step}.ensure"] = waits
    async with worker(temporal_server.client, queue, earlier):
        life = await Bench(temporal_server.client, queue, earlier).begin(a_start(unique("half")))
        await earlier.started[f"{step}.ensure"].wait()
    done = [call for call in earlier.calls if call != f"{step}.ensure"]
    later = changed(earlier)
    async with worker(temporal_server.client, queue, later):
        await reaches(life, Phase.READY)
        assert [*done, *later.calls] == [f"{each}.ensure" for each in StepName], (
            "a step was left out, or done again"
        )
        receipts = (await life.status()).receipts
        assert receipts[step].reference == "of a later version"
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
        assert (await life.handle.result()).outcome is Outcome.DELETED
    assert later.undone() == [each for each in reversed(StepName) if each is not StepName.KUBECONFIG]
    assert not later.world


async def test_an_environment_that_is_months_old(changed: Callable[[Script], Changed]) -> None:
    async with await WorkflowEnvironment.start_time_skipping_v2(
        dev_server_existing_path=find_server(),
        data_converter=pydantic_data_converter,
        dev_server_extra_args=[
            *extra_arguments(), "--dynamic-config-value", "frontend.WorkflowTimeSkippingEnabled=true",
        ],
    ) as server:  # fmt: skip
        earlier, queue = Script(), "months"
        async with worker(server.client, queue, earlier):
            start = lives_by(
                "old", timedelta(days=365), maximum="500d", extension={"times": 3, "total": "30d"}
            )
            life = await Bench(server.client, queue, earlier).begin(start)
            await reaches(life, Phase.READY)
            # With a worker there: the server skips no time while a task of the run is left to do.
            async with asyncio.timeout(SKIPPED_WITHIN):
                await server.fast_forward(life.handle, MONTHS)
        later = changed(earlier)
        async with worker(server.client, queue, later):
            extension = ExtendInput(actor=BY_ALICE.actor, life=LIFE, by=timedelta(days=7))
            await life.handle.execute_update(EnvironmentWorkflow.extend, extension)
            await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
            status = await life.handle.result()
    assert status.outcome is Outcome.DELETED
    assert status.ended_at
    assert status.ended_at - status.requested_at >= MONTHS, "time was not skipped"
    assert status.certificate
    assert status.certificate.nothing_left
    assert not later.world
