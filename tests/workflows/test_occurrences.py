"""Ensures that an event of a workflow is new once, however often and in whichever way its lines run again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.telemetry.finished_span import Span
from contracts.telemetry.trace_context import TraceContext, new_trace
from workflows.telemetry import replay_detection, tracing
from workflows.telemetry.replay_detection import forget_occurrences, is_new_occurrence


@dataclass(eq=False)
class Run:
    """The run of a workflow; a new object is the same run from its start, as after an eviction."""

    run_id: str
    is_replaying: bool = False
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def as_current(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be what the code under test finds as the current workflow."""
        current = SimpleNamespace(
            instance=lambda: self,
            info=lambda: SimpleNamespace(run_id=self.run_id, workflow_id="environment/demo"),
            unsafe=SimpleNamespace(is_replaying=lambda: self.is_replaying),
            extern_functions=lambda: self.functions,
            time_ns=lambda: 2,
        )
        monkeypatch.setattr(replay_detection, "workflow", current)
        monkeypatch.setattr(tracing, "workflow", current)


@pytest.fixture(autouse=True)
def nothing_has_happened() -> None:
    forget_occurrences()


def happens(monkeypatch: pytest.MonkeyPatch, run: Run, times: int = 1) -> list[bool]:
    run.as_current(monkeypatch)
    return [is_new_occurrence("step failed") for _ in range(times)]


def test_each_occurrence_in_one_life_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    assert happens(monkeypatch, Run("a"), 3) == [True, True, True]
    assert happens(monkeypatch, Run("b")) == [True]


def test_a_replay_is_not_new(monkeypatch: pytest.MonkeyPatch) -> None:
    assert happens(monkeypatch, Run("a", is_replaying=True)) == [False]


def test_lines_that_run_again_without_a_replay_are_not_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that for a query that runs ahead of its task, and for a task that is lost."""
    assert happens(monkeypatch, Run("a"), 2) == [True, True]
    assert happens(monkeypatch, Run("a"), 3) == [False, False, True]


def test_what_was_replayed_counts_as_an_occurrence(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run("a", is_replaying=True)
    assert happens(monkeypatch, run) == [False]
    run.is_replaying = False
    assert happens(monkeypatch, run) == [True]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_detection, "MAX_REMEMBERED", 2)
    assert happens(monkeypatch, Run("a"), 3) == [True] * 3
    assert happens(monkeypatch, Run("a"), 3) == [True] * 3, "the oldest ones are forgotten"


@pytest.mark.parametrize(("is_sampled", "recorded"), [(True, 1), (False, 0)])
def test_a_span_is_recorded_once(monkeypatch: pytest.MonkeyPatch, is_sampled: bool, recorded: int) -> None:
    spans: list[Span] = []
    trace = TraceContext(new_trace().trace_id, new_trace().span_id, is_sampled)
    for _ in range(2):
        Run("a", functions={tracing.RECORD_SPAN: spans.append}).as_current(monkeypatch)
        tracing.Operation("make the environment", trace, "", (), 1).end()
    assert len(spans) == recorded
