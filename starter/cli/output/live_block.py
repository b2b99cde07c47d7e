"""Lines on a terminal that are redrawn in place, with the few sequences that every terminal has.

The cursor stays visible, so that a process that is killed leaves a terminal that can be used.
"""

import os
import threading
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TextIO

#: How often per second the lines are redrawn, so that the clocks in them run.
REDRAWS_PER_SECOND = 4
#: The size of a terminal that does not tell its own.
_COLUMNS, _ROWS = 80, 24
#: Values of TERM for terminals that cannot move the cursor.
_FIXED_TERMINALS = ("dumb", "unknown")


@dataclass(frozen=True)
class Line:
    """A line: its pieces, each a text without control characters and its SGR codes: ("ready", "1;32").

    A line that is too long is folded; its further rows begin at `indent`.
    """

    pieces: tuple[tuple[str, str], ...]
    indent: int = 0


def can_redraw(out: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether `out` is a terminal whose cursor can be moved."""
    return out.isatty() and environ.get("TERM", "") not in _FIXED_TERMINALS


class LiveBlock:
    """Draws the lines that `lines` returns, again and again while the with-block runs; the last ones stay."""

    def __init__(
        self, out: TextIO, lines: Callable[[], Sequence[Line]], environ: Mapping[str, str] = os.environ
    ) -> None:
        self._out = out
        self._lines = lines
        self._environ = environ
        self._has_color = not environ.get("NO_COLOR")
        self._drawn = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._redraw, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._draw(whole=True)

    def _redraw(self) -> None:
        try:
            while not self._ended.is_set():
                self._draw(whole=False)
                self._ended.wait(1 / REDRAWS_PER_SECOND)
        except Exception:  # noqa: S110 - the last drawing, in the command's own thread, fails the same way
            pass

    def _draw(self, *, whole: bool) -> None:
        columns, height = self._size()
        rows = [self._styled(row) for line in self._lines() for row in fold(line, columns)]
        if not whole and len(rows) >= height:
            # The cursor cannot return to what has left the screen.
            rows = [*rows[: max(height - 2, 0)], "…"]
        # Erase each row before it is written: after a full row, some terminals erase its last character.
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._out.write(up + "".join(f"\r\x1b[2K{row}\n" for row in rows) + "\x1b[J")
        self._out.flush()
        self._drawn = len(rows)

    def _styled(self, row: Sequence[tuple[str, str]]) -> str:
        return "".join(
            f"\x1b[{style}m{text}\x1b[0m" if style and self._has_color else text for text, style in row
        )

    def _size(self) -> tuple[int, int]:
        try:
            columns, height = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            columns, height = 0, 0
        given = self._environ.get("COLUMNS", "")
        if given.isdecimal():
            columns = int(given)
        return columns or _COLUMNS, height or _ROWS


def fold(line: Line, columns: int) -> list[list[tuple[str, str]]]:
    """Return the line as rows that are not wider than `columns`, broken at spaces where there are some."""
    cells = [(character, style) for text, style in line.pieces for character in text]
    indent = line.indent if line.indent <= columns // 2 else 0
    rows: list[list[tuple[str, str]]] = []
    while True:
        margin = indent if rows else 0
        end = _end_of_row(cells, columns - margin, least=0 if rows else line.indent)
        pieces = [(" " * margin, "")] if margin else []
        rows.append(_joined([*pieces, *cells[:end]]))
        cells = cells[end:]
        while cells and cells[0][0] == " ":
            cells = cells[1:]
        if not cells:
            return rows


def _end_of_row(cells: Sequence[tuple[str, str]], room: int, *, least: int) -> int:
    """Return how many cells are on the row: up to the last space after `least`, if not all of them fit."""
    used = 0
    for index, (character, _) in enumerate(cells):
        used += width_of(character)
        if used > room:
            spaces = [place for place in range(least + 1, index + 1) if cells[place][0] == " "]
            return spaces[-1] if spaces else max(index, 1)
    return len(cells)


def _joined(pieces: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Join neighbours of the same style."""
    joined: list[tuple[str, str]] = []
    for text, style in pieces:
        if joined and joined[-1][1] == style:
            joined[-1] = (joined[-1][0] + text, style)
        else:
            joined.append((text, style))
    return joined


def width_of(character: str) -> int:
    """Return how many columns of a terminal the character takes."""
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
