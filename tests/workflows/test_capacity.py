"""Places on hosts: promised once, however many ask; given back however a life ends; healed by itself."""

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.testing import WorkflowEnvironment

from activities.capacity.audit import CapacityAudit
from clients.host.models import NodeCapacity
from contracts.capacity.models import (
    CAPACITY_ID,
    CAPACITY_WORKFLOW,
    QUERY_RESERVATIONS,
    SIGNAL_RELEASE,
    SIGNAL_RESIZED,
    SIGNAL_SLEEP,
    UPDATE_RESIZE,
    UPDATE_WAKE,
    Amount,
    Limits,
    PlacementDecision,
    Quotas,
    ReleaseInput,
)
from contracts.environment.models import Phase
from contracts.environment_workflow import (
    TASK_QUEUE,
    ActorInput,
    ExtendInput,
    SleepChangeInput,
    TransferInput,
)
from contracts.errors import RefusalReason
from contracts.temporal import workflow_memo
from contracts.types.naming import workflow_id
from starter.environments.requests.service import StartOutcome
from starter.environments.schemas import DoneKind
from starter.temporal.errors import NothingStarted, TemporalUnavailable
from starter.temporal.updates import NoCapacity
from tests.support.deadline import HANG
from tests.workflows.conftest import LIFE, Life, a_start, accepted_updates, until
from tests.workflows.house import (
    SHORT_RUNS,
    SIZE,
    CapacityBench,
    Nodes,
    a_house,
    at_once,
    most,
    team,
    times,
)
from tests.workflows.scripted_activities import fails_for_good, waits
from tests.workflows.sweeping import lives_by
from workflows.capacity.workflow import CapacityWorkflow
from workflows.environment.workflow import EnvironmentWorkflow

BY_ALICE = ActorInput(actor="alice@example.com", life=LIFE)
ASKED_BY_ALICE = SleepChangeInput(actor="alice@example.com", life=LIFE)
SOON = timedelta(milliseconds=300)


@pytest.fixture(autouse=True)
def slow_workers_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a busy machine's worker not be taken for none."""
    monkeypatch.setattr("starter.placement.reservations.RESERVATION_TIMEOUT", timedelta(seconds=HANG))
    monkeypatch.setattr("starter.placement.reservations.QUERY_TIMEOUT", timedelta(seconds=HANG))


@pytest.fixture
async def house(namespace: WorkflowEnvironment) -> AsyncIterator[CapacityBench]:
    """One host with room for ten, and nothing that looks after it for a while."""
    async with a_house({"one": most(10)}, server=namespace) as house, house.worker():
        yield house


def test_the_names_are_those_of_the_workflow() -> None:
    """Ensures that those who may not import the workflow call it, and what it takes, by its name."""
    assert CapacityWorkflow.__temporal_workflow_definition.name == CAPACITY_WORKFLOW  # type: ignore[attr-defined]
    definition = CapacityWorkflow.__temporal_workflow_definition  # type: ignore[attr-defined]
    assert {SIGNAL_RELEASE, SIGNAL_SLEEP, SIGNAL_RESIZED} <= set(definition.signals)
    assert {UPDATE_WAKE, UPDATE_RESIZE} <= set(definition.updates)
    assert QUERY_RESERVATIONS in definition.queries


# --- at once ----------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_fifty_at_once_never_overbook(namespace: WorkflowEnvironment) -> None:
    """Ensures that of fifty that ask at once exactly as many have a place as there are, on every host."""
    rooms = {"one": most(6), "two": most(20, cpu=SIZE.cpu * 5), "three": most(memory=SIZE.memory * 3)}
    async with a_house(rooms, server=namespace) as house, house.worker():
        decisions = await at_once(50, lambda number: house.reservations.reserve(house.ask(f"env-{number}")))
        chosen = Counter(decision.host for decision in decisions)
        assert chosen == {"one": 6, "two": 5, "three": 3, "": 36}
        state = await house.state()
        assert {host.capacity.name: host.reserved for host in state.hosts} == {
            "one": times(SIZE, 6),
            "two": times(SIZE, 5),
            "three": times(SIZE, 3),
        }
        # Each with a separate update, as if each were another API.
        others = [type(house.reservations)(house.client, start=house.start) for _ in range(9)]
        late = await asyncio.gather(*(one.reserve(house.ask(f"late-{id(one)}")) for one in others))
        assert {decision.refusal.reason for decision in late if decision.refusal} == {RefusalReason.NO_ROOM}
        assert len(await house.held()) == 14


