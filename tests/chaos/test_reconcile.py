"""Ensures that what no workflow owns any more is adopted or undone, and that nothing of others is touched."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from contracts.types.naming import workflow_id
from embedded.stack.stack import Part, Stack
from tests.lifecycle.databases import PREFIX, Systems
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import no_faults
from tests.support.reconcile import MAX_LOOKS, host_of, leave_strangers, strangers_of, sweep
from tests.support.stack import client_of, hurried, unique
from tests.workflows.conftest import until

pytestmark = [pytest.mark.chaos, pytest.mark.guarantee("9. Reconciled")]

#: An incomplete orphan is undone by the first sweep that sees it again.
GRACE = {"MOORAGE_RECONCILE__GRACE": "1s"}


@pytest.fixture(scope="module")
async def lonely(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A separate stack: a sweep sees everything of an installation, and its host is killed alone."""
    options = hurried(environment=GRACE, own_process=frozenset({Part.HOST}))
    async with Stack(tmp_path_factory.mktemp("reconciled"), options) as stack:
        yield stack


@pytest.fixture
async def asking(lonely: Stack) -> AsyncIterator[Asking]:
    async with Asking(lonely) as asking:
        yield asking
    no_faults(lonely)


@pytest.fixture
def systems(lonely: Stack) -> Systems:
    return Systems(lonely)


async def sweep_until_due(asking: Asking) -> dict[str, Any]:
    """Return the result of the sweep in which no orphan is in its grace any more."""
    for _ in range(MAX_LOOKS):
        result = await sweep(asking)
        if len(result["due"]) == len(result["orphans"]):
            return result
        await asyncio.sleep(0.2)
    pytest.fail(f"orphans stay in their grace: {result}")


async def settle_everything(asking: Asking) -> dict[str, str]:
    """Confirm what waits until no orphan is left; return what was done, by name."""
    done: dict[str, str] = {}
    for _ in range(MAX_LOOKS):
        result = await sweep_until_due(asking)
        done |= {line["name"]: line["verdict"] for line in result["lines"] if line["verdict"]}
        if result["waiting"]:
            result = await sweep(asking, confirmed=result["waiting"])
            done |= {line["name"]: line["verdict"] for line in result["lines"] if line["verdict"]}
        if not result["orphans"]:
            return done
    pytest.fail(f"orphans are left: {result}")


async def test_twenty_terminated_in_the_middle_of_everything(
    lonely: Stack, asking: Asking, systems: Systems
) -> None:
    """Ensures that after two sweeps each is adopted or gone, and that strangers stay as they were."""
    before = await leave_strangers(lonely)
    temporal = await client_of(lonely)
    names = [unique("mid") for _ in range(20)]
    stages = ("asked", "namespace", "vcluster", "ready", "deleted")

    async def cut(number: int, name: str) -> None:
        assert (await asking.request(name)).status_code == 202
        stage = stages[number % len(stages)]
        if stage in ("namespace", "vcluster"):
            await asking.until_step(name, stage, "done")
        elif stage in ("ready", "deleted"):
            await asking.until_phase(name, "ready")
        if stage == "deleted":
            await asking.delete(name)
        await temporal.get_workflow_handle(workflow_id(name)).terminate()

    await asyncio.gather(*(cut(number, name) for number, name in enumerate(names)))
    ready = {name for number, name in enumerate(names) if stages[number % len(stages)] == "ready"}
    dry = await sweep(asking, dry_run=True)
    assert dry["lines"] == []
    braked = await sweep_until_due(asking)
    assert "which is more than 5" in braked["brake"]
    assert braked["lines"] == []
    done = await settle_everything(asking)
    assert {name for name, verdict in done.items() if verdict == "adopt"} >= ready
    for name in names:
        if done.get(name) == "adopt":
            shown = await asking.until_phase(name, "ready")
            assert shown["owner"] == "alice@example.com"
        else:
            assert (await asking.until_phase(name, "gone"))["certificate"]["nothing_left"]
            assert systems.holds(name) == {}
    assert strangers_of(lonely) == before
    for name in sorted(ready):
        await asking.delete(name)
        assert (await asking.until_phase(name, "gone"))["certificate"]["nothing_left"]
        assert systems.holds(name) == {}
    assert (await sweep(asking))["orphans"] == []


