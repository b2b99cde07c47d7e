"""The trace of each request: the caller's, or a new one, and a span for the request if it is recorded."""

from dataclasses import replace
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.telemetry.finished_span import SpanKind
from contracts.telemetry.trace_context import TRACEPARENT, current_trace, parse_traceparent
from starter.monitoring.metrics import NO_ROUTE, is_known_method
from worker.tracing.recorder import begin_trace, span

#: Addresses that probes ask every few seconds: their spans would hide the others.
_PROBES = frozenset({"/healthz", "/readyz"})
#: OpenTelemetry's word for a method that is not known; the name of such a span begins with "HTTP".
_OTHER_METHOD = "_OTHER"


class RequestTraces:
    """Middleware that sets `current_trace`. It leaves it set, for those who answer errors outside of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request by the application inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = parse_traceparent(Headers(scope=scope).get(TRACEPARENT))
        trace = begin_trace(caller)
        if scope["path"] in _PROBES:
            trace = replace(trace, sampled=False)
        current_trace.set(trace)
        # Anyone can send any word of 16 kB as a method: it would be in each name, and in each metric of them.
        method = scope["method"] if is_known_method(scope["method"]) else _OTHER_METHOD
        with span(method, SpanKind.SERVER, {"http.request.method": method}, is_root=caller is None) as opened:

            async def answered(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    opened.attributes["http.response.status_code"] = status
                    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                        opened.error = str(status)
                await send(message)

            try:
                await self._app(scope, receive, answered)
            finally:
                route = str(getattr(scope.get("route"), "path", NO_ROUTE))
                opened.name = f"{'HTTP' if method == _OTHER_METHOD else method} {route}"
                opened.attributes["http.route"] = route
