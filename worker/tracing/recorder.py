"""The spans of a process: started and ended here, and handed to the recorder if the process has one.

Without a recorder nothing is measured. The context of the trace exists all the same (`current_trace`).
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from temporalio.exceptions import ApplicationError

from clients.transport.traced_requests import Ended, TracedRequest, trace_requests
from contracts.telemetry.finished_span import Span, SpanKind
from contracts.telemetry.trace_context import TRACEPARENT, TraceContext, current_trace, new_trace

#: Words in the description of a request that are, or may be, the address of a person.
_PERSON = re.compile(r"\S*@\S*")
_SERVER_ERROR = 500


class Recorder(Protocol):
    """Takes the finished spans of a process. It never blocks and never raises."""

    def is_sampled(self, trace_id: str) -> bool:
        """Return whether a trace that begins here is recorded."""

    def record(self, span: Span) -> None:
        """Take a finished span."""

    @property
    def dropped(self) -> int:
        """How many spans were lost."""


_recorder: Recorder | None = None


def set_recorder(recorder: Recorder | None) -> None:
    """Hand all spans of this process to this recorder from now on; None ends that."""
    global _recorder
    _recorder = recorder
    trace_requests(None if recorder is None else _trace)


def current_recorder() -> Recorder | None:
    """Return the recorder of this process, if it has one."""
    return _recorder


def dropped_spans() -> int:
    """Return how many spans of this process were lost."""
    return _recorder.dropped if _recorder else 0


def begin_trace(caller: TraceContext | None = None) -> TraceContext:
    """Return a new trace for a request from outside, or the caller's.

    This process decides whether it is recorded, and not the caller.
    """
    trace = caller or new_trace()
    return replace(trace, sampled=_recorder is not None and _recorder.is_sampled(trace.trace_id))


class OpenSpan:
    """A span in progress. Its name, attributes and error may still change."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.attributes: dict[str, str | int] = {}
        self.error = ""


@contextmanager
def span(
    name: str,
    kind: SpanKind,
    attributes: Mapping[str, str | int] | None = None,
    *,
    is_root: bool = False,
) -> Iterator[OpenSpan]:
    """Record the block as a span below the one that is in progress; `is_root`: as the first of its trace."""
    parent, opened = current_trace.get(), OpenSpan(name)
    if _recorder is None or parent is None or not parent.sampled:
        yield opened
        return
    opened.attributes.update(attributes or {})
    trace, started = parent.child(), time.time_ns()
    current_trace.set(trace)
    try:
        yield opened
    except BaseException as error:
        opened.error = opened.error or error_type(error)
        raise
    finally:
        current_trace.set(parent)
        _record(opened, trace, "" if is_root else parent.span_id, kind, started)


def error_type(error: BaseException) -> str:
    """Return the kind of an error in one word. Its text is not for a trace: it may name people."""
    if isinstance(error, ApplicationError) and error.type:
        return error.type
    return type(error).__name__


def _trace(request: TracedRequest) -> Ended:
    parent = current_trace.get()
    if parent is None or not parent.sampled:
        return _ignore
    trace, started = parent.child(), time.time_ns()
    request.headers = {TRACEPARENT: trace.traceparent}

    def ended(error: BaseException | None) -> None:
        opened = OpenSpan(f"{request.method} {request.system}".strip())
        opened.attributes = {
            "moorage.system": request.system,
            "moorage.operation": _PERSON.sub("(person)", request.operation),
            **({"http.request.method": request.method} if request.method else {}),
            **({"server.address": request.address} if request.address else {}),
            **({"http.response.status_code": request.status} if request.status else {}),
        }
        if request.status is not None and request.status >= _SERVER_ERROR:
            opened.error = str(request.status)
        elif error is not None:
            opened.error = error_type(error)
        _record(opened, trace, parent.span_id, SpanKind.CLIENT, started)

    return ended


def _ignore(_: BaseException | None) -> None:
    pass


def _record(opened: OpenSpan, trace: TraceContext, parent_id: str, kind: SpanKind, started: int) -> None:
    if _recorder is not None:
        _recorder.record(
            Span(
                name=opened.name,
                trace=trace,
                parent_id=parent_id,
                kind=kind,
                start_ns=started,
                end_ns=time.time_ns(),
                attributes=opened.attributes,
                error=opened.error,
            )
        )
