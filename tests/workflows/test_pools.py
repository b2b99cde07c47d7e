"""Warm pools on a real Temporal server: standbys are made, handed out, and end; hosts are scripted."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from contracts.capacity.models import CAPACITY_ID, ReleaseInput
from contracts.capacity.warm_pools import MAX_FAILURES, PoolCount, PoolsInput, WantedPool
from contracts.environment.models import Environment, Phase, Spec, StepName
from contracts.environment_workflow import ActorInput
from contracts.errors import RefusalReason
from contracts.standby import STANDBY_WITHDRAW, STANDBY_WORKFLOW, StandbyEnd, StandbyResult, WithdrawInput
from contracts.templates.warm_pool import WarmPool
from contracts.types.naming import OwnerMark, workflow_id
from starter.temporal.errors import NoWorker
from starter.temporal.updates import Refused
from tests.support.deadline import HANG
from tests.workflows.conftest import a_start, until
from tests.workflows.house import SHORT_RUNS, SIZE, CapacityBench, a_house, most
from tests.workflows.scripted_activities import fails, fails_for_good, waits, waits_for
from workflows.capacity import warm_pools as pools_module
from workflows.capacity.workflow import CapacityWorkflow
from workflows.standby import StandbyWorkflow

pytestmark = pytest.mark.slow

ON_HOST = (StepName.NAMESPACE, StepName.VCLUSTER, StepName.KUBECONFIG)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools_module, "QUIET_TIME", timedelta(milliseconds=200))
    monkeypatch.setattr(pools_module, "LOOK_INTERVAL", timedelta(milliseconds=300))


def a_pool(key: str = "k", hosts: tuple[str, ...] = ("one",), **policy: Any) -> WantedPool:
    start = a_start("a")
    environment = Environment(
        mark=OwnerMark.for_request(start.environment.mark.installation, "standby", "small"),
        prefix="t",
        owner="",
        spec=Spec(template="small", team=""),
        template=start.environment.template,
        ttl=timedelta(days=1),
        host="",
        has_identity_provider=False,
        is_standby=True,
    )
    policy = {"ready": 1} | policy
    return WantedPool(key=key, policy=WarmPool(**policy), environment=environment, hosts=hosts, size=SIZE)


async def want(house: CapacityBench, *pools: WantedPool) -> None:
    await house.reservations.want_pools(PoolsInput(pools=pools))


async def the_pool(house: CapacityBench) -> PoolCount:
    [found] = await house.reservations.list_pools()
    return found


async def until_ready(house: CapacityBench, number: int) -> list[str]:
    """Wait until so many standbys can be handed out; return the names of all."""

    async def there() -> bool:
        # On a busy machine a query may find no worker in time.
        counts: tuple[PoolCount, ...] = ()
        with contextlib.suppress(NoWorker):
            counts = await house.reservations.list_pools()
        return sum(pool.ready for pool in counts) == number

    await until(there, f"{number} standbys are ready")
    return [name for name in await house.held() if name.startswith("standby-")]


def the_standby(house: CapacityBench, name: str) -> WorkflowHandle[Any, Any]:
    return house.client.get_workflow_handle(workflow_id(name), result_type=StandbyResult)


async def end_of(house: CapacityBench, name: str) -> StandbyResult:
    async with asyncio.timeout(HANG):
        result = await the_standby(house, name).result()
    assert isinstance(result, StandbyResult)
    return result


@pytest.fixture
async def house(namespace: WorkflowEnvironment) -> AsyncIterator[CapacityBench]:
    async with (
        a_house({"one": most(3)}, audit=timedelta(seconds=1), server=namespace) as house,
        house.worker(),
    ):
        yield house


async def test_a_pool_is_filled_and_its_standbys_hold_places(house: CapacityBench) -> None:
    await want(house, a_pool(ready=2))
    names = await until_ready(house, 2)
    held = await house.held()
    assert {held[name].size for name in names} == {SIZE}
    status = await the_standby(house, names[0]).query(StandbyWorkflow.status)
    assert [step.step for step in status.steps] == list(ON_HOST)
    assert status.phase is Phase.USABLE
    await house.until_audited(2)
    assert sorted(await until_ready(house, 2)) == sorted(names)


async def test_an_environment_gets_the_standby_and_another_takes_its_place(house: CapacityBench) -> None:
    await want(house, a_pool())
    [name] = await until_ready(house, 1)
    outcome = await house.request("demo", pool="k")
    standby = outcome.start.environment.standby
    assert standby
    assert standby.name == name
    house.script.takers[name] = outcome.start.environment.mark
    [other] = await until_ready(house, 1)
    assert other != name
    await the_standby(house, name).signal(StandbyWorkflow.withdraw, WithdrawInput(reason="now"))
    result = await end_of(house, name)
    assert (result.end, result.taken_by) == (StandbyEnd.CLAIMED, outcome.start.environment.mark)
    assert "vcluster.remove" not in house.script.calls


async def test_the_request_of_the_same_life_gets_the_same_standby(house: CapacityBench) -> None:
    await want(house, a_pool())
    await until_ready(house, 1)
    ask = house.ask("demo", pool="k")
    first = await house.reservations.reserve(ask)
    assert first.standby
    assert await house.reservations.reserve(ask) == first


async def test_of_two_requests_at_once_one_gets_the_standby(house: CapacityBench) -> None:
    await want(house, a_pool())
    await until_ready(house, 1)
    decisions = await asyncio.gather(
        *(house.reservations.reserve(house.ask(name, pool="k")) for name in ("demo", "other"))
    )
    assert [bool(one.standby) for one in decisions].count(True) == 1
    assert {one.host for one in decisions} == {"one"}


async def test_a_standby_that_was_given_and_not_taken_is_undone(house: CapacityBench) -> None:
    await want(house, a_pool())
    [name] = await until_ready(house, 1)
    await house.reservations.reserve(house.ask("demo", pool="k"))
    handle = the_standby(house, name)

    async def leaves() -> bool:
        return (await handle.query(StandbyWorkflow.status)).phase is Phase.TEARING_DOWN

    await until(leaves, "it is not offered by lists any more")
    await handle.signal(StandbyWorkflow.withdraw, WithdrawInput(reason="now"))
    result = await end_of(house, name)
    assert result.end is StandbyEnd.ENDED
    assert result.certificate
    assert result.certificate.nothing_left


async def test_a_standby_that_was_given_and_not_taken_ends_by_itself(
    house: CapacityBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools_module, "GIVEN_TIME", timedelta(milliseconds=300))
    await want(house, a_pool())
    [name] = await until_ready(house, 1)
    await house.reservations.reserve(house.ask("demo", pool="k"))
    result = await end_of(house, name)
    assert (result.end, result.reason) == (StandbyEnd.ENDED, "demo was given it")


@pytest.mark.parametrize("was_open", [True, False], ids=["its life has ended", "it was not started"])
async def test_a_standby_ends_at_once_when_the_life_it_was_given_to_ends(
    house: CapacityBench, was_open: bool
) -> None:
    """Ensures that an environment that is deleted before it takes it over leaves none for minutes."""
    await want(house, a_pool())
    [name] = await until_ready(house, 1)
    ask = house.ask("demo", pool="k")
    await house.reservations.reserve(ask)
    released = ReleaseInput(name="demo", life=ask.life, was_open=was_open)
    await house.client.get_workflow_handle(CAPACITY_ID).signal(CapacityWorkflow.release, released)
    result = await end_of(house, name)
    assert (result.end, result.reason) == (StandbyEnd.ENDED, "demo, which was given it, has ended")


async def test_the_place_of_a_standby_that_was_given_is_not_held_again(house: CapacityBench) -> None:
    """The standby's workflow stays open for minutes, so each audit finds it."""
    await want(house, a_pool())
    [name] = await until_ready(house, 1)
    await house.request("demo", pool="k")
    await house.until_audited(2)
    assert name not in await house.held()
    assert "demo" in await house.held()


