"""The completion of `kubectl moorage`, which kubectl asks of the program `kubectl_complete-moorage`.

Its arguments are the words after `kubectl moorage`, the last one incomplete. It prints what the shell can
offer, one a line, with a tab before its description, and a directive of kubectl's library Cobra at the end.
https://pkg.go.dev/github.com/spf13/cobra#ShellCompDirective
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum

import click
from click.shell_completion import ShellComplete

from contracts.types.printable_text import escape
from starter.cli.app import build
from starter.cli.lazy_group import CommandEntry


class _Directive(IntEnum):
    """What the shell does beside the values."""

    #: It offers files.
    DEFAULT = 0
    #: It offers nothing else.
    NO_FILES = 4
    #: It offers folders.
    FOLDERS = 16


_OF_TYPE = {"file": _Directive.DEFAULT, "dir": _Directive.FOLDERS}


def completion_lines(more: Iterable[CommandEntry], words: Sequence[str]) -> list[str]:
    """Return the lines with which kubectl completes the last of the words."""
    *before, incomplete = [*words] or [""]
    shell = ShellComplete(build(more), {}, "kubectl moorage", "")
    directive, lines = _Directive.NO_FILES, []
    for item in shell.get_completions(before, incomplete):
        if item.type in _OF_TYPE:
            directive = _OF_TYPE[item.type]
        else:
            # A tab or a line break in a value would end it.
            lines.append("\t".join(escape(text) for text in (str(item.value), item.help or "") if text))
    return [*lines, f":{directive:d}"]


def print_completions(more: Iterable[CommandEntry], words: Sequence[str]) -> None:
    """Print the lines of `completion_lines`."""
    for line in completion_lines(more, words):
        click.echo(line)
