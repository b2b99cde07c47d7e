"""Ensures that each call is reported once, with its system, its result and its time."""

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from clients import errors
from clients.helm.client import HelmSdk
from clients.host.models import Chart
from clients.smtp import Mail, Security, Smtp
from clients.transport.measured_calls import RESULTS, measure_calls, measured, result_of


@pytest.fixture
def reported() -> Iterator[list[tuple[str, str, float]]]:
    seen: list[tuple[str, str, float]] = []
    measure_calls(lambda *call: seen.append(call))
    yield seen
    measure_calls(None)


class Client:
    """A client whose calls do what a test says."""

    system = "Rafay"

    @measured
    async def call(self, error: BaseException | None = None, *, seconds: float = 0.0) -> str:
        """Answer."""
        await asyncio.sleep(seconds)
        if error:
            raise error
        return "answer"


CALL = ("Rafay", "create project")


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (errors.Throttled(*CALL, "429", retry_after=None), "throttled"),
        (errors.ServerFailed(*CALL, "502", status=502), "server_failed"),
        (errors.Unreachable(*CALL, "cut"), "unreachable"),
        (errors.Denied(*CALL, "401"), "denied"),
        (errors.Rejected(*CALL, "422"), "rejected"),
        (errors.InUse(*CALL, "409"), "rejected"),
        (errors.DeadlineExceeded(*CALL, "late"), "not_started"),
        (ValueError("a bug"), "other"),
    ],
)
async def test_a_call_that_fails(
    reported: list[tuple[str, str, float]], error: Exception, result: str
) -> None:
    with pytest.raises(type(error)):
        await Client().call(error)
    assert [(system, what) for system, what, _ in reported] == [("Rafay", result)]


async def test_a_call_that_succeeds(reported: list[tuple[str, str, float]]) -> None:
    assert await Client().call(seconds=0.05) == "answer"
    [(_, result, seconds)] = reported
    assert result == "ok"
    assert seconds >= 0.04


async def test_a_mail_that_cannot_be_sent(reported: list[tuple[str, str, float]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    smtp = Smtp(
        "127.0.0.1",
        port,
        security=Security.NONE,
        sender="moorage@example.com",
        login=None,
        timeout=timedelta(seconds=5),
    )
    letter = Mail("id", datetime.now(UTC), ("alice@example.com",), "subject", "text")
    with pytest.raises(errors.Unreachable):
        await smtp.send(letter)
    assert [(system, result) for system, result, _ in reported] == [("mail server", "unreachable")]


async def test_a_release_whose_chart_is_missing(reported: list[tuple[str, str, float]]) -> None:
    class NoCharts:
        async def load(self, system: str, _: Chart) -> None:
            raise errors.Rejected(system, "load chart", "there is none")

    with ThreadPoolExecutor(1) as threads:
        helm = HelmSdk("host cluster one", cast(Any, None), cast(Any, NoCharts()), threads)
        with pytest.raises(errors.Rejected):
            await helm.install("namespace", "release", Chart(None, "vcluster", "1"), {}, {})
    assert [(system, result) for system, result, _ in reported] == [("host cluster one", "rejected")]


async def test_a_call_that_is_cancelled(reported: list[tuple[str, str, float]]) -> None:
    call = asyncio.create_task(Client().call(seconds=60))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [result for _, result, _ in reported] == ["other"]


async def test_without_a_meter_calls_answer() -> None:
    assert await Client().call() == "answer"
    assert Client.call.__doc__ == "Answer."


def test_each_class_of_errors_has_a_result() -> None:
    direct = errors.ClientError.__subclasses__()
    assert set(direct) == set(RESULTS)
    assert result_of(errors.ClientError(*CALL, "unforeseen")) == "other"
