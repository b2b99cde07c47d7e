"""A recorder of spans that keeps them, for tests that need no endpoint."""

from contracts.spans import Span


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
