"""Ensures that a change of the template ends whole: with the new template or the old one, and one of each."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.starter.test_catalogue import GOOD
from tests.support.deadline import HANG
from tests.support.fault_points import (
    AMBIGUITIES,
    REPLACING,
    assert_one_of_each,
    called,
    calls,
    no_faults,
    strike,
)
from tests.support.stack import hurried, unique
from tests.support.stand_ins import control, set_faults

pytestmark = pytest.mark.chaos

#: What becomes of the call in which the worker is killed, or the environment ended.
MOMENTS = {
    "before it is done": Fault(kind=FaultKind.DELAY_BEFORE, seconds=1.5, times=1),
    "after it is done": Fault(kind=FaultKind.DELAY_AFTER, seconds=1.5, times=1),
}


@pytest.fixture(scope="module")
async def catalogued(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp("changing")
    (templates := folder / "templates").mkdir()
    (templates / "small.yaml").write_text(GOOD)
    # Without other values of the chart, the release would not be upgraded.
    larger = GOOD.replace('cpu: "2"', 'cpu: "3"') + "values: {sync: {toHost: {ingresses: {enabled: true}}}}\n"
    (templates / "medium.yaml").write_text(larger)
    settings = {"MOORAGE_TEMPLATES": str(templates)}
    async with Stack(folder / "stack", hurried(environment=settings)) as stack:
        yield stack
        no_faults(stack)


@pytest.fixture
async def asking(catalogued: Stack) -> AsyncIterator[Asking]:
    async with Asking(catalogued) as asking:
        yield asking
        no_faults(catalogued)
        control(catalogued.url(Part.HOST), "DELETE", "/-/trouble")


async def ready(asking: Asking) -> str:
    name = unique("changes")
    await asking.request(name)
    await asking.until_phase(name, "ready")
    return name


async def resize(asking: Asking, name: str) -> None:
    answer = await asking.call("POST", f"/environments/{name}/resize", json={"template": "medium"})
    assert answer.status_code == 202, answer.text


def is_over(shown: dict[str, Any]) -> bool:
    """Whether no change is in progress; without a worker it is not known, and no step is shown."""
    return bool(shown["steps"]) and shown["change"] is None


async def whole(asking: Asking, stack: Stack, name: str, template: str) -> None:
    """Fail unless it has the template, and one of everything; then end it."""
    shown = await asking.until(name, is_over, "the change is over")
    assert (shown["template"], shown["phase"]) == (template, "ready"), shown["change_problem"]
    assert_one_of_each(Systems(stack).holds(name))
    await gone(asking, stack, name)


async def gone(asking: Asking, stack: Stack, name: str) -> None:
    await asking.delete(name)
    shown = await asking.until_phase(name, "gone")
    assert shown["outcome"] == "deleted"
    assert shown["certificate"]["nothing_left"]
    assert Systems(stack).holds(name) == {}


@pytest.mark.guarantee("1. Killed anywhere")
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("call", REPLACING)
async def test_the_worker_is_killed_in_a_change(
    catalogued: Stack, asking: Asking, call: str, moment: str
) -> None:
    name, (part, operation) = await ready(asking), REPLACING[call]
    set_faults(catalogued.url(part), MOMENTS[moment].model_copy(update={"operation": operation}))
    before = calls(catalogued, part, operation)
    await resize(asking, name)
    await called(catalogued, part, operation, before)
    await catalogued.kill(Part.WORKER)
    no_faults(catalogued)
    await catalogued.start(Part.WORKER)
    await whole(asking, catalogued, name, "medium")


@pytest.mark.guarantee("2. Fails anywhere")
@pytest.mark.parametrize("call", ["namespace", "vcluster"])
async def test_a_call_of_a_change_fails_for_good(catalogued: Stack, asking: Asking, call: str) -> None:
    name, (part, operation) = await ready(asking), REPLACING[call]
    set_faults(catalogued.url(part), Fault(operation=operation, kind=FaultKind.STATUS, status=422, times=1))
    await resize(asking, name)
    await whole(asking, catalogued, name, "small")


@pytest.mark.guarantee("2. Fails anywhere")
async def test_a_changed_environment_does_not_become_ready(catalogued: Stack, asking: Asking) -> None:
    name = await ready(asking)
    trouble = {"namespace": f"*{name}", "waiting_for": "its image", "failed": "no such image"}
    control(catalogued.url(Part.HOST), "PUT", "/-/trouble", trouble)
    await resize(asking, name)
    await asking.until(
        name, lambda shown: bool(shown["change"] and shown["change"]["going_back"]), "it goes back"
    )
    control(catalogued.url(Part.HOST), "DELETE", "/-/trouble")
    await whole(asking, catalogued, name, "small")


@pytest.mark.guarantee("3. Cancelled anywhere")
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("call", REPLACING)
async def test_it_is_deleted_in_a_change(catalogued: Stack, asking: Asking, call: str, moment: str) -> None:
    name, (part, operation) = await ready(asking), REPLACING[call]
    set_faults(catalogued.url(part), MOMENTS[moment].model_copy(update={"operation": operation}))
    before = calls(catalogued, part, operation)
    await resize(asking, name)
    await called(catalogued, part, operation, before)
    await gone(asking, catalogued, name)


@pytest.mark.guarantee("4. Ambiguous answers")
@pytest.mark.parametrize("what", AMBIGUITIES)
async def test_answers_lost_in_every_call_of_a_change(catalogued: Stack, asking: Asking, what: str) -> None:
    name = await ready(asking)
    strike(catalogued, AMBIGUITIES[what], REPLACING)
    await resize(asking, name)
    await whole(asking, catalogued, name, "medium")


async def _fleet(asking: Asking, stack: Stack, size: int) -> list[str]:
    """Return environments of a separate template, of which a newer version exists."""
    file = Path(stack.env["MOORAGE_TEMPLATES"]) / f"{unique('fleet')}.yaml"
    for version, more in ((1, ""), (2, "values: {sync: {toHost: {ingresses: {enabled: true}}}}\n")):
        file.write_text(GOOD.replace("version: 1", f"version: {version}", 1) + more)
        async with asyncio.timeout(HANG):
            while True:
                offered = (await asking.call("GET", f"/templates/{file.stem}")).json()
                if offered.get("version") == version:
                    break
                await asyncio.sleep(0.2)
        if version == 1:
            names = [unique(f"fleet-{number}") for number in range(size)]
            for name in names:
                await asking.request(name, template=file.stem)
            for name in names:
                await asking.until_phase(name, "ready")
    return [file.stem, *names]


async def _rolled_out(asking: Asking, template: str) -> dict[str, Any]:
    async with asyncio.timeout(HANG):
        while True:
            answer = await asking.call("GET", f"/rollouts/{template}")
            if answer.status_code == 200 and answer.json()["result"]:
                result: dict[str, Any] = answer.json()["result"]
                return result
            await asyncio.sleep(0.2)


@pytest.mark.guarantee("1. Killed anywhere")
async def test_the_worker_is_killed_in_a_wave_of_a_rollout(catalogued: Stack, asking: Asking) -> None:
    """Ensures that the rollout goes on, and that each environment is asked once."""
    template, *names = await _fleet(asking, catalogued, 3)
    part, operation = REPLACING["vcluster"]
    delay = Fault(kind=FaultKind.DELAY_AFTER, seconds=1.5, times=2, operation=operation)
    set_faults(catalogued.url(part), delay)
    before = calls(catalogued, part, operation)
    answer = await asking.call("POST", "/rollouts", json={"template": template})
    assert answer.status_code == 202, answer.text
    # The first call is that of the first wave, and the next one that of a wave of two.
    await called(catalogued, part, operation, before + 1)
    await catalogued.kill(Part.WORKER)
    no_faults(catalogued)
    await catalogued.start(Part.WORKER)
    result = await _rolled_out(asking, template)
    assert [line["outcome"] for line in result["lines"]] == ["upgraded"] * 3, result
    for name in names:
        shown = await asking.until(name, is_over, "the change is over")
        assert shown["template_version"] == 2
        asked = [entry for entry in shown["audit_log"] if entry["action"].startswith("asked to change")]
        assert len(asked) == 1
        await whole(asking, catalogued, name, template)


@pytest.mark.guarantee("2. Fails anywhere")
async def test_a_call_of_a_rollout_fails_for_good(catalogued: Stack, asking: Asking) -> None:
    """Ensures that the environment goes back, and that no other is touched."""
    template, first, *others = await _fleet(asking, catalogued, 3)
    part, operation = REPLACING["vcluster"]
    set_faults(catalogued.url(part), Fault(operation=operation, kind=FaultKind.STATUS, status=422, times=1))
    answer = await asking.call("POST", "/rollouts", json={"template": template})
    assert answer.status_code == 202, answer.text
    result = await _rolled_out(asking, template)
    assert [line["outcome"] for line in result["lines"]] == ["rolled back", "waiting", "waiting"], result
    assert result["stopped"] == "1 could not be upgraded"
    for name in (first, *others):
        assert (await asking.show(name))["template_version"] == 1
        await whole(asking, catalogued, name, template)
