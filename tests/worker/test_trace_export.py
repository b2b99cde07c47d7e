"""Ensures that spans reach a real endpoint as its protocol says, and that no endpoint can stop or slow us."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog

from clients.transport.traced_requests import traced_request
from contracts.telemetry.finished_span import Span, SpanKind
from contracts.telemetry.trace_context import current_trace, new_trace
from tests.support.deadline import HANG
from tests.support.otlp import Collector, collector
from tests.support.spans import Kept
from worker.tracing import export, recorder
from worker.tracing.export import SpanExport
from worker.tracing.process import exported_traces
from worker.tracing.recorder import begin_trace, set_recorder, span

SAMPLED = replace(new_trace(), sampled=True)


@pytest.fixture(autouse=True)
def _afterwards_as_before() -> Iterator[None]:
    yield
    set_recorder(None)
    current_trace.set(None)


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collector() as collected:
        for name, value in collected.environment.items():
            monkeypatch.setenv(name, value)
        yield collected


def a_span(number: int = 0) -> Span:
    now = time.time_ns()
    return Span(name=f"span {number}", trace=SAMPLED.child(), start_ns=now, end_ns=now + 1)


def an_export(**more: object) -> SpanExport:
    options = {"version": "1", "installation": "k3x9q0vb", "ratio": 1.0, "sampling_key": "key"} | more
    return SpanExport("moorage-test", **options)  # type: ignore[arg-type]


def test_a_span_arrives_as_it_is(collected: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=planted")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
    link = new_trace()
    with exported_traces("moorage-test", "k3x9q0vb", "key"):
        current_trace.set(begin_trace())
        with span("outer", SpanKind.SERVER, {"http.route": "/x"}, is_root=True):
            with traced_request(
                "directory", "find user eve@example.com", "GET", "https://d.example/x"
            ) as request:
                request.status = 503
            with pytest.raises(KeyError), span("inner", SpanKind.INTERNAL):
                raise KeyError("eve@example.com")
        active = recorder.current_recorder()
        assert active
        active.record(replace(a_span(), links=(link,)))
    assert recorder.current_recorder() is None
    by_name = {each.name: each for each in collected.spans}
    outer, call_span, inner = by_name["outer"], by_name["GET directory"], by_name["inner"]
    assert (outer.service, outer.parent_id, outer.kind) == ("moorage-test", "", 2)
    assert "staging" in outer.text
    assert "k3x9q0vb" in outer.text
    assert {call_span.parent_id, inner.parent_id} == {outer.span_id}
    assert {call_span.trace_id, inner.trace_id} == {outer.trace_id}
    assert call_span.attributes == {
        "moorage.system": "directory",
        "moorage.operation": "find user (person)",
        "http.request.method": "GET",
        "server.address": "d.example",
        "http.response.status_code": 503,
        "error.type": "503",
    }
    assert call_span.is_error
    assert inner.is_error
    assert inner.attributes == {"error.type": "KeyError"}
    assert by_name["span 0"].links == ((link.trace_id, link.span_id),)
    assert outer.start <= inner.start <= inner.end <= outer.end
    assert not any("eve" in each.text or "planted" in each.text for each in collected.spans)
    assert collected.headers[0]["x-token"] == "planted"


def test_a_request_carries_its_span_to_the_system() -> None:
    kept = Kept()
    set_recorder(kept)
    current_trace.set(SAMPLED)
    with traced_request("control plane", "create project demo", "POST", "https://c.example") as request:
        assert request.headers["traceparent"].startswith(f"00-{SAMPLED.trace_id}-")
    [made] = kept.spans
    assert request.headers["traceparent"] == made.trace.traceparent
    with pytest.raises(OSError, match="cut"), traced_request("control plane", "read", "GET"):
        raise OSError("cut")
    assert kept.spans[1].error == "OSError"


def test_nothing_is_recorded_of_what_is_not_sampled() -> None:
    kept = Kept(is_sampled=False)
    set_recorder(kept)
    trace = begin_trace(SAMPLED)
    assert not trace.sampled, "a caller decides what is recorded"
    assert trace.trace_id == SAMPLED.trace_id
    current_trace.set(trace)
    with span("outer", SpanKind.SERVER), traced_request("directory", "find") as request:
        assert not request.headers
        assert current_trace.get() == trace
    assert not kept.spans


def test_without_a_recorder_there_is_a_trace_and_nothing_else() -> None:
    trace = begin_trace()
    assert not trace.sampled
    current_trace.set(replace(trace, sampled=True))
    with span("outer", SpanKind.SERVER), traced_request("directory", "find") as request:
        assert not request.headers


async def test_spans_of_two_tasks_do_not_mix() -> None:
    kept = Kept()
    set_recorder(kept)
    current_trace.set(SAMPLED)
    both_in = asyncio.Barrier(2)

    async def one(name: str) -> None:
        async with asyncio.timeout(HANG):
            with span(name, SpanKind.INTERNAL):
                await both_in.wait()
                with span(f"{name} inner", SpanKind.INTERNAL):
                    await both_in.wait()

    await asyncio.gather(one("a"), one("b"))
    by_name = {each.name: each for each in kept.spans}
    for name in ("a", "b"):
        assert by_name[name].parent_id == SAMPLED.span_id
        assert by_name[f"{name} inner"].parent_id == by_name[name].trace.span_id


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_the_share_that_is_recorded(ratio: float) -> None:
    exporting = an_export(ratio=ratio)
    try:
        count = sum(exporting.is_sampled(new_trace().trace_id) for _ in range(4000))
        assert abs(count / 4000 - ratio) < 0.05
        if ratio == 1.0:
            assert exporting.is_sampled("f" * 32)
    finally:
        exporting.close()


def test_a_caller_cannot_choose_a_trace_that_is_recorded() -> None:
    """Ensures that no part of an id decides, that another key decides otherwise, and processes agree."""
    exports = [an_export(ratio=0.5, sampling_key=key) for key in ("key", "key", "other")]
    try:
        ids = [f"{number:032x}" for number in range(1, 200)] + [
            f"{number:x}".ljust(32, "0") for number in range(1, 200)
        ]
        here, there, otherwise = ([each.is_sampled(id) for id in ids] for each in exports)
        assert here == there
        assert here != otherwise
        for half in (here[:199], here[199:]):
            assert 60 < sum(half) < 140
    finally:
        for each in exports:
            each.close()


def test_a_dead_endpoint_costs_spans_only(collected: Collector) -> None:
    """Ensures that refused spans are dropped and counted, and that the log says so once."""
    collected.status = 400
    dropped: list[int] = []
    exporting = an_export(on_dropped=dropped.append)
    with structlog.testing.capture_logs() as said:
        for number in range(export.BATCH * 2):
            exporting.record(a_span(number))
        exporting.close()
    assert exporting.dropped == sum(dropped) == export.BATCH * 2
    assert [line["log_level"] for line in said] == ["warning"]


@pytest.mark.slow
def test_a_hung_endpoint_ends_in_time(collected: Collector) -> None:
    """Ensures that the queue is bounded, that its caller never waits, and that the end comes."""
    collected.hang.set()
    exporting = an_export()
    started = time.process_time()
    for number in range(export.MAX_WAITING + 1000):
        exporting.record(a_span(number))
    assert exporting.dropped == 1000
    assert time.process_time() - started < HANG
    began = time.monotonic()
    exporting.close()
    assert time.monotonic() - began < export.CLOSING_SECONDS + HANG / 2
    assert exporting.dropped == export.MAX_WAITING + 1000


def test_a_span_after_the_end_is_no_error(collected: Collector) -> None:
    exporting = an_export()
    exporting.close()
    exporting.record(a_span())
    assert not collected.spans
