"""The HTTP transport for all outside systems: timeouts, limits, mapping to `clients.errors`.

It never retries, because Temporal's retries are visible in the history.
"""

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlencode

import httpx

from clients.errors import (
    AlreadyExists,
    ClientError,
    Denied,
    MalformedAnswer,
    NotFound,
    Rejected,
    ServerFailed,
    Throttled,
    Unreachable,
)
from clients.transport.connection_errors import describe_cause
from clients.transport.measured_calls import measured
from clients.transport.retry_after import retry_after
from clients.transport.tls_trust import context_for
from clients.transport.traced_requests import TracedRequest, traced_request
from clients.transport.write_deadline import ensure_before_deadline

#: Connect timeout: a system that does not even accept a connection within this time is down.
CONNECT_TIMEOUT = timedelta(seconds=5)
#: Maximum number of concurrent calls; further calls wait, so that a burst does not overload the system.
#: They wait before the connection pool and not in it, because the pool's work for a call grows with the
#: number of calls that wait in it.
MAX_CONCURRENT_CALLS = 32
#: Close idle connections before the other side does (nginx after 75 s, most load balancers after 60 s),
#: because a call on a connection that is being closed is in doubt.
KEEP_ALIVE = timedelta(seconds=30)
#: Maximum size of an answer: the largest legitimate ones are pages of lists and bootstrap manifests.
MAX_ANSWER_BYTES = 8 * 1024 * 1024
#: How much longer than its timeout a whole call may take, for the connection and for reading a large
#: answer: httpx restarts the timeout for each chunk, so a server that sends slowly would occupy a slot
#: forever. It is shorter than the time that a life waits for late responses after the longest timeout
#: (`worker.settings.models`, 15 s), so the call is over when the life checks the result.
TOTAL_TIMEOUT_MARGIN = timedelta(seconds=10)

_UNAUTHORIZED = 401
#: Methods that change nothing: a lost answer to one of them leaves nothing in doubt.
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: its status, headers (case-insensitive) and raw body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def fields(self) -> Mapping[str, Any]:
        """Return the fields of a JSON object; none for other content, such as a proxy's page."""
        try:
            document: Any = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    @property
    def is_html(self) -> bool:
        """Return whether the body is a page, as from a proxy, which knows nothing of the resource."""
        return self.body.lstrip()[:1] == b"<"


class ExchangeFailed(Exception):
    """An `Exchange` got no whole answer; the text says why. `never_sent`: the request has not left."""

    def __init__(self, detail: str, *, never_sent: bool) -> None:
        super().__init__(detail)
        self.never_sent = never_sent


class AnswerTooLarge(Exception):
    """The answer is larger than its limit, and was not read to its end."""


class Exchange(Protocol):
    """Connections to a system that `HttpSystem` uses in place of httpx."""

    async def send(
        self, method: str, target: str, headers: Mapping[str, str], content: bytes | None, limit: int
    ) -> Answer:
        """Send one request to the encoded path and query; raise ExchangeFailed or AnswerTooLarge."""

    async def close(self) -> None:
        """Close all connections."""


Explain = Callable[[Answer], str]
Classify = Callable[[Answer, str], type[ClientError] | None]


def bearer_headers(token: str) -> dict[str, str]:
    """Return the headers for a bearer token; none if the text cannot be a token."""
    return {"Authorization": f"Bearer {token}"} if token.isascii() and token.isprintable() and token else {}


class Credentials(Protocol):
    """Where the headers of a credential come from that expires, such as an OAuth 2.0 access token."""

    async def headers(self) -> Mapping[str, str]:
        """Return the headers to send now; raise a `ClientError` if there are none."""

    async def renew_after_refusal(self, refused: Mapping[str, str]) -> bool:
        """Renew the headers if `refused` are the current ones; return whether there are other ones now."""