async def test_a_host_that_is_gone_is_skipped_and_never_taken_for_empty(
    lonely: Stack, asking: Asking, systems: Systems
) -> None:
    name = unique("host")
    await asking.request(name)
    await asking.until_phase(name, "ready")
    await (await client_of(lonely)).get_workflow_handle(workflow_id(name)).terminate()
    await lonely.kill(Part.HOST)
    for _ in range(2):
        result = await sweep(asking)
        assert any(text.startswith("host local:") for text in result["skipped"]), result
        assert (result["due"], result["lines"]) == ([], [])
    await lonely.start(Part.HOST)
    result = await sweep(asking)
    assert [line["result"] for line in result["lines"]] == ["adopted"], result
    await asking.until_phase(name, "ready")
    await asking.delete(name)
    await asking.until_phase(name, "gone")
    assert systems.holds(name) == {}


async def test_a_namespace_deleted_by_hand_under_a_lost_workflow(
    lonely: Stack, asking: Asking, systems: Systems
) -> None:
    """Ensures that what is incomplete is undone, but not before its grace."""
    name = unique("hand")
    await asking.request(name)
    await asking.until_phase(name, "ready")
    await (await client_of(lonely)).get_workflow_handle(workflow_id(name)).terminate()
    host = host_of(lonely)
    namespace = await host.get_namespace(f"{PREFIX}-{name}")
    assert namespace
    await host.delete_namespace(namespace.name, namespace.uid)

    async def is_gone() -> bool:
        return await host.get_namespace(namespace.name) is None

    await until(is_gone, "the namespace is gone")
    await host.close()
    first = await sweep(asking)
    assert [one["verdict"] for one in first["orphans"]] == ["undo"]
    assert first["lines"] == [], "it was undone without a grace"
    assert await settle_everything(asking) == {name: "undo"}
    assert (await asking.until_phase(name, "gone"))["certificate"]["nothing_left"]
    assert systems.holds(name) == {}


async def test_temporals_database_wiped_under_thirty_living_ones(
    lonely: Stack, asking: Asking, systems: Systems
) -> None:
    """Ensures that every environment is adopted with its life, owner and end, once a person confirms it."""
    before = await leave_strangers(lonely)
    names = [unique("wiped") for _ in range(30)]
    for answer in await asyncio.gather(*map(asking.request, names)):
        assert answer.status_code == 202, answer.text
    shown = {name: await asking.until_phase(name, "ready") for name in names}
    asleep = names[-1]
    assert (await asking.call("POST", f"/environments/{asleep}/sleep")).status_code == 202
    await asking.until_phase(asleep, "asleep")
    held = {name: systems.holds(name) for name in names}
    for part in (Part.API, Part.WORKER, Part.TEMPORAL):
        await lonely.kill(part)
    for file in lonely.folder.glob("temporal.sqlite*"):
        file.unlink()
    for part in (Part.TEMPORAL, Part.WORKER, Part.API):
        await lonely.start(part)
    first = await sweep(asking)
    assert "30 of 30" in first["brake"]
    assert first["lines"] == []
    assert {one["verdict"] for one in first["orphans"]} == {"adopt"}
    second = await sweep(asking, confirmed=first["waiting"])
    assert {line["result"] for line in second["lines"]} == {"adopted"}
    assert {line["name"] for line in second["lines"]} == set(names)
    for name in names:
        now = await asking.until_phase(name, "asleep" if name == asleep else "ready")
        for field in ("life", "owner", "team", "template", "host", "expires_at", "collaborators"):
            assert now[field] == shown[name][field], f"{field} of {name}"
        assert systems.holds(name) == held[name]
    assert strangers_of(lonely) == before
    assert (await sweep(asking))["orphans"] == []
    joined = await asking.request(names[0])
    assert joined.status_code in (200, 202), joined.text
    for name in names:
        await asking.delete(name)
    for name in names:
        await asking.until_phase(name, "gone")
        assert systems.holds(name) == {}
