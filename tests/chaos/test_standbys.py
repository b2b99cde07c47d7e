"""Ensures that a request from a warm pool ends whole or gone, whatever befalls the take-over."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from starter.catalogue.loader import STARTER_TEMPLATES
from tests.lifecycle.databases import PREFIX, Systems
from tests.lifecycle.environment_client import Asking
from tests.support.deadline import HANG, pauses
from tests.support.fault_points import AMBIGUITIES, assert_one_of_each, called, calls, no_faults
from tests.support.stack import hurried, unique
from tests.support.stand_ins import set_faults

pytestmark = pytest.mark.chaos

TAKE_OVER = "namespace.patch"
READY = 2


@pytest.fixture(scope="module")
async def battered(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack whose template small keeps a warm pool."""
    templates = tmp_path_factory.mktemp("templates")
    for path in STARTER_TEMPLATES.glob("*.yaml"):
        (templates / path.name).write_text(path.read_text())
    small = templates / "small.yaml"
    small.write_text(small.read_text() + f"\nwarm: {{ready: {READY}, most: 4}}\n")
    options = hurried(environment={"MOORAGE_TEMPLATES": str(templates)})
    async with Stack(tmp_path_factory.mktemp("warm"), options) as stack:
        yield stack


async def filled(asking: Asking, ready: int = 1) -> None:
    """Wait until so many standbys can be taken over."""
    pools: list[dict[str, Any]] = []
    ends = asyncio.get_running_loop().time() + HANG
    for pause in pauses(0.1, 0.5):
        answer = await asking.call("GET", "/pools")
        pools = answer.json()["pools"] if answer.status_code == 200 else []
        if any(pool["ready"] >= ready for pool in pools):
            return
        assert asyncio.get_running_loop().time() < ends, f"no pool is filled: {pools}"
        await asyncio.sleep(pause)


async def ended(asking: Asking, systems: Systems, name: str) -> None:
    """It ends with nothing left of it, nor of the namespace that it had from a standby."""
    places = systems.places(name)
    await asking.delete(name)
    shown = await asking.until_phase(name, "gone")
    assert shown["certificate"]["nothing_left"]
    assert systems.holds(name) == {}
    assert not any(systems.holds(place.removeprefix(f"{PREFIX}-")) for place in places)


async def test_a_request_is_served_from_the_pool(battered: Stack, asking: Asking, systems: Systems) -> None:
    await filled(asking)
    name = unique("warm")
    await asking.request(name, collaborators=["bob@example.com"])
    await asking.until_phase(name, "ready")
    [place] = systems.places(name)
    assert place.startswith("mrg-standby-")
    assert_one_of_each(systems.holds(name))
    await asking.call("POST", f"/environments/{name}/sleep")
    await asking.until_phase(name, "asleep")
    await asking.call("POST", f"/environments/{name}/wake")
    await asking.until_phase(name, "ready")
    kubeconfig = await asking.call("GET", f"/environments/{name}/kubeconfig")
    assert kubeconfig.status_code == 200, kubeconfig.text
    assert not (await asking.show(name))["unwell"]
    await ended(asking, systems, name)


async def test_many_at_once_have_one_owner_each(battered: Stack, asking: Asking, systems: Systems) -> None:
    await filled(asking, READY)
    names = [unique("burst") for _ in range(5)]
    await asyncio.gather(*(asking.request(name) for name in names))
    for name in names:
        await asking.until_phase(name, "ready")
    places = {name: systems.places(name) for name in names}
    assert all(len(found) == 1 for found in places.values()), places
    for name in names:
        await ended(asking, systems, name)


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("moment", [FaultKind.DELAY_BEFORE, FaultKind.DELAY_AFTER])
async def test_the_worker_is_killed_in_the_take_over(
    battered: Stack, asking: Asking, systems: Systems, moment: FaultKind
) -> None:
    await filled(asking)
    name = unique("killed")
    set_faults(battered.url(Part.HOST), Fault(operation=TAKE_OVER, kind=moment, seconds=1.5, times=1))
    count = calls(battered, Part.HOST, TAKE_OVER)
    await asking.request(name)
    await called(battered, Part.HOST, TAKE_OVER, count)
    await battered.kill(Part.WORKER)
    no_faults(battered)
    await battered.start(Part.WORKER)
    await asking.until_phase(name, "ready")
    assert len(systems.places(name)) == 1
    await ended(asking, systems, name)


@pytest.mark.guarantee("2. Fails anywhere")
@pytest.mark.parametrize("step", ["vcluster", "kubeconfig", "import"])
async def test_what_fails_after_the_take_over_is_undone_with_it(
    battered: Stack, asking: Asking, systems: Systems, step: str
) -> None:
    operation = {
        "vcluster": "startup.get",
        "kubeconfig": "kubeconfig.get",
        "import": "cluster.create",
    }[step]
    part = Part.CONTROL_PLANE if step == "import" else Part.HOST
    await filled(asking)
    name = unique("fails")
    set_faults(battered.url(part), Fault(operation=operation, kind=FaultKind.STATUS, status=403))
    await asking.request(name)
    await asking.until(name, lambda now: now["outcome"] == "failed", "failed")
    no_faults(battered)
    shown = await asking.until_phase(name, "gone")
    assert shown["certificate"]["nothing_left"]
    assert systems.places(name) == []
    assert systems.holds(name) == {}


@pytest.mark.guarantee("3. Cancelled anywhere")
@pytest.mark.parametrize("moment", [FaultKind.DELAY_BEFORE, FaultKind.DELAY_AFTER])
async def test_a_cancellation_in_the_take_over_leaves_nothing(
    battered: Stack, asking: Asking, systems: Systems, moment: FaultKind
) -> None:
    await filled(asking)
    name = unique("cancelled")
    set_faults(battered.url(Part.HOST), Fault(operation=TAKE_OVER, kind=moment, seconds=1.5, times=1))
    count = calls(battered, Part.HOST, TAKE_OVER)
    await asking.request(name)
    await called(battered, Part.HOST, TAKE_OVER, count)
    await asking.cancel(name)
    assert (await asking.until_phase(name, "gone"))["outcome"] == "cancelled"
    assert systems.places(name) == []
    assert systems.holds(name) == {}


@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("kind", AMBIGUITIES)
async def test_a_take_over_whose_answer_is_lost_makes_one_of_each(
    battered: Stack, asking: Asking, systems: Systems, kind: str
) -> None:
    await filled(asking)
    name = unique("lost")
    set_faults(battered.url(Part.HOST), AMBIGUITIES[kind].model_copy(update={"operation": TAKE_OVER}))
    await asking.request(name)
    await asking.until_phase(name, "ready")
    assert len(systems.places(name)) == 1
    await ended(asking, systems, name)
