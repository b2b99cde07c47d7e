"""One call of the API without httpx, whose import takes longer than all else in a command with one call.

It makes one attempt, directly. Whatever else there is, such as a proxy, another attempt, or the words for a
failure, is the work of `starter.cli.client.api`, which gets the answer if there is one.
"""

import http.client
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from clients.transport.tls_trust import TrustError, context_for
from starter.cli.client.command_trace import begin_call, trace_headers
from starter.cli.client.connection import Connection
from starter.cli.client.time_limits import CONNECT_SECONDS, TIMEOUT_SECONDS

#: The largest answer to such a call has some kilobytes; a larger one is none of Moorage's.
LONGEST_ANSWER = 1024 * 1024
#: Beside an API's address may be a page, which says something else to programs than to people.
ACCEPT = "application/json, */*;q=0.5"


@dataclass(frozen=True)
class RawAnswer:
    """An answer of the server: its status, headers and body."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def post_once(connection: Connection, path: str, body: Mapping[str, Any]) -> RawAnswer | None:
    """Return the answer to one POST; None if there is none, or if another way to call is needed.

    Raises:
        CliError: the sign-in has ended.
    """
    parts = urlsplit(connection.url)
    host = parts.hostname or ""
    if not host.isascii() or parts.username or parts.query or _has_proxies():
        return None
    token = connection.access_token(timeout=TIMEOUT_SECONDS)
    headers = {"Content-Type": "application/json", "Accept": ACCEPT} | trace_headers()
    if token:
        headers["Authorization"] = f"Bearer {token}"
    called: http.client.HTTPConnection | None = None
    ended = begin_call("POST", path)
    try:
        if parts.scheme == "https":
            context = context_for(connection.url, connection.ca_file, setting=connection.ca_setting)
            called = http.client.HTTPSConnection(host, parts.port, timeout=CONNECT_SECONDS, context=context)
        else:
            called = http.client.HTTPConnection(host, parts.port, timeout=CONNECT_SECONDS)
        called.connect()
        called.sock.settimeout(TIMEOUT_SECONDS)
        target = f"{parts.path.rstrip('/')}/api/v1/{path}"
        called.request("POST", target, json.dumps(body).encode(), headers)
        answer = called.getresponse()
        content = answer.read(LONGEST_ANSWER + 1)
        ended(answer.status)
    except (OSError, http.client.HTTPException, TrustError, ValueError) as error:
        ended(type(error).__name__)
        return None
    finally:
        if called is not None:
            called.close()
    is_rejected = answer.status == http.HTTPStatus.UNAUTHORIZED and connection.session is not None
    if is_rejected or len(content) > LONGEST_ANSWER:
        return None
    return RawAnswer(answer.status, dict(answer.getheaders()), content)


def _has_proxies() -> bool:
    """Return whether there may be a proxy for some URL."""
    if sys.platform in ("win32", "darwin"):
        # There the settings of the system count as well.
        import urllib.request

        return bool(urllib.request.getproxies())
    return any(name.lower().endswith("_proxy") and name.lower() != "no_proxy" for name in os.environ)
