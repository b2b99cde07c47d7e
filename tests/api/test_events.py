"""Live progress: the whole way of an environment, for many watchers, and what a step waits for."""

import asyncio
import contextlib
import itertools

import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from starter.environments.schemas import EnvironmentView
from tests.api.caller import Caller, calling, problem
from tests.support.stack import DAVE, unique
from tests.support.stand_ins import set_faults

pytestmark = pytest.mark.slow


async def all_events(caller: Caller, name: str) -> list[tuple[str, EnvironmentView]]:
    return [event async for event in caller.events(name)]


async def test_a_whole_life(bob: Caller) -> None:
    """Ensures that a watcher sees the phases in order, each state once, and `end` with the certificate."""
    name = unique()
    await bob.ask(name)
    events = []
    async for event in bob.events(name):
        events.append(event)
        if event[1].phase == "ready":
            await bob.http.delete(f"/environments/{name}")
    assert [event for event, _ in events[:-1]] == ["status"] * (len(events) - 1)
    assert events[-1][0] == "end"
    phases = list(dict.fromkeys(view.phase for _, view in events))
    order = ["provisioning", "usable", "ready", "tearing_down", "gone"]
    assert phases == [phase for phase in order if phase in phases]
    assert {"provisioning", "ready", "gone"} <= set(phases)
    assert all(one != other for (_, one), (_, other) in itertools.pairwise(events))
    last = events[-1][1]
    assert last.ended
    assert last.certificate
    assert last.certificate.nothing_left


async def test_of_one_that_has_ended(bob: Caller) -> None:
    """Ensures that a watcher who comes too late gets the end, once."""
    name = unique()
    await bob.ask(name)
    await bob.gone(name)
    [(event, view)] = await all_events(bob, name)
    assert (event, view.phase) == ("end", "gone")


async def test_what_a_step_waits_for(stack: Stack, bob: Caller) -> None:
    """Ensures that a step that cannot go on shows its attempts, its last failure and what it waits for."""
    name = unique()
    set_faults(stack.url(Part.HOST), Fault(operation="namespace.create", kind=FaultKind.STATUS, status=503))
    try:
        await bob.ask(name)

        def is_stuck(view: EnvironmentView) -> bool:
            [step] = [step for step in view.steps if step.step == "namespace"]
            return step.progress is not None and step.progress.attempt > 1

        view = await bob.until(name, is_stuck)
    finally:
        set_faults(stack.url(Part.HOST))
    [step] = [step for step in view.steps if step.step == "namespace"]
    assert step.state == "running"
    assert step.progress is not None
    assert "503" in step.progress.last_failure or "local" in step.progress.last_failure
    assert all(step.progress is None for step in view.steps if step.state != "running")
    await bob.until(name, lambda view: view.phase == "ready")
    await bob.gone(name)


async def test_many_watchers(alice: Caller, bob: Caller, carol: Caller) -> None:
    """Ensures that all watchers of an environment see the same, and one who leaves disturbs no other."""
    name = unique()
    await bob.ask(name)
    watching = [asyncio.create_task(all_events(caller, name)) for caller in (alice, bob, carol) * 10]
    leaving = watching.pop()
    await bob.until(name, lambda view: view.phase == "ready")
    leaving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leaving
    await bob.http.delete(f"/environments/{name}")
    ends = [events[-1] for events in await asyncio.gather(*watching)]
    assert {event for event, _ in ends} == {"end"}
    assert len({view.model_dump_json() for _, view in ends}) == 1


async def test_of_what_is_not_there(bob: Caller) -> None:
    """Ensures that there is no stream of nothing."""
    problem(await bob.http.get(f"/environments/{unique()}/events"), 404)


async def test_a_person_who_is_taken_out_sees_no_more_of_it(bob: Caller, stack: Stack) -> None:
    """Ensures that the stream of a collaborator ends with the collaborator's access, without an `end`."""
    view = await bob.ready(unique("people"), collaborators=[DAVE.email])
    async with calling(stack, DAVE.email) as dave:
        seen: list[tuple[str, EnvironmentView]] = []
        async for event in dave.events(view.name):
            seen.append(event)
            if len(seen) == 1:
                answer = await bob.http.delete(f"/environments/{view.name}/collaborators/{DAVE.email}")
                assert answer.status_code == 202, answer.text
        assert {event for event, _ in seen} == {"status"}
        assert all(DAVE.email in shown.collaborators for _, shown in seen)
    await bob.gone(view.name)
