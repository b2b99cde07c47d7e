"""The notice of a command that waits for the API, so that the terminal does not seem to hang."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from starter.cli.terminal.text import print_line

#: Longer than a usual response of the API takes.
NOTICE_AFTER_SECONDS = 2.0
SLOW_NOTICE = "waiting for the API …"


@contextmanager
def notice_when_slow(*, quiet: bool) -> Iterator[None]:
    """Print on standard error that the command waits for the API, after NOTICE_AFTER_SECONDS."""

    def print_note() -> None:
        print_line(SLOW_NOTICE, file=sys.stderr, flush=True)

    timer = threading.Timer(NOTICE_AFTER_SECONDS, print_note)
    timer.daemon = True
    if not quiet:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
