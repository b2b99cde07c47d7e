"""How long the API is waited for, and what an answer means that is not the API's own."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from urllib.parse import urljoin

import httpx

from starter.cli.errors import CliError, Code
from starter.cli.printing import print_line

#: Longer than the API takes for anything, so that a person learns that it is not their terminal that hangs.
SAID_AFTER_SECONDS = 2.0
#: For what only looks, all tries together. The API itself gives up on Temporal earlier, and says so.
READ_SECONDS = 20.0
#: What a proxy answers while the API behind it is away.
AWAY = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})


@contextmanager
def said_when_slow(*, quiet: bool) -> Iterator[None]:
    """Say on standard error that the API is waited for, once that has taken a while."""

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
    """Whether something before the API says that the API is away: the API itself answers problem details."""
    return answer.status_code in AWAY and "json" not in answer.headers.get("Content-Type", "")


def proxy_problem(answer: httpx.Response, url: str, *, changes: bool) -> CliError:
    """What it means that a proxy answered in the API's place."""
    message = f"a proxy before the API at {url} answered {_status(answer)}, and the API did not"
    steps = ["see that the API runs, and that the proxy reaches it"]
    if changes:
        message += "; what you asked for may have been taken up all the same"
        steps.insert(0, "look before you ask again: moorage list")
    return CliError(Code.UNREACHABLE, message, next_steps=steps)


def redirect_problem(answer: httpx.Response, url: str) -> CliError:
    """Where a redirect leads. It is never followed: the token is for this address alone."""
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