@pytest.mark.slow
async def test_several_apis_at_once_never_overbook(namespace: WorkflowEnvironment) -> None:
    """Ensures the same when each request comes with a separate update, as from many processes."""
    async with a_house({"one": most(5)}, server=namespace) as house, house.worker():
        await house.reservations.reserve(house.ask("first"))
        apis = [type(house.reservations)(house.client, start=house.start) for _ in range(8)]
        decisions = await at_once(40, lambda number: apis[number % 8].reserve(house.ask(f"env-{number}")))
        assert Counter(decision.host for decision in decisions) == {"one": 4, "": 36}


@pytest.mark.parametrize("whose", ["person", "team", "template_person", "template_team"])
async def test_quotas_under_the_same_race(house: CapacityBench, whose: str) -> None:
    """Ensures that fifty at once have no more than a quota allows, and that others are not held to it."""
    quotas = team(most()).model_copy(update={whose: most(3)})
    decisions = await at_once(
        50, lambda number: house.reservations.reserve(house.ask(f"env-{number}", quotas=quotas))
    )
    assert Counter(decision.host for decision in decisions) == {"one": 3, "": 47}
    assert {one.refusal.reason for one in decisions if one.refusal} == {RefusalReason.OVER_QUOTA}
    bobs = house.ask("bobs", owner="bob@example.com", team="green", quotas=quotas)
    assert (await house.reservations.reserve(bobs)).host == "one"


@pytest.mark.slow
async def test_twenty_for_one_name(house: CapacityBench) -> None:
    """Ensures that twenty clients that ask at once for one name have one place and one environment."""
    answers = await at_once(20, lambda number: house.request("shared", f"r-{number}", quotas=team(most(1))))
    assert all(isinstance(answer, StartOutcome) for answer in answers), answers
    assert len({answer.answer.life for answer in answers}) == 1, "several lives"
    kinds = Counter(answer.kind for answer in answers)
    assert kinds == {DoneKind.CREATED: 1, DoneKind.JOINED: 19}
    assert set(await house.held()) == {"shared"}


async def test_refusals_leave_nothing_in_the_history(house: CapacityBench) -> None:
    """Ensures that asking in vain, again and again, does not make the history longer."""
    await house.reservations.reserve(house.ask("here"))
    handle = house.client.get_workflow_handle(CAPACITY_ID)
    updates = await accepted_updates(handle)
    before = (await handle.describe()).history_length
    refusals = 20
    for number in range(refusals):
        decision = await house.reservations.reserve(house.ask(f"env-{number}", quotas=team(most(1))))
        assert decision.refusal
    assert await accepted_updates(handle) == updates
    # A workflow task that takes too long on a busy machine leaves a few events.
    assert (await handle.describe()).history_length < before + refusals


async def test_nothing_is_started_that_has_no_place(house: CapacityBench) -> None:
    """Ensures that a request that cannot fit is refused with its numbers, and that nothing of it begins."""
    with pytest.raises(NoCapacity, match=r"asks for 4 CPU; team blue has 2 of 2 CPU left"):
        await house.request("big", quotas=team(Limits(cpu=2000)))
    assert not [run async for run in house.client.list_workflows("WorkflowId = 'environment/big'")]


async def test_what_it_would_be_given(house: CapacityBench) -> None:
    """Ensures that one can ask for what would be, and that this reserves nothing."""
    assert await house.reservations.preview([house.ask("a")]) == ()
    await house.reservations.reserve(house.ask("held"))
    asks = [house.ask("a"), house.ask("b", quotas=team(most(1)))]
    yes, no = await house.reservations.preview(asks)
    assert yes == PlacementDecision(host="one")
    assert no.refusal
    assert set(await house.held()) == {"held"}


async def test_placed_where_there_is_most_room(namespace: WorkflowEnvironment) -> None:
    """Ensures that an environment is made on the host on which it was given its place."""
    async with a_house({"one": most(2), "two": most(10)}, server=namespace) as house, house.worker():
        for name in ("a", "b"):
            life = await house.begin(name)
            assert (await life.status()).environment.host == "two"


