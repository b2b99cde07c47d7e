"""Ensures that a restore ends whole: with the snapshot, or with the state before it.

And that a way back which fails is shown, tried again in growing pauses, and holds up no end.
"""

import asyncio

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from contracts.environment.models import MOORAGE_ACTOR, EnvironmentStatus, Outcome, Phase
from contracts.environment_workflow import Answer, AnswerKind, CarriedState, RestoreInput
from contracts.errors import ErrorType, RefusalReason, StepErrorDetails
from tests.workflows.conftest import HURRY, LIFE, Bench, Life
from tests.workflows.scripted_activities import Outcome as Play
from tests.workflows.scripted_activities import (
    Script,
    deaf,
    fails_first,
    fails_for_good,
    waits,
    waits_for,
)
from tests.workflows.test_overlaps import in_another_run, run_id, start_again
from tests.workflows.test_people import ALICE, reach, ready
from tests.workflows.test_people import change as change_people
from tests.workflows.test_sleep import delete, refusal_of, sleep
from tests.workflows.test_snapshots import settled, take
from workflows.environment.workflow import EnvironmentWorkflow

pytestmark = pytest.mark.slow

RESTORE, SETTLE = "snapshot.restore", "snapshot.settle"


async def restore(life: Life, number: int | None = None, id: str | None = None) -> Answer:
    ask = RestoreInput(life=LIFE, actor=ALICE, number=number)
    answer: Answer = await life.handle.execute_update(EnvironmentWorkflow.restore, ask, id=id)
    return answer


async def over(life: Life) -> EnvironmentStatus:
    return await reach(life, lambda status: status.restore is None, "the restore is over")


async def with_snapshots(bench: Bench, name: str, count: int = 2) -> Life:
    life = await ready(bench, name)
    for _ in range(count):
        await take(life)
        await settled(life)
    return life


def numbers(bench: Bench) -> list[int]:
    """The snapshots that were put back, in order; no two of them by the same pod."""
    attempts = [attempt for _, attempt in bench.script.restored]
    assert len(set(attempts)) == len(attempts)
    return [number for number, _ in bench.script.restored]


async def going_back(bench: Bench, name: str, call: str = RESTORE) -> Life:
    """An environment that cannot go back from the restore of snapshot 1, because this call fails."""
    life = await with_snapshots(bench, name, 1)
    bench.script.before[call] = fails_for_good()
    await restore(life)
    await reach(life, _has_obstacle, "going back has failed")
    return life


def _has_obstacle(status: EnvironmentStatus) -> bool:
    return status.restore is not None and status.restore.obstacle is not None


def trail(status: EnvironmentStatus) -> list[str]:
    return [entry.action for entry in status.audit_log if "restore" in entry.action]


async def test_a_snapshot_is_restored(bench: Bench) -> None:
    """Ensures that the present state is kept first, and that the vCluster is paused meanwhile."""
    life = await with_snapshots(bench, "restored")
    answer = await restore(life, 1, id="r1")
    assert (answer.kind, answer.message) == (
        AnswerKind.ACCEPTED,
        "Snapshot 1 of restored is being restored; the volumes of its workloads are left out.",
    )
    status = await over(life)
    assert (status.restore_problem, status.phase) == (None, Phase.READY)
    assert numbers(bench) == [1]
    assert [one.before for one in status.snapshots] == ["", "", "the restore of snapshot 1"]
    assert not bench.script.is_paused
    assert bench.script.settled == [("alice@example.com",)]
    assert await restore(life, 1, id="r1") == answer
    assert trail(status)[-1] == "restored snapshot 1"
    assert (await delete(life)).outcome is Outcome.DELETED


async def test_the_last_snapshot_is_restored_by_default(bench: Bench) -> None:
    life = await with_snapshots(bench, "last")
    await restore(life)
    await over(life)
    assert numbers(bench) == [2]
    await delete(life)


@pytest.mark.parametrize("call", [RESTORE, "sleep.resume"])
async def test_a_restore_that_fails_goes_back(bench: Bench, call: str) -> None:
    life = await with_snapshots(bench, f"back-{call.replace('.', '-')}")
    bench.script.before[call] = fails_first(bench.script, call)
    await restore(life, 1)
    status = await over(life)
    assert status.restore_problem
    assert status.restore_problem.cause == "Rafay: it is not allowed."
    assert numbers(bench)[-1] == 3
    assert not bench.script.is_paused
    assert trail(status)[-2:] == [
        "could not restore snapshot 1",
        "went back to the state before the restore of snapshot 1",
    ]
    await delete(life)


async def test_a_vcluster_that_cannot_be_paused_runs_on_as_it_is(bench: Bench) -> None:
    """Ensures that no snapshot is put back, not even that of before: what was made since is kept."""
    life = await with_snapshots(bench, "unpaused")
    bench.script.before["sleep.pause"] = fails_for_good()
    await restore(life, 1)
    status = await over(life)
    assert status.restore_problem
    assert bench.script.restored == []
    assert bench.script.calls[-1] == "sleep.resume", "a part of it may have been paused"
    assert trail(status)[-1] == "changed nothing for the restore of snapshot 1"
    await delete(life)


