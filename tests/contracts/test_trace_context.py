"""Ensures that a trace is read from texts that anyone can send, and derived where code is replayed."""

import pytest
from temporalio.api.common.v1 import Payload

from contracts.telemetry.trace_context import (
    TRACEPARENT,
    TraceContext,
    derived_trace,
    new_trace,
    parse_traceparent,
)
from contracts.temporal.trace_header import trace_in, with_trace

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f" \t00-{TRACE}-{SPAN}-03 ", True),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", True),
    ],
)
def test_what_is_a_traceparent(text: str, sampled: bool) -> None:
    assert parse_traceparent(text) == TraceContext(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-zz",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 500}",
        "".join("\N{FULLWIDTH DIGIT ZERO}" for _ in range(2)) + f"-{TRACE}-{SPAN}-01",
        "<script>",
    ],
)
def test_what_is_none(text: str | None) -> None:
    assert parse_traceparent(text) is None


def test_a_trace_survives_its_text() -> None:
    trace = new_trace()
    assert parse_traceparent(trace.traceparent) == trace
    assert trace != new_trace()
    child = trace.child()
    assert (child.trace_id, child.sampled) == (trace.trace_id, trace.sampled)
    assert child.span_id != trace.span_id


def test_what_is_derived_depends_on_its_seed_only() -> None:
    assert derived_trace("run/a") == derived_trace("run/a") != derived_trace("run/b")
    trace = new_trace()
    assert trace.derived_child("a") == trace.derived_child("a") != trace.derived_child("b")
    assert parse_traceparent(derived_trace("x").traceparent), "it is no valid trace"


def test_headers_of_temporal() -> None:
    """Ensures that foreign content of a header is no trace, and no error, which would stop a workflow."""
    trace = new_trace()
    headers = with_trace({"other": Payload(data=b"1")}, trace)
    assert trace_in(headers) == trace
    assert headers["other"] == Payload(data=b"1")
    assert with_trace({}, None) == {}
    foreign = [b"", b"\xff", b"1", b"{}", b"null", b'"00-"', b"[" * 100_000, trace.traceparent.encode()]
    for data in foreign:
        assert trace_in({TRACEPARENT: Payload(data=data)}) is None, data[:20]
