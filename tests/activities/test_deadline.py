"""Ensures that a try which Temporal has given up begins nothing more: others try again by then, or undo."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace

import pytest
from temporalio.activity import ActivityCancellationDetails

from activities import activity_context
from clients.identity.scim import Scim
from clients.transport.write_deadline import ensure_before_deadline
from contracts.errors import ErrorType
from embedded.faults import Fault, FaultKind
from tests.activities.activity_runs import Running, fail
from tests.activities.conftest import TIMEOUT, TOKEN, fresh
from tests.support.stand_ins import running_stand_ins, set_faults


class Clock:
    """A monotonic clock that stands still unless a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def beginning_once(go_on: asyncio.Event) -> str:
    """Begin something once the test says so."""
    await go_on.wait()
    ensure_before_deadline("Rafay", "create project demo")
    return "started"


async def after_the_edge_has_seen_it() -> None:
    """Let every task that can go on do so, some times over: then the edge has seen a cancellation."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of activities, which only the test moves."""
    clock = Clock()
    monkeypatch.setattr(activity_context, "time", SimpleNamespace(monotonic=clock))
    return clock


async def test_it_begins_what_it_likes_while_it_has_time(clock: Clock) -> None:
    go_on = asyncio.Event()
    running = Running(lambda: beginning_once(go_on), limit=60)
    await after_the_edge_has_seen_it()
    clock.now += 59
    go_on.set()
    assert await running.result() == "started"


async def test_when_its_time_is_over_it_begins_nothing(clock: Clock) -> None:
    go_on = asyncio.Event()
    running = Running(lambda: beginning_once(go_on), limit=60)
    await after_the_edge_has_seen_it()
    clock.now += 60
    go_on.set()
    failure = await running.failure()
    assert failure.type == ErrorType.INTERRUPTED, f"it failed otherwise: {failure}"
    assert "not started: its deadline has passed" in failure.message


async def test_a_process_that_stood_still_for_too_long_is_late_for_good(clock: Clock) -> None:
    """Ensures that heartbeats that are sent again afterwards do not make it believe that it is in time."""
    go_on = asyncio.Event()
    running = Running(lambda: beginning_once(go_on), heartbeat_timeout=0.3)
    await running.beats_more(1)
    clock.now += 0.3
    await running.beats_more(2)
    go_on.set()
    failure = await running.failure()
    assert failure.type == ErrorType.INTERRUPTED, f"it failed otherwise: {failure}"


@pytest.mark.parametrize(
    "reason", [ActivityCancellationDetails(not_found=True), ActivityCancellationDetails(timed_out=True)]
)
async def test_what_temporal_knows_nothing_of_begins_nothing(reason: ActivityCancellationDetails) -> None:
    go_on = asyncio.Event()
    running = Running(lambda: beginning_once(go_on))
    await after_the_edge_has_seen_it()
    running.cut_off(reason)
    await after_the_edge_has_seen_it()
    go_on.set()
    assert (await running.failure()).type == ErrorType.INTERRUPTED


async def test_a_cancelled_one_sees_what_it_does_to_its_end() -> None:
    go_on = asyncio.Event()
    running = Running(lambda: beginning_once(go_on))
    await after_the_edge_has_seen_it()
    running.cancel()
    await after_the_edge_has_seen_it()
    go_on.set()
    assert await running.result() == "started", "it was interrupted in the middle, so its state is unknown"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = tmp_path_factory.mktemp("directory") / "directory.sqlite"
    with running_stand_ins(directory={"database": database, "token": TOKEN}) as [url]:
        yield url


@pytest.fixture
async def scim(directory: str) -> AsyncIterator[Scim]:
    client = Scim(f"{directory}/v2", TOKEN, timeout=TIMEOUT)
    yield client
    await client.close()
    set_faults(directory)


@pytest.mark.slow
async def test_a_call_that_is_slow_is_not_followed_by_a_change(scim: Scim, directory: str) -> None:
    """A look that outlives its try, and the creation that would come after it."""
    set_faults(directory, Fault(operation="group.find", kind=FaultKind.DELAY_BEFORE, seconds=6, times=1))
    name = fresh()

    async def look_and_create() -> None:
        await scim.groups_by_name(name)
        await scim.create_group(name, "ours")

    failure = await fail(look_and_create, limit=5)
    assert "create group" in failure.message, f"it failed otherwise: {failure}"
    assert await scim.groups_by_name(name) == [], "it was made after its try had been given up"
