"""Lines that are redrawn in place: what a terminal shows in the end, whatever its size."""

import io
import itertools
import re

import pytest

from starter.cli.output.live_block import Line, LiveBlock, can_redraw, fold


class Terminal(io.StringIO):
    """A terminal that does what the sequences say; `screen` are its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.screen = [""]
        self.row = 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        for piece in re.findall(r"\x1b\[\d*(?:;\d+)*[A-Za-z]|[^\x1b]", text):
            self._do(piece)
        return super().write(text)

    def _do(self, piece: str) -> None:
        if piece == "\n":
            self.row += 1
            self.screen += [""] * (self.row + 1 - len(self.screen))
        elif piece == "\x1b[2K":
            self.screen[self.row] = ""
        elif piece == "\x1b[J":
            del self.screen[self.row + 1 :]
            self.screen[self.row] = ""
        elif piece.endswith("A"):
            self.row -= int(piece[2:-1])
            assert self.row >= 0, "the cursor leaves the block"
        elif piece != "\r" and not piece.endswith("m"):
            assert len(piece) == 1, f"an unknown sequence: {piece!r}"
            self.screen[self.row] += piece


def line(*texts: str, indent: int = 0) -> Line:
    return Line(tuple((text, "") for text in texts), indent)


def rows(folded: list[list[tuple[str, str]]]) -> list[str]:
    return ["".join(text for text, _ in row) for row in folded]


@pytest.mark.parametrize(
    ("given", "columns", "expected"),
    [
        (line("abc"), 3, ["abc"]),
        (line("abcd"), 3, ["abc", "d"]),
        (line("one two three"), 8, ["one two", "three"]),
        (line("one two three"), 7, ["one two", "three"]),
        (line("a  ", "waits for all pods", indent=3), 12, ["a  waits for", "   all pods"]),
        # No room for an indent, and none for the columns before it.
        (line("column  ", "text here", indent=8), 10, ["column  te", "xt here"]),
        (line("日本語です"), 4, ["日本", "語で", "す"]),
        (line("日本"), 1, ["日", "本"]),
        (line("e\u0301e\u0301e\u0301"), 2, ["e\u0301e\u0301", "e\u0301"]),
        (line(""), 5, [""]),
    ],
)
def test_fold(given: Line, columns: int, expected: list[str]) -> None:
    """Ensures that no row is wider than the terminal, and that no text is lost."""
    assert rows(fold(given, columns)) == expected


def test_fold_keeps_styles() -> None:
    folded = fold(Line((("ab", "1"), ("cd", "2"))), 3)
    assert folded == [[("ab", "1"), ("c", "2")], [("d", "2")]]


def test_the_last_state_stays() -> None:
    """Ensures that each drawing replaces the one before, also if it is shorter."""
    terminal, states = Terminal(), itertools.chain([["a", "long b", "c"], ["a"]], itertools.repeat(["end"]))
    terminal.write("before\n")
    block = LiveBlock(terminal, lambda: [line(text) for text in next(states)], {})
    block._draw(whole=False)
    assert terminal.screen == ["before", "a", "long b", "c", ""]
    block._draw(whole=False)
    assert terminal.screen == ["before", "a", ""]
    with block:
        pass
    assert terminal.screen == ["before", "end", ""]


def test_a_block_that_is_higher_than_the_terminal() -> None:
    """Ensures that the cursor never moves to rows that have left the screen, and that the end shows all."""
    terminal = Terminal()
    block = LiveBlock(terminal, lambda: [line(str(number)) for number in range(40)], {})
    block._draw(whole=False)
    assert terminal.screen[:-1] == [*map(str, range(22)), "…"]
    block._draw(whole=True)
    assert terminal.screen[:-1] == [*map(str, range(40))]


@pytest.mark.parametrize(
    ("environ", "styled"), [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)]
)
def test_no_color(environ: dict[str, str], styled: bool) -> None:
    terminal = Terminal()
    with LiveBlock(terminal, lambda: [Line((("red", "31"),))], environ):
        pass
    assert ("\x1b[31mred\x1b[0m" in terminal.getvalue()) is styled


def test_width_is_that_of_columns() -> None:
    terminal = Terminal()
    with LiveBlock(terminal, lambda: [line("one two")], {"COLUMNS": "4"}):
        pass
    assert terminal.screen == ["one", "two", ""]


def test_an_error_while_drawing_is_the_commands_error() -> None:
    """Ensures that it is neither lost in the thread nor printed by it."""

    def fail() -> list[Line]:
        raise LookupError("no state")

    with pytest.raises(LookupError, match="no state"), LiveBlock(Terminal(), fail, {}):
        pass


@pytest.mark.parametrize(
    ("out", "environ", "expected"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {}, True),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_only_a_terminal_is_redrawn(out: io.StringIO, environ: dict[str, str], expected: bool) -> None:
    assert can_redraw(out, environ) is expected
