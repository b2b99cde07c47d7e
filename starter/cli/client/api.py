"""The API for the commands: JSON in and out, and a CliError with exit code for a failure.

Its first read is made without httpx, whose import takes longer than all else in most commands. Anything
but one successful call is the work of `starter.cli.client.http_client`.
"""

import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from starter.cli.client.api_paths import environment_path
from starter.cli.client.connection import Connection
from starter.cli.client.minimal_client import RawAnswer, call_once
from starter.cli.client.slow_notice import notice_when_slow
from starter.cli.client.time_limits import READ_SECONDS, TIMEOUT_SECONDS, TRIES
from starter.cli.views.base import parse
from starter.cli.views.environments import EnvironmentView
from starter.cli.views.response_validation import parse_answer

if TYPE_CHECKING:
    from starter.cli.client.http_client import HttpClient


class Api:
    """The API at one URL, with one credential, or with none for what needs none."""

    def __init__(
        self,
        connection: Connection,
        *,
        timeout: float = TIMEOUT_SECONDS,
        tries: int = TRIES,
        quiet: bool = False,
    ) -> None:
        self.connection, self.url = connection, connection.url
        self._timeout, self._tries, self._quiet = timeout, tries, quiet
        self._has_called = False

    @cached_property
    def _client(self) -> "HttpClient":
        from starter.cli.client.http_client import HttpClient

        return HttpClient(self.connection, timeout=self._timeout, tries=self._tries)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "_client" in vars(self):
            self._client.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        key: str | None = None,
        once: bool = False,
    ) -> Any:
        """Call the API and return the validated JSON of its response.

        A call without a response is retried with the same key. With `once`, a call that changes something is
        first made without httpx, as the first read is: for one that may happen twice.
        """
        started, first = time.monotonic(), None
        with notice_when_slow(quiet=self._quiet):
            if once or (method == "GET" and not self._has_called):
                timeout = min(self._timeout, READ_SECONDS)
                first = call_once(self.connection, method, path, query=query, body=body, timeout=timeout)
            self._has_called = True
            if isinstance(first, RawAnswer) and first.status == HTTPStatus.OK and first.is_json:
                try:
                    return parse_answer(first.content, method, path)
                except (ValueError, RecursionError):
                    pass  # the client reports it
            return self._client.call(
                method, path, query=query, body=body, key=key, first=first, started=started
            )

    def text(self, path: str) -> str:
        """Return a text in YAML from the API."""
        with notice_when_slow(quiet=self._quiet):
            return self._client.text(path)

    def environment(self, name: str) -> EnvironmentView:
        """Return the state of the environment."""
        return self.view(self.call("GET", environment_path(name)))

    def view(self, content: Any) -> EnvironmentView:
        """Parse an environment from a response."""
        try:
            return parse(content, EnvironmentView)
        except ValueError:
            return self._client.view(content)

    def follow(self, name: str) -> Iterator[EnvironmentView]:
        """Yield the state of the environment, now and after each change, until its life has ended.

        A broken stream is reconnected for a minute.
        """
        return self._client.follow(name)
