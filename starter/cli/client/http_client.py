"""The whole client of the API: proxies, attempts, streams, and a CliError with exit code for a failure."""

import json
import time
from collections.abc import Generator, Iterator, Mapping
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import httpx

from clients.transport.connection_errors import describe_cause, is_final, proxy_of
from clients.transport.tls_trust import TrustError, context_for
from starter.cli.client.api_paths import environment_path
from starter.cli.client.command_trace import begin_call, trace_headers
from starter.cli.client.connection import Connection
from starter.cli.client.minimal_client import ACCEPT, NoAnswer, RawAnswer
from starter.cli.client.proxy_errors import (
    ACCEPTED_NEVERTHELESS,
    CHECK_FIRST,
    is_from_proxy,
    proxy_failure,
    redirect_failure,
)
from starter.cli.client.time_limits import CONNECT_SECONDS, READ_SECONDS, TIMEOUT_SECONDS, TRIES
from starter.cli.errors import CliError, Code
from starter.cli.views.base import parse
from starter.cli.views.environments import EnvironmentView
from starter.cli.views.response_validation import parse_answer

#: The client closes a stream after this time without data; the API sends a comment every 15 s.
SILENCE_SECONDS = 45.0
PAUSE_SECONDS = 0.5
#: How long the command tries to reconnect a broken stream before it gives up.
RECONNECT_SECONDS = 60.0

_CODES = {
    400: Code.BAD_INPUT,
    401: Code.NOT_ALLOWED,
    403: Code.NOT_ALLOWED,
    404: Code.NOT_FOUND,
    413: Code.BAD_INPUT,
    422: Code.BAD_INPUT,
    429: Code.UNREACHABLE,
    503: Code.UNREACHABLE,
}

#: Status codes of the API, or of a proxy in front of it, while something is temporarily unavailable.
_UNAVAILABLE = frozenset({429, 502, 503, 504})

JSON, YAML = "application/json", "application/yaml"

#: Errors of a connection. They include OSError, because httpx does not convert some of the system's errors.
_CONNECTION_ERRORS = (httpx.TransportError, OSError)
#: Errors of a call that was sent completely, so that the API may have carried it out.
_SENT = (httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError)


class _Unavailable(Exception):
    """A stream is not available at the moment; `problem` says why."""

    def __init__(self, problem: CliError) -> None:
        self.problem = problem
        super().__init__(str(problem))


class _BearerToken(httpx.Auth):
    """Adds the token to each request; a token that the API does not accept is renewed once.

    A command that follows an environment lives longer than its first token.
    """

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self._connection.access_token(timeout=self._timeout)
        if not token:
            yield request
            return
        request.headers["Authorization"] = f"Bearer {token}"
        answer = yield request
        if answer.status_code == HTTPStatus.UNAUTHORIZED and self._connection.session is not None:
            token = self._connection.access_token(rejected=token, timeout=self._timeout)
            request.headers["Authorization"] = f"Bearer {token}"
            yield request


