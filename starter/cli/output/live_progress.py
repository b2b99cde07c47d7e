"""Progress while a command waits: a live table on a terminal, otherwise one line per change."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TextIO

from contracts.phases import Phase, StepState
from contracts.types.durations import format_duration
from contracts.types.printable_text import escape
from starter.cli.client.views import EnvironmentView, StepView, to_json
from starter.cli.errors import Output
from starter.cli.output.formatting import MARKS, elapsed, local_time, relative_time, step_details
from starter.cli.output.terminal_text import in_local_time, print_json_line, print_line

if TYPE_CHECKING:
    from rich.console import RenderableType

#: How often per second the clocks of running steps are updated.
REFRESHES_PER_SECOND = 4
_UNDER_WAY = (StepState.RUNNING, StepState.UNDOING)
_STYLES = {
    StepState.DONE: "green",
    StepState.RUNNING: "bold cyan",
    StepState.UNDOING: "bold yellow",
    StepState.UNDONE: "yellow",
    StepState.FAILED: "bold red",
    StepState.UNDO_FAILED: "bold red",
    StepState.WAITING: "dim",
}


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
        phase = view.phase + (f" ({view.outcome})" if view.outcome else "")
        if phase != self._phase:
            self._line(f"{view.name} is {phase}")
        if view.remark and view.remark != self._remark:
            self._line(view.remark)
        unwell = view.unwell.what if view.unwell else ""
        if unwell != self._unwell:
            self._line(f"but: {unwell}" if unwell else f"{view.name} is well again")
        if view.next_pass_at and view.next_pass_at != self._next_pass_at:
            self._line(f"the teardown is not complete; the next pass starts {local_time(view.next_pass_at)}")
        self._phase, self._remark, self._unwell = phase, view.remark, unwell
        self._next_pass_at = view.next_pass_at

    def _line(self, text: str) -> None:
        now = datetime.now()  # noqa: DTZ005 (a wall clock)
        print_line(f"{now:%H:%M:%S}  {self._about}{text}", file=self._out, flush=True)


class ProgressTable:
    """The steps as a table that is redrawn in place, with running clocks."""

    def __init__(self) -> None:
        self._view: EnvironmentView | None = None

    def update(self, view: EnvironmentView) -> None:
        """Store the new state; the next refresh draws it."""
        self._view = view

    def __rich__(self) -> "RenderableType":
        from rich.console import Group
        from rich.table import Table as RichTable
        from rich.text import Text

        view = self._view
        if view is None:
            return Text("…")
        since = datetime.now(UTC) - view.requested_at
        head = Text.assemble(
            (escape(view.name), "bold"),
            f"  {escape(view.template)}  ",
            (view.phase + (f" ({view.outcome})" if view.outcome else ""), "bold"),
            f"  {format_duration(since)}",
        )
        table = RichTable.grid(padding=(0, 1))
        table.add_column(width=2, justify="right")
        table.add_column(min_width=13)
        table.add_column()
        table.add_column(justify="right", min_width=7)
        table.add_column(overflow="fold")
        for step in view.steps:
            style = _STYLES[step.state]
            table.add_row(
                Text(MARKS[step.state], style=style),
                Text(step.step, style=style),
                Text(escape(step.system), style="dim"),
                Text(elapsed(step)),
                Text(step_details(step), style="" if step.progress else "dim"),
            )
        cause = f"could not be created. {view.problem.step}: {view.problem.cause}" if view.problem else ""
        unwell = f"but: {view.unwell.what}" if view.unwell else ""
        following = f"next pass {relative_time(view.next_pass_at)}" if view.next_pass_at else ""
        below = [
            Text(escape(in_local_time(text)), style=style)
            for text, style in ((unwell, "bold yellow"), (following, "bold"), (view.remark, "yellow"))
            if text
        ]
        return Group(head, *([Text(escape(cause), style="bold red")] if cause else []), table, *below)


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
    elif about or not out.isatty():
        yield ProgressLines(out, about)
    else:
        from rich.console import Console
        from rich.live import Live

        table = ProgressTable()
        with Live(table, console=Console(file=out), refresh_per_second=REFRESHES_PER_SECOND):
            yield table
        sys.stdout.flush()


def _last_change(step: StepView) -> datetime:
    return step.ended_at or step.started_at or datetime.max.replace(tzinfo=UTC)


def _describe_step(step: StepView) -> str:
    took = elapsed(step) if step.ended_at else ""
    details = "; ".join(filter(None, (took, step_details(step))))
    return f"{step.state} ({details})" if details else step.state.value
