"""Shows the environments of one command together: live while it waits, and the result at its end."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TextIO

from contracts.types.durations import format_duration
from contracts.types.labels import format_labels
from contracts.types.printable_text import escape
from starter.cli.bulk.requests import common_labels
from starter.cli.bulk.run import BulkRun, Item, ItemState
from starter.cli.errors import CliError, Code, Output
from starter.cli.output.formatting import print_note, print_table
from starter.cli.output.live_block import Line, LiveBlock, can_redraw
from starter.cli.terminal.text import print_line
from starter.cli.views.base import to_json

#: Names in one sentence: more are counted.
_MAX_NAMES = 30
_BOLD, _DIM = "1", "2"
_STYLES = {
    ItemState.WAITING: _DIM,
    ItemState.SENT: "36",
    ItemState.MAKING: "1;36",
    ItemState.READY: "32",
    ItemState.FAILED: "1;31",
}
#: What needs attention first, so that it stays on a screen that is too low for all.
_ORDER = (ItemState.FAILED, ItemState.MAKING, ItemState.SENT, ItemState.WAITING, ItemState.READY)


def count_line(items: Sequence[Item]) -> str:
    """Return how many environments there are in each state."""
    counts = Counter(item.state for item in items)
    states = [f"{counts[state]} {state}" for state in reversed(_ORDER) if counts[state]]
    return f"{len(items)} environment{'s' if len(items) > 1 else ''}: {', '.join(states)}"


def describe(item: Item) -> str:
    """Return the state of an item in one line."""
    if item.error:
        return f"{item.state}: {item.error}"
    if item.state is ItemState.MAKING:
        return f"{item.phase or item.state}{' (was requested before)' if item.kind == 'joined' else ''}"
    return str(item.state)


class Summary:
    """Prints changes to a log, or keeps a block of lines on a terminal up to date."""

    def __init__(self, out: TextIO, output: Output) -> None:
        self._out = out
        self._is_quiet = output is Output.JSON
        self._is_live = not self._is_quiet and can_redraw(out)
        self._lock = threading.Lock()
        self._started_at = time.monotonic()
        self.items: Sequence[Item] = ()

    def on_change(self, item: Item) -> None:
        """Print the change, if it is for a log."""
        if self._is_quiet or self._is_live or item.state is ItemState.SENT:
            return
        now = datetime.now()  # noqa: DTZ005 (a wall clock)
        with self._lock:
            print_line(f"{now:%H:%M:%S}  {item.name}  {describe(item)}", file=self._out, flush=True)

    @contextmanager
    def open(self, items: Sequence[Item]) -> Iterator[None]:
        """Show the items while the block runs."""
        self.items = items
        if not self._is_live:
            yield
            return
        with LiveBlock(self._out, self._lines):
            yield

    def _lines(self) -> list[Line]:
        took = format_duration(timedelta(seconds=int(time.monotonic() - self._started_at)))
        width = max(len(escape(item.name)) for item in self.items)
        shown = sorted(self.items, key=lambda item: _ORDER.index(item.state))
        return [
            Line(((count_line(self.items), _BOLD), (f"  {took}", ""))),
            *(
                Line(
                    (
                        (f"  {escape(item.name):<{width}}  ", ""),
                        (escape(describe(item)), _STYLES[item.state]),
                    ),
                    indent=width + 4,
                )
                for item in shown
            ),
        ]


def result_document(items: Sequence[Item]) -> dict[str, Any]:
    """Return the result of the command for a program."""
    counts = Counter(item.state for item in items)
    return {
        "requested": sum(1 for item in items if item.life),
        "ready": counts[ItemState.READY],
        "failed": counts[ItemState.FAILED],
        "environments": [
            {
                "name": item.name,
                "life": item.life,
                "kind": item.kind or None,
                "state": item.state.name.lower(),
                "environment": to_json(item.view) if item.view else None,
                "problem": _problem(item.error) if item.error else None,
            }
            for item in items
        ],
    }


def _problem(error: CliError) -> dict[str, Any]:
    content = {key: value for key, value in (error.problem or {}).items() if key != "environment"}
    return {"detail": str(error), **content, "exit_code": int(error.code)}


def failure_of(items: Sequence[Item]) -> CliError | None:
    """Return the error for the items that failed or were not sent, each with its sentence, or None."""
    failed = [item for item in items if item.error]
    unsent = [item for item in items if item.state is ItemState.WAITING]
    if not failed and not unsent:
        return None
    lines = [f"{item.name}: {item.error}" for item in failed]
    for item in failed:
        lines += [f"  {item.name}: {line}" for line in item.error.lines] if item.error else []
    if unsent:
        lines.append(f"not requested: {_names(unsent)}")
    code = next((item.error.code for item in failed if item.error), Code.FAILED)
    message = f"{len(failed) + len(unsent)} of {len(items)} environments could not be made"
    steps = list(dict.fromkeys(step for item in failed if item.error for step in item.error.next_steps))[:3]
    steps.append("correct the cause, and run the same command again: it joins those that are there")
    return CliError(code, message, lines=lines, next_steps=steps)


def print_interrupted(items: Sequence[Item]) -> None:
    """Say after Ctrl-C what was started, what may have been, and what was not."""
    started = [item for item in items if item.life]
    unsure = [item for item in items if item.state is ItemState.SENT]
    unsent = [item for item in items if item.state is ItemState.WAITING]
    print_note()
    if started:
        print_note(f"Stopped; {len(started)} of {len(items)} were requested and continue: {_names(started)}.")
    else:
        print_note("Stopped; no request was answered.")
    if unsure:
        print_note(f"These may have been requested as well: {_names(unsure)}.")
    if unsent:
        print_note(f"Not requested: {_names(unsent)}.")
    if started or unsure:
        print_together([*started, *unsure])


def print_together(items: Sequence[Item]) -> None:
    """Print the commands for all of these environments."""
    if labels := common_labels([item.request for item in items]):
        selector = format_labels(dict(list(labels.items())[:1]))
        print_note(f"  moorage list --label {selector}")
        print_note(f"  moorage delete --label {selector}")
        return
    names = " ".join(item.name for item in items) if len(items) <= _MAX_NAMES else "NAME..."
    print_note(f"  moorage watch {names}")
    print_note(f"  moorage delete {names}")


def print_dry_run(run: BulkRun, message: str) -> None:
    """Print what would be requested."""
    rows = [
        [
            item.name,
            *(str(item.request.body.get(field) or "") for field in ("template", "team", "ttl")),
            format_labels(item.request.labels),
        ]
        for item in run.items
    ]
    print_table(["name", "template", "team", "ttl", "labels"], rows, empty="")
    print_line(f"{message} Nothing was started. Whether there is room is known when each is requested.")


def _names(items: Sequence[Item]) -> str:
    shown = ", ".join(item.name for item in items[:_MAX_NAMES])
    return shown + (f" and {len(items) - _MAX_NAMES} more" if len(items) > _MAX_NAMES else "")
