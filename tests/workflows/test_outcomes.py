"""Ensures that every life ends as the design's table of outcomes says, with everything undone in reverse."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from contracts.environment.models import EnvironmentStatus, Outcome, Phase, StepName, StepState
from contracts.environment_workflow import ActorInput, AnswerKind
from contracts.errors import ErrorType, Refusal
from contracts.recovery_starts import forced_start
from tests.support.deadline import HANG
from tests.support.workers import working
from tests.workflows.conftest import HURRY, LIFE, Bench, Life, a_start, until
from tests.workflows.scripted_activities import Script, deaf, fails, fails_first, fails_for_good, waits
from workflows.environment.workflow import EnvironmentWorkflow

STEPS = list(StepName)
#: The first step, the one in the middle that takes longest, and the last. Where every step is cancelled by an
#: update, or fails, these show what does not depend on the step: `workflows.saga` has one loop for all.
SOME_STEPS = (StepName.PROJECT, StepName.VCLUSTER, StepName.IMPORT)
#: How long late answers are waited for, in seconds: the next one when the machine was too slow for the last.
WINDOWS = (0.5, 4.0, 32.0)
BY_ALICE = ActorInput(actor="alice@example.com", life=LIFE)


async def reaches(life: Life, phase: Phase) -> EnvironmentStatus:
    async def there() -> bool:
        return (await life.status()).phase is phase

    await until(there, f"it became {phase}")
    return await life.status()


async def failure_of(life: Life) -> EnvironmentStatus:
    with pytest.raises(WorkflowFailureError) as failure:
        await life.handle.result()
    cause = failure.value.cause
    assert isinstance(cause, ApplicationError), f"it failed with {cause!r}"
    assert cause.type == ErrorType.PROVISIONING_FAILED, f"it failed as {cause.type}"
    return EnvironmentStatus.model_validate(cause.details[0])


async def completed_at(life: Life, activity: str) -> datetime:
    """When Temporal learned that the activity of this name was done."""
    events = list((await life.handle.fetch_history()).events)
    scheduled = {
        event.event_id
        for event in events
        if event.activity_task_scheduled_event_attributes.activity_type.name == activity
    }
    [found] = [
        event.event_time.ToDatetime(tzinfo=UTC)
        for event in events
        if event.activity_task_completed_event_attributes.scheduled_event_id in scheduled
    ]
    return found


def assert_gone(life: Life, status: EnvironmentStatus) -> None:
    assert not life.script.world, f"left behind: {sorted(life.script.world)}"
    assert status.phase is Phase.GONE
    assert status.certificate, "no certificate was given"
    assert status.certificate.nothing_left, f"the certificate lists {status.certificate.findings}"


async def test_what_was_ended_by_force_is_in_the_certificate_whichever_pass_did_it(bench: Bench) -> None:
    script = bench.script
    script.ended_by_force[StepName.VCLUSTER] = ("Pod a was killed",)
    seen = False

    async def there_again() -> None:
        nonlocal seen
        if not seen:
            seen = True
            script.world.add(StepName.VCLUSTER)
            script.ended_by_force[StepName.VCLUSTER] = ("Pod b was killed",)

    script.before[f"{StepName.VCLUSTER}.inspect"] = there_again
    life = await bench.begin()
    await reaches(life, Phase.READY)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    status = await life.handle.result()
    assert_gone(life, status)
    assert status.certificate
    forced = {each.step: each.forced for each in status.certificate.findings if each.forced}
    assert forced == {StepName.VCLUSTER: ("Pod a was killed", "Pod b was killed")}


async def test_all_steps_are_done_in_order_and_undone_in_reverse(bench: Bench) -> None:
    life = await bench.begin()
    assert life.answer.kind is AnswerKind.CREATED
    status = await reaches(life, Phase.READY)
    assert bench.script.calls == [f"{step}.ensure" for step in STEPS]
    assert {step.state for step in status.steps} == {StepState.DONE}
    assert status.usable_at, "it is ready, but was never usable"

    answer = await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    assert answer.kind is AnswerKind.ACCEPTED
    status = await life.handle.result()
    assert status.outcome is Outcome.DELETED
    assert_gone(life, status)
    undone = [step for step in reversed(STEPS) if step is not StepName.KUBECONFIG]
    assert bench.script.undone() == undone, "the undo order is not the reverse of the do order"
    starts = set(bench.script.life_started_at)
    assert starts == {status.requested_at}, "an undo or a look cannot tell what is older than this life"


async def test_without_an_identity_provider_there_is_no_identity_step(bench: Bench) -> None:
    life = await bench.begin(a_start("no-idp", identity=False))
    await reaches(life, Phase.READY)
    assert "identity.ensure" not in bench.script.calls
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    assert_gone(life, await life.handle.result())
    assert "identity.remove" not in bench.script.calls


@pytest.mark.parametrize("step", STEPS)
async def test_a_step_that_fails_for_good_is_undone_with_all_before_it(bench: Bench, step: StepName) -> None:
    bench.script.after[f"{step}.ensure"] = fails_for_good()
    life = await bench.begin()
    status = await failure_of(life)
    assert_gone(life, status)
    assert status.outcome is Outcome.FAILED
    assert status.problem
    assert (status.problem.step, status.problem.system) == (step, "Rafay"), "it does not name step and system"
    assert "not allowed" in status.problem.cause
    assert status.problem.remedy
    tried = STEPS[: STEPS.index(step) + 1]
    assert bench.script.undone() == [s for s in reversed(tried) if s is not StepName.KUBECONFIG]


@pytest.mark.parametrize(
    ("step", "how"),
    [*((step, "update") for step in STEPS), *((step, "temporal") for step in SOME_STEPS)],
)
async def test_a_step_cancelled_while_it_runs_is_undone_with_all_before_it(
    bench: Bench, step: StepName, how: str
) -> None:
    bench.script.before[f"{step}.ensure"] = waits
    life = await bench.begin()
    await bench.script.started[f"{step}.ensure"].wait()
    if how == "update":
        answer = await life.handle.execute_update(EnvironmentWorkflow.cancel, BY_ALICE)
        assert answer.kind is AnswerKind.ACCEPTED
    else:
        await life.handle.cancel()
    status = await life.handle.result()
    assert status.outcome is Outcome.CANCELLED
    assert_gone(life, status)
    assert bench.script.undone() == [
        s for s in reversed(STEPS[: STEPS.index(step) + 1]) if s is not StepName.KUBECONFIG
    ]
    description = await life.handle.describe()
    assert description.status is WorkflowExecutionStatus.COMPLETED, "a cancelled life completes"


@pytest.mark.parametrize("step", SOME_STEPS)
async def test_the_undo_does_not_overtake_a_do_that_is_deaf_to_cancellation(
    bench: Bench, step: StepName
) -> None:
    overtaking: list[str] = []
    over = asyncio.Event()

    async def work() -> None:
        await deaf(0.7)()
        overtaking.extend(bench.script.undone())
        over.set()

    bench.script.before[f"{step}.ensure"] = work
    life = await bench.begin()
    await bench.script.started[f"{step}.ensure"].wait()
    await life.handle.execute_update(EnvironmentWorkflow.cancel, BY_ALICE)
    status = await life.handle.result()
    await over.wait()
    assert not overtaking, f"undone while {step} was still being done: {overtaking}"
    assert_gone(life, status)
    later = [f"{other}.ensure" for other in STEPS[STEPS.index(step) + 1 :]]
    assert not set(later) & set(bench.script.calls), f"steps were started after the cancellation: {later}"


async def test_deleting_while_it_is_made_ends_as_deleted(bench: Bench) -> None:
    bench.script.before["vcluster.ensure"] = waits
    life = await bench.begin()
    await bench.script.started["vcluster.ensure"].wait()
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    status = await life.handle.result()
    assert status.outcome is Outcome.DELETED
    assert_gone(life, status)


async def test_cancelling_in_the_web_ui_when_ready_deletes(bench: Bench) -> None:
    life = await bench.begin()
    await reaches(life, Phase.READY)
    await life.handle.cancel()
    status = await life.handle.result()
    assert status.outcome is Outcome.DELETED
    assert_gone(life, status)


async def test_cancelling_by_update_when_ready_is_refused(bench: Bench) -> None:
    life = await bench.begin()
    await reaches(life, Phase.READY)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await life.handle.execute_update(EnvironmentWorkflow.cancel, BY_ALICE)
    assert isinstance(refused.value.cause, ApplicationError)
    assert "use delete" in Refusal.model_validate(refused.value.cause.details[0]).message
    assert (await life.status()).phase is Phase.READY


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cancel", "delete", "temporal"])
@pytest.mark.parametrize("when", ["in an undo", "in the pause between passes", "in the settle time"])
async def test_a_rollback_is_not_changed_by_cancel_or_delete(bench: Bench, how: str, when: str) -> None:
    bench.script.after["import.ensure"] = fails_for_good()
    was_asked = asyncio.Event()
    timeouts = {"late_response_window": timedelta(seconds=2)}
    if when == "in an undo":
        timeouts["undo_timeout"] = timedelta(seconds=HANG)
        bench.script.before["namespace.remove"] = deaf(HANG, until=was_asked)
        started = bench.script.started["namespace.remove"]
    elif when == "in the pause between passes":

        async def fails_until_asked() -> None:
            if not was_asked.is_set():
                await fails(1)()

        bench.script.before["project.remove"] = fails_until_asked
        started = bench.script.started["project.remove"]
    else:
        timeouts["late_response_window"] = timedelta(seconds=8)
        bench.script.before["group.ensure"] = fails(1, in_doubt=True)
        started = bench.script.started["project.inspect"]
    life = await bench.begin(
        a_start(
            f"rollback-{how}-{len(when)}",
            timeouts=HURRY.model_copy(update=timeouts),
        )
    )
    await started.wait()
    await asyncio.sleep(0.3)
    if how == "temporal":
        await life.handle.cancel()
    else:
        update = EnvironmentWorkflow.cancel if how == "cancel" else EnvironmentWorkflow.delete
        answer = await life.handle.execute_update(update, BY_ALICE)
        assert answer.kind is AnswerKind.NOTHING_TO_DO
    was_asked.set()
    assert_gone(life, await failure_of(life))


async def test_what_an_undo_cannot_do_holds_up_only_what_depends_on_it(bench: Bench) -> None:
    bench.script.before["import.remove"] = fails_first(bench.script, "import.remove")
    life = await bench.begin(a_start("held"))
    await reaches(life, Phase.READY)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    assert_gone(life, await life.handle.result())
    undone = bench.script.undone()
    assert undone.index("vcluster") > undone.index("import"), "import was not tried before the vCluster"
    assert undone[-1] == "project", "the project did not wait for the cluster record"
    assert bench.script.forced["import"], "deregistration was not forced once the vCluster was gone"


@pytest.mark.slow
async def test_steps_that_wait_hold_up_no_undo(server: WorkflowEnvironment) -> None:
    """Ensures that a teardown ends while steps of other environments have all the places there are."""
    bench, places = Bench(server.client, "crowded", Script()), 2
    async with working(
        server.client, bench.task_queue, bench.script.activities(), max_concurrent_activities=places
    ):
        first = await bench.begin(a_start("before-the-crowd"))
        await reaches(first, Phase.READY)
        bench.script.before["vcluster.ensure"] = waits
        crowd = [await bench.begin(a_start(f"crowd-{number}")) for number in range(places)]

        async def crowded() -> bool:
            return bench.script.calls.count("vcluster.ensure") == 1 + places

        await until(crowded, "the steps had all places")
        await first.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
        async with asyncio.timeout(HANG):
            status = await first.handle.result()
        assert status.certificate, "it ended without a certificate"
        for life in crowd:
            await life.handle.execute_update(EnvironmentWorkflow.cancel, BY_ALICE)
        for life in crowd:
            await life.handle.result()
    assert not bench.script.world, f"left behind: {bench.script.world}"


async def test_a_teardown_that_cannot_end_stays_open_with_the_list_and_is_resumed(bench: Bench) -> None:
    bench.script.before["identity.remove"] = fails_for_good()
    life = await bench.begin(
        a_start("stuck", timeouts=HURRY.model_copy(update={"give_up_after": HURRY.first_pause * 5}))
    )
    await reaches(life, Phase.READY)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    status = await reaches(life, Phase.TEARDOWN_INCOMPLETE)
    assert [problem.step for problem in status.unfinished] == ["identity"]
    assert bench.script.world == {StepName.IDENTITY}, f"it left more than it had to: {bench.script.world}"
    assert (await life.handle.describe()).status is WorkflowExecutionStatus.RUNNING

    del bench.script.before["identity.remove"]
    await life.handle.execute_update(EnvironmentWorkflow.resume_teardown, BY_ALICE)
    status = await life.handle.result()
    assert status.outcome is Outcome.DELETED
    assert status.certificate
    assert status.certificate.nothing_left
    assert not status.unfinished


@dataclass
class LostAnswer:
    """The lost answer to the making of a group, which comes into being when `arrive` is called."""

    script: Script
    lost_at: float = 0.0
    arrived_at: float = 0.0

    async def lose(self) -> None:
        """Fail the first try of the making, which leaves it in doubt."""
        if not self.lost_at:
            self.lost_at = time.monotonic()
            await fails(1, in_doubt=True)()

    def arrive(self) -> None:
        """Make the group."""
        self.arrived_at = time.monotonic()
        self.script.world.add(StepName.GROUP)

    def arrived_within(self, seconds: float) -> bool:
        """Whether it came while the workflow still had to expect it."""
        return self.arrived_at - self.lost_at < seconds


async def ends_with_a_late_answer(
    bench: Bench, name: str, arrives: Callable[[Script, LostAnswer], None]
) -> None:
    """Assert that a life ends with nothing left, though a lost answer takes effect as `arrives` arranges it.

    What arrives after the window is not promised to be found: then the machine was too slow, and the window
    is made longer.
    """
    for number, seconds in enumerate(WINDOWS):
        script, lost = bench.script, LostAnswer(bench.script)
        script.world.clear()
        script.calls.clear()
        script.before["group.ensure"] = lost.lose
        script.after["namespace.ensure"] = fails_for_good()
        arrives(script, lost)
        window = HURRY.model_copy(update={"late_response_window": timedelta(seconds=seconds)})
        life = await bench.begin(a_start(f"{name}-{number}", timeouts=window))
        status = await failure_of(life)
        if lost.arrived_within(seconds):
            assert_gone(life, status)
            return
    pytest.fail(f"no answer came within {WINDOWS[-1]} s: this machine is too slow for this test")


@pytest.mark.slow
async def test_what_comes_into_being_after_the_undo_looked_is_found_and_removed(bench: Bench) -> None:
    def after_the_group_was_looked_at(script: Script, lost: LostAnswer) -> None:
        async def late_answer() -> None:
            del script.after["project.inspect"]
            lost.arrive()

        script.after["project.inspect"] = late_answer

    await ends_with_a_late_answer(bench, "late", after_the_group_was_looked_at)
    assert bench.script.calls.count("project.inspect") >= 2, "it did not look again after the settle time"


@pytest.mark.slow
async def test_nothing_is_certified_while_a_late_answer_may_come(bench: Bench) -> None:
    script = bench.script
    script.before["group.ensure"] = fails(1, in_doubt=True)
    script.after["namespace.ensure"] = fails_for_good()
    window = timedelta(seconds=2)
    life = await bench.begin(
        a_start("doubt", timeouts=HURRY.model_copy(update={"late_response_window": window}))
    )
    status = await failure_of(life)
    assert_gone(life, status)
    # All by Temporal's clock, so that neither a slow machine nor a fast one changes what is shown.
    doubted = await completed_at(life, "group.ensure")
    assert status.certificate
    assert status.certificate.inspected_at >= doubted + window, "it was certified while something could come"


@pytest.mark.slow
async def test_an_inspection_that_began_too_soon_is_made_again(bench: Bench) -> None:
    def during_a_long_look(script: Script, lost: LostAnswer) -> None:
        async def long_look() -> None:
            del script.before["project.inspect"]
            lost.arrive()
            await deaf(1.2)()

        script.before["project.inspect"] = long_look

    await ends_with_a_late_answer(bench, "hasty", during_a_long_look)


async def test_what_comes_into_being_after_its_undo_and_holds_another_is_found_and_removed(
    bench: Bench,
) -> None:
    script = bench.script

    async def late_answer() -> None:
        del script.after["vcluster.remove"]
        script.world.add(StepName.IMPORT)

    async def held_by_a_cluster() -> None:
        if StepName.IMPORT in script.world:
            await fails_for_good()()

    script.after["vcluster.remove"] = late_answer
    script.before["project.remove"] = held_by_a_cluster
    life = await bench.begin(a_start("late-cluster"))
    await reaches(life, Phase.READY)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    async with asyncio.timeout(HANG):
        assert_gone(life, await life.handle.result())


async def test_an_unknown_person_stops_it_before_the_first_step(bench: Bench) -> None:
    bench.script.before["people.check"] = fails_for_good(ErrorType.UNKNOWN_PERSON)
    start = a_start("stranger").model_copy(update={"people_are_checked": False})
    life = await bench.begin(start)
    status = await failure_of(life)
    assert bench.script.calls == ["people.check"], f"more was done: {bench.script.calls}"
    assert status.problem
    assert status.problem.type == ErrorType.UNKNOWN_PERSON


@pytest.mark.slow
async def test_the_next_pass_is_started_at_once(bench: Bench) -> None:
    """Ensures that a pause of an hour is ended by a person, and that it is said when it would have ended."""
    bench.script.before["identity.remove"] = fails_for_good()
    hour = timedelta(hours=1)
    timeouts = HURRY.model_copy(
        update={"first_pause": hour, "longest_pause": hour, "give_up_after": 2 * hour}
    )
    life = await bench.begin(a_start("hurried", timeouts=timeouts))
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await life.handle.execute_update(EnvironmentWorkflow.resume_teardown, BY_ALICE)
    assert "there is no teardown to go on with" in str(refused.value.cause)
    await reaches(life, Phase.READY)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)

    async def pauses() -> bool:
        return (await life.status()).next_pass_at is not None

    await until(pauses, "it pauses")
    status = await life.status()
    assert status.next_pass_at
    assert timedelta(minutes=55) < status.next_pass_at - datetime.now(UTC) <= hour
    assert [problem.step for problem in status.unfinished] == ["identity"]
    bench.script.before["identity.remove"] = waits
    answer = await life.handle.execute_update(EnvironmentWorkflow.resume_teardown, BY_ALICE)
    assert answer.kind is AnswerKind.ACCEPTED
    await until(lambda: _undoes(life, StepName.IDENTITY), "the next pass has started")
    assert (await life.status()).next_pass_at is None
    again = await life.handle.execute_update(EnvironmentWorkflow.resume_teardown, BY_ALICE)
    assert again.kind is AnswerKind.NOTHING_TO_DO, "a pass that is under way is no pause"
    del bench.script.before["identity.remove"]
    await until(pauses, "the pass that was cut off is over")
    await life.handle.execute_update(EnvironmentWorkflow.resume_teardown, BY_ALICE)
    status = await life.handle.result()
    assert_gone(life, status)
    said = [entry.action for entry in status.audit_log if entry.actor == BY_ALICE.actor]
    assert said.count("had the next pass start at once") == 2


async def _undoes(life: Life, name: StepName) -> bool:
    return any(step.step is name and step.state is StepState.UNDOING for step in (await life.status()).steps)


async def test_an_undo_that_was_not_tried_took_no_time(bench: Bench) -> None:
    """Ensures that a step that waits for another's undo has neither start nor end of an undo."""
    bench.script.before["import.remove"] = fails_for_good()
    hour = timedelta(hours=1)
    timeouts = HURRY.model_copy(
        update={"first_pause": hour, "longest_pause": hour, "give_up_after": 2 * hour}
    )
    life = await bench.begin(a_start("blocked", timeouts=timeouts))
    await reaches(life, Phase.READY)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)

    async def pauses() -> bool:
        return (await life.status()).next_pass_at is not None

    await until(pauses, "it pauses")
    steps = {step.step: step for step in (await life.status()).steps}
    blocked, failed = steps[StepName.PROJECT], steps[StepName.IMPORT]
    assert (blocked.state, blocked.started_at, blocked.ended_at) == (StepState.UNDO_FAILED, None, None)
    assert failed.started_at is not None
    assert failed.ended_at is not None
    await life.handle.terminate()