# --- given back -------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_given_back_when_deleted(house: CapacityBench) -> None:
    """Ensures that a deleted environment holds its place until nothing is left of it, and no longer."""
    house.script.before["project.remove"] = waits
    life = await house.begin("deleted")
    await until(lambda: _is(house, "deleted", Phase.READY), "it is ready")
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    await house.script.started["project.remove"].wait()
    assert set(await house.held()) == {"deleted"}, "given back while something of it is still there"
    del house.script.before["project.remove"]
    await life.handle.result()
    await house.until_held()


async def test_given_back_when_it_fails(house: CapacityBench) -> None:
    """Ensures that an environment that could not be made gives its place back."""
    house.script.before["vcluster.ensure"] = fails_for_good()
    life = await house.begin("failed")
    with pytest.raises(WorkflowFailureError):
        await life.handle.result()
    await house.until_held()


async def test_given_back_when_cancelled_in_temporal(house: CapacityBench) -> None:
    """Ensures that one that was cancelled from the Web UI gives its place back."""
    house.script.before["vcluster.ensure"] = waits
    life = await house.begin("cancelled")
    await house.script.started["vcluster.ensure"].wait()
    await life.handle.cancel()
    await life.handle.result()
    await house.until_held()


async def test_given_back_when_terminated(namespace: WorkflowEnvironment) -> None:
    """Ensures that an audit finds one that was terminated, and only that one."""
    async with a_house({"one": most(2)}, audit=SOON, server=namespace) as house, house.worker():
        life = await house.begin("terminated")
        await house.begin("stays")
        with pytest.raises(NoCapacity):
            await house.request("third")
        await life.handle.terminate()
        await house.until_held("stays")
        await house.begin("third")


async def test_given_back_without_anybody_to_take_it(house: CapacityBench) -> None:
    """Ensures that an environment ends as ever when the workflow of the capacity is not there."""
    life = await house.begin("alone")
    await until(lambda: _is(house, "alone", Phase.READY), "it is ready")
    await house.client.get_workflow_handle(CAPACITY_ID).terminate()
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    status = await asyncio.wait_for(life.handle.result(), HANG)
    assert status.phase is Phase.GONE


async def test_a_name_is_free_for_the_next_life_at_once(house: CapacityBench) -> None:
    """Ensures that a name whose life was terminated can be asked for again before any audit has looked."""
    life = await house.begin("again", quotas=team(most(1)))
    await life.handle.terminate()
    bobs = house.ask(
        "again", "r-2", owner="bob@example.com", quotas=team(most(1)), ended_life=life.answer.life
    )
    assert (await house.reservations.reserve(bobs)).host
    assert (await house.held())["again"].owner == "bob@example.com"


@pytest.mark.slow
async def test_a_place_for_which_nothing_begins(namespace: WorkflowEnvironment) -> None:
    """Ensures that a place whose life never begins is kept while it may yet, and is free after that."""
    async with a_house({"one": most(1)}, audit=SOON, server=namespace) as house, house.worker():
        await house.reservations.reserve(house.ask("never"))
        await house.until_audited(3)
        assert set(await house.held()) == {"never"}, "several audits have taken it from one that may begin"
        await house.reservations.withdraw("never", house.ask("never").life)
        await house.until_held()


async def test_a_place_for_what_temporal_refuses_to_start(
    house: CapacityBench, caplog: pytest.LogCaptureFixture
) -> None:
    """Ensures that a place is free at once when the server has refused to start the life.

    The caller gets the server's error, and no exception is left for asyncio to log.
    """
    start = a_start("huge")
    template = start.environment.template.model_copy(update={"values": {"x": "x" * 3_000_000}})
    environment = start.environment.model_copy(update={"template": template})
    with pytest.raises(TemporalUnavailable):
        await house.request("huge", start=start.model_copy(update={"environment": environment}))
    await house.until_held()
    gc.collect()
    assert not [record.message for record in caplog.records if record.name == "asyncio"]


async def test_a_late_word_about_an_earlier_life(house: CapacityBench) -> None:
    """Ensures that what an earlier life of the name gives back is not taken from the one that is there."""
    await house.reservations.reserve(house.ask("name", "r-2"))
    handle: WorkflowHandle[CapacityWorkflow, Any] = house.client.get_workflow_handle_for(
        CapacityWorkflow.run, CAPACITY_ID
    )
    await handle.signal(CapacityWorkflow.release, ReleaseInput(name="name", life=house.ask("name").life))
    assert set(await house.held()) == {"name"}


