"""Ensures that snapshots are taken one at a time, before changes too, and end with their environment."""

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.testing import WorkflowEnvironment

from contracts.capacity.models import Limits
from contracts.environment.models import KEPT_SNAPSHOTS, EnvironmentStatus, Outcome, Phase, Snapshot
from contracts.environment_workflow import ActorInput, Answer, AnswerKind, CarriedState
from contracts.errors import ErrorType, RefusalReason
from contracts.templates.template import Chart
from tests.workflows.conftest import HURRY, Bench, Life, a_start
from tests.workflows.house import CapacityBench, a_house
from tests.workflows.scripted_activities import deaf, fails, fails_for_good, waits, waits_for
from tests.workflows.test_overlaps import in_another_run, run_id, start_again
from tests.workflows.test_people import ALICE, BY_ALICE, reach, ready
from tests.workflows.test_sleep import delete, reaches, refusal_of, sleep
from tests.workflows.test_template_change import MEDIUM, change, over
from tests.workflows.test_template_change import ready as ready_in_house
from workflows.environment.workflow import EnvironmentWorkflow

pytestmark = pytest.mark.slow

TAKE = "snapshot.take"
OTHER = ActorInput(actor=ALICE, life="0" * 20)


async def take(life: Life, by: ActorInput = BY_ALICE, id: str | None = None) -> Answer:
    answer: Answer = await life.handle.execute_update(EnvironmentWorkflow.snapshot, by, id=id)
    return answer


async def settled(life: Life) -> tuple[Snapshot, ...]:
    """The snapshots once none is in progress."""
    status = await reach(life, lambda now: not any(map(_is_open, now.snapshots)), "none is in progress")
    return status.snapshots


def _is_open(snapshot: Snapshot) -> bool:
    return snapshot.is_in_progress


def lines(status: EnvironmentStatus) -> list[tuple[str, str, str]]:
    found = [(entry.actor, entry.action, entry.result) for entry in status.audit_log]
    return [line for line in found if "snapshot" in line[1]]


async def test_a_snapshot_is_taken_and_recorded(bench: Bench) -> None:
    life = await ready(bench, "taken")
    answer = await take(life, id="s1")
    assert (answer.kind, answer.message) == (
        AnswerKind.ACCEPTED,
        "A snapshot of taken is being taken; the volumes of its workloads are left out.",
    )
    [snapshot] = await settled(life)
    assert (snapshot.number, snapshot.actor, snapshot.problem, snapshot.before) == (1, ALICE, None, "")
    assert snapshot.taken_at
    assert snapshot.taken_at >= snapshot.asked_at
    assert await take(life, id="s1") == answer, "a repeat is answered"
    assert bench.script.snapshots == [1]
    status = await life.status()
    assert lines(status) == [(ALICE, "took snapshot 1", "the volumes of its workloads are left out")]
    assert (await delete(life)).outcome is Outcome.DELETED


async def test_the_last_snapshots_are_kept(bench: Bench) -> None:
    life = await ready(bench, "many")
    for number in range(1, KEPT_SNAPSHOTS + 3):
        await take(life)
        assert (await settled(life))[-1].number == number
    kept = [one.number for one in (await life.status()).snapshots]
    assert kept == list(range(3, KEPT_SNAPSHOTS + 3))
    await delete(life)


async def test_a_snapshot_that_fails_says_why(bench: Bench) -> None:
    """Ensures that the environment stays as it is, and that the next one can be taken."""
    life = await ready(bench, "fails")
    bench.script.before[TAKE] = fails_for_good(ErrorType.NEVER_READY)
    await take(life)
    [failed] = await settled(life)
    assert (failed.taken_at, failed.problem and failed.problem.step) == (None, "snapshot")
    assert failed.problem
    assert failed.problem.cause == "Rafay: it is not allowed."
    assert lines(await life.status()) == [(ALICE, "could not take snapshot 1", "Rafay: it is not allowed.")]
    bench.script.before[TAKE] = fails(2)
    await take(life)
    assert [bool(one.taken_at) for one in await settled(life)] == [False, True]
    assert (await life.status()).phase is Phase.READY
    await delete(life)


async def test_what_is_refused_is_not_recorded(bench: Bench) -> None:
    start = a_start("refuses")
    life = await bench.begin(start)
    assert (await refusal_of(take(life, OTHER))).reason is RefusalReason.OTHER_LIFE
    with pytest.raises(WorkflowUpdateFailedError):
        await life.handle.execute_update("snapshot")
    await reaches(life, Phase.READY)
    bench.script.before[TAKE] = waits_for(going_on := asyncio.Event())
    await take(life)
    busy = "A snapshot of refuses is being taken: ask again when that is over."
    assert (await refusal_of(take(life))).message == busy
    going_on.set()
    assert len(await settled(life)) == 1
    await sleep(life)
    await reaches(life, Phase.ASLEEP)
    refusal = await refusal_of(take(life))
    assert (refusal.reason, refusal.message) == (
        RefusalReason.NOT_NOW,
        "refuses is asleep: a snapshot can be taken once it is ready.",
    )
    await delete(life)


async def test_a_vcluster_that_takes_none_is_not_asked(bench: Bench) -> None:
    start = a_start("too-old")
    template = start.environment.template.model_copy(update={"chart": Chart(version="0.28.1")})
    environment = start.environment.model_copy(update={"template": template})
    life = await ready(bench, "too-old", environment=environment)
    refusal = await refusal_of(take(life))
    assert refusal.reason is RefusalReason.BEYOND_POLICY
    assert refusal.message == (
        "No snapshot of too-old can be taken: its vCluster chart 0.28.1 takes none, which 0.29 and later do."
    )
    assert TAKE not in bench.script.calls
    await delete(life)


