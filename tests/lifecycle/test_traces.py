"""Ensures that a life is one trace from the request to each call, as a separate collector sees it."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from contracts.environment.models import StepName
from contracts.telemetry.trace_context import new_trace
from embedded.stack.stack import Part, Stack
from tests.lifecycle.environment_client import Asking
from tests.support.deadline import HANG
from tests.support.otlp import Collector, Received, collector
from tests.support.stack import hurried, unique

pytestmark = pytest.mark.slow

#: The kinds of OTLP.
SERVER, CLIENT, CONSUMER = 2, 3, 5


@pytest.fixture(scope="module")
def collected() -> Iterator[Collector]:
    with collector() as collected:
        yield collected


@pytest.fixture(scope="module")
async def traced(collected: Collector, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack that exports all its traces, and a worker and an API that name them in their logs."""
    options = hurried(environment=collected.environment | {"MOORAGE_LOG__FORMAT": "json"})
    async with Stack(tmp_path_factory.mktemp("traced"), options) as stack:
        yield stack


def parents(spans: list[Received]) -> dict[str, Received]:
    return {span.span_id: span for span in spans}


def path_of(span: Received, by_id: dict[str, Received]) -> list[str]:
    names = [span.name]
    while span.parent_id in by_id:
        span = by_id[span.parent_id]
        names.append(span.name)
    return names


async def found(collected: Collector, trace_id: str, name: str) -> Received:
    return await asyncio.to_thread(collected.wait_for, trace_id, name)


async def test_a_whole_life(traced: Stack, collected: Collector) -> None:
    name, caller = unique("traced"), new_trace()
    header = {"traceparent": caller.traceparent}
    async with Asking(traced) as asking:
        answer = await asking.call(
            "POST", "/environments", json={"name": name, "template": "small"}, headers=header
        )
        assert answer.status_code == 202, answer.text
        shown = await asking.until_phase(name, "ready")
        assert shown["trace"] == caller.trace_id
        assert shown["audit_log"][0]["trace"] == caller.trace_id

        making = await found(collected, caller.trace_id, "make the environment")
        spans = collected.of(caller.trace_id)
        by_id = parents(spans)
        assert len(by_id) == len(spans), "a span came twice"
        [request] = [span for span in spans if span.kind == SERVER]
        assert (request.name, request.parent_id) == ("POST /environments", caller.span_id)
        assert request.service == "moorage-api"
        assert request.attributes["http.response.status_code"] == 202
        assert path_of(making, by_id) == [
            "make the environment", "Temporal start EnvironmentWorkflow", "POST /environments",
        ]  # fmt: skip
        assert making.attributes["moorage.outcome"] == "ready"
        assert making.attributes["moorage.environment"] == name

        steps = [span for span in spans if span.name.endswith(".ensure")]
        assert {span.name.removesuffix(".ensure") for span in steps} == set(StepName)
        for step in steps:
            assert (step.kind, step.parent_id, step.service) == (CONSUMER, making.span_id, "moorage-worker")
            assert making.start <= step.start <= step.end <= making.end
            calls = [span for span in spans if span.parent_id == step.span_id]
            assert calls, f"{step.name} has made no call"
            assert {call.kind for call in calls} == {CLIENT}
        dangling = [span.name for span in spans if span.parent_id not in {*by_id, caller.span_id}]
        assert not dangling, f"without their parents: {dangling}"

        deletion = new_trace()
        header = {"traceparent": deletion.traceparent}
        assert (await asking.call("DELETE", f"/environments/{name}", headers=header)).status_code == 202
        gone = await asking.until_phase(name, "gone")
        assert gone["trace"] == deletion.trace_id
        undoing = await found(collected, deletion.trace_id, "undo the environment")
        assert undoing.links == ((caller.trace_id, making.span_id),)
        undone = [span for span in collected.of(deletion.trace_id) if span.name.endswith(".remove")]
        with_something_to_undo = set(StepName) - {StepName.KUBECONFIG}
        assert {span.name.removesuffix(".remove") for span in undone} == with_something_to_undo
        assert {span.parent_id for span in undone} == {undoing.span_id}
        assert not [span for span in collected.of(caller.trace_id) if span.name.endswith(".remove")]

        history = (await asking.call("GET", f"/environments/{name}/history")).json()
        traces = {line["action"]: line["trace"] for line in history["lives"][0]["audit_log"]}
        assert traces["asked for it"] == caller.trace_id
        assert traces["asked to delete it"] == deletion.trace_id
    everything = " ".join(span.text for span in collected.spans)
    secrets = [value for key, value in traced.env.items() if key.endswith(("TOKEN", "API_KEY", "KEYS"))]
    assert len(secrets) > 3
    for secret in (*secrets, "alice@example.com"):
        assert secret not in everything


async def test_logs_and_problems_name_the_trace(traced: Stack) -> None:
    caller = new_trace()
    async with Asking(traced) as asking:
        header = {"traceparent": caller.traceparent}
        answer = await asking.call("DELETE", f"/environments/{unique('none')}", headers=header)
        assert answer.status_code == 404
        assert answer.json()["trace"] == caller.trace_id
        other = await asking.call("GET", "/environments/none", headers={"traceparent": "00-hostile-01"})
        assert other.json()["trace"] not in ("", caller.trace_id)
    lines = log_of(traced, Part.API)
    [access] = [line for line in lines if line.get("trace_id") == caller.trace_id]
    assert (access["logger"], access["verdict"]) == ("moorage.security", "refused")


def log_of(stack: Stack, part: Part) -> list[dict[str, str]]:
    [file] = [file for file in Path(stack.folder, "logs").iterdir() if file.stem == part]
    return [json.loads(line) for line in file.read_text().splitlines() if line.startswith("{")]


async def accepted(call: Callable[[], Awaitable[httpx.Response]]) -> None:
    """Make the call, again while the answer of a busy machine is that it is to be made again."""
    async with asyncio.timeout(HANG):
        for _ in itertools.count():
            answer = await call()
            if answer.status_code != 503:
                break
            await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
    assert answer.status_code == 202, answer.text


async def test_a_hung_collector_stops_nothing(collected: Collector, tmp_path: Path) -> None:
    """Ensures that a life goes on while nothing answers at the endpoint, and that the processes end."""
    collected.hang.set()
    name = unique("hung")
    try:
        async with Stack(tmp_path, hurried(environment=collected.environment)) as stack:
            async with Asking(stack) as asking:
                await accepted(lambda: asking.request(name, key="once"))
                await asking.until_phase(name, "ready")
                await accepted(lambda: asking.delete(name))
                await asking.until_phase(name, "gone")
            began = time.monotonic()
        assert time.monotonic() - began < 30, "the stack did not end"
    finally:
        collected.hang.clear()
