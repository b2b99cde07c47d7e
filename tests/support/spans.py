"""A recorder of spans that keeps them, for tests that need no endpoint."""

from collections.abc import Iterator
from contextlib import contextmanager

from contracts.telemetry.finished_span import Span
from contracts.telemetry.trace_context import current_trace
from worker.tracing.recorder import set_recorder


class Kept:
    """Keeps the spans of this process once `set_recorder` has it."""

    dropped = 0

    def __init__(self, *, is_sampled: bool = True) -> None:
        self.spans: list[Span] = []
        self._is_sampled = is_sampled

    def is_sampled(self, _: str) -> bool:
        """Sample all traces, or none."""
        return self._is_sampled

    def record(self, span: Span) -> None:
        """Keep the span."""
        self.spans.append(span)

    def named(self, name: str) -> list[Span]:
        """The spans with this name."""
        return [span for span in self.spans if span.name == name]


@contextmanager
def kept_spans(*, is_sampled: bool = True) -> Iterator[Kept]:
    """Keep the spans that this process makes in the block, and leave no trace in progress."""
    kept = Kept(is_sampled=is_sampled)
    set_recorder(kept)
    try:
        yield kept
    finally:
        set_recorder(None)
        current_trace.set(None)
