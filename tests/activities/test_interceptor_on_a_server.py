"""The edge under a real Temporal server: what a workflow sees of cancellations and stopped workers."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities import activity_context, interceptor
from activities.interceptor import ActivityInterceptor
from contracts.activities.steps import HeartbeatDetails
from contracts.environment.models import Receipt
from contracts.types.models import Frozen
from tests.support.deadline import HANG, NEVER, soon
from tests.support.temporal_server import running_temporal_server

_NUMBERS = itertools.count(1)


class Outcome(Frozen):
    """What the workflow saw of its activity."""

    receipt: Receipt | None = None
    error_type: str = ""


@workflow.defn(name="OneStep")
class OneStep:
    """Does one step, and asks it to stop when it is cancelled itself."""

    @workflow.run
    async def run(self, name: str) -> Outcome:
        step = workflow.start_activity(
            name,
            result_type=Receipt,
            start_to_close_timeout=timedelta(seconds=NEVER),
            heartbeat_timeout=timedelta(seconds=HANG),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=50)),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        try:
            return Outcome(receipt=await step)
        except ActivityError as error:
            cause = error.cause
            assert isinstance(cause, ApplicationError), f"the workflow sees {cause!r}"
            return Outcome(error_type=str(cause.type))


@dataclass
class Steps:
    """Steps for tests; `tries` counts how often one was started, `go_on` ends the waits."""

    tries: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    @activity.defn(name="call")
    async def call(self) -> Receipt:
        self.tries += 1
        activity_context.report_progress("a call")
        await asyncio.sleep(1.5)
        return Receipt(name="done")

    @activity.defn(name="wait")
    async def wait(self) -> Receipt:
        self.tries += 1

        async def look() -> str:
            return "" if self.go_on.is_set() else "pod pending: no CPU"

        await activity_context.wait_until(look)
        return Receipt(name="done")


@pytest.fixture(autouse=True)
def frequent_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hear of cancellations soon, though no worker here is taken for dead."""
    monkeypatch.setattr(interceptor, "HEARTBEATS_PER_TIMEOUT", HANG / 0.5)


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[Client]:
    async with running_temporal_server(pydantic_data_converter) as environment:
        yield environment.client


@asynccontextmanager
async def a_worker(client: Client, queue: str, steps: Steps) -> AsyncIterator[Worker]:
    async with Worker(
        client,
        task_queue=queue,
        workflows=[OneStep],
        workflow_runner=UnsandboxedWorkflowRunner(),
        activities=[steps.call, steps.wait],
        interceptors=[ActivityInterceptor()],
        graceful_shutdown_timeout=timedelta(seconds=NEVER),
        max_heartbeat_throttle_interval=timedelta(milliseconds=200),
        default_heartbeat_throttle_interval=timedelta(milliseconds=200),
    ) as worker:
        yield worker


async def begin(client: Client, queue: str, step: str) -> WorkflowHandle[OneStep, Outcome]:
    return await client.start_workflow(OneStep.run, step, id=f"{queue}-{step}", task_queue=queue)


async def said(handle: WorkflowHandle[OneStep, Outcome], text: str) -> None:
    """Wait until the activity's heartbeat details, as `describe` has them, say `text`."""
    for _ in range(int(HANG / 0.05)):
        description = await handle.describe()
        for pending in description.raw_description.pending_activities:
            if pending.HasField("heartbeat_details"):
                [waiting] = await handle._client.data_converter.decode(
                    pending.heartbeat_details.payloads, [HeartbeatDetails]
                )
                if text in waiting.waiting_for:
                    return
        await asyncio.sleep(0.05)
    raise AssertionError(f"no heartbeat said {text!r}")


def a_queue() -> str:
    return f"edge-{next(_NUMBERS)}"


@pytest.mark.slow
async def test_the_workflow_gets_the_receipt_of_a_call_that_it_cancelled(client: Client) -> None:
    queue = a_queue()
    async with a_worker(client, queue, Steps()):
        handle = await begin(client, queue, "call")
        await said(handle, "a call")
        await handle.cancel()
        assert (await handle.result()).receipt == Receipt(name="done")


async def test_the_workflow_sees_a_cancelled_wait_end_at_once_and_only_once(
    client: Client,
) -> None:
    queue, steps = a_queue(), Steps()
    async with a_worker(client, queue, steps):
        handle = await begin(client, queue, "wait")
        await said(handle, "no CPU")
        await handle.cancel()
        async with soon("a cancelled wait goes on"):
            outcome = await handle.result()
    assert outcome.error_type == "Interrupted"
    assert steps.tries == 1, "it was tried again after its cancellation"


async def test_a_stopping_worker_lets_go_of_waits_at_once_and_another_takes_them_up(client: Client) -> None:
    queue, first, second = a_queue(), Steps(), Steps()
    async with soon("it holds the worker until the grace is over"), a_worker(client, queue, first):
        handle = await begin(client, queue, "wait")
        await said(handle, "no CPU")
    second.go_on.set()
    async with a_worker(client, queue, second):
        outcome = await handle.result()
    assert outcome.receipt == Receipt(name="done", in_doubt=True)
    assert (first.tries, second.tries) == (1, 1)


@pytest.mark.slow
async def test_a_stopping_worker_finishes_its_calls(client: Client) -> None:
    queue, steps = a_queue(), Steps()
    async with a_worker(client, queue, steps):
        handle = await begin(client, queue, "call")
        await said(handle, "a call")
    async with a_worker(client, queue, steps):
        assert (await handle.result()).receipt == Receipt(name="done"), "its answer was lost"
    assert steps.tries == 1
