"""Ensures that a change of an environment's people reaches every system, whatever happens on the way."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from contracts.environment.models import EnvironmentStatus, Phase
from contracts.environment.payload_limits import MAX_COLLABORATORS
from contracts.environment_workflow import (
    ActorInput,
    Answer,
    AnswerKind,
    CollaboratorAction,
    CollaboratorInput,
    RequestInput,
    TransferInput,
)
from contracts.errors import Refusal, RefusalReason
from contracts.notifications import FOR_PROGRAMS, Notification, NotificationKind
from contracts.temporal import search_attributes, workflow_memo
from tests.workflows.conftest import HURRY, LIFE, Bench, Life, a_start, until
from tests.workflows.scripted_activities import deaf, fails, fails_for_good, waits, waits_for
from workflows.environment.workflow import EnvironmentWorkflow

pytestmark = pytest.mark.slow

ALICE, GRACE, HEIDI = "alice@example.com", "grace@example.com", "heidi@example.com"
SYSTEMS = ("access.group", "access.virtual-cluster")
BY_ALICE = ActorInput(actor=ALICE, life=LIFE)


async def reach(life: Life, condition: Callable[[EnvironmentStatus], bool], what: str) -> EnvironmentStatus:
    async def there() -> bool:
        return condition(await life.status())

    await until(there, what)
    return await life.status()


def notices_for_people(bench: Bench) -> list[Notification]:
    return [notice for notice in bench.script.notices if notice.kind not in FOR_PROGRAMS]


async def ready(bench: Bench, name: str, **changes: object) -> Life:
    life = await bench.begin(a_start(name).model_copy(update=changes))
    await reach(life, lambda status: status.phase is Phase.READY, "it is ready")
    return life


async def change(life: Life, action: str, person: str = GRACE, *, id: str | None = None) -> Answer:
    ask = CollaboratorInput(life=LIFE, actor=ALICE, action=CollaboratorAction(action), person=person)
    answer: Answer = await life.handle.execute_update(EnvironmentWorkflow.change_collaborators, ask, id=id)
    return answer


async def refused(life: Life, action: str, person: str = GRACE) -> Refusal:
    with pytest.raises(WorkflowUpdateFailedError) as failure:
        await change(life, action, person)
    assert isinstance(failure.value.cause, ApplicationError)
    return Refusal.model_validate(failure.value.cause.details[0])


async def settled(life: Life) -> EnvironmentStatus:
    return await reach(life, lambda status: not status.access.is_pending, "all systems have the change")


async def test_a_person_is_added_everywhere_and_removed_everywhere(bench: Bench) -> None:
    life = await ready(bench, "people")
    answer = await change(life, "add")
    assert answer.kind is AnswerKind.ACCEPTED
    status = await settled(life)
    assert status.environment.people == (ALICE, GRACE)
    assert status.environment.spec.collaborators == (), "what was asked for has changed"
    assert bench.script.members == bench.script.inside == {GRACE}
    run = await life.handle.describe()
    assert run.typed_search_attributes.get(search_attributes.COLLABORATORS) == [GRACE]
    assert await run.memo_value(workflow_memo.COLLABORATORS) == [GRACE]

    assert (await change(life, "remove")).kind is AnswerKind.ACCEPTED
    status = await settled(life)
    assert status.environment.people == (ALICE,)
    assert bench.script.members == bench.script.inside == set()
    run = await life.handle.describe()
    assert not run.typed_search_attributes.get(search_attributes.COLLABORATORS)
    trail = [(entry.actor, entry.action) for entry in status.audit_log]
    for line in ((ALICE, f"added {GRACE}"), (ALICE, f"removed {GRACE}")):
        assert line in trail
    assert [entry.result for entry in status.audit_log if entry.action == "took access away"] == [GRACE]
    added, removed = notices_for_people(bench)
    assert added.kind is NotificationKind.COLLABORATOR_ADDED
    assert removed.kind is NotificationKind.COLLABORATOR_REMOVED
    assert removed.people == (ALICE, GRACE), "the person got no notice"


async def test_the_same_again_is_answered_and_not_repeated(bench: Bench) -> None:
    life = await ready(bench, "people-again")
    first = await change(life, "add", id="a-1")
    assert await change(life, "add", id="a-1") == first
    assert (await change(life, "add")).kind is AnswerKind.NOTHING_TO_DO
    assert (await change(life, "remove", HEIDI)).kind is AnswerKind.NOTHING_TO_DO
    owner = await change(life, "add", ALICE)
    assert (owner.kind, owner.message) == (
        AnswerKind.NOTHING_TO_DO, f"{ALICE} owns people-again and has access already."
    )  # fmt: skip
    status = await settled(life)
    assert len([entry for entry in status.audit_log if entry.action == f"added {GRACE}"]) == 1
    assert len(notices_for_people(bench)) == 1


async def test_what_makes_no_sense_is_refused_with_one_sentence(bench: Bench) -> None:
    bench.script.before["vcluster.ensure"] = waits_for(going_on := asyncio.Event())
    life = await bench.begin(a_start("people-refused"))
    refusal = await refused(life, "add")
    assert (refusal.reason, refusal.message) == (
        RefusalReason.NOT_NOW,
        "people-refused is provisioning: its people can change once it is ready.",
    )
    going_on.set()
    await reach(life, lambda status: status.phase is Phase.READY, "it is ready")
    assert "owns people-refused" in (await refused(life, "remove", ALICE)).message
    bench.script.before["import.remove"] = waits
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    assert (await refused(life, "remove")).reason is RefusalReason.BEING_TORN_DOWN


async def test_there_is_a_limit_of_people_as_at_the_request(bench: Bench) -> None:
    life = await ready(bench, "people-many")
    for number in range(MAX_COLLABORATORS):
        await change(life, "add", f"p{number}@example.com")
    refusal = await refused(life, "add")
    assert refusal.reason is RefusalReason.BEYOND_POLICY
    assert str(MAX_COLLABORATORS) in refusal.message
    await change(life, "remove", "p0@example.com")
    await change(life, "add")


@pytest.mark.parametrize("system", SYSTEMS)
async def test_a_system_that_fails_gets_it_later_and_says_so_meanwhile(bench: Bench, system: str) -> None:
    life = await ready(bench, f"fails-{system[7:]}")
    bench.script.before[system] = fails_for_good()
    await change(life, "add")
    status = await reach(life, lambda status: status.access_problem is not None, "it says why")
    assert status.access.granting == (GRACE,)
    del bench.script.before[system]
    status = await settled(life)
    assert status.access_problem is None
    assert bench.script.members == bench.script.inside == {GRACE}


@pytest.mark.parametrize("system", SYSTEMS)
async def test_a_removal_overtakes_an_addition_that_hangs(bench: Bench, system: str) -> None:
    life = await ready(bench, f"hangs-{system[7:]}")
    bench.script.before[system] = waits
    await change(life, "add")
    await bench.script.started[system].wait()
    bench.script.before[system] = deaf(0.1)
    await change(life, "remove")
    await settled(life)
    assert bench.script.members == bench.script.inside == set()


async def test_a_removal_after_a_lost_response_is_done_again(bench: Bench) -> None:
    """Ensures that an addition that takes effect after its response was lost gives no access."""
    bench.script.before["access.group"] = fails(1, in_doubt=True)
    timeouts = HURRY.model_copy(update={"late_response_window": timedelta(seconds=2)})
    life = await ready(bench, "people-late", timeouts=timeouts)
    await change(life, "add")
    await settled(life)
    await change(life, "remove")
    await reach(life, lambda _: bench.script.members == set(), "it is revoked")
    bench.script.members.add(GRACE)  # the lost call takes effect
    await settled(life)
    assert bench.script.members == set(), "a late addition has given access"


async def test_an_unknown_person_is_taken_off_the_record(bench: Bench) -> None:
    bench.script.unknown.add(GRACE)
    bench.script.inside.add(GRACE)  # by a credential, before the directory has answered
    life = await ready(bench, "people-unknown")
    await change(life, "add")
    await change(life, "add", HEIDI)
    status = await settled(life)
    assert status.environment.collaborators == (HEIDI,)
    assert GRACE not in bench.script.inside, "who is off the record keeps rights"
    assert any("does not know" in entry.result for entry in status.audit_log)
    run = await life.handle.describe()
    assert run.typed_search_attributes.get(search_attributes.COLLABORATORS) == [HEIDI]


async def test_a_teardown_waits_for_a_change_in_progress_and_drops_the_rest(bench: Bench) -> None:
    life = await ready(bench, "people-ends")
    done = asyncio.Event()
    bench.script.before["access.group"] = deaf(20, done)
    await change(life, "add")
    await bench.script.started["access.group"].wait()
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    await reach(life, lambda status: status.outcome is None, "it is asked to end")
    assert not any(call.endswith(".remove") for call in bench.script.calls), "the undo overtakes the change"
    done.set()
    status = await life.handle.result()
    assert status.phase is Phase.GONE
    [account] = bench.script.accounts
    assert account.collaborators == (GRACE,)
    # The times of the steps are those of their making, though each step was undone since.
    assert [one.step for one in account.steps] == [one.step for one in status.steps]
    assert account.ready_at
    assert sum((one.took for one in account.steps), timedelta(0)) <= account.ready_at - account.requested_at
    assert account.problem is None


async def test_pending_changes_go_on_in_the_next_run(bench: Bench) -> None:
    life = await ready(bench, "people-carried")
    bench.script.before["access.virtual-cluster"] = fails_for_good()
    await change(life, "add")
    await reach(life, lambda status: status.access_problem is not None, "it fails")
    first = (await life.handle.describe()).run_id
    await life.handle.signal(EnvironmentWorkflow.renew)

    async def another() -> bool:
        return (await life.handle.describe()).run_id != first

    await until(another, "it goes on in a new run")
    del bench.script.before["access.virtual-cluster"]
    status = await settled(life)
    assert status.environment.people == (ALICE, GRACE)
    assert bench.script.inside == {GRACE}
    run = await life.handle.describe()
    assert await run.memo_value(workflow_memo.COLLABORATORS) == [GRACE]


async def test_changes_of_many_at_once_all_hold(bench: Bench) -> None:
    life = await ready(bench, "people-crowd")
    people = [f"p{number}@example.com" for number in range(10)]
    await asyncio.gather(*(change(life, "add", person) for person in people))
    await asyncio.gather(
        *(change(life, "remove", person) for person in people[::2]), change(life, "add", HEIDI)
    )
    status = await settled(life)
    assert set(status.environment.collaborators) == {*people[1::2], HEIDI}
    assert bench.script.members == bench.script.inside == {*people[1::2], HEIDI}


async def transfer(life: Life, person: str = GRACE, *, id: str | None = None) -> Answer:
    ask = TransferInput(life=LIFE, actor=ALICE, person=person)
    answer: Answer = await life.handle.execute_update(EnvironmentWorkflow.transfer, ask, id=id)
    return answer


async def test_a_transfer_gives_it_to_the_new_owner_and_ends_the_access_of_the_old(bench: Bench) -> None:
    life = await ready(bench, "given")
    bench.script.members |= {ALICE}
    bench.script.inside |= {ALICE}
    await change(life, "add")
    await change(life, "add", HEIDI)
    first = await transfer(life, id="t-1")
    assert await transfer(life, id="t-1") == first
    status = await settled(life)
    assert (status.environment.owner, status.environment.collaborators) == (GRACE, (HEIDI,))
    assert bench.script.members == bench.script.inside == {GRACE, HEIDI}
    run = await life.handle.describe()
    assert run.typed_search_attributes.get(search_attributes.OWNER) == GRACE
    assert run.typed_search_attributes.get(search_attributes.COLLABORATORS) == [HEIDI]
    assert await run.memo_value(workflow_memo.COLLABORATORS) == [HEIDI]
    notice = bench.script.notices[-1]
    assert notice.kind is NotificationKind.TRANSFERRED
    assert set(notice.people) == {ALICE, GRACE, HEIDI}
    assert (await transfer(life)).kind is AnswerKind.NOTHING_TO_DO

    with pytest.raises(WorkflowUpdateFailedError):  # the name is taken for its owner so far
        await bench.ask(
            a_start("given", request_id="r-2"),
            RequestInput(owner=ALICE, spec=life.start.environment.spec, request_id="r-2"),
        )
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    await life.handle.result()
    [account] = bench.script.accounts
    assert account.owner == GRACE


async def test_an_old_owner_can_be_a_collaborator_again(bench: Bench) -> None:
    life = await ready(bench, "given-back")
    bench.script.before["access.group"] = fails(2, in_doubt=True)
    await transfer(life)
    await change(life, "add", ALICE)
    status = await settled(life)
    assert status.environment.people == (GRACE, ALICE)
    assert bench.script.members == {GRACE, ALICE}
    await transfer(life, ALICE)
    status = await settled(life)
    assert status.environment.people == (ALICE,)
    assert bench.script.members == bench.script.inside == {ALICE}


async def test_a_transfer_is_refused_before_it_is_ready_and_while_it_ends(bench: Bench) -> None:
    bench.script.before["vcluster.ensure"] = waits_for(going_on := asyncio.Event())
    life = await bench.begin(a_start("given-early"))
    with pytest.raises(WorkflowUpdateFailedError) as failure:
        await transfer(life)
    assert "once it is ready" in str(failure.value.cause)
    going_on.set()
    await reach(life, lambda status: status.phase is Phase.READY, "it is ready")
    bench.script.before["import.remove"] = waits
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    with pytest.raises(WorkflowUpdateFailedError) as failure:
        await transfer(life)
    assert "is being torn down" in str(failure.value.cause)


async def test_of_two_transfers_at_once_the_second_is_refused(bench: Bench) -> None:
    """Ensures that who was the owner when the sender looked, and is not any more, gives nothing away."""
    life = await ready(bench, "given-twice")
    to_grace, to_heidi = (
        TransferInput(life=LIFE, actor=ALICE, person=person, owner=ALICE) for person in (GRACE, HEIDI)
    )
    await life.handle.execute_update(EnvironmentWorkflow.transfer, to_grace)
    again: Answer = await life.handle.execute_update(EnvironmentWorkflow.transfer, to_grace)
    assert again.kind is AnswerKind.NOTHING_TO_DO
    with pytest.raises(WorkflowUpdateFailedError) as failure:
        await life.handle.execute_update(EnvironmentWorkflow.transfer, to_heidi)
    assert "has another owner now" in str(failure.value.cause)
    assert (await settled(life)).environment.owner == GRACE


async def test_the_owner_is_carried_to_the_next_run(bench: Bench) -> None:
    life = await ready(bench, "given-carried")
    await transfer(life)
    await settled(life)
    first = (await life.handle.describe()).run_id
    await life.handle.signal(EnvironmentWorkflow.renew)

    async def another() -> bool:
        return (await life.handle.describe()).run_id != first

    await until(another, "it goes on in a new run")
    assert (await life.status()).environment.people == (GRACE,)
    run = await life.handle.describe()
    assert run.typed_search_attributes.get(search_attributes.OWNER) == GRACE
