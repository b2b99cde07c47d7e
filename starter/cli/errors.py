"""Errors of commands: one sentence on standard error, the next steps, and a stable exit code."""

import sys
from collections.abc import Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import Any

from starter.cli.terminal.program_name import as_called
from starter.cli.terminal.text import print_json, print_line


class Code(IntEnum):
    """Exit codes; `moorage --help` lists them as well."""

    OK = 0
    FAILED = 1
    BAD_INPUT = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    UNREACHABLE = 5
    #: A bug of Moorage; EX_SOFTWARE of sysexits.h.
    CRASHED = 70
    #: Ctrl-C; the exit code that shells use for it.
    INTERRUPTED = 130


#: The lowest HTTP status of an error that is not the caller's.
_SERVER_ERROR = 500


class Output(StrEnum):
    """The output format of a command."""

    TABLE = "table"
    JSON = "json"


class CliError(Exception):
    """The failure of a command.

    `lines` follow the sentence, such as wrong fields, or what was undone. `next_steps` say what to do now.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        lines: Sequence[str] = (),
        next_steps: Sequence[str] = (),
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        self.code = code
        self.lines = tuple(lines)
        self.next_steps = tuple(next_steps)
        self.problem = problem
        super().__init__(message)

    def show(self, output: Output) -> None:
        """Print it on standard error, as JSON if that is the output format."""
        steps = [as_called(step) for step in self.next_steps]
        if output is Output.JSON:
            content = dict(self.problem or {"detail": str(self)})
            content |= {"exit_code": int(self.code), "next": steps}
            print_json(content, file=sys.stderr)
            return
        print_line(f"moorage: {self}", file=sys.stderr)
        for line in self.lines:
            print_line(f"  {line}", file=sys.stderr)
        if trace := self._trace:
            print_line(f"trace: {trace}", file=sys.stderr)
        for step in steps:
            print_line(f"next: {step}", file=sys.stderr)

    @property
    def _trace(self) -> str:
        """The trace of a failure of the API, by which the platform team finds it; "" for any other error."""
        problem = self.problem or {}
        status, trace = problem.get("status"), problem.get("trace")
        is_failure = isinstance(status, int) and status >= _SERVER_ERROR
        return trace if is_failure and isinstance(trace, str) else ""
