"""Errors for responses that do not come from the API."""

from http import HTTPStatus
from urllib.parse import urljoin

import httpx

from starter.cli.errors import CliError, Code

#: Status codes of a proxy while the API behind it is unavailable.
UNAVAILABLE = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
#: What a person must know of a change whose answer is lost, and what to do then.
ACCEPTED_NEVERTHELESS = "; the API may have accepted the request nevertheless"
CHECK_FIRST = "check before you try again: moorage list"


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
