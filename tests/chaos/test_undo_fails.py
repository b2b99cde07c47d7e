"""Ensures that a failing undo is retried until it works, and that its failure is reported exactly."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client

from contracts.types.naming import workflow_id
from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Stack
from tests.cli.test_commands import cli_of
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.deadline import HANG
from tests.support.fault_points import UNMAKING, no_faults
from tests.support.stack import ALICE, HURRY, client_of, hurried, unique
from tests.support.stand_ins import set_faults

pytestmark = [pytest.mark.chaos, pytest.mark.guarantee("2. Fails anywhere")]

#: What may be there yet when a step cannot be undone: what it made, and what can only go after it.
MAY_BE_LEFT = {
    "project": {"project"},
    "group": {"group"},
    "identity": {"IdP group"},
    "namespace": {"namespace", "object"},
    "vcluster": {"release", "pod", "volume", "object", "object inside", "namespace"},
    "import": {"cluster", "project"},
}


@pytest.fixture(scope="module")
async def impatient(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack that gives a teardown up within seconds."""
    timeouts = HURRY.model_copy(
        update={"undo_timeout": timedelta(seconds=3), "give_up_after": timedelta(seconds=4)}
    )
    async with Stack(
        tmp_path_factory.mktemp("impatient"), dataclasses.replace(hurried(), timeouts=timeouts)
    ) as stack:
        yield stack


@pytest.fixture
async def asking(impatient: Stack) -> AsyncIterator[Asking]:
    async with Asking(impatient) as asking:
        yield asking
    no_faults(impatient)


@pytest.fixture(scope="module")
async def client(impatient: Stack) -> Client:
    return await client_of(impatient)


@pytest.mark.parametrize("step", MAY_BE_LEFT)
async def test_an_undo_that_fails_for_good(
    impatient: Stack, asking: Asking, client: Client, tmp_path: Path, step: str
) -> None:
    name, (part, operation), systems = unique("stuck"), UNMAKING[step], Systems(impatient)
    await asking.request(name)
    await asking.until_phase(name, "ready")
    set_faults(impatient.url(part), Fault(operation=operation, kind=FaultKind.STATUS, status=500))
    await asking.delete(name)
    stuck = await asking.until_phase(name, "teardown_incomplete")

    assert step in {row["step"] for row in stuck["unfinished"]}, (
        f"it does not name the step: {stuck['unfinished']}"
    )
    assert all(row["system"] and row["cause"] and row["remedy"] for row in stuck["unfinished"])
    left = set(systems.holds(name))
    assert left, "it says that something is left, and nothing is"
    assert left <= MAY_BE_LEFT[step], f"what does not depend on it was not removed: {left}"
    query = f"EnvPhase = 'teardown_incomplete' AND WorkflowId = '{workflow_id(name)}'"
    ends = time.monotonic() + HANG
    while (await client.count_workflows(query)).count != 1:  # visibility lags behind by moments
        assert time.monotonic() < ends, "the search attribute does not find it"
        await asyncio.sleep(0.1)

    set_faults(impatient.url(part))
    resumed = await cli_of(impatient, tmp_path, ALICE.email)("teardown", name, "--resume", "-o", "json")
    assert resumed.code == 0, resumed.err
    assert resumed.json["certificate"]["nothing_left"] is True
    assert systems.holds(name) == {}


async def test_a_binding_that_cannot_be_undone_goes_with_its_group(impatient: Stack, asking: Asking) -> None:
    name, (part, operation) = unique("bound"), UNMAKING["role-binding"]
    await asking.request(name)
    await asking.until_phase(name, "ready")
    set_faults(impatient.url(part), Fault(operation=operation, kind=FaultKind.STATUS, status=500))
    await asking.delete(name)
    ended = ("teardown_incomplete", "gone")
    shown = await asking.until(name, lambda now: now["phase"] in ended, "given up or gone")
    if shown["phase"] == "teardown_incomplete":  # its last try was in the pass that removed the group
        await asking.call("POST", f"/environments/{name}/resume-teardown")
    await asking.until_phase(name, "gone")
    assert Systems(impatient).holds(name) == {}


@pytest.mark.parametrize("step", UNMAKING)
async def test_an_undo_that_fails_for_a_while(battered: Stack, step: str) -> None:
    name, (part, operation), systems = unique("while"), UNMAKING[step], Systems(battered)
    async with Asking(battered) as asking:
        await asking.request(name)
        await asking.until_phase(name, "ready")
        set_faults(battered.url(part), Fault(operation=operation, kind=FaultKind.STATUS, status=500))
        await asking.delete(name)
        await asking.until_step(name, step, "undo failed")
        set_faults(battered.url(part))
        gone = await asking.until_phase(name, "gone")
    assert gone["outcome"] == "deleted"
    assert systems.holds(name) == {}
