"""One command for several environments: a failure of one does not stop the others."""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import typer

from starter.cli.errors import CliError, Code, Output

_T = TypeVar("_T")


def each_in_turn(things: Iterable[_T], see_to: Callable[[_T], None], output: Output) -> None:
    """Process each in turn and show all failures; the first failure sets the exit code."""
    failed: list[CliError] = []
    for thing in things:
        try:
            see_to(thing)
        except CliError as error:
            failed.append(error)
    _raise(failed, output)


def each_at_once(names: Sequence[str], see_to: Callable[[str], None], output: Output) -> None:
    """Process all concurrently; the first failure sets the exit code. Ctrl-C ends the command."""
    names = list(dict.fromkeys(names))
    if len(names) == 1:
        see_to(names[0])
        return
    failed: list[CliError] = []

    def one(name: str) -> None:
        try:
            see_to(name)
        except CliError as error:
            failed.append(error)

    threads = [threading.Thread(target=one, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        typer.echo(f"Stopped watching; they go on. Again with:  moorage watch {' '.join(names)}", err=True)
        raise typer.Exit(Code.INTERRUPTED) from None
    _raise(failed, output)


def _raise(failed: Sequence[CliError], output: Output) -> None:
    if not failed:
        return
    for error in failed[1:]:
        error.show(output)
    raise failed[0]
