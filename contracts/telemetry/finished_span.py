"""One finished span, as the code that has made it describes it; names and results, no personal data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from contracts.telemetry.trace_context import TraceContext


class SpanKind(StrEnum):
    """The role of a span, in OpenTelemetry's terms."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    CONSUMER = "consumer"


@dataclass(frozen=True)
class Span:
    """A finished span. `trace` has its ids; `links` are spans of other traces that have led to this one.

    `error` is the type of the error that has ended it, in one word; "" for none.
    """

    name: str
    trace: TraceContext
    start_ns: int
    end_ns: int
    parent_id: str = ""
    kind: SpanKind = SpanKind.INTERNAL
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    links: tuple[TraceContext, ...] = ()
    error: str = ""