async def test_sleep_waits_for_a_snapshot(bench: Bench) -> None:
    """Ensures that the vCluster is not paused while it takes one."""
    life = await ready(bench, "sleeps-later")
    bench.script.before[TAKE] = waits_for(going_on := asyncio.Event())
    await take(life)
    await bench.script.started[TAKE].wait()
    await sleep(life)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bench.script.started["sleep.pause"].wait(), 0.3)
    going_on.set()
    await reaches(life, Phase.ASLEEP)
    assert [bool(one.taken_at) for one in (await life.status()).snapshots] == [True]
    await delete(life)


async def test_a_run_does_not_end_during_a_snapshot(bench: Bench) -> None:
    life = await ready(bench, "carries")
    bench.script.before[TAKE] = waits_for(going_on := asyncio.Event())
    await take(life, id="s1")
    await bench.script.started[TAKE].wait()
    first = await run_id(life)
    await life.handle.signal(EnvironmentWorkflow.renew)
    assert (await refusal_of(take(life, id="s2"))).reason is RefusalReason.NOT_NOW
    assert await run_id(life) == first
    going_on.set()
    await in_another_run(life, first)
    [snapshot] = await settled(life)
    assert snapshot.taken_at
    assert (await take(life, id="s1")).kind is AnswerKind.ACCEPTED, "the next run answers a repeat"
    assert bench.script.snapshots == [1]
    await delete(life)


async def test_an_end_stops_a_snapshot(bench: Bench) -> None:
    """Ensures that the teardown begins when the call has ended, and looks again for late answers."""
    life = await ready(bench, "ends")
    bench.script.before[TAKE] = deaf(60, until=(done := asyncio.Event()))
    await take(life)
    await bench.script.started[TAKE].wait()
    ending = asyncio.create_task(delete(life))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bench.script.started["vcluster.remove"].wait(), 0.3)
    done.set()
    status = await ending
    assert status.outcome is Outcome.DELETED
    assert not status.snapshots[0].is_in_progress
    assert not bench.script.world
    [stopped] = [entry.at for entry in status.audit_log if "snapshot 1" in entry.action]
    assert status.certificate
    assert status.certificate.inspected_at >= stopped + HURRY.late_response_window, "it was in doubt"


async def test_an_end_at_once_closes_the_record_of_a_snapshot(bench: Bench) -> None:
    life = await ready(bench, "ends-at-once")
    bench.script.before[TAKE] = waits
    deleting = life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    # Where the delete comes first, the other is refused.
    await asyncio.gather(take(life), deleting, return_exceptions=True)
    status = await life.handle.result()
    assert not any(map(_is_open, status.snapshots))
    assert not bench.script.world


async def test_a_snapshot_whose_run_was_lost_is_recorded_as_such(bench: Bench) -> None:
    life = await ready(bench, "lost")
    bench.script.before[TAKE] = waits
    await take(life)
    await bench.script.started[TAKE].wait()
    carried = CarriedState(status=await life.status())
    del bench.script.before[TAKE]
    life = await start_again(bench, life, life.start.model_copy(update={"carried": carried}))
    [snapshot] = await settled(life)
    assert snapshot.problem
    assert (snapshot.problem.type, "was lost" in snapshot.problem.cause) == ("Lost", True)
    await take(life)
    assert [one.number for one in await settled(life)] == [1, 2]
    await delete(life)


@pytest.fixture
async def house(namespace: WorkflowEnvironment) -> Any:
    async with a_house({"one": Limits(cpu=20_000)}, server=namespace) as house, house.worker():
        yield house


async def test_a_snapshot_is_taken_before_a_change(house: CapacityBench) -> None:
    life = await ready_in_house(house, "safe")
    await change(house, life, MEDIUM, with_snapshot=True)
    status = await over(life)
    [snapshot] = status.snapshots
    assert (snapshot.before, bool(snapshot.taken_at)) == ("the change to medium version 7", True)
    calls = house.script.calls
    assert calls.index(TAKE) < len(calls) - 1 - calls[::-1].index("namespace.ensure")
    assert lines(status)[0][1] == "took snapshot 1 before the change to medium version 7"
    assert status.environment.template == MEDIUM
    await delete(life)


async def test_a_change_goes_on_without_its_snapshot(house: CapacityBench) -> None:
    """Ensures that the record says so: a full volume may be the reason for the change."""
    life = await ready_in_house(house, "goes-on")
    house.script.before[TAKE] = fails_for_good(ErrorType.NEVER_READY)
    await change(house, life, MEDIUM, with_snapshot=True)
    status = await over(life)
    assert (status.environment.template, status.change_problem) == (MEDIUM, None)
    assert status.snapshots[0].problem
    await delete(life)


async def test_a_change_and_a_snapshot_exclude_each_other(house: CapacityBench) -> None:
    life = await ready_in_house(house, "excludes")
    house.script.before[TAKE] = waits_for(going_on := asyncio.Event())
    await take(life)
    refusal = await refusal_of(change(house, life, MEDIUM))
    assert refusal.message == "A snapshot of excludes is being taken: ask again when that is over."
    going_on.set()
    await settled(life)
    house.script.before[TAKE] = waits
    house.script.started[TAKE].clear()
    await change(house, life, MEDIUM, with_snapshot=True)
    await house.script.started[TAKE].wait()
    refusal = await refusal_of(take(life))
    assert refusal.message == "excludes is being changed to another template: ask again when that is over."
    status = await delete(life)
    assert not any(map(_is_open, status.snapshots))
    assert "medium" not in {template for _, template in house.script.in_place}
    assert not house.script.world
