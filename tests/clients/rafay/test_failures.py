"""What goes wrong between the client and the control plane, and what is known afterwards."""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from clients.errors import (
    AlreadyExists,
    ClientError,
    Denied,
    MalformedAnswer,
    ServerFailed,
    Throttled,
    Unreachable,
)
from clients.rafay import Rafay
from embedded.asgi_server import listening_socket
from embedded.faults import Fault, FaultKind
from tests.support.deadline import HANG
from tests.support.stand_ins import TLS, RafayStandIn

#: Shorter than the delays of these tests, longer than any answer on a busy machine.
SHORT = timedelta(seconds=5)


@pytest.mark.parametrize(("asked_for", "understood"), [(7, timedelta(seconds=7)), (None, None)])
async def test_throttled_call_names_the_delay_asked_for_and_does_nothing(
    rafay: Rafay, stand_in: RafayStandIn, name: str, asked_for: int | None, understood: timedelta | None
) -> None:
    stand_in.faults(
        Fault(operation="project.create", kind=FaultKind.STATUS, status=429, retry_after=asked_for)
    )
    with pytest.raises(Throttled) as throttled:
        await rafay.create_project(name, "")
    assert throttled.value.retry_after == understood
    assert throttled.value.retryable
    assert not throttled.value.ambiguous
    assert await rafay.find_project(name) is None


CREATES: dict[str, Callable[[Rafay, str], Awaitable[object]]] = {
    "project.create": lambda rafay, name: rafay.create_project(name, "mark"),
    "group.create": lambda rafay, name: rafay.create_group(name, "mark"),
}
FINDS: dict[str, Callable[[Rafay, str], Awaitable[object]]] = {
    "project.create": lambda rafay, name: rafay.find_project(name),
    "group.create": lambda rafay, name: rafay.find_group(name),
}


@pytest.mark.parametrize("operation", CREATES)
async def test_create_cut_before_it_was_done_is_in_doubt_and_works_on_retry(
    rafay: Rafay, stand_in: RafayStandIn, name: str, operation: str
) -> None:
    stand_in.faults(Fault(operation=operation, kind=FaultKind.CUT_BEFORE, times=1))
    with pytest.raises(Unreachable, match="cut") as cut:
        await CREATES[operation](rafay, name)
    assert cut.value.ambiguous
    assert cut.value.retryable
    assert await FINDS[operation](rafay, name) is None
    made = await CREATES[operation](rafay, name)
    assert await FINDS[operation](rafay, name) == made


@pytest.mark.parametrize("operation", CREATES)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(kind=FaultKind.CUT_AFTER, times=1), Unreachable),
        (Fault(kind=FaultKind.STATUS_AFTER, status=502, times=1), ServerFailed),
        (Fault(kind=FaultKind.STATUS_AFTER, status=503, times=1), ServerFailed),
        (Fault(kind=FaultKind.STATUS_AFTER, status=504, times=1), ServerFailed),
        (Fault(kind=FaultKind.TRUNCATE, times=1), MalformedAnswer),
        (Fault(kind=FaultKind.DELAY_AFTER, seconds=15, times=1), Unreachable),
    ],
    ids=["cut", "502", "503", "504", "truncated", "too slow"],
)
async def test_create_whose_answer_is_lost_is_in_doubt_and_found_again_on_retry(
    stand_in: RafayStandIn, name: str, operation: str, fault: Fault, error: type[ClientError]
) -> None:
    stand_in.faults(fault.model_copy(update={"operation": operation}))
    async with stand_in.client(timeout=SHORT) as rafay:
        with pytest.raises(error) as lost:
            await CREATES[operation](rafay, name)
        assert lost.value.ambiguous
        assert lost.value.retryable
        with pytest.raises(AlreadyExists):
            await CREATES[operation](rafay, name)
        assert await FINDS[operation](rafay, name) is not None


