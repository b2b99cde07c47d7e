"""Timeouts for the API, and errors for responses that do not come from the API."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from urllib.parse import urljoin

import httpx

from starter.cli.errors import CliError, Code
from starter.cli.output.printing import print_line

#: Longer than a usual response of the API takes, so that a user learns that the terminal does not hang.
SAID_AFTER_SECONDS = 2.0
#: Timeout of a read, for all attempts together. The API's own timeouts for Temporal are shorter, and it
#: reports them.
READ_SECONDS = 20.0
#: Status codes of a proxy while the API behind it is unavailable.
AWAY = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})


@contextmanager
def said_when_slow(*, quiet: bool) -> Iterator[None]:
    """Print on standard error that the command waits for the API, after SAID_AFTER_SECONDS."""

    def say() -> None:
        print_line("waiting for the API …", file=sys.stderr, flush=True)

    timer = threading.Timer(SAID_AFTER_SECONDS, say)
    timer.daemon = True
    if not quiet:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def is_of_a_proxy(answer: httpx.Response) -> bool:
    """Return whether a proxy reports that the API is unavailable; the API sends problem details."""
    return answer.status_code in AWAY and "json" not in answer.headers.get("Content-Type", "")


def proxy_problem(answer: httpx.Response, url: str, *, changes: bool) -> CliError:
    """Build the error for a response that a proxy sent instead of the API."""
    message = f"a proxy before the API at {url} answered {_status(answer)}, and the API did not"
    steps = ["see that the API runs, and that the proxy reaches it"]
    if changes:
        message += "; what you asked for may have been taken up all the same"
        steps.insert(0, "look before you ask again: moorage list")
    return CliError(Code.UNREACHABLE, message, next_steps=steps)


def redirect_problem(answer: httpx.Response, url: str) -> CliError:
    """Build the error for a redirect, which is never followed: the token is only for this URL."""
    target = urljoin(str(answer.request.url), answer.headers.get("Location", ""))
    message = (
        f"{url} answers {_status(answer)} and sends on to {target}, which is not followed with your token"
    )
    base = target.partition("/api/v1")[0] if "/api/v1" in target else target
    return CliError(
        Code.UNREACHABLE, message, next_steps=[f"if the API is there: MOORAGE_URL={base.rstrip('/')}"]
    )


def _status(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.reason_phrase}".strip()