class HttpSystem:
    """An outside system behind one base URL.

    `explain` extracts the message for people from an error answer. `classify` may choose the error class
    where the status alone is not enough; it gets the answer and that message, and None means: by the status.
    `renewed` returns the current headers when the system refuses the credential in the headers that were
    sent: if they differ, the call is repeated once with them, since a refused call has done nothing.
    `credentials` does both for headers that have to be asked for. Answers larger than `max_answer_bytes` are
    cut off and raise MalformedAnswer. `exchange` sends requests with a JSON body in place of httpx; it is for
    a credential that neither expires nor changes.
    """

    def __init__(
        self,
        system: str,
        base_url: str,
        *,
        headers: Mapping[str, str],
        timeout: timedelta,
        explain: Explain,
        classify: Classify | None = None,
        verify: ssl.SSLContext | bool = True,
        renewed: Callable[[], Mapping[str, str]] | None = None,
        credentials: Credentials | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        exchange: Exchange | None = None,
    ) -> None:
        self.system = system
        self._base_url = base_url
        self._exchange = exchange
        self._headers = dict(headers)
        self._max_answer_bytes = max_answer_bytes
        self._credentials = credentials
        self._renewed = renewed
        self.timeout = timeout
        self._explain = explain
        self._classify = classify
        self._total_timeout = (timeout + TOTAL_TIMEOUT_MARGIN).total_seconds()
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_CALLS)
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers=dict(headers),
            timeout=httpx.Timeout(
                timeout.total_seconds(),
                connect=min(CONNECT_TIMEOUT, timeout).total_seconds(),
            ),
            limits=httpx.Limits(
                max_connections=MAX_CONCURRENT_CALLS,
                max_keepalive_connections=MAX_CONCURRENT_CALLS,
                keepalive_expiry=KEEP_ALIVE.total_seconds(),
            ),
            verify=context_for(base_url) if verify is True else verify,
            follow_redirects=False,
            trust_env=True,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; the system cannot be called afterwards."""
        await self._http.aclose()
        if self._exchange is not None:
            await self._exchange.close()

    @measured
    async def call(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        content: bytes | None = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one call and return its answer if the status is 2xx; raise a `ClientError` otherwise.

        It takes at most `timeout` plus `TOTAL_TIMEOUT_MARGIN`, and waits at most as long for a slot before
        that. `body` is sent as JSON, `form` URL-encoded; `content` is sent unchanged, for callers that need
        to know the exact bytes. `operation` describes the call in a few words ("create project demo") and
        appears in errors.
        """
        # Before the slot is taken: renewing them is a call to another system.
        credential = await self._credentials.headers() if self._credentials else {}
        await self._acquire_slot(operation)
        is_repeated = False
        try:
            while True:
                if method not in _SAFE_METHODS:
                    ensure_before_deadline(self.system, operation)
                with self._traced(operation, method) as traced:
                    async with asyncio.timeout(self._total_timeout):
                        all_headers = {**(headers or {}), **credential, **traced.headers}
                        if self._exchange is not None:
                            answer = await self._send(self._exchange, method, path, query, body, all_headers)
                            traced.status = answer.status
                            break
                        async with self._http.stream(
                            method,
                            path,
                            params=query,
                            json=body,
                            content=content,
                            data=form,
                            headers=all_headers,
                        ) as response:
                            traced.status = response.status_code
                            content_read = await self._read(response)
                            answer = Answer(response.status_code, response.headers, content_read)
                if answer.status != _UNAUTHORIZED:
                    break
                if self._credentials is None:
                    if not self._has_renewed(response.request):
                        break
                elif is_repeated or not await self._credentials.renew_after_refusal(credential):
                    break
                else:
                    is_repeated, credential = True, await self._credentials.headers()
        except (httpx.HTTPError, TimeoutError, ExchangeFailed) as error:
            raise self._unreachable(method, operation, error) from error
        except AnswerTooLarge:
            raise self._too_large(operation) from None
        finally:
            self._slots.release()
        if not 200 <= answer.status < 300:
            raise self._failure(method, operation, answer)
        return answer

    async def call_json(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Make one call as `call` does and return its body parsed as JSON; None for an empty body."""
        answer = await self.call(method, path, operation, query=query, body=body, headers=headers)
        if not answer.body.strip():
            return None
        try:
            return json.loads(answer.body)
        # RecursionError: JSON that is nested a thousand levels deep.
        except (ValueError, RecursionError) as error:
            raise MalformedAnswer(
                self.system,
                operation,
                f"the answer ({answer.status}) is not JSON",
                ambiguous=method not in _SAFE_METHODS,
            ) from error

    def _has_renewed(self, refused: httpx.Request) -> bool:
        """Return whether the headers have changed since the refused request; use the new ones."""
        if self._renewed is None:
            return False
        headers = self._renewed()
        self._http.headers.update(headers)
        return any(refused.headers.get(name) != value for name, value in headers.items())

    def _traced(self, operation: str, method: str) -> AbstractContextManager[TracedRequest]:
        return traced_request(self.system, operation, method, self._base_url)

    async def _acquire_slot(self, operation: str) -> None:
        """Wait for a free slot; raise Unreachable, with nothing sent, if none becomes free in time."""
        try:
            async with asyncio.timeout(self._total_timeout):
                await self._slots.acquire()
        except TimeoutError:
            waited = f"after {self._total_timeout:g} s"
            detail = f"{MAX_CONCURRENT_CALLS} earlier calls still wait for its answers, {waited}"
            raise Unreachable(self.system, operation, detail) from None

    async def _send(
        self,
        exchange: Exchange,
        method: str,
        path: str,
        query: Mapping[str, str | int] | None,
        body: Any,
        headers: Mapping[str, str],
    ) -> Answer:
        target = f"{path}?{urlencode(query)}" if query else path
        sent = {**self._headers, **headers}
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        content = None if body is None else json.dumps(body).encode()
        return await exchange.send(method, target, sent, content, self._max_answer_bytes)

    async def _read(self, response: httpx.Response) -> bytes:
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > self._max_answer_bytes:
                raise AnswerTooLarge
        return bytes(content)

    def _too_large(self, operation: str) -> MalformedAnswer:
        detail = f"the answer is larger than {self._max_answer_bytes} bytes"
        return MalformedAnswer(self.system, operation, detail, ambiguous=True)

    def _unreachable(
        self, method: str, operation: str, error: httpx.HTTPError | TimeoutError | ExchangeFailed
    ) -> ClientError:
        never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        if isinstance(error, ExchangeFailed):
            never_sent, detail = error.never_sent, str(error)
        elif isinstance(error, httpx.TimeoutException):
            detail = f"no answer within {self.timeout.total_seconds():g} s"
        elif isinstance(error, TimeoutError):
            detail = f"no whole answer within {self._total_timeout:g} s"
        elif isinstance(error, httpx.ConnectError):
            detail = f"cannot connect to {self._http.base_url.host}{_cause_clause(error)}"
        elif isinstance(error, httpx.ProxyError):
            detail = f"cannot connect to {self._http.base_url.host} through the proxy{_cause_clause(error)}"
        else:
            detail = f"the connection was cut ({type(error).__name__})"
        return Unreachable(
            self.system, operation, detail, ambiguous=not never_sent and method not in _SAFE_METHODS
        )

    def _failure(self, method: str, operation: str, answer: Answer) -> ClientError:
        detail = f"{answer.status} {self._explain(answer)}".strip()
        kind = self._classify(answer, detail) if self._classify else None
        if kind is None:
            kind = _KIND_OF_STATUS.get(answer.status, ServerFailed if answer.status >= 500 else Rejected)
        if kind is Throttled:
            return Throttled(self.system, operation, detail, retry_after=retry_after(answer.headers))
        if kind is ServerFailed:
            ambiguous = method not in _SAFE_METHODS
            return ServerFailed(self.system, operation, detail, status=answer.status, ambiguous=ambiguous)
        return kind(self.system, operation, detail)


_KIND_OF_STATUS: dict[int, type[ClientError]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    408: ServerFailed,
    409: AlreadyExists,
    429: Throttled,
}


def _cause_clause(error: httpx.HTTPError) -> str:
    why = describe_cause(error)
    return f": {why}" if why else ""
