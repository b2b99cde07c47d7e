"""How a command fails: one sentence on standard error, what to do next, and an exit code to build on."""

import sys
from collections.abc import Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import Any

from starter.cli.printing import print_json, print_line


class Code(IntEnum):
    """Exit codes; `moorage --help` has them too."""

    OK = 0
    FAILED = 1
    BAD_INPUT = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    UNREACHABLE = 5
    #: A fault of ours, as sysexits.h has it.
    CRASHED = 70
    #: As shells have it for Ctrl-C.
    INTERRUPTED = 130


class Output(StrEnum):
    """How a command answers."""

    TABLE = "table"
    JSON = "json"


class CliError(Exception):
    """A command that did not do what it was asked to.

    `lines` follow the sentence: the fields that are wrong, what was undone. `next_steps` say what to do now.
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
        """Say it on standard error, as JSON if the command answers in JSON."""
        if output is Output.JSON:
            content = dict(self.problem or {"detail": str(self)})
            content |= {"exit_code": int(self.code), "next": list(self.next_steps)}
            print_json(content, file=sys.stderr)
            return
        print_line(f"moorage: {self}", file=sys.stderr)
        for line in self.lines:
            print_line(f"  {line}", file=sys.stderr)
        for step in self.next_steps:
            print_line(f"next: {step}", file=sys.stderr)