async def test_no_standby_is_made_while_people_ask(
    house: CapacityBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools_module, "QUIET_TIME", timedelta(hours=1))
    await house.request("demo")
    await want(house, a_pool())
    await house.until_audited(2)
    assert "pools.start" not in house.started
    assert (await the_pool(house)).wanted == 1


async def test_standbys_give_way_when_room_is_short(house: CapacityBench) -> None:
    await want(house, a_pool(ready=2))
    names = await until_ready(house, 2)
    for name in ("demo", "other"):
        await house.request(name, template="large")
    ended = [name for name in names if name not in await house.held()]
    assert len(ended) == 1
    assert (await end_of(house, ended[0])).end is StandbyEnd.ENDED
    assert {"demo", "other"} <= set(await house.held())


async def test_a_pool_that_fails_stops_and_says_why(house: CapacityBench) -> None:
    house.script.before["vcluster.ensure"] = fails_for_good()
    await want(house, a_pool())

    async def stopped() -> bool:
        return (await the_pool(house)).has_stopped

    await until(stopped, "the pool has stopped")
    pool = await the_pool(house)
    assert (pool.failures, pool.problem) == (MAX_FAILURES, "Rafay: it is not allowed.")
    await house.until_held()
    made = house.started.count("pools.start")
    await house.until_audited(2)
    assert house.started.count("pools.start") == made
    del house.script.before["vcluster.ensure"]
    await house.reservations.resume_pool("small")
    await until_ready(house, 1)
    await want(house, a_pool("newer"))
    await until_ready(house, 1)


