"""An endpoint for traces, as a collector has one: OTLP over HTTP in protobuf, as its specification says."""

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.deadline import HANG

PATH = "/v1/traces"


@dataclass(frozen=True)
class Received:
    """One span as it was received."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start: int
    end: int
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    is_error: bool
    #: Everything that came with it, to look for what must not be there.
    text: str


@dataclass
class Collector:
    """What was received. `hang` swallows requests, and `status` is the answer to all others."""

    url: str = ""
    status: int = 200
    hang: threading.Event = field(default_factory=threading.Event)
    spans: list[Received] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process export here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url}

    def of(self, trace_id: str) -> list[Received]:
        """The spans of one trace."""
        return [span for span in list(self.spans) if span.trace_id == trace_id]

    def wait_for(self, trace_id: str, name: str) -> Received:
        """A span of the trace with this name, once it is there."""
        ends = time.monotonic() + HANG
        while True:
            for span in self.of(trace_id):
                if span.name == name:
                    return span
            names = sorted({span.name for span in self.of(trace_id)})
            assert time.monotonic() < ends, f"no {name} in trace {trace_id}, but {names}"
            time.sleep(0.1)


@contextmanager
def collector() -> Iterator[Collector]:
    """Yield a collector that listens."""
    collected, released = Collector(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            collected.headers.append(dict(self.headers))
            if collected.hang.is_set():
                released.wait()
                return
            status = collected.status if self.path == PATH else 404
            if status == 200:
                assert self.headers["Content-Type"] == "application/x-protobuf"
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collected.spans += _spans(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collected.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield collected
    finally:
        released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _spans(request: ExportTraceServiceRequest) -> list[Received]:
    return [
        Received(
            service=_attributes(of_process.resource).get("service.name", ""),
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            kind=span.kind,
            start=span.start_time_unix_nano,
            end=span.end_time_unix_nano,
            attributes=_attributes(span),
            links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
            is_error=span.status.code == span.status.STATUS_CODE_ERROR,
            text=f"{of_process.resource} {span}",
        )
        for of_process in request.resource_spans
        for of_scope in of_process.scope_spans
        for span in of_scope.spans
    ]


def _attributes(of: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in of.attributes}
