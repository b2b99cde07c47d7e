"""Ensures that an observer learns of each call to a system and to Helm, which carries its headers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, cast

import pytest

from clients.errors import ClientError, ServerFailed
from clients.helm.client import HelmSdk
from clients.transport.http import HttpSystem
from clients.transport.outgoing_calls import Ended, OutgoingCall, observe_calls
from tests.support.mock_answers import MockAnswers, answer

Seen = list[tuple[OutgoingCall, BaseException | None]]


@pytest.fixture
def seen() -> Iterator[Seen]:
    seen: Seen = []

    def observe(call: OutgoingCall) -> Ended:
        call.headers = {"traceparent": "planted"}
        return lambda error: seen.append((call, error))

    observe_calls(observe)
    yield seen
    observe_calls(None)


def a_system() -> HttpSystem:
    return HttpSystem(
        "directory",
        "https://directory.example:8443/v2",
        headers={"Authorization": "Bearer planted"},
        timeout=timedelta(seconds=5),
        explain=lambda _: "",
    )


class _Client:
    def __init__(self, http: HttpSystem) -> None:
        self._http = http


async def test_a_call_over_http(seen: Seen) -> None:
    async with a_system() as system:
        answers = MockAnswers({"GET /v2/Users": answer(200, {})})
        answers.install(_Client(system))
        await system.call("GET", "/Users", "find user", query={"filter": "planted"})
    [(call, error)] = seen
    assert (call.system, call.operation, call.method) == ("directory", "find user", "GET")
    assert (call.address, call.status, error) == ("directory.example", 200, None)
    assert answers.requests[0].headers["traceparent"] == "planted"


async def test_a_refused_call(seen: Seen) -> None:
    async with a_system() as system:
        MockAnswers({"GET /v2/Users": answer(503, {})}).install(_Client(system))
        with pytest.raises(ServerFailed):
            await system.call("GET", "/Users", "find user")
    [(call, error)] = seen
    assert (call.status, error) == (503, None)


async def test_without_an_observer_a_call_carries_nothing() -> None:
    async with a_system() as system:
        answers = MockAnswers({"GET /v2/Users": answer(200, {})})
        answers.install(_Client(system))
        await system.call("GET", "/Users", "find user")
    assert "traceparent" not in answers.requests[0].headers


async def test_a_call_of_helm(seen: Seen) -> None:
    """Ensures that a call of Helm is seen with its result, though it runs in a thread."""
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
