"""Output of setup and doctor: one line per part as it completes, and the result, for users and programs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from contracts.types.printable_text import escape
from starter.cli.errors import CliError, Code, Output
from starter.cli.output.formatting import print_table
from starter.cli.terminal.text import print_json, print_line
from starter.setup.areas import Area
from starter.setup.check import Result, SetupCheck, State

#: Widths of the columns: the longest words in them.
_STATE, _SYSTEM, _PART = 8, 17, 18
_INDENT = " " * (_STATE + 2)
_CHANGED = (State.DONE, State.REPAIRED)


class SetupProgress:
    """Prints each result when it is available; on a terminal, also the part that setup waits for."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._waiting: list[str] = []

    @contextmanager
    def show(self, parts: Sequence[SetupCheck]) -> Iterator[None]:
        """Show the progress of these parts, one after the other."""
        self._waiting = [f"{part.system}, {part.name}" for part in parts]
        self._print_current()
        try:
            yield
        finally:
            self._clear()

    def print_result(self, result: Result) -> None:
        """Print the result of the current part, and continue with the next."""
        self._clear()
        for line in lines_of(result):
            print_line(line, file=self._out, flush=True)
        self._waiting.pop(0)
        self._print_current()

    def _print_current(self) -> None:
        if self._out.isatty() and self._waiting:
            self._out.write(escape(f"{'…':<{_STATE}}  {self._waiting[0]}"))
            self._out.flush()

    def _clear(self) -> None:
        if self._out.isatty():
            # Return to the beginning of the line and erase it, as rich and pip do.
            self._out.write("\r\x1b[K")
            self._out.flush()


def lines_of(result: Result) -> list[str]:
    """Format one result: its line, and below it, indented, what to do."""
    detail = f"{result.where}: {result.detail}" if result.area is Area.HOSTS else result.detail
    head = f"{result.state:<{_STATE}}  {result.system:<{_SYSTEM}}  {result.part:<{_PART}}  {detail}"
    below = [f"{_INDENT}{line}" for line in (*_remedy(result), *result.steps)]
    return [head.rstrip(), *below]


def _remedy(result: Result) -> list[str]:
    if not result.remedy:
        return []
    return [f"{'setup would' if result.state is State.WOULD_DO else '→'} {result.remedy}"]


def print_setup_json(results: Sequence[Result], *, dry_run: bool) -> None:
    """Print all results as one JSON document."""
    print_json(
        {
            "complete": all(one.well for one in results),
            "dry_run": dry_run,
            "changed": [f"{one.system}: {one.part}" for one in results if one.state in _CHANGED],
            "parts": [one.model_dump(mode="json") for one in results],
        }
    )


def require_complete(results: Sequence[Result], *, dry_run: bool) -> None:
    """Raise CliError with the next steps, unless every part is well."""
    unwell = _without_waiting([one for one in results if not one.well])
    if not unwell:
        return
    waiting = sum(one.state is State.WAITS for one in results)
    more = f", and {waiting} wait for that" if waiting else ""
    would = [one for one in unwell if one.state is State.WOULD_DO]
    steps = [f"`moorage setup` would see to {_named(would)}"] if would else []
    by_people = [one for one in unwell if one.state is not State.WOULD_DO]
    if by_people:
        steps.append(f"see to {_named(by_people)}, as said above, and run it again: what is done stays done")
    verb = "is not as it should be" if len(unwell) == 1 else "are not as they should be"
    text = f"{len(unwell)} of {len(results)} parts {verb}{more}"
    raise CliError(Code.FAILED, f"{'nothing was changed; ' if dry_run else ''}{text}", next_steps=steps)


def print_complete(results: Sequence[Result], templates: Sequence[str]) -> None:
    """Print what was done, and the next commands for a developer.

    `templates` is empty if setup handled only some areas.
    """
    changed = [one for one in results if one.state in _CHANGED]
    done = f"it has seen to {_named(changed)}" if changed else "there was nothing to do"
    print_line()
    print_line(f"{'Setup complete' if templates else 'That part of the setup is complete'}: {done}.")
    if templates:
        for line in _next_commands(templates):
            print_line(line)


def _next_commands(templates: Sequence[str]) -> list[str]:
    example = "small" if "small" in templates else next(iter(templates), "TEMPLATE")
    return [
        "",
        "While a worker and the API run (moorage worker, moorage api), a developer with a token can now:",
        f"  {'moorage templates':<32}  see what there is: {', '.join(templates)}",
        f"  {f'moorage request demo {example}':<32}  ask for a cluster, and watch it come",
        f"  {'moorage kubeconfig demo --merge':<32}  use it with kubectl",
        f"  {'moorage delete demo':<32}  give it back",
        "To give people access, see docs/how-to/access-and-tokens.md. `moorage doctor` checks all of this.",
    ]


def print_doctor(results: Sequence[Result], output: Output) -> None:
    """Print all results; raise CliError if a part is not well."""
    if output is Output.JSON:
        print_json([one.model_dump(mode="json") for one in results])
    else:
        rows = [
            [_verdict(one), one.system, one.part, one.where, f"{one.milliseconds} ms", one.detail]
            for one in results
        ]
        print_table(["", "system", "part", "where", "took", ""], rows, empty="")
    unwell = _without_waiting([one for one in results if not one.well])
    if unwell:
        waiting = sum(one.state is State.WAITS for one in results)
        more = f", and {waiting} wait for that" if waiting else ""
        raise CliError(
            Code.FAILED,
            f"{len(unwell)} of {len(results)} are not well{more}",
            next_steps=[step for one in unwell if (step := _next(one))],
        )


def _verdict(result: Result) -> str:
    return "ok" if result.well else "waits" if result.state is State.WAITS else "FAILED"


def _next(result: Result) -> str:
    what = f"{result.system}: "
    if result.state is State.WOULD_DO:
        return f"{what}{result.part}: `moorage setup` would {result.remedy}"
    if result.state is State.BY_HAND and result.steps:
        return f"{what}{result.remedy}; `moorage setup --dry-run` says what to enter"
    return f"{what}{result.remedy}" if result.remedy else ""


def _without_waiting(results: Sequence[Result]) -> list[Result]:
    """Return the results that do not only wait for another part."""
    return [one for one in results if one.state is not State.WAITS]


def _named(results: Sequence[Result]) -> str:
    return ", ".join(f"{one.part} ({one.system})" for one in results)
