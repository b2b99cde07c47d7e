"""Timeouts for the API, and errors for responses that do not come from the API."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from urllib.parse import urljoin

import httpx

from starter.cli.errors import CliError, Code
from starter.cli.output.terminal_text import print_line

#: Longer than a usual response of the API takes, so that a user learns that the terminal does not hang.
NOTICE_AFTER_SECONDS = 2.0
SLOW_NOTICE = "waiting for the API …"
#: Timeout of a read, for all attempts together. The API's own timeouts for Temporal are shorter, and it
#: reports them.
READ_SECONDS = 20.0
#: Status codes of a proxy while the API behind it is unavailable.
UNAVAILABLE = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
#: What a person must know of a change whose answer is lost, and what to do then.
ACCEPTED_NEVERTHELESS = "; the API may have accepted the request nevertheless"
CHECK_FIRST = "check before you try again: moorage list"


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


def is_from_proxy(answer: httpx.Response) -> bool:
    """Return whether a proxy reports that the API is unavailable; the API sends problem details."""
    return answer.status_code in UNAVAILABLE and "json" not in answer.headers.get("Content-Type", "")


def proxy_failure(answer: httpx.Response, url: str, *, changes: bool) -> CliError:
    """Build the error for a response that a proxy sent instead of the API."""
    message = f"a proxy in front of the API at {url} answered {_status(answer)}"
    steps = ["check that the API runs and that the proxy can reach it"]
    if changes:
        message += ACCEPTED_NEVERTHELESS
        steps.insert(0, CHECK_FIRST)
    return CliError(Code.UNREACHABLE, message, next_steps=steps)


def redirect_failure(answer: httpx.Response, url: str) -> CliError:
    """Build the error for a redirect, which is never followed: the token is only for this URL."""
    target = urljoin(str(answer.request.url), answer.headers.get("Location", ""))
    message = f"{url} redirects to {target} ({_status(answer)}), and your token is not sent there"
    base = target.partition("/api/v1")[0] if "/api/v1" in target else target
    return CliError(
        Code.UNREACHABLE, message, next_steps=[f"if the API is there: MOORAGE_URL={base.rstrip('/')}"]
    )


def _status(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.reason_phrase}".strip()
