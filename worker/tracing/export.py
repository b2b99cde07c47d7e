"""The export of spans by OpenTelemetry's SDK: OTLP over HTTP, in a separate thread, from a bounded queue.

This is the only module that imports the SDK, so a process without an endpoint does not load it.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags
from opentelemetry.trace import SpanKind as OtelKind

from contracts.telemetry.finished_span import Span, SpanKind
from contracts.telemetry.trace_context import TraceContext

#: Spans that wait for their export: some forty environments' worth, about 4 MB. Further ones are dropped.
MAX_WAITING = 4096
BATCH = 512
#: How long a span waits for others: short enough to look at a trace while its life goes on.
DELAY_SECONDS = 2.0
#: How long the end of a process waits for the last export.
CLOSING_SECONDS = 3.0
#: The log says at most this often that spans were dropped.
COMPLAINT_SECONDS = 60.0

_KINDS = {
    SpanKind.INTERNAL: OtelKind.INTERNAL,
    SpanKind.SERVER: OtelKind.SERVER,
    SpanKind.CLIENT: OtelKind.CLIENT,
    SpanKind.CONSUMER: OtelKind.CONSUMER,
}
_HASH_BYTES = 8

log = structlog.stdlib.get_logger("moorage.traces")


class SpanExport:
    """A `Recorder` that exports spans.

    `ratio` is the share of the traces that is recorded; `sampling_key` chooses them. `on_dropped` is called
    with the number of spans that are lost.
    """

    def __init__(
        self,
        service: str,
        *,
        version: str,
        installation: str,
        ratio: float,
        sampling_key: str,
        on_dropped: Callable[[int], None] = lambda _: None,
        exporter: SpanExporter | None = None,
    ) -> None:
        # The exporter logs each of its attempts. Lost spans are logged here.
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)
        # The names of OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
        self._resource = Resource(
            {
                "service.name": service,
                "service.version": version,
                "moorage.installation": installation,
            }
        ).merge(_resource_of_environment())
        self._scope = InstrumentationScope("moorage", version)
        self._bound = round(ratio * (1 << 8 * _HASH_BYTES))
        self._sampling_key = sampling_key.encode()
        self._on_dropped = on_dropped
        self._lock = threading.Lock()
        self._waiting = self._dropped = 0
        self._complained_at = float("-inf")
        self._processor = BatchSpanProcessor(
            _Counted(exporter or OTLPSpanExporter(), self._taken, self._drop),
            max_queue_size=MAX_WAITING,
            max_export_batch_size=BATCH,
            schedule_delay_millis=DELAY_SECONDS * 1000,
        )

    def is_sampled(self, trace_id: str) -> bool:
        """Return whether the trace is one of the share that is recorded: the same answer everywhere.

        A keyed hash decides, because callers choose their ids and could choose ones that are recorded.
        """
        keyed = hashlib.blake2b(trace_id.encode(), key=self._sampling_key, digest_size=_HASH_BYTES)
        return int.from_bytes(keyed.digest()) < self._bound

    def record(self, span: Span) -> None:
        """Take the span for export; drop it if too many wait."""
        with self._lock:
            is_full = self._waiting >= MAX_WAITING
            if not is_full:
                self._waiting += 1
        if is_full:
            self._drop(1)
        else:
            self._processor.on_end(self._readable(span))

    def close(self) -> None:
        """Export what waits, for `CLOSING_SECONDS` at most."""
        # In a thread, because the SDK waits for the timeout of a call that is in progress.
        closing = threading.Thread(target=self._processor.shutdown, daemon=True, name="end of traces")
        closing.start()
        closing.join(CLOSING_SECONDS)
        with self._lock:
            lost = self._waiting
        if lost:
            self._drop(lost)

    @property
    def dropped(self) -> int:
        """How many spans were lost."""
        return self._dropped

    def _taken(self, count: int) -> None:
        with self._lock:
            self._waiting -= count

    def _drop(self, count: int) -> None:
        now = time.monotonic()
        with self._lock:
            self._dropped += count
            is_said = now - self._complained_at < COMPLAINT_SECONDS
            if not is_said:
                self._complained_at = now
        self._on_dropped(count)
        if not is_said:
            log.warning("spans of traces are lost: the endpoint does not take them", dropped=self._dropped)

    def _readable(self, span: Span) -> ReadableSpan:
        return ReadableSpan(
            name=span.name,
            context=_context(span.trace),
            parent=_context(TraceContext(span.trace.trace_id, span.parent_id, span.trace.sampled))
            if span.parent_id
            else None,
            resource=self._resource,
            attributes=dict(span.attributes) | ({"error.type": span.error} if span.error else {}),
            links=[Link(_context(link)) for link in span.links],
            kind=_KINDS[span.kind],
            instrumentation_scope=self._scope,
            status=Status(StatusCode.ERROR) if span.error else Status(),
            start_time=span.start_ns,
            end_time=span.end_ns,
        )


class _Counted(SpanExporter):
    """Counts the spans that leave the queue, and those that are lost after that."""

    def __init__(
        self, exporter: SpanExporter, taken: Callable[[int], None], drop: Callable[[int], None]
    ) -> None:
        self._exporter = exporter
        self._taken = taken
        self._drop = drop

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._taken(len(spans))
            if result is not SpanExportResult.SUCCESS:
                self._drop(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _resource_of_environment() -> Resource:
    """Return the resource of the SDK and of the variables, without the SDK's placeholder for a name."""
    given = dict(Resource.create().attributes)
    if str(given.get("service.name", "")).startswith("unknown_service"):
        del given["service.name"]
    return Resource(given)


def _context(trace: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if trace.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), is_remote=False, trace_flags=flags)
