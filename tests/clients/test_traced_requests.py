"""Ensures that a tracer learns of each request to a system and of each run of Helm, and adds its headers."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, cast

import pytest

from clients.errors import ClientError, ServerFailed
from clients.helm.client import HelmSdk
from clients.transport.http import HttpSystem
from clients.transport.measured_calls import measure_calls
from clients.transport.traced_requests import Ended, TracedRequest, trace_requests
from tests.support.mock_answers import MockAnswers, answer

Seen = list[tuple[TracedRequest, BaseException | None]]


@pytest.fixture
def seen() -> Iterator[Seen]:
    seen: Seen = []

    def trace(request: TracedRequest) -> Ended:
        request.headers = {"traceparent": "planted"}
        return lambda error: seen.append((request, error))

    trace_requests(trace)
    yield seen
    trace_requests(None)


def a_system(renewed: Callable[[], Mapping[str, str]] | None = None) -> HttpSystem:
    return HttpSystem(
        "directory",
        "https://directory.example:8443/v2",
        headers={"Authorization": "Bearer planted"},
        timeout=timedelta(seconds=5),
        explain=lambda _: "",
        renewed=renewed,
    )


class _Client:
    def __init__(self, http: HttpSystem) -> None:
        self._http = http


async def test_a_request_over_http(seen: Seen) -> None:
    async with a_system() as system:
        answers = MockAnswers({"GET /v2/Users": answer(200, {})})
        answers.install(_Client(system))
        await system.call("GET", "/Users", "find user", query={"filter": "planted"})
    [(request, error)] = seen
    assert (request.system, request.operation, request.method) == ("directory", "find user", "GET")
    assert (request.address, request.status, error) == ("directory.example", 200, None)
    assert answers.requests[0].headers["traceparent"] == "planted"


async def test_a_refused_request(seen: Seen) -> None:
    async with a_system() as system:
        MockAnswers({"GET /v2/Users": answer(503, {})}).install(_Client(system))
        with pytest.raises(ServerFailed):
            await system.call("GET", "/Users", "find user")
    [(request, error)] = seen
    assert (request.status, error) == (503, None)


async def test_without_a_tracer_a_request_carries_nothing() -> None:
    async with a_system() as system:
        answers = MockAnswers({"GET /v2/Users": answer(200, {})})
        answers.install(_Client(system))
        await system.call("GET", "/Users", "find user")
    assert "traceparent" not in answers.requests[0].headers


async def test_a_run_of_helm(seen: Seen) -> None:
    """Ensures that a run of Helm is seen with its result, though it runs in a thread."""
    with ThreadPoolExecutor(1) as threads:
        helm = HelmSdk("host cluster one", cast(Any, None), cast(Any, None), threads)

        def fail() -> None:
            raise ServerFailed("host cluster one", "install", "broken", status=500)

        assert await helm._run("install release demo", lambda: 1) == 1
        with pytest.raises(ClientError):
            await helm._run("install release demo", fail)
    (first, no_error), (second, error) = seen
    assert (first.system, first.operation, no_error) == (
        "Helm at host cluster one", "install release demo", None,
    )  # fmt: skip
    assert second.operation == "install release demo"
    assert isinstance(error, ServerFailed)


async def test_each_request_of_a_call_is_traced_and_the_call_is_measured_once(seen: Seen) -> None:
    calls: list[tuple[str, str]] = []
    measure_calls(lambda system, result, _: calls.append((system, result)))
    renewed = iter([{"Authorization": "Bearer renewed"}])
    try:
        async with a_system(renewed=lambda: next(renewed)) as system:
            answers = {"GET /v2/Users": [answer(401, {}), answer(200, {})]}
            MockAnswers(answers).install(_Client(system))
            await system.call("GET", "/Users", "find user")
    finally:
        measure_calls(None)
    assert [request.status for request, _ in seen] == [401, 200]
    assert calls == [("directory", "ok")]
