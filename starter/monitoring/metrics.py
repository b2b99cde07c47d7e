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
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.telemetry.metrics import (
    API_REQUEST_DURATION,
    BUILD_INFO,
    CALL_DURATION,
    CALLS,
    DROPPED_SPANS,
    ISSUERS_FILES_UNUSABLE,
    TEMPLATE_FILES_UNUSABLE,
    TOKENS_FILES_UNUSABLE,
    Metric,
    system_label,
)
from starter.monitoring.installation_metrics import CertificateCollector, InstallationMetrics
from worker.certificates import Certificates
from worker.tracing.recorder import dropped_spans

#: Label of requests that reach no route, such as those without a known token.
NO_ROUTE = "none"
#: Clients can send any word as a method; all others have the label "other".
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_INTERNAL_ERROR = 500
#: The share of a processor that makes content for scrapers. One content takes a fifth of a second where all
#: routes have been used, which the API's own answers wait for, and anyone who reaches the port can ask.
_SCRAPE_SHARE = 0.1


def is_known_method(method: str) -> bool:
    """Return whether the method has a name in metrics and traces."""
    return method in _METHODS


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
        for metric, count in (
            (TEMPLATE_FILES_UNUSABLE, templates),
            (TOKENS_FILES_UNUSABLE, tokens),
            (ISSUERS_FILES_UNUSABLE, issuers),
        ):
            if count is not None:
                Gauge(metric.name, metric.help, registry=self.registry).set_function(count)
        self.registry.register(_DroppedSpans())
        self._durations = self._histogram(API_REQUEST_DURATION)
        self._making = asyncio.Lock()
        self._may_make_at = float("-inf")
        self._next: asyncio.Task[bytes] | None = None
        self._calls = Counter(CALLS.name, CALLS.help, CALLS.labels, registry=self.registry)
        self._call_durations = self._histogram(CALL_DURATION)

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(
            metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=self.registry
        )

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one request."""
        method = scope["method"] if is_known_method(scope["method"]) else "other"
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
            return Response(await self._content(), media_type=CONTENT_TYPE_LATEST)

        return Starlette(routes=[Route("/metrics", metrics)])

    async def _content(self) -> bytes:
        """Return the metrics of now. Scrapers that wait at the same time get the same content."""
        if self._next is None:
            self._next = asyncio.create_task(self._make_content())
        return await asyncio.shield(self._next)

    async def _make_content(self) -> bytes:
        async with self._making:
            await asyncio.sleep(self._may_make_at - time.monotonic())
            # From here on, a scraper gets the content after this one.
            self._next = None
            # Use a thread, because the gauges may read files.
            content, took = await asyncio.to_thread(self._timed_content)
            self._may_make_at = time.monotonic() + took * (1 / _SCRAPE_SHARE - 1)
            return content

    def _timed_content(self) -> tuple[bytes, float]:
        """Return the metrics, and the seconds of processor that they took."""
        began = time.thread_time()
        return generate_latest(self.registry), time.thread_time() - began


class _DroppedSpans(Collector):
    """How many spans were lost, of the exporter of this process."""

    def collect(self) -> Iterable[CounterMetricFamily]:
        yield CounterMetricFamily(DROPPED_SPANS.name, DROPPED_SPANS.help, value=dropped_spans())


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