# --- healed -----------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_the_workflow_is_terminated(
    namespace: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that one that begins afresh knows who holds what before it promises anything.

    From the list alone: of thousands, reading each one's history would keep everybody waiting.
    """
    monkeypatch.setattr(CapacityAudit, "_read_reservation", None)
    async with a_house({"one": most(3), "two": most(3)}, server=namespace) as house, house.worker():
        lives = [await house.begin(f"env-{number}") for number in range(4)]
        before = await house.held()
        await lives[0].handle.terminate()
        await until(lambda: _is_listed_as_over(house, "env-0"), "it is listed as over")
        await house.client.get_workflow_handle(CAPACITY_ID).terminate()
        decisions = await at_once(20, lambda number: house.reservations.reserve(house.ask(f"new-{number}")))
        assert Counter(bool(decision.host) for decision in decisions) == {True: 3, False: 17}
        after = await house.held()
        for name in ("env-1", "env-2", "env-3"):
            found, expected = after[name], before[name]
            assert (found.owner, found.team, found.template, found.host, found.size, found.lives) == (
                expected.owner,
                expected.team,
                expected.template,
                expected.host,
                expected.size,
                expected.lives,
            )
            assert abs(found.ends - expected.ends) <= 5
        assert "env-0" not in after, "one that is over holds a place again"


@pytest.mark.slow
async def test_what_has_no_place_is_given_one_and_ends_are_followed(namespace: WorkflowEnvironment) -> None:
    """Ensures that an audit takes up what it does not know, and sees when an end has moved."""
    async with a_house({"one": most(1)}, audit=SOON, server=namespace) as house, house.worker():
        start = lives_by("extended", timedelta(hours=1), extension={"times": 3, "total": "3d"})
        await house.request("extended", start=start)
        await until(lambda: _is(house, "extended", Phase.READY), "it is ready")
        await house.client.get_workflow_handle(CAPACITY_ID).signal(
            CapacityWorkflow.release,
            ReleaseInput(name="extended", life=start.environment.mark.life, was_open=False),
        )
        await house.until_held("extended")
        ends = (await house.held())["extended"].ends
        extension = ExtendInput(actor=BY_ALICE.actor, life=LIFE, by=timedelta(hours=2))
        await house.handle("extended").execute_update(EnvironmentWorkflow.extend, extension)

        async def moved() -> bool:
            return (await house.held())["extended"].ends == ends + 7200

        await until(moved, "the end that is held has moved with the environment's")


async def test_what_a_run_of_an_earlier_version_holds(namespace: WorkflowEnvironment) -> None:
    """Ensures that what a run's memo does not tell is read from what it was started with."""
    async with a_house({"one": most(1)}, server=namespace) as house, house.worker():
        start = a_start("earlier")
        await house.client.start_workflow(
            EnvironmentWorkflow.run,
            start,
            id=workflow_id("earlier"),
            task_queue=TASK_QUEUE,
            memo={workflow_memo.REQUEST_ID: start.request_id},
        )
        await house.reservations.ensure_started()
        await house.until_held("earlier")
        held = (await house.held())["earlier"]
        assert (held.size, held.host, set(held.lives)) == (SIZE, "one", {start.environment.mark.life})


@pytest.mark.slow
async def test_what_is_over_and_still_listed_as_open(namespace: WorkflowEnvironment) -> None:
    """Ensures that a late list gives no place back to a life that has just given it up."""
    async with a_house({"one": most(1)}, audit=SOON, server=namespace) as house, house.worker():
        life = await house.begin("over")
        # What the list says of it from now on is what it would say, for a while, of one that is over.
        handle = house.client.get_workflow_handle(CAPACITY_ID)
        await handle.signal(
            CapacityWorkflow.release, ReleaseInput(name="over", life=life.start.environment.mark.life)
        )
        await house.until_held()
        await house.until_audited(3)
        assert not await house.held(), "an audit has taken it up again"


