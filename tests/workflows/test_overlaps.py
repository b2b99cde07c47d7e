"""What happens when sleep, a change of template, a repair, an end and the next run meet."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowUpdateFailedError
from temporalio.testing import WorkflowEnvironment

from contracts.capacity.models import Limits, ReservationRequest, WakeInput
from contracts.capacity.sizes import size_of
from contracts.environment.chart_values import compose_values
from contracts.environment.models import EnvironmentStatus, Outcome, Phase, Spec
from contracts.environment_workflow import (
    ActorInput,
    Answer,
    AnswerKind,
    CarriedState,
    ChangeTemplateInput,
    DueInput,
    EnvironmentStart,
)
from contracts.errors import ErrorType, Refusal, RefusalReason
from contracts.notifications import NotificationKind
from contracts.phases import StepName
from contracts.recovery_starts import adoption_start, forced_start
from contracts.templates.sleep import SleepReason
from contracts.templates.template import RetainedVolumes
from tests.workflows.conftest import HURRY, LIFE, Bench, Life, a_start, until
from tests.workflows.house import a_house
from tests.workflows.scripted_activities import deaf, fails_for_good, waits, waits_for
from tests.workflows.test_drift import IDENTITY, tell
from tests.workflows.test_people import ALICE, notices_for_people, reach, ready
from tests.workflows.test_people import change as change_people
from tests.workflows.test_sleep import asleep, delete, reaches, refusal_of, sleep, wake, with_policy
from workflows.changes.sleep import INTERVAL_AFTER_FAILED_START
from workflows.environment.workflow import EnvironmentWorkflow

pytestmark = pytest.mark.slow

SMALL = a_start("a").environment.template
MEDIUM = SMALL.model_copy(
    update={
        "name": "medium",
        "size": SMALL.size.model_copy(update={"cpu": "3"}),
        "retained_volumes": RetainedVolumes.DELETE,
    }
)


async def change(life: Life, id: str = "c1") -> Answer:
    environment = life.start.environment.model_copy(update={"template": MEDIUM})
    ask = ChangeTemplateInput(
        life=LIFE,
        actor=ALICE,
        template=MEDIUM,
        spec=Spec(template="medium", team="blue"),
        request=ReservationRequest(
            name=environment.name,
            life=LIFE,
            owner=ALICE,
            team="blue",
            template="medium",
            size=size_of(MEDIUM.size, compose_values(environment)),
            hosts=("one",),
            ends_at=datetime.now(UTC),
        ),
    )
    answer: Answer = await life.handle.execute_update(EnvironmentWorkflow.change_template, ask, id=id)
    return answer


async def over(life: Life) -> EnvironmentStatus:
    return await reach(life, lambda status: status.change is None, "the change is over")


async def in_place(bench: Bench, step: str, template: str) -> None:
    async def there() -> bool:
        return (step, template) in bench.script.in_place

    await until(there, f"{step} is ensured with {template}")


async def run_id(life: Life) -> str | None:
    return (await life.handle.describe()).run_id


async def in_another_run(life: Life, first: str | None) -> None:
    async def there() -> bool:
        return await run_id(life) != first

    await until(there, "it goes on in another run")


async def count_events(life: Life, kind: EventType.ValueType) -> int:
    history = await life.handle.fetch_history()
    return sum(event.event_type == kind for event in history.events)


async def rest_of(life: Life) -> timedelta:
    """How long it waits now for its policy of sleep to do something; wait until it does so."""
    found: list[timedelta] = []

    async def there() -> bool:
        events = (await life.handle.fetch_history()).events
        found.extend(
            event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
            for event in events
            if b"until its policy of sleep" in event.user_metadata.summary.data
        )
        return bool(found)

    await until(there, "it waits for its policy of sleep")
    return found[-1]


async def until_event(life: Life, kind: EventType.ValueType, count: int, what: str) -> None:
    async def there() -> bool:
        return await count_events(life, kind) >= count

    await until(there, what)


async def notified(bench: Bench, kinds: Sequence[NotificationKind]) -> None:
    async def there() -> bool:
        return [notice.kind for notice in notices_for_people(bench)] == list(kinds)

    await until(there, f"its people are notified: {kinds}")


async def start_again(bench: Bench, life: Life, start: EnvironmentStart) -> Life:
    """Terminate its run, and start another with this argument, as a sweep does."""
    await life.handle.terminate()
    handle = await bench.client.start_workflow(
        EnvironmentWorkflow.run, start, id=life.handle.id, task_queue=bench.task_queue
    )
    return Life(start, bench.script, handle, life.answer)


async def stopping(bench: Bench, life: Life) -> asyncio.Event:
    """Have its run stop, to go on in another one; it has stopped once the event is set."""
    stopped = asyncio.Event()
    bench.script.before["access.group"] = deaf(60, until=stopped)
    await change_people(life, "add")
    await bench.script.started["access.group"].wait()
    first = await count_events(life, EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED)
    await life.handle.signal(EnvironmentWorkflow.renew)
    kind = EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED
    await until_event(life, kind, first + 1, "the run stops")
    return stopped


async def test_an_end_lets_a_change_take_no_further_step(bench: Bench) -> None:
    """Ensures that a step that completes although it was cancelled is the last one of the change."""
    life = await ready(bench, "overlap-end")
    bench.script.started["namespace.ensure"].clear()
    bench.script.before["namespace.ensure"] = deaf(60, until=(done := asyncio.Event()))
    bench.script.of_template = {"medium": waits}
    await change(life)
    await bench.script.started["namespace.ensure"].wait()
    ending = asyncio.create_task(delete(life))
    kind = EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED
    await until_event(life, kind, 1, "the step is cancelled")
    done.set()
    status = await ending
    assert bench.script.in_place == [("namespace", "medium")]
    assert status.certificate
    assert status.certificate.nothing_left
    assert "went back to small version 1" not in [entry.action for entry in status.audit_log]


async def test_a_change_that_still_asks_for_room_is_refused_when_the_environment_ends(bench: Bench) -> None:
    life = await ready(bench, "overlap-room")
    bench.script.before["capacity.resize"] = waits_for(answered := asyncio.Event())
    changing = asyncio.create_task(change(life))
    await bench.script.started["capacity.resize"].wait()
    ending = asyncio.create_task(delete(life))

    async def is_ending() -> bool:
        return (
            await life.handle.query(EnvironmentWorkflow.due, DueInput(now=datetime.now(UTC)))
        ).reason.startswith("it is being")

    await until(is_ending, "it is being deleted")
    answered.set()
    assert (await refusal_of(changing)).reason is RefusalReason.BEING_TORN_DOWN
    assert (await ending).outcome is Outcome.DELETED
    assert bench.script.in_place == []


async def test_a_life_that_was_lost_amid_a_change_goes_back(bench: Bench) -> None:
    """Ensures that an adopted life has the template of its record, and is not changing for ever."""
    life = await ready(bench, "overlap-lost")
    bench.script.of_template = {"medium": waits}
    await change(life)
    await in_place(bench, "vcluster", "medium")
    status = await life.status()
    now = datetime.now(UTC)
    start = adoption_start(life.start, status, "the sweep", timeouts=HURRY, requested_at=now, now=now)
    again = await start_again(bench, life, start)
    status = await over(again)
    assert (status.phase, status.environment.template) == (Phase.READY, SMALL)
    assert status.change_problem
    assert bench.script.in_place[-1] == ("kubeconfig", "small")
    assert status.audit_log[-1].action == "went back to small version 1"
    await sleep(again)
    await reaches(again, Phase.ASLEEP)


async def test_the_remains_of_a_life_that_was_lost_amid_a_change_are_torn_down(bench: Bench) -> None:
    life = await ready(bench, "overlap-remains")
    bench.script.of_template = {"medium": waits}
    await change(life)
    await in_place(bench, "vcluster", "medium")
    now = datetime.now(UTC)
    start = forced_start(life.start, await life.status(), ALICE, timeouts=HURRY, requested_at=now)
    status = await (await start_again(bench, life, start)).handle.result()
    assert status.change is None
    assert bench.script.world == set()


async def test_a_change_goes_back_over_several_runs(bench: Bench) -> None:
    """Ensures that a rollback that does not succeed for days holds up neither a new key nor a new version."""
    life = await ready(bench, "overlap-renewed")
    bench.script.of_template = {"medium": fails_for_good(), "small": fails_for_good()}
    await change(life)
    await in_place(bench, "vcluster", "small")
    first = await run_id(life)
    await life.handle.signal(EnvironmentWorkflow.renew)
    await in_another_run(life, first)
    status = await life.status()
    assert status.change
    assert status.change.problem
    assert (await refusal_of(sleep(life))).reason is RefusalReason.NOT_NOW
    bench.script.of_template = {}
    status = await over(life)
    assert status.environment.template == SMALL
    assert (await change(life, "c2")).kind is AnswerKind.ACCEPTED
    assert (await over(life)).environment.template == MEDIUM


async def test_a_delete_ends_a_change_that_goes_back_in_another_run(bench: Bench) -> None:
    life = await ready(bench, "overlap-renewed-end")
    bench.script.of_template = {"medium": fails_for_good(), "small": fails_for_good()}
    await change(life)
    await in_place(bench, "vcluster", "small")
    first = await run_id(life)
    await life.handle.signal(EnvironmentWorkflow.renew)
    await in_another_run(life, first)
    status = await delete(life)
    assert status.change is None
    assert bench.script.world == set()


async def test_a_change_that_comes_while_the_run_stops_is_made(bench: Bench) -> None:
    life = await ready(bench, "overlap-late")
    stopped = await stopping(bench, life)
    assert (await change(life)).kind is AnswerKind.ACCEPTED
    del bench.script.before["access.group"]
    stopped.set()
    status = await over(life)
    assert status.environment.template == MEDIUM
    assert [step for step, _ in bench.script.in_place] == ["namespace", "vcluster", "kubeconfig"]
    await reach(life, lambda status: not status.access.is_pending, "the person has access too")


async def test_a_wake_that_comes_while_the_run_stops_is_answered(bench: Bench) -> None:
    life = await asleep(bench, "overlap-late-wake")
    stopped = await stopping(bench, life)
    bench.script.before["capacity.wake"] = waits_for(admitted := asyncio.Event())
    waking = asyncio.create_task(wake(life))
    await bench.script.started["capacity.wake"].wait()
    del bench.script.before["access.group"]
    stopped.set()
    admitted.set()
    assert (await waking).kind is AnswerKind.ACCEPTED
    await reaches(life, Phase.READY)


async def test_an_end_overtakes_a_wake_that_waits_for_room(bench: Bench) -> None:
    """Ensures that nothing starts a vCluster while it is torn down."""
    life = await asleep(bench, "overlap-wake-end")
    gone = asyncio.Event()
    bench.script.before["access.group"] = deaf(60, until=gone)
    await change_people(life, "add")
    await bench.script.started["access.group"].wait()
    bench.script.before["capacity.wake"] = waits_for(admitted := asyncio.Event())
    waking = asyncio.create_task(wake(life))
    await bench.script.started["capacity.wake"].wait()
    ending = asyncio.create_task(delete(life))
    kind = EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED
    await until_event(life, kind, 1, "the change of access is cancelled")
    admitted.set()
    await asyncio.gather(waking, return_exceptions=True)
    gone.set()
    assert (await ending).outcome is Outcome.DELETED
    assert "sleep.resume" not in bench.script.calls


async def test_what_a_caller_was_promised_is_not_given_back(bench: Bench) -> None:
    """Ensures that CPU and memory stay reserved if a wake is decided while the pause ends."""
    life = await ready(bench, "overlap-promise")
    bench.script.before["sleep.pause"] = waits_for(paused := asyncio.Event())
    await sleep(life)
    await bench.script.started["sleep.pause"].wait()
    bench.script.before["capacity.wake"] = waits_for(admitted := asyncio.Event())
    waking = asyncio.create_task(wake(life))
    await bench.script.started["capacity.wake"].wait()
    completed = await count_events(life, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
    paused.set()
    await until_event(life, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, completed + 1, "it is paused")
    await life.status()
    admitted.set()
    assert (await waking).kind is AnswerKind.ACCEPTED
    await reaches(life, Phase.READY)
    signalled = EventType.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED
    assert await count_events(life, signalled) == 0


async def test_who_is_refused_leaves_it_asleep_and_its_room_given_back(bench: Bench) -> None:
    life = await ready(bench, "overlap-refused")
    bench.script.before["sleep.pause"] = waits_for(paused := asyncio.Event())
    await sleep(life)
    await bench.script.started["sleep.pause"].wait()
    bench.script.before["capacity.wake"] = fails_for_good()
    with pytest.raises(WorkflowUpdateFailedError):
        await wake(life)
    paused.set()
    await reaches(life, Phase.ASLEEP)
    signalled = EventType.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED
    assert await count_events(life, signalled) == 1


async def test_a_second_wake_is_not_taken_for_a_failure_of_the_first(bench: Bench) -> None:
    life = await asleep(bench, "overlap-again")
    cancelled, ended = asyncio.Event(), asyncio.Event()

    async def ends_late() -> None:
        try:
            await waits()
        finally:
            cancelled.set()
            await ended.wait()

    bench.script.before["sleep.resume"] = ends_late
    await wake(life)
    await bench.script.started["sleep.resume"].wait()
    await sleep(life)
    await cancelled.wait()
    await wake(life)
    del bench.script.before["sleep.resume"]
    ended.set()
    status = await reaches(life, Phase.READY)
    assert "could not wake it" not in [entry.action for entry in status.audit_log]


async def test_a_pause_waits_for_the_end_of_a_repair(bench: Bench) -> None:
    life = await ready(bench, "overlap-repair")
    order: list[str] = []

    async def repaired() -> None:
        order.append("repaired")

    async def paused() -> None:
        order.append("paused")

    bench.script.before["identity.ensure"] = deaf(60, until=(done := asyncio.Event()))
    bench.script.after |= {"identity.ensure": repaired, "sleep.pause": paused}
    bench.script.started["identity.ensure"].clear()
    await tell(life, IDENTITY, repair=(StepName.IDENTITY,))
    await bench.script.started["identity.ensure"].wait()
    await sleep(life)
    kind = EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED
    await until_event(life, kind, 1, "the repair is cancelled")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bench.script.started["sleep.pause"].wait(), 0.3)
    done.set()
    await reaches(life, Phase.ASLEEP)
    assert order == ["repaired", "paused"]


async def by_schedule(bench: Bench, name: str) -> tuple[Life, EnvironmentStart]:
    """One that its schedule has put to sleep, and the start of a run in which the schedule wakes it."""
    life = await bench.begin(with_policy(name, schedule="Mon-Sun 00:00-24:00"))
    await reaches(life, Phase.READY)
    await sleep(life)
    status = await reaches(life, Phase.ASLEEP)
    assert status.sleep
    sleeping = status.sleep.model_copy(update={"reason": SleepReason.SCHEDULE, "actor": "moorage"})
    status = status.model_copy(update={"sleep": sleeping})
    await notified(bench, [NotificationKind.ASLEEP])
    return life, life.start.model_copy(update={"carried": CarriedState(status=status)})


async def test_a_schedule_does_not_start_again_and_again_what_cannot_start(bench: Bench) -> None:
    life, start = await by_schedule(bench, "overlap-loop")
    bench.script.before["sleep.resume"] = fails_for_good(ErrorType.NEVER_READY)
    again = await start_again(bench, life, start)
    await notified(bench, [NotificationKind.ASLEEP] * 2)
    status = await reaches(again, Phase.ASLEEP)
    # It waits for its next try, so that it has decided not to try at once.
    assert await rest_of(again) >= INTERVAL_AFTER_FAILED_START - timedelta(minutes=5)
    assert bench.script.calls.count("sleep.resume") == 1
    assert status.sleep
    assert status.sleep.problem
    first = await run_id(again)
    await again.handle.signal(EnvironmentWorkflow.renew)
    await in_another_run(again, first)
    assert (await again.status()).phase is Phase.ASLEEP
    del bench.script.before["sleep.resume"]
    await wake(again)
    assert (await reaches(again, Phase.READY)).sleep is None


async def test_a_schedule_that_finds_no_room_says_so_once(bench: Bench) -> None:
    life, start = await by_schedule(bench, "overlap-no-room")
    refusal = Refusal(reason=RefusalReason.NO_ROOM, message="There is no room.")
    bench.script.decision = bench.script.decision.model_copy(update={"host": "", "refusal": refusal})
    again = await start_again(bench, life, start)
    for tries in (1, 2):
        await until_tried(bench, tries)
        first = await run_id(again)
        await again.handle.signal(EnvironmentWorkflow.renew)
        await in_another_run(again, first)
    await until_tried(bench, 3)
    status = await again.status()
    assert [entry.action for entry in status.audit_log].count("could not wake it") == 1
    assert status.sleep
    assert status.sleep.problem
    assert status.sleep.problem.cause == "There is no room."


async def until_tried(bench: Bench, times: int) -> None:
    async def there() -> bool:
        return bench.script.calls.count("capacity.wake") >= times

    await until(there, f"the schedule has tried {times} times")


async def test_a_problem_of_the_pause_is_over_once_it_sleeps(bench: Bench) -> None:
    life = await ready(bench, "overlap-pause")
    bench.script.before["sleep.pause"] = fails_for_good()
    await sleep(life)
    await reach(life, lambda status: bool(status.sleep and status.sleep.problem), "it says why")
    del bench.script.before["sleep.pause"]
    status = await reaches(life, Phase.ASLEEP)
    assert status.sleep
    assert status.sleep.problem is None


async def test_the_undo_follows_the_template_of_now(bench: Bench) -> None:
    """Ensures that the rule for volumes of another template counts before its next run, too."""
    life = await ready(bench, "overlap-template")
    bench.script.before["notification.send"] = waits_for(sent := asyncio.Event())
    await change_people(life, "add")
    await change(life)
    await over(life)
    ending = asyncio.create_task(delete(life))
    await bench.script.started["vcluster.remove"].wait()
    sent.set()
    await ending
    assert bench.script.removed_with["vcluster"] == "medium"


async def test_nothing_is_reserved_for_a_life_that_is_gone(namespace: WorkflowEnvironment) -> None:
    """Ensures that a wake that arrives after the release gets nothing."""
    async with a_house({"one": Limits(cpu=20_000)}, server=namespace) as house, house.worker():
        life = await house.begin("late-wake")
        await reach(life, lambda status: status.phase is Phase.READY, "it is ready")
        ask = house.ask("late-wake")
        await life.handle.execute_update(EnvironmentWorkflow.delete, ActorInput(actor=ALICE, life=ask.life))
        await life.handle.result()
        await house.until_held()
        with pytest.raises(WorkflowUpdateFailedError):
            await house.client.get_workflow_handle("capacity").execute_update("wake", WakeInput(request=ask))
        assert await house.held() == {}
