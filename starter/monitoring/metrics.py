"""Prometheus metrics of the API process, served on a separate address and never on the API's own.

Labels have few values: routes are templates such as `/environments/{name}`, without the API's root, and
methods are known ones.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.metrics import BUILD_INFO, CALL_DURATION, CALLS, system_label
from starter.monitoring.installation_metrics import CertificateCollector, InstallationMetrics
from worker.certificates import Certificates
from worker.tracing.recorder import dropped_spans

#: From one hit of a cache to the longest wait for a worker.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
#: Label of requests that reach no route, such as those without a known token.
NO_ROUTE = "none"
#: Clients can send any word as a method; all others have the label "other".
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_INTERNAL_ERROR = 500


class ApiMetrics:
    """The metrics of one API process, in a separate registry.

    `templates`, `tokens` and `issuers` return the number of files with problems, and may read the files
    again.
    """

    def __init__(
        self,
        version: str,
        templates: Callable[[], int],
        tokens: Callable[[], int],
        issuers: Callable[[], int] | None = None,
        installation: InstallationMetrics | None = None,
    ) -> None:
        self.registry = CollectorRegistry()
        Info(BUILD_INFO.name.removesuffix("_info"), BUILD_INFO.help, registry=self.registry).info(
            {"component": "api", "version": version}
        )
        self._installation = installation
        if installation is not None:
            self.registry.register(installation)
        for name, count in (
            ("moorage_template_files_unusable", templates),
            ("moorage_tokens_files_unusable", tokens),
            ("moorage_issuers_files_unusable", issuers),
        ):
            if count is None:
                continue
            Gauge(
                name,
                "Files with problems since their last change; the last valid content is in use.",
                registry=self.registry,
            ).set_function(count)
        self.registry.register(_DroppedSpans())
        self._durations = Histogram(
            "moorage_api_request_duration_seconds",
            "Time from the head of a request to the head of its response.",
            ("method", "route", "status"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._calls = Counter(CALLS.name, CALLS.help, CALLS.labels, registry=self.registry)
        self._call_durations = Histogram(
            CALL_DURATION.name,
            CALL_DURATION.help,
            CALL_DURATION.labels,
            buckets=CALL_DURATION.buckets,
            registry=self.registry,
        )

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one request."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = str(getattr(scope.get("route"), "path", NO_ROUTE))
        self._durations.labels(method, route, str(status)).observe(seconds)

    def observe_call(self, system: str, result: str, seconds: float) -> None:
        """Count and measure a call to an outside system."""
        label = system_label(system)
        self._calls.labels(label, result).inc()
        self._call_durations.labels(label).observe(seconds)

    def serve_certificates(self, certificates: Certificates) -> None:
        """Serve when each certificate of the process expires."""
        self.registry.register(CertificateCollector(certificates))

    def app(self) -> Starlette:
        """Return the application that answers `/metrics`, for a server on the separate address."""

        async def metrics(_: Request) -> Response:
            if self._installation is not None:
                await self._installation.refresh()
            # Use a thread, because the gauges may read files.
            content = await asyncio.to_thread(generate_latest, self.registry)
            return Response(content, media_type=CONTENT_TYPE_LATEST)

        return Starlette(routes=[Route("/metrics", metrics)])


class _DroppedSpans(Collector):
    """How many spans were lost, of the exporter of this process."""

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "moorage_trace_spans_dropped", "Spans of traces that were not exported.", value=dropped_spans()
        )


class RequestTimes:
    """Middleware that measures the time until a response starts. Streams count from then on as answered."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request by the application inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, has_started = time.perf_counter(), False

        async def started(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start" and not has_started:
                has_started = True
                self._metrics.observe(scope, message["status"], time.perf_counter() - began)
            await send(message)

        try:
            await self._app(scope, receive, started)
        except Exception:
            if not has_started:
                # The server answers with this status.
                self._metrics.observe(scope, _INTERNAL_ERROR, time.perf_counter() - began)
            raise
