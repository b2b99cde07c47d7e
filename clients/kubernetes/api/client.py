"""Calls to the API server of a host cluster, with its errors mapped to `clients.errors`.

It sends plain JSON over the connections and credentials of the official client, because that client's models
of every kind would cost memory and have no benefit here. It retries only a call that was refused for its
credentials (they may have expired, or the server may have just started), or that met a conflict with another
writer.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient
from multidict import CIMultiDict

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
from clients.kubernetes.api.refusals import (
    is_account_refusal,
    is_conflict,
    is_policy_denial,
    is_transient,
    missing_right,
)
from clients.kubernetes.auth.credentials import CredentialSource
from clients.kubernetes.auth.kubeconfig import UnusableCredentials
from clients.transport.measured_calls import measured
from clients.transport.retry_after import retry_after
from clients.transport.traced_requests import traced_request
from clients.transport.write_deadline import ensure_before_deadline

#: Connect timeout: an API server that does not even accept a connection within this time is down.
CONNECT_TIMEOUT = timedelta(seconds=5)
#: Do not reload younger credentials when they are refused, because it would not help.
RELOAD_AFTER = timedelta(seconds=20)
#: Requests answers with names, labels and owners only, without the content of Secrets.
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
#: Objects per page of a list; a namespace of an environment holds fewer.
PAGE = 500
#: Attempts of a call while other writers change the object; the API server itself gives a patch five.
CONFLICT_ATTEMPTS = 3

_SAFE_METHODS = frozenset({"GET"})
Object = Mapping[str, Any]
_Sent = tuple[str, str, str, Mapping[str, str] | None, Object | None, str, str]


class KubernetesApi:
    """One API server; every failure is a `clients.errors.ClientError` with its name as `system`."""

    def __init__(self, system: str, access: CredentialSource, *, timeout: timedelta) -> None:
        self.system = system
        self._access = access
        self._timeout = timeout
        self._client: ApiClient | None = None
        self._headers: Sequence[tuple[str, str]] = ()
        self._loaded_at = 0.0
        self._loading: asyncio.Task[None] | None = None
        self._ahead = timedelta(0)
        self._closing: set[asyncio.Task[None]] = set()

    def now(self) -> datetime:
        """Return the time by the API server's clock, as of its last answer.

        Ages are measured with it, whatever our own clock shows.
        """
        return datetime.now(UTC) + self._ahead

    async def close(self) -> None:
        """Close all connections; the API server cannot be called afterwards."""
        tasks = [*self._closing, *([self._loading] if self._loading is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()  # type: ignore[no-untyped-call]

    @measured
    async def call(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        accept: str = "application/json",
        content: str = "application/json",
    ) -> dict[str, Any]:
        """Make one call and return the object of a 2xx answer; raise a `ClientError` otherwise."""
        sent = (method, path, operation, query, body, accept, content)
        for _ in range(CONFLICT_ATTEMPTS):
            status, headers, document, message = await self._call_authenticated(sent)
            if status != 409 or not is_conflict(message):
                break
        if not 200 <= status < 300:
            raise self._failure(method, operation, status, headers, document)
        if not isinstance(document, dict):
            detail = f"the answer ({status}) is not JSON"
            raise MalformedAnswer(self.system, operation, detail, ambiguous=method not in _SAFE_METHODS)
        with contextlib.suppress(ValueError):
            self._ahead = parsedate_to_datetime(headers.get("Date", "")) - datetime.now(UTC)
        return document

    async def _call_authenticated(self, sent: "_Sent") -> tuple[int, Mapping[str, str], Any, str]:
        """Make the call with valid credentials; return status, headers, document and its message."""
        operation = sent[2]
        status, headers, document, message = _read(await self._send(*sent))
        if status == 401 and not is_policy_denial(message) and await self._reload(operation):
            status, headers, document, message = _read(await self._send(*sent))
        if not is_policy_denial(message) and (status == 401 or (status == 403 and missing_right(message))):
            await self.require_started(operation)
            # Send again, because the API server may have become ready in between, and a refused call has
            # done nothing.
            status, headers, document, message = _read(await self._send(*sent))
        return status, headers, document, message

    async def require_started(self, operation: str) -> None:
        """Return if the API server is ready; raise ServerFailed otherwise.

        An API server that has just started refuses every account, because it has not loaded the roles yet.
        """
        status, _, _ = await self._send("GET", "/readyz", operation, None, None, "*/*", "application/json")
        if status != 200:
            # The two causes could be distinguished only if the API server allowed anonymous requests, and
            # many do not.
            unknown = "it does not accept our credentials: they are wrong or have expired, or it is starting"
            detail = unknown if status == 401 else "it is starting and has not loaded the permissions yet"
            raise ServerFailed(self.system, operation, detail, status=503, ambiguous=False)

    async def get(self, path: str, operation: str) -> dict[str, Any] | None:
        """Return the object at `path`, or None if it does not exist."""
        try:
            return await self.call("GET", path, operation)
        except NotFound:
            return None

    async def list(
        self, path: str, operation: str, *, labels: str = "", metadata_only: bool = False
    ) -> Sequence[Object]:
        """Return all objects at `path`; with `metadata_only` only their metadata.

        If the next page of a list has expired, the list is read again from its start, then in one piece.
        """
        items: list[Object] = []
        chosen = {"labelSelector": labels} if labels else {}
        query = {"limit": str(PAGE), **chosen}
        accept = METADATA_ONLY if metadata_only else "application/json"
        while True:
            try:
                body = await self.call("GET", path, operation, query=query, accept=accept)
            except _Expired:
                if "limit" not in query:
                    raise
                items, query = [], dict(chosen)
                continue
            items += body.get("items") or []
            following = (body.get("metadata") or {}).get("continue")
            if not following:
                return items
            query["continue"] = following

    async def _send(
        self,
        method: str,
        path: str,
        operation: str,
        query: Mapping[str, str] | None,
        body: Object | None,
        accept: str,
        content: str,
    ) -> tuple[int, Mapping[str, str], str]:
        client = self._client or await self._connect(operation)
        if method not in _SAFE_METHODS:
            ensure_before_deadline(self.system, operation)
        request_headers = {"Accept": accept, "Content-Type": content}
        try:
            _, url, plain, sent, _ = await client.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params=request_headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            timeout = aiohttp.ClientTimeout(
                total=self._timeout.total_seconds(),
                sock_connect=min(CONNECT_TIMEOUT, self._timeout).total_seconds(),
            )
            # A header may occur several times, because the account may act as a member of several groups.
            headers = CIMultiDict(plain)
            headers.extend(self._headers)
            with traced_request(self.system, operation, method, url) as traced:
                headers.extend(traced.headers)
                response = await client.call_api(method, url, headers, sent, _request_timeout=timeout)
                traced.status = response.status
                data: bytes = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(method, operation, error) from None
        return response.status, response.headers, data.decode(errors="replace")

    async def _connect(self, operation: str) -> ApiClient:
        while self._client is None:
            await self._load(operation)
        return self._client

    async def _reload(self, operation: str) -> bool:
        """Load the credentials again unless they are recent, because tokens of plugins expire."""
        if self._loading is None and time.monotonic() - self._loaded_at < RELOAD_AFTER.total_seconds():
            return False
        await self._load(operation)
        return True

    async def _load(self, operation: str) -> None:
        """Load credentials, once for all concurrent callers; each of them gets the result.

        No caller waits for another caller's attempt in addition to its own, and a cancelled caller does not
        stop the load for the others.
        """
        if self._loading is None:
            self._loading = asyncio.create_task(self._renew())
        await asyncio.wait({loading := self._loading})
        try:
            loading.result()
        except UnusableCredentials as error:
            raise Denied(self.system, operation, str(error)) from None
        except TimeoutError as error:
            raise Unreachable(self.system, operation, str(error)) from None

    async def _renew(self) -> None:
        try:
            credentials = await self._access.load()
            client = credentials.client()
        finally:
            self._loading = None
        old, self._client, self._headers = self._client, client, credentials.headers()
        self._loaded_at = time.monotonic()
        if old is not None:
            # Close the old client later, because other calls may still use it; they end within the timeout.
            self._closing.add(closing := asyncio.create_task(_close_later(old, self._timeout)))
            closing.add_done_callback(self._closing.discard)

    def _unreachable(self, method: str, operation: str, error: Exception) -> Unreachable:
        never_sent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
            detail = "its certificate is not one that the kubeconfig trusts"
        elif isinstance(error, aiohttp.ClientConnectorError):
            detail = f"cannot connect to {error.host}:{error.port}"
        elif isinstance(error, TimeoutError):
            detail = f"no answer within {self._timeout.total_seconds():g} s"
        else:
            detail = f"the connection was cut ({type(error).__name__})"
        ambiguous = not never_sent and method not in _SAFE_METHODS
        return Unreachable(self.system, operation, detail, ambiguous=ambiguous)

    def _failure(
        self, method: str, operation: str, status: int, headers: Mapping[str, str], document: Any
    ) -> ClientError:
        answer = document if isinstance(document, dict) else {}
        message, reason = str(answer.get("message", "")), str(answer.get("reason", ""))
        detail = f"{status} {message}".strip()
        if status == 429:
            return Throttled(self.system, operation, detail, retry_after=retry_after(headers))
        if status >= 500 or status == 408:
            ambiguous = method not in _SAFE_METHODS
            return ServerFailed(self.system, operation, detail, status=status, ambiguous=ambiguous)
        if is_policy_denial(message):
            return Rejected(self.system, operation, detail)
        if status == 401:
            return Denied(self.system, operation, "401 it does not accept our credentials")
        if status == 403:
            return self._forbidden(operation, detail, message)
        if status == 410:
            return _Expired(self.system, operation, detail, status=status, ambiguous=False)
        if status == 409 and is_conflict(message):
            return ServerFailed(self.system, operation, detail, status=status, ambiguous=False)
        if status == 404:
            return NotFound(self.system, operation, detail)
        if status == 409 and reason == "AlreadyExists":
            return AlreadyExists(self.system, operation, detail)
        return Rejected(self.system, operation, detail)

    def _forbidden(self, operation: str, detail: str, message: str) -> ClientError:
        """Distinguish a 403 for the account from a 403 for the object.

        Other credentials would not change the latter.
        """
        if missing := missing_right(message):
            return Denied(self.system, operation, missing)
        if is_account_refusal(message):
            return Denied(self.system, operation, detail)
        if not message:
            words = "403, and Kubernetes does not say so itself: a proxy before it may"
            return Denied(self.system, operation, words)
        if is_transient(message):
            return ServerFailed(self.system, operation, detail, status=403, ambiguous=False)
        # A quota, a limit, pod security or a terminating namespace refuses every account.
        return Rejected(self.system, operation, detail)


class _Expired(ServerFailed):
    """The server no longer has the requested version of a list (410 Gone)."""


def _read(answer: tuple[int, Mapping[str, str], str]) -> tuple[int, Mapping[str, str], Any, str]:
    """Parse the answer: its document, None if it is not JSON, and the message in it."""
    status, headers, text = answer
    try:
        document = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        document = None
    return status, headers, document, str((document if isinstance(document, dict) else {}).get("message", ""))


async def _close_later(client: ApiClient, delay: timedelta) -> None:
    try:
        await asyncio.sleep(delay.total_seconds())
    finally:
        await client.close()  # type: ignore[no-untyped-call]