@pytest.mark.parametrize("step", SOME_STEPS)
async def test_what_a_terminated_life_left_is_torn_down_by_names_and_marks(
    bench: Bench, step: StepName
) -> None:
    """Ensures that a run that is started for a life that was cut off in any step leaves nothing of it."""
    bench.script.after[f"{step}.ensure"] = waits
    life = await bench.begin()
    await until(lambda: _has(bench, step), f"{step} is made")
    status = await life.status()
    await life.handle.terminate()
    del bench.script.after[f"{step}.ensure"]
    start = forced_start(
        life.start, status, "alice@example.com", timeouts=HURRY, requested_at=status.requested_at
    )
    handle = await bench.client.start_workflow(
        EnvironmentWorkflow.run, start, id=life.handle.id, task_queue=bench.task_queue
    )
    ended = await handle.result()
    assert_gone(life, ended)
    assert ended.outcome is Outcome.DELETED
    assert ended.environment.mark == life.start.environment.mark
    assert ended.certificate
    assert {finding.step for finding in ended.certificate.findings} == {
        one for one in STEPS if one is not StepName.KUBECONFIG
    }
    assert [(entry.actor, entry.action) for entry in ended.audit_log][-2:] == [
        ("alice@example.com", "had what is left of it torn down"),
        ("moorage", "gone"),
    ]
    starts = set(bench.script.life_started_at)
    assert starts == {status.requested_at}, "an undo or a look cannot tell what is older than this life"
    assert bench.script.accounts[-1].life == life.start.environment.mark.life


async def _has(bench: Bench, step: StepName) -> bool:
    made = step is StepName.KUBECONFIG or step in bench.script.world
    return made and f"{step}.ensure" in bench.script.calls