class HttpClient:
    """Client of the API at one URL, with one credential, or with none for what needs none."""

    def __init__(
        self,
        connection: Connection,
        *,
        timeout: float = TIMEOUT_SECONDS,
        tries: int = TRIES,
    ) -> None:
        self.url = connection.url
        self._timeout = timeout
        self._tries = tries
        try:
            httpx.URL(connection.url)
        except httpx.InvalidURL as error:
            raise CliError(Code.BAD_INPUT, f'"{connection.url}" is not a URL: {error}') from None
        try:
            local = self._is_local = urlsplit(connection.url).hostname in ("127.0.0.1", "localhost", "::1")
            self._http = httpx.Client(
                base_url=f"{connection.url}/api/v1/",
                headers={"Accept": ACCEPT} | trace_headers(),
                auth=_BearerToken(connection, timeout),
                timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
                # Use no proxy for an API on this machine, whatever the environment variables say for others.
                trust_env=not local,
                verify=context_for(connection.url, connection.ca_file, setting=connection.ca_setting),
            )
        except TrustError as error:
            raise CliError(Code.BAD_INPUT, str(error)) from None
        except (httpx.InvalidURL, ValueError) as error:
            # The only other input that is read here is the environment variables for proxies.
            steps = ["correct HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, or add the API's host to NO_PROXY"]
            raise CliError(
                Code.BAD_INPUT, f"a proxy setting is not valid: {error}", next_steps=steps
            ) from None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        key: str | None = None,
        first: RawAnswer | NoAnswer | None = None,
        started: float | None = None,
    ) -> Any:
        """Call the API and return the validated JSON of its response.

        A call without a response is retried with the same key. `first` is the answer to an attempt that was
        made before, without this client; the time for a read begins with that attempt, at `started`.
        """
        answer = self._send(method, path, query=query, body=body, key=key, first=first, started=started)
        self._require(answer, JSON)
        try:
            return parse_answer(answer.content, method, path)
        except (ValueError, RecursionError):
            raise self._unexpected_response(answer) from None

    def text(self, path: str, media_type: str = YAML) -> str:
        """Return the text of this media type from the API."""
        answer = self._send("GET", path)
        self._require(answer, media_type)
        return answer.text

    def _require(self, answer: httpx.Response, media_type: str) -> None:
        if _media_type(answer) != media_type:
            raise self._unexpected_response(answer)

    def view(self, content: Any) -> EnvironmentView:
        """Parse an environment from a response."""
        try:
            return parse(content, EnvironmentView)
        except ValueError:
            raise self._unexpected_response() from None

    def follow(self, name: str) -> Iterator[EnvironmentView]:
        """Yield the state of the environment, now and after each change, until its life has ended.

        A broken stream is reconnected; that must succeed within `RECONNECT_SECONDS`.
        """
        cut_at: float | None = None
        while True:
            try:
                for event, data in self._stream(f"{environment_path(name)}/events"):
                    cut_at = None
                    if event in ("status", "end"):
                        yield self.view(_parse_json(data))
                    if event == "end":
                        return
            except (*_CONNECTION_ERRORS, _Unavailable) as error:
                now = time.monotonic()
                cut_at = cut_at or now
                if now - cut_at > RECONNECT_SECONDS or is_final(error):
                    raise (
                        error.problem if isinstance(error, _Unavailable) else self._unreachable(error)
                    ) from None
            time.sleep(PAUSE_SECONDS)

    def _stream(self, path: str) -> Iterator[tuple[str, str]]:
        # Import it here: only commands that follow an environment need it.
        from httpx_sse import EventSource

        timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        # Request no compression, because proxies that compress buffer events until they have enough of them.
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        ended = begin_call("GET", path)
        with self._http.stream("GET", path, timeout=timeout, headers=headers) as answer:
            ended(answer.status_code)
            if not answer.is_success:
                answer.read()
                problem = self._failure(answer)
                raise _Unavailable(problem) if answer.status_code in _UNAVAILABLE else problem
            self._require(answer, "text/event-stream")
            for event in EventSource(answer).iter_sse():
                yield event.event, event.data

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        key: str | None = None,
        first: RawAnswer | NoAnswer | None = None,
        started: float | None = None,
    ) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        params = {name: value for name, value in (query or {}).items() if value is not None}
        total = min(self._timeout, READ_SECONDS) if method == "GET" else self._timeout
        ends = (time.monotonic() if started is None else started) + total
        may_be_accepted = False
        for left in reversed(range(self._tries)):
            # A call that changes something gets the full timeout with each attempt, because its response
            # matters.
            rest = max(1.0, ends - time.monotonic()) if method == "GET" else total
            timeout = httpx.Timeout(rest, connect=min(rest, CONNECT_SECONDS))
            is_last, made, first = not left, first, None
            try:
                answer = (
                    self._request(method, path, params=params, json=body, headers=headers, timeout=timeout)
                    if made is None
                    else self._received(made, method, path)
                )
            except (httpx.HTTPError, OSError) as error:
                may_be_accepted = may_be_accepted or (method != "GET" and isinstance(error, _SENT))
                if is_last or is_final(error) or (method == "GET" and time.monotonic() >= ends):
                    raise self._unreachable(error, may_be_accepted=may_be_accepted) from None
                time.sleep(PAUSE_SECONDS)
                continue
            if answer.is_success:
                return answer
            if not is_from_proxy(answer):
                raise self._failure(answer)
            if is_last:
                raise proxy_failure(answer, self.url, changes=method != "GET")
            # Retry with the same key, so that the API answers a repeat and does not execute it twice.
            time.sleep(PAUSE_SECONDS)
        raise AssertionError("unreachable")

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        ended = begin_call(method, path)
        try:
            answer = self._http.request(method, path, **arguments)
        except (httpx.HTTPError, OSError) as error:
            ended(type(error).__name__)
            raise
        ended(answer.status_code)
        return answer

    def _received(self, raw: RawAnswer | NoAnswer, method: str, path: str) -> httpx.Response:
        """Return what httpx would have returned, or raise what it would have raised."""
        request = self._http.build_request(method, path)
        if isinstance(raw, NoAnswer):
            raise _as_in_httpx(raw) from raw.error
        return httpx.Response(raw.status, headers=dict(raw.headers), content=raw.content, request=request)

    def _failure(self, answer: httpx.Response) -> CliError:
        if answer.is_redirect:
            return redirect_failure(answer, self.url)
        if is_from_proxy(answer):
            return proxy_failure(answer, self.url, changes=False)
        try:
            problem = answer.json()
            errors = problem.get("errors", [])
            lines = [f"{one['field']}: {one['message']}" for one in errors]
            detail = str(problem["title"] if lines and answer.status_code == 422 else problem["detail"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return self._unexpected_response(answer)
        code = _CODES.get(answer.status_code, Code.FAILED)
        # After "moorage: " a sentence goes on in lower case, but not with the name of a system.
        if detail.partition(" ")[0] != problem.get("system"):
            detail = detail[:1].lower() + detail[1:]
        return CliError(code, detail, lines=lines, problem=problem)

    def _unreachable(self, error: Exception, *, may_be_accepted: bool = False) -> CliError:
        why = describe_cause(error)
        proxy = "" if self._is_local else proxy_of(self.url)
        step = "check that it runs and that the URL is right"
        if "certificate is not trusted" in why:
            step = "set the file with its authority: --ca-file FILE, MOORAGE_CA_FILE or SSL_CERT_FILE"
        elif proxy:
            step = f"check the proxy {proxy}, or add the host to NO_PROXY"
            if "407" in why:
                step = "set the login in the variable: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"
        by = f", through the proxy {proxy}" if proxy else ""
        message = f"cannot reach the API at {self.url}{by}{f': {why}' if why else ''}"
        if may_be_accepted:
            message += ACCEPTED_NEVERTHELESS
        return CliError(
            Code.UNREACHABLE, message, next_steps=[CHECK_FIRST, step] if may_be_accepted else [step]
        )

    def _unexpected_response(self, answer: httpx.Response | None = None) -> CliError:
        """Build the error for a response that Moorage never sends.

        The message does not quote the response, because a page can contain anything.
        """
        message, steps = f"the server at {self.url} is not Moorage's API", []
        if answer is not None:
            kind = _media_type(answer) or "no type"
            message = f"{message}: {answer.status_code} with {kind}"
            if answer.status_code == 407:
                message = f"the proxy in front of {self.url} requires a login (407)"
                steps = ["set the login in HTTP_PROXY: http://USER:PASSWORD@HOST:PORT"]
            elif answer.status_code == 400 and b"HTTPS" in answer.content:
                steps = ["the server requires https://: correct MOORAGE_URL"]
        return CliError(Code.UNREACHABLE, message, next_steps=steps)


def _as_in_httpx(failed: NoAnswer) -> httpx.TransportError:
    text = str(failed.error)
    if isinstance(failed.error, TimeoutError):
        return httpx.ReadTimeout(text) if failed.was_sent else httpx.ConnectTimeout(text)
    if isinstance(failed.error, OSError) and not isinstance(failed.error, HTTPException):
        return httpx.ReadError(text) if failed.was_sent else httpx.ConnectError(text)
    return httpx.RemoteProtocolError(text)


def _parse_json(data: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _media_type(answer: httpx.Response) -> str:
    return str(answer.headers.get("Content-Type", "")).partition(";")[0].strip().lower()
