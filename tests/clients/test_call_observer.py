"""The observer of calls: it is called once for each call, with its system, its result and its time."""

import asyncio
from collections.abc import Iterator

import pytest

from clients import errors
from clients.transport.call_observer import RESULTS, observed, result_of, set_call_observer


@pytest.fixture
def reported() -> Iterator[list[tuple[str, str, float]]]:
    seen: list[tuple[str, str, float]] = []
    set_call_observer(lambda *call: seen.append(call))
    yield seen
    set_call_observer(None)


class Client:
    """A client whose calls do what a test says."""

    system = "Rafay"

    @observed
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


async def test_a_call_that_is_cancelled(reported: list[tuple[str, str, float]]) -> None:
    call = asyncio.create_task(Client().call(seconds=60))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [result for _, result, _ in reported] == ["other"]


async def test_without_an_observer_calls_answer() -> None:
    assert await Client().call() == "answer"
    assert Client.call.__doc__ == "Answer."


def test_each_class_of_errors_has_a_result() -> None:
    direct = errors.ClientError.__subclasses__()
    assert set(direct) == set(RESULTS)
    assert result_of(errors.ClientError(*CALL, "unforeseen")) == "other"
