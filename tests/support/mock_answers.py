"""Documented answers of a system, given to one of our clients in place of the network."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx


class MockAnswers:
    """Answers the calls of a client and keeps them.

    `routes` maps "METHOD /path" to a document, an `answer`, or a list with at least one `answer` in it, of
    which each is given once and the last one always. A path without an answer is a failure of the test.
    """

    def __init__(self, routes: Mapping[str, Any]) -> None:
        self._routes = {key: _several(value) for key, value in routes.items()}
        self.requests: list[httpx.Request] = []

    def install(self, *clients: Any) -> None:
        """Let these answer all calls of the clients, which are made of an `HttpSystem`."""
        for client in clients:
            http = client._http._http
            http._transport, http._mounts = httpx.MockTransport(self._answer), {}

    def calls(self) -> list[str]:
        """The methods and paths called, in order."""
        return [f"{each.method} {each.url.path}" for each in self.requests]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answers = self._routes.get(f"{request.method} {request.url.path}")
        assert answers, f"not expected: {request.method} {request.url}"
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return answer(request) if callable(answer) else _fresh(answer)


def answer(status: int, document: Any = None, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    """An answer with a JSON document; underscores in names of headers are hyphens."""
    content = b"" if document is None else json.dumps(document).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx.Response(status, content=content, headers=named)


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) and any(map(callable, value)) else [value]


def _fresh(document: Any) -> httpx.Response:
    return httpx.Response(200, json=document)