async def test_another_version_of_the_template_replaces_the_standbys(house: CapacityBench) -> None:
    await want(house, a_pool())
    [name] = await until_ready(house, 1)
    await want(house, a_pool("newer"))
    assert (await end_of(house, name)).end is StandbyEnd.ENDED
    [other] = await until_ready(house, 1)
    assert other != name


async def test_without_the_policy_the_pool_is_emptied(house: CapacityBench) -> None:
    await want(house, a_pool(ready=2))
    names = await until_ready(house, 2)
    await want(house)
    for name in names:
        assert (await end_of(house, name)).end is StandbyEnd.ENDED
    await house.until_held()


@pytest.mark.parametrize("step", ON_HOST)
async def test_a_standby_that_is_cancelled_in_a_step_is_undone(house: CapacityBench, step: StepName) -> None:
    house.script.before[f"{step}.ensure"] = waits
    await want(house, a_pool())
    await house.script.started[f"{step}.ensure"].wait()
    [name] = await house.held()
    await want(house)
    await the_standby(house, name).cancel()
    result = await end_of(house, name)
    assert result.end is StandbyEnd.ENDED
    assert not house.script.world


async def test_a_withdrawal_is_tried_until_the_host_answers(
    house: CapacityBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.standby.WITHDRAW_PAUSE", timedelta(milliseconds=50))
    await want(house, a_pool())
    [name] = await until_ready(house, 1)
    house.script.before[STANDBY_WITHDRAW] = fails(3)
    await want(house)
    assert (await end_of(house, name)).end is StandbyEnd.ENDED


async def test_an_offer_in_doubt_waits_until_no_late_call_can_come(house: CapacityBench) -> None:
    house.script.before["namespace.ensure"] = fails(1, in_doubt=True)
    await want(house, a_pool())
    await until_ready(house, 1)
    assert house.script.calls.index("standby.offer") > house.script.calls.index("kubeconfig.ensure")


async def test_the_name_of_a_standby_is_taken(house: CapacityBench) -> None:
    await want(house, a_pool())
    [name] = await until_ready(house, 1)
    with pytest.raises(Refused) as refused:
        await house.request(name)
    assert refused.value.refusal.reason is RefusalReason.OTHER_OWNER


async def test_a_capacity_workflow_that_was_terminated_finds_its_standbys_again(
    house: CapacityBench,
) -> None:
    await want(house, a_pool(ready=2))
    names = await until_ready(house, 2)
    await house.client.get_workflow_handle(CAPACITY_ID).terminate()
    await want(house, a_pool(ready=2))
    assert sorted(await until_ready(house, 2)) == sorted(names)
    decision = await house.reservations.reserve(house.ask("demo", pool="k"))
    assert decision.standby
    assert decision.standby.name in names


async def test_a_report_that_reaches_no_capacity_workflow_is_found_by_the_audit(
    house: CapacityBench,
) -> None:
    go_on = asyncio.Event()
    house.script.before["kubeconfig.ensure"] = waits_for(go_on)
    await want(house, a_pool())
    await house.script.started["kubeconfig.ensure"].wait()
    [name] = await house.held()
    await house.client.get_workflow_handle(CAPACITY_ID).terminate()
    go_on.set()

    async def is_offered() -> bool:
        return (await the_standby(house, name).query(StandbyWorkflow.status)).phase is Phase.USABLE

    await until(is_offered, "it is usable")
    await want(house, a_pool())
    assert await until_ready(house, 1) == [name]


@pytest.mark.parametrize("is_done", [True, False], ids=["after it was done", "before it was done"])
@pytest.mark.parametrize("times", [1, None], ids=["once", "until it is given up"])
async def test_a_start_whose_answer_is_lost_leads_to_one_standby(
    house: CapacityBench, monkeypatch: pytest.MonkeyPatch, is_done: bool, times: int | None
) -> None:
    """If it is given up, its place is free, and the audit finds a standby that was started all the same."""
    monkeypatch.setattr(pools_module, "START_TIMEOUT", timedelta(seconds=2))
    losing = LostStarts(is_done, times)
    monkeypatch.setattr(Client, "start_workflow", losing.wrap(Client.start_workflow))
    await want(house, a_pool())
    await until_ready(house, 1)
    assert losing.lost

    async def only_one() -> bool:
        return len(await house.held()) == 1

    await until(only_one, "one standby is left")
    await want(house)
    await house.until_held()


class LostStarts:
    """Loses the answers to starts of the first standby: the first of them, or all."""

    def __init__(self, is_done: bool, times: int | None) -> None:
        self.lost: list[str] = []
        self._is_done, self._times = is_done, times

    def wrap(self, start: Any) -> Any:
        async def start_workflow(client: Client, workflow: Any, *arguments: Any, **options: Any) -> Any:
            if workflow != STANDBY_WORKFLOW or not self._loses(options["id"]):
                return await start(client, workflow, *arguments, **options)
            self.lost.append(options["id"])
            if self._is_done:
                with contextlib.suppress(WorkflowAlreadyStartedError):
                    await start(client, workflow, *arguments, **options)
            raise RPCError("the connection is lost", RPCStatusCode.UNAVAILABLE, b"")

        return start_workflow

    def _loses(self, id: str) -> bool:
        is_first = not self.lost or self.lost[0] == id
        return is_first and (self._times is None or len(self.lost) < self._times)


async def test_a_standby_whose_workflow_was_terminated_is_not_handed_out(house: CapacityBench) -> None:
    await want(house, a_pool())
    [name] = await until_ready(house, 1)
    await the_standby(house, name).terminate()

    async def gone() -> bool:
        return name not in await house.held()

    await until(gone, "its place is free")


async def test_pools_go_on_in_the_next_run() -> None:
    seconds = timedelta(seconds=1)
    async with a_house({"one": most(9)}, audit=seconds, arguments=SHORT_RUNS) as house, house.worker():
        await want(house, a_pool(ready=2))
        names = await until_ready(house, 2)
        first = (await house.client.get_workflow_handle(CAPACITY_ID).describe()).run_id

        async def another_run() -> bool:
            await house.reservations.reserve(house.ask("demo", hosts=("one",)))
            return (await house.client.get_workflow_handle(CAPACITY_ID).describe()).run_id != first

        await until(another_run, "it goes on in another run", 60)
        assert sorted(await until_ready(house, 2)) == sorted(names)


async def test_without_a_pool_nothing_is_called(house: CapacityBench) -> None:
    await house.request("demo")
    await house.until_audited(1)
    assert "pools.start" not in house.started
    history = await house.client.get_workflow_handle(CAPACITY_ID).fetch_history()
    summaries = [str(event.user_metadata.summary.data) for event in history.events]
    assert not any("warm pools" in summary for summary in summaries)


async def test_a_teardown_that_gave_up_is_resumed(house: CapacityBench) -> None:
    await want(house, a_pool())
    [name] = await until_ready(house, 1)
    house.script.before["vcluster.remove"] = fails_for_good()
    await want(house)
    handle = the_standby(house, name)

    async def waits_for_the_next_pass() -> bool:
        return (await handle.query(StandbyWorkflow.status)).unfinished != ()

    await until(waits_for_the_next_pass, "a pass has failed")
    del house.script.before["vcluster.remove"]
    life = (await house.client.get_workflow_handle(workflow_id(name)).query("status"))["environment"]["mark"][
        "life"
    ]
    await handle.execute_update(
        StandbyWorkflow.resume_teardown, ActorInput(actor="pat@example.com", life=life)
    )
    assert (await end_of(house, name)).end is StandbyEnd.ENDED
