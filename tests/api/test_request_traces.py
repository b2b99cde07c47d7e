"""Ensures that each request has a trace, the caller's if it names one, and that problems show it."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from contracts.telemetry.finished_span import SpanKind
from contracts.telemetry.trace_context import current_trace, new_trace, parse_traceparent
from starter.api import health
from tests.api.application import DEVELOPER, an_app, bearer
from tests.support.spans import Kept, kept_spans

HOSTILE = ("x", "00-hostile-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "{{7*7}}", "é" * 400)


def http(app: object) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://api")


@pytest.fixture
def kept() -> Iterator[Kept]:
    with kept_spans() as kept:
        yield kept


async def test_a_problem_names_the_trace_of_its_caller(tmp_path: Path) -> None:
    caller = new_trace()
    async with http(await an_app(tmp_path)) as api:
        for headers in ({}, bearer(DEVELOPER)):
            answer = await api.get("/api/v1/nothing", headers=headers | {"Traceparent": caller.traceparent})
            assert answer.status_code in (401, 404)
            assert answer.json()["trace"] == caller.trace_id


async def test_a_request_without_a_valid_trace_has_one_of_its_own(tmp_path: Path) -> None:
    async with http(await an_app(tmp_path)) as api:
        seen = set()
        for value in (None, *HOSTILE):
            headers = [(name.encode(), text.encode()) for name, text in bearer(DEVELOPER).items()]
            headers += [(b"Traceparent", value.encode())] if value else []
            trace = (await api.get("/api/v1/nothing", headers=headers)).json()["trace"]
            assert re.fullmatch("[0-9a-f]{32}", trace), trace
            seen.add(trace)
    assert len(seen) == len(HOSTILE) + 1, "two requests share a trace"


async def test_a_failure_names_its_trace_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that the answer to a mistake of ours has the trace: it is made outside of the middleware."""
    app = await an_app(tmp_path)
    monkeypatch.setattr(app.state, "catalogue", None)
    caller = new_trace()
    async with http(app) as api:
        headers = bearer(DEVELOPER) | {"Traceparent": caller.traceparent}
        answer = await api.get("/api/v1/templates", headers=headers)
    assert answer.status_code == 500
    assert answer.json()["trace"] == caller.trace_id


async def test_a_span_of_a_request(tmp_path: Path, kept: Kept) -> None:
    """Ensures that a span has the route and not the address, and nothing of query, headers or person."""
    caller = new_trace()
    async with http(await an_app(tmp_path)) as api:
        headers = bearer(DEVELOPER) | {"Traceparent": caller.traceparent}
        await api.get("/api/v1/templates/planted?secret=planted", headers=headers)
        await api.get("/api/v1/templates", headers={})
    first, second = kept.spans
    assert (first.name, first.kind) == ("GET /templates/{name}", SpanKind.SERVER)
    assert first.trace.trace_id == caller.trace_id
    assert first.parent_id == caller.span_id
    assert first.attributes == {
        "http.request.method": "GET",
        "http.route": "/templates/{name}",
        "http.response.status_code": 404,
    }
    assert not first.error
    assert (second.name, second.parent_id) == ("GET none", "")
    assert second.attributes["http.response.status_code"] == 401
    text = repr(kept.spans)
    for hidden in ("planted", DEVELOPER, "dev@example.com"):
        assert hidden not in text


@pytest.mark.parametrize("method", ["X" * 15_000, "LIST", "TRACE"])
async def test_any_word_as_a_method(tmp_path: Path, kept: Kept, method: str) -> None:
    """Ensures that no caller makes names of spans, which are few, or large ones."""
    async with http(await an_app(tmp_path)) as api:
        await api.send(httpx.Request(method, "http://api/api/v1/templates"))
    [span] = kept.spans
    assert span.name.startswith("HTTP ")
    assert span.attributes["http.request.method"] == "_OTHER"


async def test_callers_do_not_decide_what_is_recorded(tmp_path: Path) -> None:
    with kept_spans(is_sampled=False) as kept:
        asked = replace(new_trace(), sampled=True)
        async with http(await an_app(tmp_path)) as api:
            await api.get("/api/v1/templates", headers={"Traceparent": asked.traceparent})
        current = current_trace.get()
    assert not kept.spans
    assert parse_traceparent(current.traceparent if current else None) != asked


async def test_probes_are_not_recorded(tmp_path: Path, kept: Kept) -> None:
    paths = [route.path for route in health.router.routes]  # type: ignore[attr-defined]
    assert paths == ["/healthz", "/readyz"]
    async with http(await an_app(tmp_path)) as api:
        await api.get("/healthz")
        await api.get("/readyz")
    assert not [span for span in kept.spans if span.kind is SpanKind.SERVER]


async def test_lost_spans_are_a_metric(tmp_path: Path, kept: Kept) -> None:
    kept.dropped = 7
    app = await an_app(tmp_path)
    async with http(app.state.metrics.app()) as metrics:
        assert "moorage_trace_spans_dropped_total 7.0" in (await metrics.get("/metrics")).text
