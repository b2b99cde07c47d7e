"""The place of the running code in a trace: W3C Trace Context, of which all but `traceparent` is left out.

It exists whether or not spans are exported, so that logs, problems and records can name the trace.
"""

import hashlib
import os
import re
from contextvars import ContextVar
from dataclasses import dataclass, replace

#: The name of the header in HTTP, and of the header in Temporal's requests and events.
TRACEPARENT = "traceparent"
#: The longest text that is read. A later version of the format may add parts, but not thousands of them.
_MAX_LENGTH = 256
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_VERSION = "ff"
_SAMPLED = 1


@dataclass(frozen=True)
class TraceContext:
    """A trace, the span in it that is in progress, and whether the spans of the trace are recorded."""

    trace_id: str
    span_id: str
    sampled: bool = False

    @property
    def traceparent(self) -> str:
        """The header that makes the receiver's spans children of this span."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    def child(self) -> "TraceContext":
        """Return the context of a new span below this one."""
        return replace(self, span_id=os.urandom(8).hex())

    def derived_child(self, seed: str) -> "TraceContext":
        """Return the context of a span whose id depends on the seed only, for code that is replayed."""
        return replace(self, span_id=_digest(seed)[32:48])


#: The span that is in progress in this task; None where there is none.
current_trace: ContextVar[TraceContext | None] = ContextVar("current_trace", default=None)


def current_trace_id() -> str:
    """Return the id of the trace that is in progress in this task, or ""."""
    trace = current_trace.get()
    return trace.trace_id if trace else ""


def new_trace() -> TraceContext:
    """Return the context of a new trace."""
    return TraceContext(os.urandom(16).hex(), os.urandom(8).hex())


def derived_trace(seed: str) -> TraceContext:
    """Return a new trace whose ids depend on the seed only, for code that is replayed."""
    digest = _digest(seed)
    return TraceContext(digest[:32], digest[32:48])


def parse_traceparent(text: str | None) -> TraceContext | None:
    """Return the context that a `traceparent` names; None for any other text, which may come from anyone."""
    if not text or len(text) > _MAX_LENGTH:
        return None
    match = _TRACEPARENT.fullmatch(text.strip(" \t"))
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == _NO_VERSION or (version == "00" and rest is not None):
        return None
    if not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def _digest(seed: str) -> str:
    return hashlib.sha256(seed.encode()).hexdigest()
