"""One call of the API without httpx, whose import takes longer than all else in a command with one call.

It makes one attempt, directly. Whatever else there is, such as a proxy, another attempt, or the words for a
failure, is the work of `starter.cli.client.http_client`, which gets the answer if there is one.
"""

import http.client
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from clients.transport.tls_trust import TrustError, context_for
from starter.cli.client.command_trace import begin_call, trace_headers
from starter.cli.client.connection import Connection
from starter.cli.client.time_limits import CONNECT_SECONDS, TIMEOUT_SECONDS

#: A larger answer than this, a page of a list, is none of Moorage's.
LONGEST_ANSWER = 1024 * 1024
#: Beside an API's address may be a page, which says something else to programs than to people.
ACCEPT = "application/json, */*;q=0.5"


@dataclass(frozen=True)
class RawAnswer:
    """An answer of the server: its status, headers and body."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_json(self) -> bool:
        """Whether it says that its body is JSON."""
        kind = {name.lower(): value for name, value in self.headers.items()}.get("content-type", "")
        return kind.partition(";")[0].strip().lower() == "application/json"


@dataclass(frozen=True)
class NoAnswer:
    """A call without an answer: why, and whether the server may have got it."""

    error: OSError | http.client.HTTPException
    was_sent: bool


def call_once(
    connection: Connection,
    method: str,
    path: str,
    *,
    query: Mapping[str, Any] | None = None,
    body: Any = None,
    timeout: float = TIMEOUT_SECONDS,
) -> RawAnswer | NoAnswer | None:
    """Return the answer to one call, or that there is none; None if another way to call is needed.

    Raises:
        CliError: the sign-in has ended.
    """
    try:
        parts = urlsplit(connection.url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if not host.isascii() or parts.username or parts.query or _has_proxies():
        return None
    token = connection.access_token(timeout=timeout)
    headers = {"Accept": ACCEPT} | trace_headers()
    if token:
        headers["Authorization"] = f"Bearer {token}"
    content = None
    if body is not None:
        headers["Content-Type"], content = "application/json", json.dumps(body).encode()
    called: http.client.HTTPConnection | None = None
    was_sent, connect_timeout = False, min(timeout, CONNECT_SECONDS)
    ended = begin_call(method, path)
    try:
        if parts.scheme == "https":
            context = context_for(connection.url, connection.ca_file, setting=connection.ca_setting)
            called = http.client.HTTPSConnection(host, port, timeout=connect_timeout, context=context)
        else:
            called = http.client.HTTPConnection(host, port, timeout=connect_timeout)
        called.connect()
        called.sock.settimeout(timeout)
        target = f"{parts.path.rstrip('/')}/api/v1/{path}{_encoded(query or {})}"
        called.request(method, target, content, headers)
        was_sent = True
        answer = called.getresponse()
        received = answer.read(LONGEST_ANSWER + 1)
        ended(answer.status)
    except (http.client.InvalidURL, TrustError):
        return None
    except (OSError, http.client.HTTPException) as error:
        ended(type(error).__name__)
        return NoAnswer(error, was_sent)
    except ValueError:
        return None
    finally:
        if called is not None:
            called.close()
    is_rejected = answer.status == http.HTTPStatus.UNAUTHORIZED and connection.session is not None
    if is_rejected or len(received) > LONGEST_ANSWER:
        return None
    return RawAnswer(answer.status, dict(answer.getheaders()), received)


def _encoded(query: Mapping[str, Any]) -> str:
    """Return the query as httpx encodes it, without values that are None."""
    pairs = [
        (name, str(value).lower() if isinstance(value, bool) else str(value))
        for name, values in query.items()
        for value in (values if isinstance(values, list) else [values])
        if value is not None
    ]
    return f"?{urlencode(pairs)}" if pairs else ""


def _has_proxies() -> bool:
    """Return whether there may be a proxy for some URL."""
    if sys.platform in ("win32", "darwin"):
        # There the settings of the system count as well.
        import urllib.request

        return bool(urllib.request.getproxies())
    return any(name.lower().endswith("_proxy") and name.lower() != "no_proxy" for name in os.environ)