@pytest.mark.slow
async def test_call_that_was_too_slow_may_be_done_after_its_caller_has_given_up(
    stand_in: RafayStandIn, name: str
) -> None:
    stand_in.faults(Fault(operation="project.create", kind=FaultKind.DELAY_BEFORE, seconds=15, times=1))
    async with stand_in.client(timeout=SHORT) as rafay:
        with pytest.raises(Unreachable, match="no answer within 5 s") as slow:
            await rafay.create_project(name, "mark")
        assert slow.value.ambiguous
        assert await rafay.find_project(name) is None
        deadline = time.monotonic() + HANG
        while await rafay.find_project(name) is None:
            assert time.monotonic() < deadline, "the delayed create was never done"
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(operation="project.list", kind=FaultKind.CUT_BEFORE), Unreachable),
        (Fault(operation="project.list", kind=FaultKind.CUT_AFTER), Unreachable),
        (Fault(operation="project.list", kind=FaultKind.STATUS, status=503), ServerFailed),
        (Fault(operation="project.list", kind=FaultKind.HTML, status=502), ServerFailed),
        (Fault(operation="project.list", kind=FaultKind.HTML, status=200), MalformedAnswer),
        # A proxy that has lost its way knows nothing of the thing: this is no "not found".
        (Fault(operation="project.list", kind=FaultKind.HTML, status=404), MalformedAnswer),
        (Fault(operation="project.list", kind=FaultKind.TRUNCATE), MalformedAnswer),
    ],
    ids=["cut before", "cut after", "503", "HTML 502", "HTML 200", "HTML 404", "truncated"],
)
async def test_read_that_fails_leaves_nothing_in_doubt(
    rafay: Rafay, stand_in: RafayStandIn, name: str, fault: Fault, error: type[ClientError]
) -> None:
    stand_in.faults(fault)
    with pytest.raises(error) as failed:
        await rafay.find_project(name)
    assert not failed.value.ambiguous
    assert failed.value.retryable


async def test_delete_answered_by_a_lost_proxy_is_not_taken_for_gone(
    rafay: Rafay, stand_in: RafayStandIn, name: str
) -> None:
    project = await rafay.create_project(name, "")
    stand_in.faults(Fault(operation="project.delete", kind=FaultKind.HTML, status=404))
    with pytest.raises(MalformedAnswer):
        await rafay.delete_project(project.id)


async def test_refused_connection_leaves_nothing_in_doubt(name: str) -> None:
    with listening_socket() as closed_again:
        port = closed_again.getsockname()[1]
    async with Rafay(f"http://127.0.0.1:{port}", "a-key", timeout=SHORT, verify=TLS) as rafay:
        with pytest.raises(Unreachable, match="cannot connect") as refused:
            await rafay.create_project(name, "")
    assert not refused.value.ambiguous


async def test_good_key_gives_its_organisation(rafay: Rafay, stand_in: RafayStandIn) -> None:
    [(organisation,)] = stand_in.rows("SELECT id FROM organization")
    assert await rafay.check() == organisation


async def test_wrong_key_is_denied_everywhere(stand_in: RafayStandIn, name: str) -> None:
    async with stand_in.client("ra2.another.users-key") as rafay:
        with pytest.raises(Denied, match="no or invalid credentials"):
            await rafay.check()
        with pytest.raises(Denied):
            await rafay.find_project(name)
        with pytest.raises(Denied):
            await rafay.create_project(name, "")


async def test_key_that_may_only_read_is_denied_what_changes_something(
    rafay: Rafay, stand_in: RafayStandIn, name: str
) -> None:
    project = await rafay.create_project(name, "")
    async with stand_in.client(stand_in.READ_ONLY_KEY) as reader:
        await reader.check()
        assert await reader.find_project(name) == project
        with pytest.raises(Denied, match="not allowed"):
            await reader.create_group(name, "")
        with pytest.raises(Denied, match="not allowed"):
            await reader.delete_project(project.id)
    assert await rafay.find_project(name) == project
    assert await rafay.find_group(name) is None


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel"])
def test_key_that_no_header_can_carry_is_refused_at_once_and_not_shown(key: str) -> None:
    with pytest.raises(ValueError, match="API key") as refused:
        Rafay("http://127.0.0.1:9", key, timeout=SHORT, verify=TLS)
    assert not key or key not in str(refused.value)


@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize("kind", [FaultKind.TRUNCATE, FaultKind.CUT_AFTER, FaultKind.STATUS_AFTER])
async def test_no_failure_shows_the_key_or_the_bootstrap_token(
    rafay: Rafay, stand_in: RafayStandIn, name: str, form: str, kind: FaultKind
) -> None:
    project = await rafay.create_project(name, "")
    cluster = await rafay.create_cluster(project.id, name, {}, "minimal")
    [(token,)] = stand_in.rows("SELECT token FROM clusters WHERE id = ?", cluster.id)
    stand_in.switch(bootstrap_form=form)
    stand_in.faults(Fault(operation="bootstrap.get", kind=kind, status=503))
    try:
        text = await rafay.bootstrap(project.id, name)
    except ClientError as error:
        shown = "".join(traceback.format_exception(error)) + repr(error)
        assert token not in shown
        assert stand_in.KEY not in shown
    else:
        # Half of raw YAML is well-formed: only its end is missing.
        assert (form, kind) == ("yaml", FaultKind.TRUNCATE), text
    assert stand_in.KEY not in repr(rafay)
