"""Ensures that an environment falls asleep and wakes, once for all who ask, whatever happens on the way."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from contracts.capacity.models import PlacementDecision
from contracts.environment.models import EnvironmentStatus, Outcome, Phase
from contracts.environment_workflow import (
    ActorInput,
    Answer,
    AnswerKind,
    CarriedState,
    CollaboratorAction,
    CollaboratorInput,
    EnvironmentStart,
    ExtendInput,
    LifeInput,
    SleepChangeInput,
)
from contracts.errors import ErrorType, Refusal, RefusalReason
from contracts.notifications import NotificationKind
from contracts.templates.sleep import SleepPolicy, SleepReason
from contracts.temporal import search_attributes
from tests.workflows.conftest import LIFE, Bench, Life, a_start, until
from tests.workflows.scripted_activities import deaf, fails, fails_for_good, waits, waits_for
from tests.workflows.test_people import ALICE, GRACE, notices_for_people, reach, ready
from workflows.environment.workflow import EnvironmentWorkflow

pytestmark = pytest.mark.slow

BY_ALICE = ActorInput(actor=ALICE, life=LIFE)
ASKED_BY_ALICE = SleepChangeInput(actor=ALICE, life=LIFE)
BY_GRACE = ActorInput(actor=GRACE, life=LIFE)


async def sleep(life: Life) -> Answer:
    answer: Answer = await life.handle.execute_update(EnvironmentWorkflow.sleep, ASKED_BY_ALICE)
    return answer


async def wake(life: Life, by: ActorInput = BY_GRACE) -> Answer:
    answer: Answer = await life.handle.execute_update(EnvironmentWorkflow.wake, by)
    return answer


async def delete(life: Life) -> EnvironmentStatus:
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return await life.handle.result()


async def refusal_of(update: object) -> Refusal:
    with pytest.raises(WorkflowUpdateFailedError) as failure:
        await update  # type: ignore[misc]
    assert isinstance(failure.value.cause, ApplicationError)
    return Refusal.model_validate(failure.value.cause.details[0])


async def reaches(life: Life, phase: Phase) -> EnvironmentStatus:
    return await reach(life, lambda status: status.phase is phase, f"it is {phase}")


async def asleep(bench: Bench, name: str, **changes: object) -> Life:
    life = await ready(bench, name, **changes)
    await sleep(life)
    await reaches(life, Phase.ASLEEP)
    return life


def calls_of_sleep(bench: Bench) -> list[str]:
    return [call for call in bench.script.calls if call.startswith(("sleep.", "capacity."))]


async def test_it_sleeps_and_wakes_and_is_the_same(bench: Bench) -> None:
    life = await ready(bench, "sleeper")
    before = await life.status()
    answer = await sleep(life)
    assert (answer.kind, answer.message) == (
        AnswerKind.ACCEPTED,
        "sleeper is falling asleep; its volumes and its end stay.",
    )
    status = await reaches(life, Phase.ASLEEP)
    assert bench.script.is_paused
    assert status.sleep
    assert status.sleep.actor == ALICE
    assert status.sleep.asleep_at
    assert status.expires_at == before.expires_at, "its time to live goes on"
    assert status.in_use, "it must not end without a warning"
    run = await life.handle.describe()
    assert run.typed_search_attributes.get(search_attributes.PHASE) == "asleep"

    answer = await wake(life)
    assert (answer.kind, answer.message) == (AnswerKind.ACCEPTED, "sleeper is being woken.")
    status = await reaches(life, Phase.READY)
    assert not bench.script.is_paused
    assert (status.sleep, status.ready_at) == (None, before.ready_at)
    assert calls_of_sleep(bench) == ["sleep.pause", "capacity.wake", "sleep.resume"]
    trail = [(entry.actor, entry.action) for entry in status.audit_log]
    for line in ((ALICE, "put it to sleep"), ("moorage", "fell asleep"), (GRACE, "woke it")):
        assert line in trail
    first, second = notices_for_people(bench)
    assert (first.kind, first.actor, first.asleep) == (NotificationKind.ASLEEP, ALICE, True)
    assert (second.kind, second.actor, second.asleep) == (NotificationKind.AWAKE, GRACE, False)
    assert (await delete(life)).outcome is Outcome.DELETED


async def test_what_it_is_already_is_answered_and_not_done_again(bench: Bench) -> None:
    life = await ready(bench, "sleeper-again")
    assert (await wake(life)).kind is AnswerKind.NOTHING_TO_DO
    await sleep(life)
    await reaches(life, Phase.ASLEEP)
    assert (await sleep(life)).message == "sleeper-again is asleep."
    bench.script.before["sleep.resume"] = waits_for(going_on := asyncio.Event())
    await wake(life)
    assert (await wake(life)).message == "sleeper-again is being woken."
    going_on.set()
    await reaches(life, Phase.READY)
    assert calls_of_sleep(bench) == ["sleep.pause", "capacity.wake", "sleep.resume"]


async def test_all_who_wake_it_at_once_wake_it_once(bench: Bench) -> None:
    life = await asleep(bench, "sleeper-many")
    bench.script.before["capacity.wake"] = waits_for(going_on := asyncio.Event())
    # A run takes ten updates at a time.
    waking = [asyncio.create_task(wake(life)) for _ in range(8)]
    await bench.script.started["capacity.wake"].wait()
    going_on.set()
    assert {answer.kind for answer in await asyncio.gather(*waking)} == {AnswerKind.ACCEPTED}
    await reaches(life, Phase.READY)
    assert calls_of_sleep(bench) == ["sleep.pause", "capacity.wake", "sleep.resume"]


async def test_without_room_it_stays_asleep_and_says_what_would_help(bench: Bench) -> None:
    life = await asleep(bench, "sleeper-no-room")
    sentence = "sleeper-no-room asks for 2 CPU; host one has 1 of 8 CPU left. Delete another one."
    refused = Refusal(reason=RefusalReason.NO_ROOM, message=sentence)
    bench.script.decision = PlacementDecision(refusal=refused)
    assert await refusal_of(wake(life)) == refused
    assert (await life.status()).phase is Phase.ASLEEP
    assert bench.script.is_paused
    bench.script.decision = PlacementDecision(host="one")
    await wake(life)
    await reaches(life, Phase.READY)


async def test_a_capacity_that_does_not_answer_is_one_sentence(bench: Bench) -> None:
    life = await asleep(bench, "sleeper-no-capacity")
    bench.script.before["capacity.wake"] = fails_for_good(ErrorType.UNAVAILABLE)
    refusal = await refusal_of(wake(life))
    assert refusal.reason is RefusalReason.NOT_KNOWN
    assert refusal.message.startswith("sleeper-no-capacity cannot be woken now: ")


async def test_it_sleeps_only_once_it_is_made_and_until_it_is_torn_down(bench: Bench) -> None:
    bench.script.before["vcluster.ensure"] = waits_for(going_on := asyncio.Event())
    life = await bench.begin(a_start("sleeper-early"))
    for update in (sleep(life), wake(life)):
        assert (
            await refusal_of(update)
        ).message == "sleeper-early is provisioning: it can sleep once it is ready."
    going_on.set()
    await reaches(life, Phase.READY)
    bench.script.before["import.remove"] = waits_for(going_on := asyncio.Event())
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    for update in (sleep(life), wake(life)):
        assert (await refusal_of(update)).reason is RefusalReason.BEING_TORN_DOWN
    going_on.set()
    await life.handle.result()


async def test_a_pause_that_fails_is_shown_and_tried_again(bench: Bench) -> None:
    life = await ready(bench, "sleeper-stuck")
    bench.script.before["sleep.pause"] = fails_for_good()
    await sleep(life)
    status = await reach(life, lambda status: bool(status.sleep and status.sleep.problem), "it says why")
    assert status.phase is Phase.FALLING_ASLEEP
    assert status.sleep
    assert status.sleep.problem
    assert status.sleep.problem.cause == "Rafay: it is not allowed."
    del bench.script.before["sleep.pause"]
    await reaches(life, Phase.ASLEEP)


async def test_it_can_be_woken_while_its_pause_is_stuck(bench: Bench) -> None:
    life = await ready(bench, "sleeper-stuck-wake")
    bench.script.before["sleep.pause"] = waits
    await sleep(life)
    await bench.script.started["sleep.pause"].wait()
    await wake(life)
    await reaches(life, Phase.READY)
    assert not bench.script.is_paused


async def test_a_wake_never_overtakes_a_pause(bench: Bench) -> None:
    life = await ready(bench, "sleeper-order")
    bench.script.before["sleep.pause"] = deaf(1)
    paused = asyncio.Event()

    async def has_paused() -> None:
        paused.set()

    bench.script.after["sleep.pause"] = has_paused
    await sleep(life)
    await bench.script.started["sleep.pause"].wait()
    await wake(life)
    await reaches(life, Phase.READY)
    await paused.wait()
    assert not bench.script.is_paused, "the pause was last"
    assert calls_of_sleep(bench)[-1] == "sleep.resume"


async def test_a_wake_that_fails_leads_to_sleep_and_the_next_one_succeeds(bench: Bench) -> None:
    life = await asleep(bench, "sleeper-dead")
    bench.script.before["sleep.resume"] = fails_for_good(ErrorType.NEVER_READY)
    await wake(life)
    status = await reach(
        life,
        lambda status: bool(status.phase is Phase.ASLEEP and status.sleep and status.sleep.problem),
        "it says why",
    )
    assert bench.script.is_paused
    assert [entry.result for entry in status.audit_log if entry.action == "could not wake it"]
    del bench.script.before["sleep.resume"]
    await wake(life)
    assert (await reaches(life, Phase.READY)).sleep is None


async def test_a_call_that_fails_a_few_times_is_repeated(bench: Bench) -> None:
    life = await ready(bench, "sleeper-retry")
    for name in ("sleep.pause", "sleep.resume", "capacity.wake"):
        bench.script.before[name] = fails(2, in_doubt=True)
    await sleep(life)
    await reaches(life, Phase.ASLEEP)
    await wake(life)
    await reaches(life, Phase.READY)


@pytest.mark.parametrize("during", ["sleep.pause", "asleep", "capacity.wake", "sleep.resume"])
@pytest.mark.parametrize("how", ["deleted", "cancelled in Temporal"])
async def test_it_ends_whole_in_every_phase_of_sleep(bench: Bench, during: str, how: str) -> None:
    life = await ready(bench, f"sleeper-end-{during.replace('.', '-')}-{how[:3]}")
    waking: asyncio.Task[Answer] | None = None
    if during == "sleep.pause":
        bench.script.before[during] = waits
        await sleep(life)
    else:
        await sleep(life)
        await reaches(life, Phase.ASLEEP)
    if during in ("capacity.wake", "sleep.resume"):
        bench.script.before[during] = waits if during == "sleep.resume" else deaf(0.5)
        waking = asyncio.create_task(wake(life))
    if during != "asleep":
        await bench.script.started[during].wait()
    if how == "deleted":
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    else:
        await life.handle.cancel()
    status = await life.handle.result()
    assert (status.outcome, status.phase) == (Outcome.DELETED, Phase.GONE)
    assert status.certificate
    assert status.certificate.nothing_left
    assert bench.script.world == set()
    assert bench.script.forced["import"], "the agent of one that sleeps cannot answer"
    if waking:
        [answer] = await asyncio.gather(waking, return_exceptions=True)
        assert isinstance(answer, (Answer, WorkflowUpdateFailedError))


async def test_it_can_be_extended_while_it_sleeps(bench: Bench) -> None:
    life = await asleep(bench, "sleeper-extended")
    before = await life.status()
    extension = ExtendInput(actor=ALICE, life=LIFE, by=timedelta(hours=1), override=True, reason="a holiday")
    await life.handle.execute_update(EnvironmentWorkflow.extend, extension)
    after = await life.status()
    assert after.expires_at - before.expires_at == timedelta(hours=1)
    assert after.phase is Phase.ASLEEP


async def test_people_change_while_it_sleeps_and_reach_the_vcluster_when_it_is_awake(bench: Bench) -> None:
    life = await asleep(bench, "sleeper-people")
    ask = CollaboratorInput(life=LIFE, actor=ALICE, action=CollaboratorAction.ADD, person=GRACE)
    await life.handle.execute_update(EnvironmentWorkflow.change_collaborators, ask)
    await bench.script.started["access.group"].wait()
    status = await reach(life, lambda _: bench.script.members == {GRACE}, "the group has the person")
    assert status.access.is_pending
    assert "access.virtual-cluster" not in bench.script.calls
    await wake(life)
    status = await reach(life, lambda status: not status.access.is_pending, "all systems have the change")
    assert bench.script.inside == {GRACE}


async def test_the_next_run_goes_on_with_what_the_former_has_started(bench: Bench) -> None:
    life = await ready(bench, "sleeper-renewed")
    bench.script.before["sleep.pause"] = waits_for(going_on := asyncio.Event())
    await sleep(life)
    await bench.script.started["sleep.pause"].wait()
    first = (await life.handle.describe()).run_id
    await life.handle.signal(EnvironmentWorkflow.renew)

    async def is_renewed() -> bool:
        return (await life.handle.describe()).run_id != first

    await until(is_renewed, "it goes on in a new run")
    going_on.set()
    status = await reaches(life, Phase.ASLEEP)
    assert status.sleep
    assert status.sleep.actor == ALICE
    await wake(life)
    await reaches(life, Phase.READY)
    assert datetime.now(UTC) > (status.ready_at or datetime.now(UTC))


def with_policy(name: str, **policy: Any) -> EnvironmentStart:
    """A start whose template puts it to sleep by itself. Rules of the door do not count here."""
    start = a_start(name)
    sleep = SleepPolicy(**policy)
    template = start.environment.template.model_copy(update={"sleep": sleep})
    environment = start.environment.model_copy(update={"template": template})
    return start.model_copy(update={"environment": environment})


def hours(start: timedelta, end: timedelta) -> str:
    """A schedule of today that is so far from now, in UTC."""
    now = datetime.now(UTC)
    return f"Mon-Sun {now + start:%H:%M}-{now + end:%H:%M}"


async def test_it_falls_asleep_when_no_person_has_used_it(bench: Bench) -> None:
    life = await bench.begin(with_policy("sleeper-idle", after=timedelta(seconds=1)))
    status = await reaches(life, Phase.ASLEEP)
    assert status.sleep
    assert (status.sleep.actor, status.sleep.reason) == ("moorage", SleepReason.IDLE)
    assert ("moorage", "put it to sleep", "after 1s without a credential") in [
        (entry.actor, entry.action, entry.result) for entry in status.audit_log
    ]
    [notice] = notices_for_people(bench)
    assert (notice.kind, notice.sleep_reason) == (NotificationKind.ASLEEP, SleepReason.IDLE)
    await wake(life)
    status = await reaches(life, Phase.READY)
    assert status.used_at, "who wakes it uses it"
    await reaches(life, Phase.ASLEEP)


async def test_a_use_keeps_it_awake(bench: Bench) -> None:
    life = await bench.begin(with_policy("sleeper-used", after=timedelta(seconds=2)))
    status = await reaches(life, Phase.READY)
    await life.handle.signal(EnvironmentWorkflow.used, LifeInput(life="another-life"))
    assert (await life.status()).used_at is None
    ends = asyncio.get_running_loop().time() + 4
    while asyncio.get_running_loop().time() < ends:
        await life.handle.signal(EnvironmentWorkflow.used, LifeInput(life=LIFE))
        await asyncio.sleep(0.2)
    used = await life.status()
    assert used.phase is Phase.READY
    assert used.used_at
    assert used.used_at > (status.ready_at or used.used_at)
    await reaches(life, Phase.ASLEEP)


async def test_outside_of_its_hours_it_sleeps_once_the_last_credential_is_over(bench: Bench) -> None:
    closed = hours(timedelta(hours=-3), timedelta(hours=-2))
    life = await bench.begin(with_policy("sleeper-closed", schedule=closed))
    await reaches(life, Phase.READY)
    # The credential that it may have had at its start lives for an hour.
    assert (await life.status()).phase is Phase.READY
    status = await life.status()
    used = (status.ready_at or datetime.now(UTC)) - timedelta(hours=2)
    await life.handle.terminate()
    start = life.start.model_copy(
        update={"carried": CarriedState(status=status.model_copy(update={"used_at": used}))}
    )
    handle = await bench.client.start_workflow(
        EnvironmentWorkflow.run, start, id=life.handle.id, task_queue=bench.task_queue
    )
    again = Life(start, bench.script, handle, life.answer)
    status = await reaches(again, Phase.ASLEEP)
    assert status.sleep
    assert status.sleep.reason is SleepReason.SCHEDULE


async def test_its_schedule_wakes_it_and_waits_for_room(bench: Bench) -> None:
    """Ensures that a schedule wakes what it has put to sleep, and not what a person has."""
    life = await bench.begin(with_policy("sleeper-opens", schedule="Mon-Sun 00:00-24:00"))
    await reaches(life, Phase.READY)
    await sleep(life)
    status = await reaches(life, Phase.ASLEEP)
    assert status.sleep
    assert (await life.status()).phase is Phase.ASLEEP, "a person has put it to sleep"
    sleeping = status.sleep.model_copy(update={"reason": SleepReason.SCHEDULE, "actor": "moorage"})
    refusal = Refusal(reason=RefusalReason.NO_ROOM, message="There is no room.")
    bench.script.decision = PlacementDecision(refusal=refusal)
    await life.handle.terminate()
    start = life.start.model_copy(
        update={"carried": CarriedState(status=status.model_copy(update={"sleep": sleeping}))}
    )
    handle = await bench.client.start_workflow(
        EnvironmentWorkflow.run, start, id=life.handle.id, task_queue=bench.task_queue
    )
    again = Life(start, bench.script, handle, life.answer)
    status = await reach(
        again, lambda status: status.audit_log[-1].action == "could not wake it", "there is no room for it"
    )
    assert status.audit_log[-1].result == "There is no room."
    bench.script.decision = PlacementDecision(host="one")
    await handle.signal(EnvironmentWorkflow.renew)
    await reaches(again, Phase.READY)


async def test_its_people_let_it_sleep_more_and_not_less(bench: Bench) -> None:
    life = await bench.begin(with_policy("sleeper-policy", after=timedelta(hours=4)))
    await reaches(life, Phase.READY)

    def change(after: timedelta | None) -> Any:
        policy = SleepPolicy(after=after) if after else None
        ask = SleepChangeInput(actor=ALICE, life=LIFE, changes_policy=True, policy=policy)
        return life.handle.execute_update(EnvironmentWorkflow.sleep, ask)

    refusal = await refusal_of(change(timedelta(hours=5)))
    assert refusal.message == (
        "sleeper-policy cannot sleep so: 5h is longer than its template allows: at most 4h."
    )
    answer = await change(timedelta(hours=2))
    assert answer.message == "sleeper-policy falls asleep after 2h without a credential."
    assert (await life.status()).sleep_policy == SleepPolicy(after=timedelta(hours=2))
    answer = await change(None)
    assert answer.message == "sleeper-policy falls asleep after 4h without a credential."
    assert (await life.status()).phase is Phase.READY


async def test_a_policy_puts_one_without_to_sleep(bench: Bench) -> None:
    life = await ready(bench, "sleeper-first-policy")
    assert (await life.status()).sleep_policy is None
    policy = SleepPolicy(schedule=hours(timedelta(hours=-3), timedelta(hours=-2)))
    ask = SleepChangeInput(actor=ALICE, life=LIFE, changes_policy=True, policy=policy)
    answer = await life.handle.execute_update(EnvironmentWorkflow.sleep, ask)
    assert answer.kind is AnswerKind.ACCEPTED
    assert (await life.status()).sleep_policy == policy
    assert (await delete(life)).outcome is Outcome.DELETED
