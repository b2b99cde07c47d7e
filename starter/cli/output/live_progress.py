"""Progress while a command waits: a live table on a terminal, otherwise one line per change."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol, TextIO

from contracts.phases import Phase, StepState
from contracts.types.durations import format_duration
from contracts.types.printable_text import escape
from starter.cli.errors import Output
from starter.cli.output.formatting import (
    MARKS,
    elapsed,
    local_time,
    relative_time,
    restore_text,
    step_details,
)
from starter.cli.output.live_block import Line, LiveBlock, can_redraw
from starter.cli.terminal.text import in_local_time, print_json_line, print_line
from starter.cli.views.base import to_json
from starter.cli.views.environments import EnvironmentView, StepView

_UNDER_WAY = (StepState.RUNNING, StepState.UNDOING)
#: SGR codes.
_BOLD, _DIM, _YELLOW = "1", "2", "33"
_BOLD_RED, _BOLD_YELLOW = "1;31", "1;33"
_STYLES = {
    StepState.DONE: "32",
    StepState.RUNNING: "1;36",
    StepState.UNDOING: _BOLD_YELLOW,
    StepState.UNDONE: _YELLOW,
    StepState.FAILED: _BOLD_RED,
    StepState.UNDO_FAILED: _BOLD_RED,
    StepState.WAITING: _DIM,
}
#: Width of the column with the name of the step, and of the one with its time.
_STEP, _TIME = 13, 7


class ProgressView(Protocol):
    """Shows the state of an environment after each change."""

    def update(self, view: EnvironmentView) -> None:
        """Show the new state."""
        ...


class NoProgress:
    """Shows nothing: for programs that need only the final state."""

    def update(self, view: EnvironmentView) -> None:
        """Do nothing."""


class ProgressLines:
    """Prints one line with the time for each change: for logs."""

    def __init__(self, out: TextIO, about: str = "") -> None:
        self._out = out
        self._about = f"{about}  " if about else ""
        self._cause = ""
        self._started = False
        self._phase = ""
        self._remark = ""
        self._unwell = ""
        self._restore = ""
        self._next_pass_at: datetime | None = None
        self._steps: dict[str, str] = {}

    def update(self, view: EnvironmentView) -> None:
        """Print the changes since the last call, in the order in which they happened, causes first."""
        if view.problem and view.problem.cause != self._cause:
            self._cause = view.problem.cause
            self._line(f"{view.name} could not be created. {view.problem.step}: {self._cause}")
        for step in sorted(view.steps, key=_last_change):
            text = _describe_step(step)
            # A user who starts to watch later needs the current steps, and not the earlier ones.
            is_news = self._started or view.phase is Phase.PROVISIONING or step.state in _UNDER_WAY
            if is_news and self._steps.get(step.step, StepState.WAITING) != text:
                self._line(f"{step.step}: {text}")
            self._steps[step.step] = text
        self._started = True
        phase = view.phase.words + (f" ({view.outcome})" if view.outcome else "")
        if phase != self._phase:
            self._line(f"{view.name} is {phase}")
        if view.remark and view.remark != self._remark:
            self._line(view.remark)
        unwell = view.unwell.what if view.unwell else ""
        if unwell != self._unwell:
            self._line(f"but: {unwell}" if unwell else f"{view.name} is well again")
        restore = restore_text(view) if view.restore else ""
        if restore and restore != self._restore:
            self._line(restore)
        if view.next_pass_at and view.next_pass_at != self._next_pass_at:
            self._line(f"the teardown is not complete; the next pass starts {local_time(view.next_pass_at)}")
        self._phase, self._remark, self._unwell = phase, view.remark, unwell
        self._next_pass_at, self._restore = view.next_pass_at, restore

    def _line(self, text: str) -> None:
        now = datetime.now()  # noqa: DTZ005 (a wall clock)
        print_line(f"{now:%H:%M:%S}  {self._about}{text}", file=self._out, flush=True)


class ProgressTable:
    """The steps as a table that is redrawn in place, with running clocks."""

    def __init__(self) -> None:
        self._view: EnvironmentView | None = None

    def update(self, view: EnvironmentView) -> None:
        """Store the new state; the next drawing shows it."""
        self._view = view

    def lines(self) -> list[Line]:
        """Return the table as it is now."""
        view = self._view
        if view is None:
            return [Line((("…", ""),))]
        phase = view.phase.words + (f" ({view.outcome})" if view.outcome else "")
        since = format_duration(datetime.now(UTC) - view.requested_at)
        cause = f"could not be created. {view.problem.step}: {view.problem.cause}" if view.problem else ""
        unwell = f"but: {view.unwell.what}" if view.unwell else ""
        restore = restore_text(view) if view.restore else ""
        following = f"next pass {relative_time(view.next_pass_at)}" if view.next_pass_at else ""
        width = max((len(escape(step.system)) for step in view.steps), default=0)
        head = (
            (escape(view.name), _BOLD),
            (f"  {escape(view.template)}  ", ""),
            (phase, _BOLD),
            (f"  {since}", ""),
        )
        return [
            Line(head),
            *_texts((cause, _BOLD_RED)),
            *(_step_line(step, width) for step in view.steps),
            *_texts((restore, _BOLD_YELLOW), (unwell, _BOLD_YELLOW)),
            *_texts((following, _BOLD), (view.remark, _YELLOW)),
        ]


def _texts(*texts: tuple[str, str]) -> list[Line]:
    """Return the texts that are not empty, each on its line."""
    return [Line(((escape(in_local_time(text)), style),)) for text, style in texts if text]


def _step_line(step: StepView, system_width: int) -> Line:
    style = _STYLES[step.state]
    before = (
        (f" {MARKS[step.state]} {step.step:<{_STEP}} ", style),
        (f"{escape(step.system):<{system_width}} ", _DIM),
        (f"{elapsed(step):>{_TIME}} ", ""),
    )
    details = (step_details(step), "" if step.progress else _DIM)
    return Line((*before, details), indent=sum(len(text) for text, _ in before))


class ProgressDocuments:
    """Prints one JSON document per line for each change: for programs that follow."""

    def update(self, view: EnvironmentView) -> None:
        """Print the view as JSON."""
        print_json_line(to_json(view))


@contextmanager
def open_progress(out: TextIO, output: Output, about: str = "") -> Iterator[ProgressView]:
    """Open the progress display that is suitable for `out`; its last state stays visible.

    `about` names the environment in each line, if several are shown at once. For programs, it prints nothing
    on standard error, and documents on standard output.
    """
    if output is Output.JSON:
        yield ProgressDocuments() if out is sys.stdout else NoProgress()
    elif about or not can_redraw(out):
        yield ProgressLines(out, about)
    else:
        table = ProgressTable()
        with LiveBlock(out, table.lines):
            yield table


def _last_change(step: StepView) -> datetime:
    return step.ended_at or step.started_at or datetime.max.replace(tzinfo=UTC)


def _describe_step(step: StepView) -> str:
    took = elapsed(step) if step.ended_at else ""
    details = "; ".join(filter(None, (took, step_details(step))))
    return f"{step.state} ({details})" if details else step.state.value