async def test_access_is_taken_away_until_that_succeeds(bench: Bench) -> None:
    """Ensures that there is no way back once the vCluster runs with the snapshot, and what holds it up."""
    life = await with_snapshots(bench, "settles", 1)
    bench.script.before[SETTLE] = fails_for_good()
    await restore(life)
    status = await reach(life, _has_obstacle, "it cannot take access away")
    assert status.restore
    assert status.restore.is_resumed
    assert status.restore.problem is None
    first = await run_id(life)
    await life.handle.signal(EnvironmentWorkflow.renew)
    await in_another_run(life, first)
    del bench.script.before[SETTLE]
    status = await over(life)
    assert status.restore_problem is None
    assert numbers(bench) == [1]
    assert trail(status)[-1] == "restored snapshot 1"
    await delete(life)


async def test_people_who_were_removed_meanwhile_get_no_access(bench: Bench) -> None:
    life = await with_snapshots(bench, "removes", 1)
    await change_people(life, "add")
    bench.script.before[RESTORE] = waits_for(going_on := asyncio.Event())
    await restore(life)
    await bench.script.started[RESTORE].wait()
    await change_people(life, "remove")
    going_on.set()
    await over(life)
    assert bench.script.settled == [("alice@example.com",)]
    await delete(life)


@pytest.mark.parametrize("call", ["sleep.pause", RESTORE, "sleep.resume", SETTLE])
async def test_a_way_back_that_fails_is_shown_and_tried_again(bench: Bench, call: str) -> None:
    life = await with_snapshots(bench, f"stuck-{call.split('.')[1]}", 1)
    bench.script.before[RESTORE] = fails_first(bench.script, RESTORE)
    bench.script.before[call] = _fails_on_the_way_back(bench.script)
    await restore(life)
    status = await reach(life, lambda now: _has_obstacle(now) and _waits(now), "it waits for the next try")
    assert status.restore
    assert status.restore.problem
    assert status.restore.obstacle
    assert status.restore.obstacle.cause == "Rafay: it is not allowed."
    assert status.phase is Phase.READY
    bench.script.before.clear()
    status = await over(life)
    assert status.restore_problem
    assert numbers(bench)[-1] == 2
    assert not bench.script.is_paused
    assert (await delete(life)).outcome is Outcome.DELETED


def _fails_on_the_way_back(script: Script) -> Play:
    async def fail() -> None:
        if RESTORE in script.calls:
            await fails_for_good()()

    return fail


def _waits(status: EnvironmentStatus) -> bool:
    return status.restore is not None and status.restore.next_try_at is not None


async def test_a_way_back_does_not_put_a_snapshot_back_again_once_it_runs(bench: Bench) -> None:
    """Ensures that what people make while their access is being settled is kept."""
    life = await with_snapshots(bench, "once", 1)
    bench.script.before[RESTORE] = fails_first(bench.script, RESTORE)
    bench.script.before[SETTLE] = fails_for_good()
    await restore(life)
    await reach(life, _has_obstacle, "settling has failed")
    await reach(life, lambda _: bench.script.calls.count(SETTLE) > 2, "it has failed again")
    assert numbers(bench) == [2]
    del bench.script.before[SETTLE]
    assert (await over(life)).restore_problem
    await delete(life)


async def test_a_lost_answer_of_a_restore_is_waited_for_before_it_goes_back(bench: Bench) -> None:
    life = await with_snapshots(bench, "doubtful", 1)
    bench.script.before[RESTORE] = _loses_the_first_answer(bench.script)
    await restore(life)
    status = await over(life)
    assert status.restore_problem
    assert numbers(bench) == [2]
    failed, went_back = [entry.at for entry in status.audit_log if entry.actor == MOORAGE_ACTOR][-2:]
    assert went_back >= failed + HURRY.late_response_window
    await delete(life)


def _loses_the_first_answer(script: Script) -> Play:
    async def lose() -> None:
        del script.before[RESTORE]
        details = StepErrorDetails(system="Rafay", remedy="", in_doubt=True)
        raise ApplicationError("no answer", details, type=ErrorType.UNAVAILABLE, non_retryable=True)

    return lose


@pytest.mark.parametrize("how", ["deleted", "cancelled in Temporal"])
@pytest.mark.parametrize("call", ["snapshot.take", "sleep.pause", RESTORE, "sleep.resume", SETTLE])
async def test_it_ends_whole_in_every_call_of_a_restore(bench: Bench, call: str, how: str) -> None:
    life = await with_snapshots(bench, f"in-{call.split('.')[1]}-{how[:7]}", 1)
    bench.script.started[call].clear()
    bench.script.before[call] = waits
    await restore(life)
    await bench.script.started[call].wait()
    await ended(life, how)


