"""The trace of a command: all its calls belong to it, and `--verbose` shows its id."""

import os
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from starter.cli.terminal.text import print_line
from starter.cli.terminal.verbosity import is_verbose

if TYPE_CHECKING:
    from contracts.telemetry.trace_context import TraceContext


@cache
def command_trace() -> "TraceContext":
    """Return the trace that the variable TRACEPARENT names, as pipelines set it, or a new one."""
    # Import here, as below: the help of the commands needs no trace.
    from contracts.telemetry.trace_context import new_trace, parse_traceparent

    return parse_traceparent(os.environ.get("TRACEPARENT")) or new_trace()


def trace_headers() -> dict[str, str]:
    """Return the header that makes the API's spans a part of this trace."""
    from contracts.telemetry.trace_context import TRACEPARENT

    return {TRACEPARENT: command_trace().traceparent}


def begin_call(method: str, path: str) -> Callable[[object], None]:
    """Begin a call; call the result with its status, or with what went wrong, when it is over."""
    started = time.monotonic()

    def ended(result: object) -> None:
        if is_verbose():
            seconds = time.monotonic() - started
            line = f"{method} {path}: {result} in {seconds:.2f} s, trace {command_trace().trace_id}"
            print_line(line, file=sys.stderr, flush=True)

    return ended
