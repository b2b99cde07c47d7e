"""The HTTP API as the commands use it: JSON in and out, and every failure a sentence with an exit code."""

import json
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from contracts.naming import is_name
from starter.cli.connection import Connection
from starter.cli.failing import CliError, Code
from starter.cli.patience import (
    READ_SECONDS,
    is_of_a_proxy,
    proxy_problem,
    reason_of,
    redirect_problem,
    said_when_slow,
)
from starter.views import EnvironmentView

#: Longer than the API's own patience with Temporal, so that it is the API that says what is wrong.
TIMEOUT_SECONDS = 40.0
CONNECT_SECONDS = 5.0
#: A stream is cut when even its comments, one in 15 s, stay away.
SILENCE_SECONDS = 45.0
#: Tries of a call that can be repeated: all can, because those that change something bear a key.
TRIES = 3
PAUSE_SECONDS = 0.5
#: How long a stream that is cut is taken up again before the command gives up.
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

#: What stands before the API, or the API itself, answers so while something is away for a moment.
_AWAY = frozenset({429, 502, 503, 504})


class _Away(Exception):
    """A stream is not to be had at the moment; `problem` says why."""

    def __init__(self, problem: CliError) -> None:
        self.problem = problem
        super().__init__(str(problem))


class Api:
    """The API behind one URL, with one token."""

    def __init__(
        self,
        connection: Connection,
        *,
        timeout: float = TIMEOUT_SECONDS,
        tries: int = TRIES,
        quiet: bool = False,
    ) -> None:
        self.url = connection.url
        self._quiet = quiet
        self._timeout = timeout
        self._tries = tries
        try:
            local = urlsplit(connection.url).hostname in ("127.0.0.1", "localhost", "::1")
            self._http = httpx.Client(
                base_url=f"{connection.url}/api/v1/",
                headers={"Authorization": f"Bearer {connection.token}"},
                timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
                # What runs on this machine is not behind a proxy, whatever the environment says of others.
                trust_env=not local,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise CliError(Code.BAD_INPUT, f'"{connection.url}" is not a URL: {error}') from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        key: str | None = None,
    ) -> Any:
        """The JSON that the API answers. A call that had no answer is repeated, with the same key."""
        answer = self._send(method, path, query=query, body=body, key=key)
        try:
            return answer.json()
        except ValueError:
            raise self._no_moorage() from None

    def text(self, path: str) -> str:
        """The text that the API answers."""
        return self._send("GET", path).text

    def environment(self, name: str) -> EnvironmentView:
        """How the environment stands."""
        return self.view(self.call("GET", environment_path(name)))

    def view(self, content: Any) -> EnvironmentView:
        """An environment out of an answer."""
        try:
            return EnvironmentView.model_validate(content)
        except ValueError:
            raise self._no_moorage() from None

    def follow(self, name: str) -> Iterator[EnvironmentView]:
        """How the environment stands, now and after every change, until its life is over.

        A stream that is cut is taken up again; it must come back within `RECONNECT_SECONDS`.
        """
        cut_at: float | None = None
        while True:
            try:
                for event, data in self._stream(f"{environment_path(name)}/events"):
                    cut_at = None
                    if event in ("status", "end"):
                        yield self.view(_parsed(data))
                    if event == "end":
                        return
            except (httpx.TransportError, _Away) as error:
                now = time.monotonic()
                cut_at = cut_at or now
                if now - cut_at > RECONNECT_SECONDS:
                    raise (error.problem if isinstance(error, _Away) else self._unreachable(error)) from None
            time.sleep(PAUSE_SECONDS)

    def _stream(self, path: str) -> Iterator[tuple[str, str]]:
        timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        # Proxies that compress hold events back until they have enough of them.
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        with self._http.stream("GET", path, timeout=timeout, headers=headers) as answer:
            if not answer.is_success:
                answer.read()
                problem = self._failure(answer)
                raise _Away(problem) if answer.status_code in _AWAY else problem
            event, data = "message", ""
            for line in _lines(answer):
                field, _, value = line.partition(": ")
                if field == "event":
                    event = value
                elif field == "data":
                    data += value
                elif not line:
                    if data:
                        yield event, data
                    event, data = "message", ""

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        key: str | None = None,
    ) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        params = {name: value for name, value in (query or {}).items() if value is not None}
        patience = min(self._timeout, READ_SECONDS) if method == "GET" else self._timeout
        ends = time.monotonic() + patience
        with said_when_slow(quiet=self._quiet):
            for left in reversed(range(self._tries)):
                # What changes something is waited for anew with each try: its answer is worth it.
                rest = max(1.0, ends - time.monotonic()) if method == "GET" else patience
                timeout = httpx.Timeout(rest, connect=min(rest, CONNECT_SECONDS))
                is_last = not left
                try:
                    answer = self._http.request(
                        method, path, params=params, json=body, headers=headers, timeout=timeout
                    )
                except httpx.HTTPError as error:
                    if is_last or (method == "GET" and time.monotonic() >= ends):
                        raise self._unreachable(error) from None
                    time.sleep(PAUSE_SECONDS)
                    continue
                if answer.is_success:
                    return answer
                if not is_of_a_proxy(answer):
                    raise self._failure(answer)
                if is_last:
                    raise proxy_problem(answer, self.url, changes=method != "GET")
                # The same key with each try: what has been taken up is answered, not done twice.
                time.sleep(PAUSE_SECONDS)
        raise AssertionError("unreachable")

    def _failure(self, answer: httpx.Response) -> CliError:
        if answer.is_redirect:
            return redirect_problem(answer, self.url)
        if is_of_a_proxy(answer):
            return proxy_problem(answer, self.url, changes=False)
        try:
            problem = answer.json()
            errors = problem.get("errors", [])
            lines = [f"{one['field']}: {one['message']}" for one in errors]
            detail = str(problem["title"] if lines and answer.status_code == 422 else problem["detail"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return self._no_moorage()
        code = _CODES.get(answer.status_code, Code.FAILED)
        return CliError(code, detail[:1].lower() + detail[1:], lines=lines, problem=problem)

    def _unreachable(self, error: httpx.HTTPError) -> CliError:
        return CliError(
            Code.UNREACHABLE,
            f"the API at {self.url} {reason_of(error)}",
            next_steps=["see that it runs and that the URL is right (MOORAGE_URL); moorage up has its own"],
        )

    def _no_moorage(self) -> CliError:
        return CliError(Code.UNREACHABLE, f"what answers at {self.url} is not Moorage's API")


def _lines(answer: httpx.Response) -> Iterator[str]:
    """The lines of a stream of events, cut at line feeds only: httpx also cuts at U+2028 and its like."""
    rest = ""
    for text in answer.iter_text():
        *lines, rest = (rest + text).split("\n")
        yield from (line.removesuffix("\r") for line in lines)


def _parsed(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def environment_path(name: str) -> str:
    """The path of an environment. What no environment can be named is not found without asking."""
    if not is_name(name):
        raise CliError(Code.NOT_FOUND, f'there is no environment "{name}": that cannot be a name')
    return f"environments/{name}"