@pytest.mark.parametrize("how", ["deleted", "cancelled in Temporal"])
@pytest.mark.parametrize("call", [RESTORE, "sleep.resume", SETTLE])
async def test_it_ends_whole_while_it_cannot_go_back(bench: Bench, call: str, how: str) -> None:
    life = await going_back(bench, f"stuck-in-{call.split('.')[1]}-{how[:7]}", call)
    await ended(life, how)


async def ended(life: Life, how: str) -> None:
    """It ends in this way, the teardown begins when no call is in progress, and nothing is left."""
    if how == "deleted":
        status = await delete(life)
    else:
        await life.handle.cancel()
        status = await life.handle.result()
    assert (status.outcome, status.restore) == (Outcome.DELETED, None)
    assert not life.script.world
    assert status.certificate
    assert status.certificate.nothing_left


async def test_the_teardown_waits_for_a_call_of_a_restore(bench: Bench) -> None:
    """Ensures that no pod comes into being after it, and that it looks again for late answers."""
    life = await with_snapshots(bench, "in-order", 1)
    bench.script.before[RESTORE] = deaf(60, until=(done := asyncio.Event()))
    await restore(life)
    await bench.script.started[RESTORE].wait()
    ending = asyncio.create_task(delete(life))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bench.script.started["vcluster.remove"].wait(), 0.3)
    done.set()
    status = await ending
    [asked] = [entry.at for entry in status.audit_log if "delete" in entry.action]
    assert status.certificate
    assert status.certificate.inspected_at >= asked + HURRY.late_response_window, "it was in doubt"


async def test_nothing_is_changed_without_a_way_back(bench: Bench) -> None:
    life = await with_snapshots(bench, "no-way-back")
    bench.script.before["snapshot.take"] = fails_for_good(ErrorType.NEVER_READY)
    await restore(life, 1)
    status = await over(life)
    assert status.restore_problem
    assert bench.script.restored == []
    assert "sleep.pause" not in bench.script.calls
    assert trail(status)[-1] == "changed nothing for the restore of snapshot 1"
    await delete(life)


async def test_what_is_refused(bench: Bench) -> None:
    life = await ready(bench, "refuses-it")
    assert (await refusal_of(restore(life))).message == (
        "refuses-it has no snapshot that could be restored: take one first."
    )
    await take(life)
    await settled(life)
    assert (await refusal_of(restore(life, 7))).message == "refuses-it has no snapshot 7: it has 1."
    bench.script.before[RESTORE] = waits_for(going_on := asyncio.Event())
    await restore(life)
    busy = "Snapshot 1 of refuses-it is being restored: ask again when that is over."
    for ask in (restore(life), take(life), sleep(life)):
        assert (await refusal_of(ask)).message == busy
    going_on.set()
    await over(life)
    await sleep(life)
    await reach(life, lambda status: status.phase is Phase.ASLEEP, "it sleeps")
    assert (await refusal_of(restore(life))).message == (
        "refuses-it is asleep: a snapshot can be restored once it is ready."
    )
    await delete(life)


async def test_a_restore_whose_run_was_lost_goes_back(bench: Bench) -> None:
    life = await with_snapshots(bench, "lost-it", 1)
    bench.script.before[RESTORE] = waits
    await restore(life)
    await bench.script.started[RESTORE].wait()
    carried = CarriedState(status=await life.status())
    del bench.script.before[RESTORE]
    life = await start_again(bench, life, life.start.model_copy(update={"carried": carried}))
    status = await over(life)
    assert status.restore_problem
    assert "was lost" in status.restore_problem.cause
    assert numbers(bench) == [2]
    await delete(life)


async def test_a_rollback_goes_on_in_the_next_run(bench: Bench) -> None:
    life = await with_snapshots(bench, "carries-it", 1)
    bench.script.before[RESTORE] = fails_for_good()
    await restore(life)
    await reach(life, lambda status: bool(status.restore and status.restore.problem), "it goes back")
    first = await run_id(life)
    await life.handle.signal(EnvironmentWorkflow.renew)
    await in_another_run(life, first)
    del bench.script.before[RESTORE]
    status = await over(life)
    assert status.restore_problem
    assert numbers(bench)[-1] == 2
    with pytest.raises(WorkflowUpdateFailedError):
        await life.handle.execute_update("restore")
    await delete(life)


async def test_a_run_does_not_end_during_a_restore_that_goes_forward(bench: Bench) -> None:
    life = await with_snapshots(bench, "one-run", 1)
    bench.script.before[RESTORE] = waits_for(going_on := asyncio.Event())
    await restore(life)
    await bench.script.started[RESTORE].wait()
    first = await run_id(life)
    await life.handle.signal(EnvironmentWorkflow.renew)
    assert (await refusal_of(take(life))).reason is RefusalReason.NOT_NOW
    assert await run_id(life) == first
    going_on.set()
    await in_another_run(life, first)
    assert (await over(life)).restore_problem is None
    assert numbers(bench) == [1]
    await delete(life)
