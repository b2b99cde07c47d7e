"""One command for several environments: a failure of one does not stop the others."""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import click

from starter.cli.errors import CliError, Code, Output
from starter.cli.output.formatting import print_note

_T = TypeVar("_T")


def run_in_turn(things: Iterable[_T], action: Callable[[_T], None], output: Output) -> None:
    """Process each in turn and show all failures; the first failure sets the exit code."""
    failed: list[CliError] = []
    for thing in things:
        try:
            action(thing)
        except CliError as error:
            failed.append(error)
    _raise(failed, output)


def run_concurrently(names: Sequence[str], action: Callable[[str], None], output: Output) -> None:
    """Process all concurrently; the first failure sets the exit code. Ctrl-C ends the command."""
    names = list(dict.fromkeys(names))
    if len(names) == 1:
        action(names[0])
        return
    failed: list[CliError] = []

    def one(name: str) -> None:
        try:
            action(name)
        except CliError as error:
            failed.append(error)

    threads = [threading.Thread(target=one, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        print_note(
            f"Stopped watching; they continue. Watch them again with:  moorage watch {' '.join(names)}"
        )
        raise click.exceptions.Exit(Code.INTERRUPTED) from None
    _raise(failed, output)


def _raise(failed: Sequence[CliError], output: Output) -> None:
    if not failed:
        return
    for error in failed[1:]:
        error.show(output)
    raise failed[0]
