"""The trace in the headers of Temporal's requests and events: in clear, because its ids are no secret."""

import json
from collections.abc import Mapping

from temporalio.api.common.v1 import Payload

from contracts.telemetry.trace_context import TRACEPARENT, TraceContext, parse_traceparent


def with_trace(headers: Mapping[str, Payload], trace: TraceContext | None) -> Mapping[str, Payload]:
    """Return the headers with the trace, if there is one."""
    if trace is None:
        return headers
    data = json.dumps(trace.traceparent).encode()
    return {**headers, TRACEPARENT: Payload(metadata={"encoding": b"json/plain"}, data=data)}


def trace_in(headers: Mapping[str, Payload]) -> TraceContext | None:
    """Return the trace that the headers name; None without one, or for content that is not ours."""
    payload = headers.get(TRACEPARENT)
    if payload is None:
        return None
    try:
        text = json.loads(payload.data)
    except (ValueError, RecursionError):
        return None
    return parse_traceparent(text) if isinstance(text, str) else None
