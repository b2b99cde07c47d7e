"""Ensures that what a life does belongs to the trace of the call that has caused it, also after a replay."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    WorkflowFailureError,
    WorkflowUpdateHandle,
)
from temporalio.testing import WorkflowEnvironment

from contracts.environment.models import EnvironmentStatus, Phase, StepName
from contracts.environment_workflow import ActorInput, CollaboratorAction, CollaboratorInput, SweepUpdateInput
from contracts.telemetry.trace_context import (
    TRACEPARENT,
    TraceContext,
    current_trace,
    new_trace,
    parse_traceparent,
)
from tests.support.spans import Kept, kept_spans
from tests.support.workers import working
from tests.workflows.conftest import HURRY, LIFE, Bench, Life, a_start, until
from tests.workflows.scripted_activities import Script, fails_for_good
from tests.workflows.sweeping import seeded
from worker.tracing.interceptor import TraceInterceptor
from workflows.environment.workflow import EnvironmentWorkflow

pytestmark = pytest.mark.slow

BY_ALICE = ActorInput(actor="alice@example.com", life=LIFE)
MAKING, UNDOING = "make the environment", "undo the environment"


@pytest.fixture
def kept() -> Iterator[Kept]:
    with kept_spans() as kept:
        yield kept


@asynccontextmanager
async def traced(
    server: WorkflowEnvironment, *, cached: int = 1000, interceptor: Interceptor | None = None
) -> AsyncIterator[Bench]:
    """A bench whose client carries traces."""
    config = server.client.config(active_config=True)
    config["interceptors"] = [*([interceptor] if interceptor else []), TraceInterceptor()]
    client, script = Client(**config), Script()
    bench = Bench(client, f"traced-{new_trace().span_id}", script)
    async with working(client, bench.task_queue, script.activities(), max_cached_workflows=cached):
        yield bench


def a_call() -> TraceContext:
    """The trace of a call of the API from here on."""
    trace = replace(new_trace(), sampled=True)
    current_trace.set(trace)
    return trace


async def ready(life: Life) -> EnvironmentStatus:
    async def there() -> bool:
        return (await life.status()).phase is Phase.READY

    await until(there, "it became ready")
    return await life.status()


def steps(kept: Kept, verb: str, trace: TraceContext) -> list[str]:
    return [
        span.name.removesuffix(f".{verb}")
        for span in kept.spans
        if span.name.endswith(f".{verb}") and span.trace.trace_id == trace.trace_id
    ]


@pytest.mark.parametrize("cached", [1000, 0], ids=["cached", "replayed for each task"])
async def test_the_undoing_belongs_to_the_deletion(
    server: WorkflowEnvironment, kept: Kept, cached: int
) -> None:
    async with traced(server, cached=cached) as bench:
        request = a_call()
        life = await bench.begin()
        status = await ready(life)
        deletion = a_call()
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
        current_trace.set(None)
        end = await life.handle.result()
    [making], [undoing] = kept.named(MAKING), kept.named(UNDOING)
    assert (making.trace.trace_id, undoing.trace.trace_id) == (request.trace_id, deletion.trace_id)
    assert undoing.links == (making.trace,)
    assert parse_traceparent(status.traceparent) == making.trace
    assert parse_traceparent(end.traceparent) == undoing.trace
    [call] = kept.named("Temporal start and update request")
    assert making.parent_id == call.trace.span_id
    assert call.parent_id == request.span_id
    assert steps(kept, "ensure", request) == list(StepName)
    assert set(steps(kept, "remove", deletion)) == set(StepName) - {StepName.KUBECONFIG}
    parent_of = {span.name: span.parent_id for span in kept.spans}
    assert parent_of["project.ensure"] == making.trace.span_id
    assert parent_of["project.remove"] == undoing.trace.span_id
    assert making.start_ns < making.end_ns <= undoing.start_ns < undoing.end_ns
    ids = [span.trace.span_id for span in kept.spans]
    assert len(ids) == len(set(ids)), "a span was recorded twice"
    traces = {entry.action: entry.trace for entry in end.audit_log}
    assert traces["asked for it"] == request.trace_id
    assert traces["asked to delete it"] == deletion.trace_id
    assert {entry.trace for entry in life.script.accounts[0].audit_log} == set(traces.values())


async def test_a_failed_making_is_undone_in_its_own_trace(server: WorkflowEnvironment, kept: Kept) -> None:
    async with traced(server) as bench:
        bench.script.before[f"{StepName.VCLUSTER}.ensure"] = fails_for_good()
        request = a_call()
        life = await bench.begin()
        with pytest.raises(WorkflowFailureError):
            await life.handle.result()
    [making], [undoing] = kept.named(MAKING), kept.named(UNDOING)
    assert making.trace.trace_id == undoing.trace.trace_id == request.trace_id
    assert making.parent_id == undoing.parent_id
    assert making.error
    assert making.error == undoing.error
    [failed] = kept.named(f"{StepName.VCLUSTER}.ensure")
    assert failed.error == making.error


async def test_an_undoing_in_two_runs_is_a_whole_trace(server: WorkflowEnvironment, kept: Kept) -> None:
    """Ensures that the part that waits for a person is recorded when the next run takes over."""
    async with traced(server) as bench:
        bench.script.before["project.remove"] = fails_for_good()
        timeouts = HURRY.model_copy(update={"give_up_after": HURRY.first_pause * 3})
        a_call()
        life = await bench.begin(a_start("undone-in-two", timeouts=timeouts))
        await ready(life)
        deletion = a_call()
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)

        async def waits_for_a_person() -> bool:
            return (await life.status()).phase is Phase.TEARDOWN_INCOMPLETE

        await until(waits_for_a_person, "the teardown is incomplete")
        await life.handle.signal(EnvironmentWorkflow.renew)
        await until(lambda: recorded(kept, UNDOING), "the first part is recorded")
        del bench.script.before["project.remove"]
        await life.handle.execute_update(EnvironmentWorkflow.resume_teardown, BY_ALICE)
        await life.handle.result()
    first, second = kept.named(UNDOING)
    assert first.trace.trace_id == second.trace.trace_id == deletion.trace_id
    assert second.parent_id == first.trace.span_id


async def recorded(kept: Kept, name: str) -> bool:
    return bool(kept.named(name))


async def test_an_expiry_has_a_trace_with_links(server: WorkflowEnvironment, kept: Kept) -> None:
    async with traced(server) as bench:
        current_trace.set(None)
        handle = await seeded(bench.client, bench.task_queue, -10)
        sweep = a_call()
        start = (await handle.query(EnvironmentWorkflow.status)).environment
        update = SweepUpdateInput(
            actor="the sweep",
            life=start.mark.life,
            valid_until=(await handle.describe()).start_time + timedelta(days=1),
        )
        await handle.execute_update(EnvironmentWorkflow.expire, update)
        await handle.result()
    [undoing] = kept.named(UNDOING)
    assert undoing.trace.trace_id != sweep.trace_id
    assert undoing.trace.sampled
    assert not undoing.parent_id
    assert sweep.trace_id in {link.trace_id for link in undoing.links}


async def test_a_cancellation_in_temporal_has_a_trace(server: WorkflowEnvironment, kept: Kept) -> None:
    async with traced(server) as bench:
        request = a_call()
        life = await bench.begin()
        await ready(life)
        await life.handle.cancel()
        await life.handle.result()
    [undoing] = kept.named(UNDOING)
    assert undoing.trace.trace_id != request.trace_id
    assert [link.trace_id for link in undoing.links] == [request.trace_id]


async def test_a_change_of_access_belongs_to_its_call(server: WorkflowEnvironment, kept: Kept) -> None:
    async with traced(server) as bench:
        a_call()
        life = await bench.begin()
        await ready(life)
        change = a_call()
        ask = CollaboratorInput(
            actor="alice@example.com", action=CollaboratorAction.ADD, person="bob@example.com", life=LIFE
        )
        await life.handle.execute_update(EnvironmentWorkflow.change_collaborators, ask)

        async def applied() -> bool:
            return not (await life.status()).access.is_pending

        await until(applied, "the systems know bob")
    for name in ("access.group", "access.virtual-cluster"):
        [changed] = kept.named(name)
        assert changed.trace.trace_id == change.trace_id
    assert "bob" not in repr(kept.spans)


async def test_without_sampling_there_are_ids_and_no_spans(server: WorkflowEnvironment) -> None:
    with kept_spans(is_sampled=False) as kept:
        async with traced(server) as bench:
            request = new_trace()
            current_trace.set(request)
            life = await bench.begin()
            status = await ready(life)
            await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
            await life.handle.result()
    assert status.audit_log[0].trace == request.trace_id
    assert not kept.spans


class _Forging(Interceptor):
    """Puts nonsense where the trace is."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _ForgingCalls(next)


class _ForgingCalls(OutboundInterceptor):
    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[object]:
        input.start_workflow_input.headers = input.update_workflow_input.headers = {TRACEPARENT: NONSENSE}
        return await super().start_update_with_start_workflow(input)

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[object]:
        input.headers = {TRACEPARENT: NONSENSE}
        return await super().start_workflow_update(input)


NONSENSE = Payload(metadata={"encoding": b"binary/encrypted"}, data=b"\xff[[")


async def test_nonsense_in_a_header_stops_nothing(server: WorkflowEnvironment, kept: Kept) -> None:
    async with traced(server, interceptor=_Forging()) as bench:
        life = await bench.begin()
        status = await ready(life)
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
        end = await life.handle.result()
    assert parse_traceparent(status.traceparent), "it has no trace"
    assert end.phase is Phase.GONE
    assert {span.trace.trace_id for span in kept.named(MAKING)} == {status.audit_log[0].trace}
