"""Ensures that docs/how-to/encryption-keys.md is right, and that a missing key is named as the cause."""

import base64
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from temporalio.client import Client

from contracts.capacity.models import CapacityState
from contracts.environment.models import Outcome, Phase
from contracts.environment_workflow import ActorInput, ExtendInput
from starter.expiry.schedules import reconcile
from starter.monitoring.encryption_keys import keys_in_use
from starter.placement.reservations import Reservations
from starter.setup.check import Found, Kind
from starter.setup.temporal import Temporal
from starter.temporal.errors import NothingStarted, NoWorker, TemporalUnavailable
from tests.workflows.conftest import LIFE, Life, until
from tests.workflows.house import BLUE, CapacityBench, a_house, most
from worker.codec import KeyMissing, Keyring
from worker.data_converter import data_converter
from worker.settings.groups.expiry import Sweep
from workflows.environment.workflow import EnvironmentWorkflow

pytestmark = pytest.mark.slow

OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (5, 6))
OLD_ID, NEW_ID = (Keyring.parse(key).first for key in (OLD, NEW))


async def holding(house: CapacityBench, *keys: str) -> CapacityBench:
    """The house, as processes have it that were started with these keys."""
    target = house.client.service_client.config.target_host
    client = await Client.connect(target, data_converter=data_converter(Keyring.parse(" ".join(keys))))
    other = dataclasses.replace(house, client=client)
    other.reservations = Reservations(client, start=house.start)
    return other


async def doctor(house: CapacityBench) -> Found:
    """What `moorage doctor` says of the keys."""
    temporal = Temporal(house.client.data_converter, Sweep())
    temporal._client = house.client
    return await temporal._keys()


@pytest.fixture
async def house() -> AsyncIterator[CapacityBench]:
    async with a_house({"one": most(50)}, audit=timedelta(milliseconds=300)) as house:
        yield house


@asynccontextmanager
async def at_work(house: CapacityBench) -> AsyncIterator[CapacityBench]:
    """With a worker, as one that has just started: it sees to its schedules first."""
    await reconcile(house.client, Sweep())
    async with house.worker():
        yield house


async def ready(house: CapacityBench, name: str) -> Life:
    life = await house.begin(name)

    async def is_ready() -> bool:
        return (await house.handle(name).query(EnvironmentWorkflow.status)).phase is Phase.READY

    await until(is_ready, f"{name} is ready", 120)
    return life


async def state(house: CapacityBench) -> CapacityState:
    """The state of the capacity, as the worker says that is there now."""
    states: list[CapacityState] = []

    async def answers() -> bool:
        # Temporal asks the worker that is gone first, and waits for it before it asks another one.
        with contextlib.suppress(NoWorker, TemporalUnavailable):
            states.append(await house.state())
        return bool(states)

    await until(answers, "the new worker answers", 60)
    return states[0]


async def test_the_whole_procedure(house: CapacityBench) -> None:
    async with at_work(await holding(house, OLD)) as before:
        await ready(before, "long-lived")
        await ready(before, "gone-before")
        await before.handle("gone-before").execute_update(
            EnvironmentWorkflow.delete, ActorInput(actor="a", life=LIFE)
        )
        await before.handle("gone-before").result()
        assert (await doctor(before)).detail == f'"{OLD_ID}" encrypts'

    # Added after the old one, everywhere: nothing changes.
    async with at_work(await holding(house, OLD, NEW)) as added:
        assert (await state(added)).reservations >= 1
        assert f'needed by nothing: "{NEW_ID}"' in (await doctor(added)).detail

    # Put first, everywhere: what is open goes on under it.
    async with at_work(await holding(house, NEW, OLD)) as first:

        async def has_moved() -> bool:
            use = (await keys_in_use(first.client)).get(OLD_ID)
            return use is None or not use.is_open

        await until(has_moved, "nothing that is open needs the old key", 60)
        found = await doctor(first)
        assert found.kind is Kind.WELL
        assert f'still needed: "{OLD_ID}" by 2 ended runs, until Temporal drops them' in found.detail

    # Taken out: all goes on.
    async with at_work(await holding(house, NEW)) as after:
        handle = after.handle("long-lived")
        status = await handle.query(EnvironmentWorkflow.status)
        assert (status.phase, status.audit_log[0].action) == (Phase.READY, "asked for it")
        longer = ExtendInput(
            actor="alice@example.com", life=LIFE, by=timedelta(hours=1), override=True, reason="x"
        )
        await handle.execute_update(EnvironmentWorkflow.extend, longer)
        await ready(after, "made-after")
        assert {host.capacity.name for host in (await state(after)).hosts} == {"one"}
        await handle.execute_update(
            EnvironmentWorkflow.delete, ActorInput(actor="alice@example.com", life=LIFE)
        )
        assert (await handle.result()).outcome is Outcome.DELETED
        found = await doctor(after)
        assert found.kind is Kind.WELL
        assert f'not given any more, so unreadable: "{OLD_ID}" by' in found.detail


async def test_a_key_that_is_taken_out_too_soon(house: CapacityBench) -> None:
    """Ensures that errors and doctor name the key, and that adding the key again is enough."""
    async with at_work(await holding(house, OLD)) as before:
        await ready(before, "cut-off")
    async with at_work(await holding(house, NEW)) as after:
        with pytest.raises(KeyMissing, match=f'the key "{OLD_ID}", which is not there any more'):
            await after.reservations.reserve(after.ask("another"))
        with pytest.raises(KeyMissing):
            await after.reservations.state(BLUE)
        found = await doctor(after)
        assert found.kind is Kind.BY_HAND
        assert f'"{OLD_ID}" by the capacity; 1 open environment (cut-off)' in found.detail
        assert "add them to MOORAGE_ENCRYPTION__KEYS" in found.remedy
    async with at_work(await holding(house, NEW, OLD)) as again:
        status = await again.handle("cut-off").query(EnvironmentWorkflow.status)
        assert status.phase is Phase.READY

        async def has_place() -> bool:
            try:
                return (await again.reservations.reserve(again.ask("another"))).host == "one"
            except (NoWorker, TemporalUnavailable):
                # Its task has failed, and Temporal waits for a while before it gives it out again.
                return False

        await until(has_place, "a place is promised again", 60)


async def test_without_a_worker_it_is_still_said_so(house: CapacityBench) -> None:
    async with at_work(await holding(house, OLD)) as before:
        await ready(before, "there")
    with pytest.raises(NothingStarted):
        await before.reservations.reserve(before.ask("another"))
