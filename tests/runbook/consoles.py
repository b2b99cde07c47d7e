"""The consoles of a page: commands, what they print, and what happens between them.

A page has them in fenced blocks of the language `console`, and its readers see nothing else of this:

    <!-- situation: the control plane answers 503 -->

    ```console
    $ moorage show demo
    name:      demo
    ends:      …
    …
    ```

A line that starts with "$ " is a command; it goes on in the next line after a backslash. The lines below it
are its output: "…" stands for any text in a line, and alone for any number of lines. Blanks and empty lines
do not count, and neither does what a command prints while a slow machine lets it wait. A command without
output only has to succeed. A situation is a coroutine of `tests.runbook.situations`, by its name.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starter.cli.client.slow_notice import SLOW_NOTICE

_PART = re.compile(
    r"^ *<!-- situation: (?P<situation>.+?) -->$|^(?P<indent> *)```console\n(?P<console>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_PROMPT = "$ "
_ANY = "…"


@dataclass(frozen=True)
class Situation:
    """Something that happens outside of the product: a system fails, or is repaired."""

    name: str
    line: int


@dataclass(frozen=True)
class Command:
    """A command as it is typed, and the lines that it prints."""

    text: str
    line: int
    output: tuple[str, ...] = ()

    @property
    def has_known_output(self) -> bool:
        """Whether the page shows more than that something is printed."""
        return any(line != _ANY for line in self.output)

    def prints(self, text: str) -> bool:
        """Whether `text` is what the page says."""
        pattern = "".join(_pattern(line) for line in self.output)
        return re.fullmatch(pattern, "".join(f"{line}\n" for line in _lines(text))) is not None


def parts_in(page: Path) -> list[Situation | Command]:
    """Return what the file of a page says to do, in its order."""
    return parts_of(page.read_text(encoding="utf-8"))


def parts_of(page: str) -> list[Situation | Command]:
    """Return what a page says to do, in its order."""
    parts: list[Situation | Command] = []
    for found in _PART.finditer(page):
        line = page.count("\n", 0, found.start()) + 1
        if found["situation"]:
            parts.append(Situation(found["situation"], line))
        else:
            parts += _commands(found["console"].splitlines(), line + 1)
    return parts


def _commands(lines: Sequence[str], first: int) -> list[Command]:
    found: list[Command] = []
    typed, output, start = "", [""], 0
    for number, line in enumerate([*(line.strip() for line in lines), _PROMPT], first):
        if typed.endswith("\\"):
            typed = f"{typed[:-1]}{line}"
        elif line.startswith(_PROMPT) or line == _PROMPT.strip():
            if typed:
                found.append(Command(typed, start, tuple(_lines("\n".join(output)))))
            typed, output, start = line[len(_PROMPT) :], [], number
        else:
            if not typed:
                raise ValueError(f"line {number}: a console begins with a command: {line}")
            output.append(line)
    return found


def _lines(text: str) -> list[str]:
    """Return the lines that count, with one blank where there are more."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if line and line != SLOW_NOTICE]


def _pattern(line: str) -> str:
    if line == _ANY:
        return r"(?:.*\n)*?"
    return ".*?".join(re.escape(piece) for piece in line.split(_ANY)) + "\n"
