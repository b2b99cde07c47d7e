"""The edge between steps and Temporal: errors, heartbeats and cancellation, without any outside system."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.api.failure.v1 import Failure
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from activities import activity_context, interceptor
from activities import errors as step
from clients import errors as client
from contracts.activities.steps import InspectResult, RemoveResult
from contracts.environment.models import Receipt
from contracts.errors import ErrorType
from tests.activities.activity_runs import Running, details, fail, succeed
from tests.support.deadline import NEVER, soon

SECRET = "rafay-token-0123456789abcdef"
CALL = ("Rafay", "create project moor-demo")

PERMANENT, RETRYABLE = True, False
SURE, IN_DOUBT = False, True


def _unreachable(ambiguous: bool) -> client.ClientError:
    return client.Unreachable(*CALL, "no answer within 30 s", ambiguous=ambiguous)


@pytest.mark.parametrize(
    ("error", "kind", "permanent", "in_doubt"),
    [
        (_unreachable(False), ErrorType.UNAVAILABLE, RETRYABLE, SURE),
        (_unreachable(True), ErrorType.UNAVAILABLE, RETRYABLE, IN_DOUBT),
        (client.ServerFailed(*CALL, "503", status=503), ErrorType.UNAVAILABLE, RETRYABLE, IN_DOUBT),
        (client.MalformedAnswer(*CALL, "HTML"), ErrorType.UNAVAILABLE, RETRYABLE, SURE),
        (client.Throttled(*CALL, "429", retry_after=None), ErrorType.THROTTLED, RETRYABLE, SURE),
        (client.Denied(*CALL, "401"), ErrorType.ACCESS_DENIED, PERMANENT, SURE),
        (client.Rejected(*CALL, "422"), ErrorType.INVALID_REQUEST, PERMANENT, SURE),
        (client.InUse(*CALL, "it has clusters"), ErrorType.NOT_YET, RETRYABLE, SURE),
        (client.NotYet(*CALL, "not there"), ErrorType.NOT_YET, RETRYABLE, SURE),
        (client.NotFound(*CALL, "404"), ErrorType.NOT_YET, RETRYABLE, SURE),
        (client.AlreadyExists(*CALL, "409"), ErrorType.CONFLICT, PERMANENT, SURE),
        (step.Conflict("x", "is there", "rename"), ErrorType.CONFLICT, PERMANENT, SURE),
        (step.NotConfigured("x", "no host", "set it"), ErrorType.INVALID_REQUEST, PERMANENT, SURE),
        (step.NotAccepted("x", "a Pod", "look"), ErrorType.INVALID_REQUEST, PERMANENT, SURE),
        (step.PersonUnknown("x", "zoe", "ask"), ErrorType.UNKNOWN_PERSON, PERMANENT, SURE),
        (step.NeverReady("x", "failed", "look"), ErrorType.NEVER_READY, PERMANENT, SURE),
        (step.NotYet("x", "pending", "wait"), ErrorType.NOT_YET, RETRYABLE, SURE),
        (step.NotYet("x", "pending", "wait", final=True), ErrorType.NOT_YET, PERMANENT, SURE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_every_error_becomes_one_of_the_vocabulary(
    error: Exception, kind: ErrorType, permanent: bool, in_doubt: bool
) -> None:
    async def body() -> None:
        raise error

    failure = await fail(body)
    assert failure.type == kind.value, f"{error!r} became a {failure.type}"
    assert failure.non_retryable is permanent, f"{failure.type}: wrong whether it is tried again"
    assert details(failure).in_doubt is in_doubt, f"{failure.type}: wrong whether it is in doubt"
    assert failure.message.endswith("."), f"not a sentence: {failure.message}"
    assert details(failure).remedy.endswith("."), f"not a sentence: {details(failure).remedy}"
    assert "{" not in details(failure).remedy, f"a gap in the remedy: {details(failure).remedy}"


async def test_the_words_say_which_system_could_not_do_what_and_why() -> None:
    async def body() -> None:
        raise client.Denied(*CALL, "403 method or route not allowed")

    failure = await fail(body)
    assert failure.message == "Rafay could not create project moor-demo: 403 method or route not allowed."
    assert details(failure).system == "Rafay"


async def test_the_delay_that_a_system_asks_for_is_kept() -> None:
    async def body() -> None:
        raise client.Throttled(*CALL, "429", retry_after=timedelta(seconds=7))

    assert (await fail(body)).next_retry_delay == timedelta(seconds=7)


@pytest.mark.parametrize("error", [client.NotYet(*CALL, "no"), step.NotYet("x", "no", "wait")])
async def test_waiting_is_nothing_to_be_alarmed_at(error: Exception) -> None:
    async def body() -> None:
        raise error

    assert (await fail(body)).category is ApplicationErrorCategory.BENIGN


@pytest.mark.parametrize("error", [client.Denied(*CALL, "403"), step.Conflict("x", "is there", "rename")])
async def test_a_failure_that_is_not_the_first_try_is_in_doubt(error: Exception) -> None:
    async def body() -> None:
        raise error

    assert not details(await fail(body, attempt=1)).in_doubt
    assert details(await fail(body, attempt=2)).in_doubt


async def test_a_success_that_is_not_the_first_try_is_in_doubt() -> None:
    result = Receipt(name="moor-demo")

    async def body() -> object:
        return result

    assert await succeed(body, attempt=1) == result
    assert (await succeed(body, attempt=2)).in_doubt


@pytest.mark.parametrize("result", [InspectResult(left=("project moor-demo",)), RemoveResult(note="deleted")])
async def test_a_result_without_doubt_passes_as_it_is(result: InspectResult | RemoveResult) -> None:

    async def body() -> object:
        return result

    assert await succeed(body, attempt=2) == result


def _quotes_the_secret() -> None:
    raise ValueError(f"cannot parse {SECRET}")


def _quotes_it_in_its_cause() -> None:
    try:
        _quotes_the_secret()
    except ValueError as error:
        raise KeyError(SECRET) from error


def _quotes_it_in_its_context() -> None:
    try:
        _quotes_the_secret()
    except ValueError:
        raise client.Rejected(*CALL, "422")  # noqa: B904 - on purpose


@pytest.mark.parametrize("bug", [_quotes_the_secret, _quotes_it_in_its_cause, _quotes_it_in_its_context])
async def test_what_goes_into_a_history_never_quotes_what_an_exception_says(bug: Callable[[], None]) -> None:
    async def body() -> None:
        bug()

    with pytest.raises(ValueError) as planted:
        _quotes_the_secret()
    assert SECRET in await _as_in_a_history(planted.value), "the search would not find it"
    failure = await fail(body)
    assert SECRET not in await _as_in_a_history(failure), "a secret is in the failure"


async def _as_in_a_history(error: BaseException) -> str:
    failure = Failure()
    await pydantic_data_converter.encode_failure(error, failure)
    return str(failure)


async def test_a_bug_is_tried_again_in_doubt_and_named_by_its_class_and_place() -> None:
    async def body() -> None:
        _quotes_the_secret()

    failure = await fail(body)
    assert (failure.type, failure.non_retryable) == ("ValueError", False)
    assert "_quotes_the_secret" in failure.message
    assert details(failure).in_doubt, "it is unknown what it had done before"


async def test_a_running_activity_heartbeats_several_times_within_its_timeout() -> None:
    over = asyncio.Event()

    async def body() -> None:
        activity_context.report_progress("a pod")
        await over.wait()

    began = time.monotonic()
    running = Running(body, heartbeat_timeout=0.3)
    await running.beats_more(4)
    assert time.monotonic() - began > 0.3, "it beats more often than three times within its timeout"
    over.set()
    await running.result()
    assert set(running.waits) == {"a pod"}


def test_a_heartbeat_comes_after_a_third_of_the_timeout() -> None:
    info = dataclasses.replace(ActivityEnvironment.default_info(), heartbeat_timeout=timedelta(seconds=0.3))
    assert interceptor._heartbeat_interval(info) == pytest.approx(0.1)


async def test_what_a_step_waits_for_is_reported_at_once_and_once() -> None:
    async def body() -> None:
        for text in ("pod  pending:\n no CPU", "pod pending: no CPU", "image"):
            activity_context.report_progress(text)

    running = Running(body)
    await running.result()
    assert running.waits == ["pod pending: no CPU", "image"]


async def _in_a_wait() -> None:
    activity_context.report_progress("a pod")
    await activity_context.sleep(NEVER)


async def _in_a_call() -> Receipt:
    activity_context.report_progress("a call")
    await asyncio.sleep(0.4)
    return Receipt(name="done")


async def test_a_cancelled_wait_ends_at_once_for_good() -> None:
    running = await Running(_in_a_wait).says("a pod")
    running.cancel()
    async with soon("a cancelled wait goes on"):
        failure = await running.failure()
    assert (failure.type, failure.non_retryable) == (ErrorType.INTERRUPTED.value, True)
    assert "a pod" in failure.message, "it does not say what it waited for"


@pytest.mark.parametrize(
    "reason",
    [
        ActivityCancellationDetails(worker_shutdown=True),
        ActivityCancellationDetails(paused=True),
        ActivityCancellationDetails(reset=True),
        ActivityCancellationDetails(timed_out=True),
        ActivityCancellationDetails(not_found=True),
    ],
    ids=str,
)
async def test_a_wait_that_is_cut_for_another_reason_is_to_be_taken_up_again(
    reason: ActivityCancellationDetails,
) -> None:
    running = await Running(_in_a_wait).says("a pod")
    running.cut_off(reason)
    failure = await running.failure()
    assert (failure.type, failure.non_retryable) == (ErrorType.INTERRUPTED.value, False)


async def test_a_wait_ends_as_soon_as_the_worker_begins_to_stop() -> None:
    running = await Running(_in_a_wait).says("a pod")
    running.stop_worker()
    failure = await running.failure()
    assert (failure.type, failure.non_retryable) == (ErrorType.INTERRUPTED.value, False)


async def test_a_cancelled_call_runs_to_its_end_and_its_receipt_is_returned() -> None:
    running = await Running(_in_a_call).says("a call")
    running.cancel()
    assert await running.result() == Receipt(name="done")


async def test_a_call_of_a_stopping_worker_runs_to_its_end() -> None:
    running = await Running(_in_a_call).says("a call")
    running.stop_worker()
    assert await running.result() == Receipt(name="done")


async def test_a_cancellation_in_a_call_ends_the_next_wait() -> None:
    async def body() -> None:
        await _in_a_call()
        await activity_context.sleep(NEVER)

    running = await Running(body).says("a call")
    running.cancel()
    assert (await running.failure()).type == ErrorType.INTERRUPTED.value


async def test_a_cancelled_activity_goes_on_heartbeating_until_its_call_ends() -> None:
    over = asyncio.Event()

    async def body() -> None:
        activity_context.report_progress("a call")
        await over.wait()

    running = await Running(body, heartbeat_timeout=0.15).says("a call")
    running.cancel()
    # Otherwise its worker would be taken for dead.
    await running.beats_more(3)
    over.set()
    await running.result()


async def test_a_call_that_can_be_cut_short_is_and_leaves_doubt() -> None:
    ended: list[str] = []

    async def install() -> None:
        try:
            await asyncio.sleep(NEVER)
        finally:
            ended.append("cleaned up")

    async def body() -> None:
        activity_context.report_progress("Helm")
        await activity_context.run_cancellable(install())

    running = await Running(body).says("Helm")
    running.cancel()
    failure = await running.failure()
    assert (failure.type, details(failure).in_doubt) == (ErrorType.INTERRUPTED.value, True)
    assert ended == ["cleaned up"], "the call was left behind"


async def test_a_call_that_could_be_cut_short_gives_its_result_and_its_error() -> None:
    async def works() -> str:
        return "installed"

    async def breaks() -> str:
        raise client.Denied(*CALL, "403")

    async def body(call: Callable[[], object]) -> object:
        return await activity_context.run_cancellable(call())  # type: ignore[arg-type]

    assert await succeed(body, works) == "installed"
    assert (await fail(body, breaks)).type == ErrorType.ACCESS_DENIED.value


async def test_a_wait_ends_when_there_is_nothing_more_to_wait_for() -> None:
    answers = iter(["a volume", "a pod", "a pod", ""])

    async def look() -> str:
        return next(answers)

    async def body() -> str:
        return await activity_context.wait_until(look)

    running = Running(body)
    assert await running.result() == ""
    assert running.waits == ["a volume", "a pod"]


@pytest.mark.parametrize(("limit", "activity_limit"), [(timedelta(seconds=0.3), NEVER), (None, 0.4)])
async def test_a_wait_whose_time_is_over_says_what_it_waited_for(
    limit: timedelta | None, activity_limit: float
) -> None:
    async def look() -> str:
        return "a pod"

    async def body() -> str:
        return await activity_context.wait_until(look, timeout=limit)

    assert await Running(body, limit=activity_limit).result() == "a pod"


@pytest.mark.parametrize("end", ["result", "cancel", "stop_worker"])
async def test_no_task_outlives_its_activity(end: str) -> None:
    async def body() -> None:
        activity_context.report_progress("a pod")
        await activity_context.sleep(0.2 if end == "result" else NEVER)

    before = asyncio.all_tasks()
    running = await Running(body).says("a pod")
    if end != "result":
        getattr(running, end)()
    with pytest.raises(ApplicationError) if end != "result" else contextlib.nullcontext():
        await running.result()
    await asyncio.sleep(0)
    left = asyncio.all_tasks() - before
    assert not left, f"still running: {left}"


def test_temporal_itself_that_cannot_answer_is_worth_another_try() -> None:
    late = RPCError("a text that may quote anything", RPCStatusCode.DEADLINE_EXCEEDED, b"")
    error = step.translate(late, is_retry=False)
    assert (error.type, error.non_retryable) == (ErrorType.UNAVAILABLE, False)
    assert error.message == "Temporal could not answer: DEADLINE_EXCEEDED."
