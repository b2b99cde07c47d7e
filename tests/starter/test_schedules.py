"""Ensures that Temporal has exactly the schedules of the code, and that no others are touched."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta

import pytest
from temporalio.client import Client, Schedule, ScheduleOverlapPolicy
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from contracts.sweeps.expiry import SCHEDULE_PREFIX, SWEEP_SCHEDULE
from starter.expiry.freeze import ExpiryFreeze, describe_sweep
from starter.expiry.schedules import reconcile, schedules
from worker.connection import NotConnected
from worker.settings.groups.expiry import Sweep

#: Not within the length of a test: what begins here are schedules only.
SETTINGS = Sweep(interval=timedelta(days=30))


@pytest.fixture
async def client(temporal_server: WorkflowEnvironment) -> AsyncIterator[Client]:
    """A server without schedules of ours, before and after."""
    client = temporal_server.client
    await _clear(client)
    yield client
    await _clear(client)


async def _clear(client: Client) -> None:
    # What is gone is still listed for a moment.
    while ids := await _ids(client):
        for id in ids:
            with suppress(RPCError):
                await client.get_schedule_handle(id).delete()


async def _ids(client: Client) -> set[str]:
    return {one.id async for one in await client.list_schedules()}


async def _sweep(client: Client) -> Schedule:
    return (await client.get_schedule_handle(SWEEP_SCHEDULE).describe()).schedule


async def test_what_is_missing_is_made_with_all_that_matters_said(client: Client) -> None:
    """Ensures that interval, jitter, overlap and catch-up are ours and not the server's."""
    await reconcile(client, SETTINGS)
    found = await _sweep(client)
    assert found.spec.intervals[0].every == timedelta(days=30)
    assert found.spec.jitter == SETTINGS.jitter
    assert found.policy.overlap is ScheduleOverlapPolicy.SKIP
    assert found.policy.catchup_window == timedelta(minutes=10)
    assert not found.policy.pause_on_failure


async def test_what_differs_is_changed_and_a_freeze_stays(client: Client) -> None:
    """Ensures that a worker that starts while ends are frozen does not thaw them."""
    await reconcile(client, SETTINGS)
    freezer = ExpiryFreeze(client, SETTINGS)
    view, stopped = await freezer.freeze("alice@example.com", "a fair\nuntil Friday")
    assert stopped
    await reconcile(client, Sweep(interval=timedelta(days=20)))
    found = await _sweep(client)
    assert (found.spec.intervals[0].every, found.state.paused) == (timedelta(days=20), True)
    state = await freezer.state()
    assert state
    assert (state.by, state.reason) == ("alice@example.com", "a fair until Friday")
    assert state.since == view.since.replace(microsecond=0) if view.since else False
    again, _ = await freezer.freeze("bob@example.com", "me too")
    assert again.by == "alice@example.com", "who was first is who is asked"
    assert "FROZEN by alice@example.com: a fair" in await describe_sweep(client, SETTINGS)
    assert await freezer.thaw("bob@example.com") == state
    assert await freezer.state() is None
    assert not (await _sweep(client)).state.paused


async def test_a_freeze_before_there_is_a_schedule_holds(client: Client) -> None:
    """Ensures that ends can be frozen before the first worker has been there, which then keeps it."""
    freezer = ExpiryFreeze(client, SETTINGS)
    assert await freezer.state() is None
    with pytest.raises(NotConnected, match="no environment ends"):
        await describe_sweep(client, SETTINGS)
    await freezer.freeze("alice@example.com", "not yet")
    await reconcile(client, SETTINGS)
    assert (await _sweep(client)).state.paused


async def test_a_schedule_paused_in_temporal_is_a_freeze(client: Client) -> None:
    """Ensures that a pause by other means is shown as what it is."""
    await reconcile(client, SETTINGS)
    await client.get_schedule_handle(SWEEP_SCHEDULE).pause(note="by hand")
    state = await ExpiryFreeze(client, SETTINGS).state()
    assert state
    assert (state.by, state.since, state.reason) == ("", None, "by hand")


async def test_only_ours_are_removed(client: Client) -> None:
    """Ensures that a former schedule of ours is removed, and that a schedule of others stays."""
    other, old = "nightly-report", SCHEDULE_PREFIX + "former"
    for id in (other, old):
        await client.create_schedule(id, schedules(SETTINGS)[SWEEP_SCHEDULE])
    for _ in range(50):
        if old in await _ids(client):
            break
    for _ in range(50):
        # Workers that start together: each sees to it, and the slower ones find nothing left to remove.
        await asyncio.gather(*(reconcile(client, SETTINGS) for _ in range(4)))
        if old not in await _ids(client):
            break
    assert await _ids(client) >= {other}
    assert old not in await _ids(client)