async def test_a_worker_stops_in_between(namespace: WorkflowEnvironment) -> None:
    """Ensures that what was promised by one worker is known to the next, which reads it from the history."""
    async with a_house({"one": most(4)}, server=namespace) as other:
        async with other.worker():
            await at_once(3, lambda number: other.reservations.reserve(other.ask(f"env-{number}")))
        async with other.worker():
            decisions = await at_once(
                3, lambda number: other.reservations.reserve(other.ask(f"new-{number}"))
            )
            assert sum(bool(decision.host) for decision in decisions) == 1
            assert len(await other.held()) == 4


async def test_without_a_worker_nothing_is_started(
    namespace: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that a request that no worker answers gets NothingStarted, and that this is true."""
    async with a_house({"one": most(4)}, server=namespace) as house:
        with monkeypatch.context() as impatient:
            impatient.setattr("starter.placement.reservations.RESERVATION_TIMEOUT", timedelta(seconds=1))
            with pytest.raises(NothingStarted):
                await house.request("never")
        async with house.worker():
            await house.begin("later")
        assert not [run async for run in house.client.list_workflows("WorkflowId = 'environment/never'")]


@pytest.mark.slow
async def test_it_goes_on_in_new_runs() -> None:
    """Ensures that nothing is lost or promised twice while the workflow goes on in new runs."""
    async with a_house({"one": most(80)}, arguments=SHORT_RUNS, audit=SOON) as house, house.worker():
        first = (await _described(house)) if await house.reservations.reserve(house.ask("env-0")) else ""
        apis = [type(house.reservations)(house.client, start=house.start) for _ in range(4)]
        for batch in range(25):
            decisions = await at_once(
                4, lambda number, batch=batch: apis[number].reserve(house.ask(f"env-{batch * 4 + number}"))
            )
            failed = [one for one in decisions if not isinstance(one, PlacementDecision)]
            assert not failed, f"after {batch * 4} asked: {failed}"
        assert await _described(house) != first, "it has not gone on in a new run: this shows nothing"
        assert len(await house.held()) == 80
        [host] = (await house.state()).hosts
        assert host.reserved == times(SIZE, 80)


# --- hosts ------------------------------------------------------------------------------------------------


async def test_what_clusters_report_and_what_the_settings_say(namespace: WorkflowEnvironment) -> None:
    """Ensures that settings win over what a cluster reports, and that what neither limits is free."""
    nodes = {
        "one": Nodes("one", [NodeCapacity("3920m", "16Gi"), NodeCapacity("80m", "512Mi")]),
        "two": Nodes("two", None),
    }
    async with (
        a_house({"one": Limits(cpu=64_000, environments=7)}, nodes=nodes, server=namespace) as house,
        house.worker(),
    ):
        await house.reservations.reserve(house.ask("env"))
        rooms = {host.capacity.name: host.capacity.total for host in (await house.state()).hosts}
        assert rooms == {
            "one": Limits(cpu=64_000, environments=7, memory=16 * 2**30 + 512 * 2**20),
            "two": Limits(),
        }


@pytest.mark.slow
async def test_a_host_that_does_not_answer(namespace: WorkflowEnvironment) -> None:
    """Ensures that a host of unknown size gets no environment, and that its last report counts later."""
    away = Nodes("one", [NodeCapacity("40", "160Gi")], is_away=True)
    async with a_house(nodes={"one": away}, audit=SOON, server=namespace) as house, house.worker():
        decision = await house.reservations.reserve(house.ask("env"))
        assert decision.refusal
        assert decision.refusal.message == "env has no place; host one has not reported yet what it has."
        assert decision.refusal.reason is RefusalReason.NOT_KNOWN
        away.is_away = False

        async def placed() -> bool:
            return bool((await house.reservations.reserve(house.ask("env"))).host)

        await until(placed, "the host has reported its capacity")
        away.is_away = True

        async def remarked() -> bool:
            [host] = (await house.state()).hosts
            return bool(host.capacity.remark)

        await until(remarked, "it is known that the host is away")
        [host] = (await house.state()).hosts
        assert host.capacity.total.cpu == 40_000
        assert "does not answer" in host.capacity.remark


async def _is(house: CapacityBench, name: str, phase: Phase) -> bool:
    return (await house.handle(name).query(EnvironmentWorkflow.status)).phase is phase


async def _is_listed_as_over(house: CapacityBench, name: str) -> bool:
    query = f"WorkflowId = '{workflow_id(name)}' AND ExecutionStatus = 'Running'"
    return (await house.client.count_workflows(query)).count == 0


async def _described(house: CapacityBench) -> str:
    return (await house.client.get_workflow_handle(CAPACITY_ID).describe()).run_id


async def test_a_transfer_moves_the_place_and_an_audit_finds_one_that_was_not_moved(
    namespace: WorkflowEnvironment,
) -> None:
    """Ensures that the quota of the new owner counts, also when the API dies between the two updates."""
    async with a_house({"one": most(10)}, audit=SOON, server=namespace) as house, house.worker():
        life = await house.begin("given")
        await _ready(life)
        refused = await house.reservations.reassign(
            house.ask("given", owner="bob@example.com", quotas=Quotas(person=most(0)))
        )
        assert refused.refusal
        assert refused.refusal.reason is RefusalReason.OVER_QUOTA
        decision = await house.reservations.reassign(house.ask("given", owner="bob@example.com"))
        assert decision.host == "one"

        async def back() -> bool:
            return (await house.held())["given"].owner == "alice@example.com"

        await until(back, "the audit gives it back to the owner that the environment has")
        ask = TransferInput(life=LIFE, actor="alice@example.com", person="bob@example.com")
        await life.handle.execute_update(EnvironmentWorkflow.transfer, ask)

        async def moved() -> bool:
            return (await house.held())["given"].owner == "bob@example.com"

        await until(moved, "the audit finds the new owner")


async def _ready(life: Life) -> None:
    async def there() -> bool:
        return (await life.status()).phase is Phase.READY

    await until(there, "it is ready")


# --- asleep -----------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_what_sleeps_gives_its_cpu_to_others_and_asks_for_it_again(
    namespace: WorkflowEnvironment,
) -> None:
    """Ensures that CPU is free while one sleeps, and that one is woken only where there is room for it."""
    async with a_house({"one": most(cpu=SIZE.cpu)}, server=namespace) as house, house.worker():
        sleeper = await house.begin("sleeper")
        await until(lambda: _is(house, "sleeper", Phase.READY), "it is ready")
        with pytest.raises(NoCapacity):
            await house.request("other", "r-2")
        await sleeper.handle.execute_update(EnvironmentWorkflow.sleep, ASKED_BY_ALICE)
        await until(lambda: _is(house, "sleeper", Phase.ASLEEP), "it is asleep")
        state = await house.state()
        assert state.hosts[0].reserved == Amount(environments=1)
        other = await house.begin("other", "r-2")
        with pytest.raises(WorkflowUpdateFailedError) as failure:
            await sleeper.handle.execute_update(EnvironmentWorkflow.wake, BY_ALICE)
        message = str(failure.value.cause)
        assert message.startswith("RequestRefused: sleeper asks for ")
        assert "The next one that is in the way ends " in message
        assert message.endswith("Put another environment to sleep, or delete one.")
        assert await _is(house, "sleeper", Phase.ASLEEP)
        by_alice = ActorInput(actor=BY_ALICE.actor, life=other.start.environment.mark.life)
        await other.handle.execute_update(EnvironmentWorkflow.delete, by_alice)
        await other.handle.result()
        await house.until_held("sleeper")
        await sleeper.handle.execute_update(EnvironmentWorkflow.wake, BY_ALICE)
        await until(lambda: _is(house, "sleeper", Phase.READY), "it is awake")
        assert (await house.state()).hosts[0].reserved == SIZE


@pytest.mark.slow
async def test_a_new_capacity_workflow_knows_who_sleeps(namespace: WorkflowEnvironment) -> None:
    async with a_house({"one": most(10)}, server=namespace) as house, house.worker():
        sleeper = await house.begin("sleeper")
        await until(lambda: _is(house, "sleeper", Phase.READY), "it is ready")
        await sleeper.handle.execute_update(EnvironmentWorkflow.sleep, ASKED_BY_ALICE)
        await until(lambda: _is(house, "sleeper", Phase.ASLEEP), "it is asleep")
        query = "EnvPhase = 'asleep'"

        async def is_listed() -> bool:
            return (await house.client.count_workflows(query)).count == 1

        await until(is_listed, "the list shows it")
        await house.client.get_workflow_handle(CAPACITY_ID).terminate()
        await house.reservations.ensure_started()
        await house.until_held("sleeper")
        assert (await house.held())["sleeper"].asleep
