"""Rollouts: waves, the stop at failures and by a person, and what becomes of each environment meanwhile."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from activities import rollout as rollout_activity
from activities.rollout import Rollout
from contracts.environment.models import EnvironmentStatus, Outcome, Phase
from contracts.environment_workflow import (
    UPDATE_CHANGE_TEMPLATE,
    ActorInput,
    EnvironmentStart,
    SleepChangeInput,
    TransferInput,
)
from contracts.rollout import (
    ROLLOUT_WORKFLOW,
    RolloutInput,
    RolloutItem,
    RolloutOutcome,
    RolloutStatus,
    StopInput,
    UpgradeInput,
    UpgradeResult,
)
from contracts.templates.template import Template, TimeToLive
from tests.activities.activity_runs import Running
from tests.contracts.test_rollout import SMALL, a_rollout
from tests.support.seeding import ready_status, seed
from tests.support.workers import working
from tests.workflows.conftest import LIFE, REQUEST_ID, Bench, a_start, until
from tests.workflows.real_edge import RealEdge
from tests.workflows.scripted_activities import Script, fails_for_good, waits, waits_for
from tests.workflows.sweeping import PLAIN, SWEPT, refused
from workflows.environment.workflow import EnvironmentWorkflow
from workflows.rollout import RolloutWorkflow

Handle = WorkflowHandle[EnvironmentWorkflow, EnvironmentStatus]
OPS, BOB = "ops@example.com", "bob@example.com"
NEWER = SMALL.model_copy(update={"version": 2})
#: Ends without a warning before.
UNWARNED = SMALL.model_copy(update={"ttl": TimeToLive.model_validate(PLAIN)})
GOOD, BAD = UpgradeResult(outcome=RolloutOutcome.UPGRADED), UpgradeResult(outcome=RolloutOutcome.ROLLED_BACK)
_numbers = itertools.count(1)


@dataclass
class Hands:
    """Upgrades in place of the real ones, which wait until `goes_on` is set."""

    results: dict[str, UpgradeResult] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def activity(self) -> Callable[..., Any]:
        @activity.defn(name="rollout.upgrade")
        async def upgrade(input: UpgradeInput) -> UpgradeResult:
            self.asked.append(input.item.name)
            while not self.goes_on.is_set():
                activity.heartbeat()
                await asyncio.sleep(0.05)
            if input.item.name == "env-broken":
                raise ApplicationError("no words", non_retryable=True)
            return self.results.get(input.item.name, GOOD)

        return upgrade


@asynccontextmanager
async def rolling(
    client: Client, hands: Hands, rollout: RolloutInput
) -> AsyncIterator[WorkflowHandle[RolloutWorkflow, RolloutStatus]]:
    """A rollout whose upgrades wait until `goes_on` is set."""
    queue = f"rollout-{os.getpid()}-{next(_numbers)}"
    async with working(client, queue, [hands.activity]):
        yield await client.start_workflow(RolloutWorkflow.run, rollout, id=queue, task_queue=queue)


async def waves(handle: WorkflowHandle[Any, Any]) -> list[int]:
    """How many upgrades each workflow task began."""
    counts: dict[int, int] = {}
    async for event in handle.fetch_history_events():
        if event.HasField("activity_task_scheduled_event_attributes"):
            task = event.activity_task_scheduled_event_attributes.workflow_task_completed_event_id
            counts[task] = counts.get(task, 0) + 1
    return list(counts.values())


def outcomes(status: RolloutStatus) -> list[str]:
    return [line.outcome for line in status.lines]


def test_the_names_are_those_of_the_workflows() -> None:
    assert workflow._Definition.must_from_class(RolloutWorkflow).name == ROLLOUT_WORKFLOW
    update: Any = EnvironmentWorkflow.change_template
    assert update._defn.name == UPDATE_CHANGE_TEMPLATE


async def test_the_first_wave_is_one_and_the_others_as_large_as_asked(bench: Bench) -> None:
    hands = Hands()
    hands.goes_on.set()
    async with rolling(bench.client, hands, a_rollout(6).model_copy(update={"wave": 3})) as handle:
        status = await handle.result()
        assert await waves(handle) == [1, 3, 2]
    assert hands.asked[0] == "env-0"
    assert set(outcomes(status)) == {"upgraded"}
    assert (status.over, status.stopped, status.version, status.actor) == (True, "", 1, OPS)


@pytest.mark.parametrize(("stop_after", "reached"), [(1, 3), (2, 5), (9, 6)])
async def test_it_stops_after_the_wave_with_so_many_failures(
    bench: Bench, stop_after: int, reached: int
) -> None:
    hands = Hands(results={"env-2": BAD, "env-3": BAD})
    hands.goes_on.set()
    rollout = a_rollout(6).model_copy(update={"wave": 2, "stop_after": stop_after})
    async with rolling(bench.client, hands, rollout) as handle:
        status = await handle.result()
    assert len(hands.asked) == reached
    assert outcomes(status).count("waiting") == 6 - reached
    assert bool(status.stopped) is (reached < 6)


async def test_an_activity_that_fails_is_a_failure_with_its_words(bench: Bench) -> None:
    hands = Hands()
    hands.goes_on.set()
    rollout = a_rollout(2)
    broken = rollout.items[0].model_copy(update={"name": "env-broken"})
    rollout = rollout.model_copy(update={"items": (broken, rollout.items[1])})
    async with rolling(bench.client, hands, rollout) as handle:
        status = await handle.result()
    assert outcomes(status) == ["failed", "waiting"]
    assert status.lines[0].reason == "no words"


async def test_a_person_stops_it_and_the_present_wave_ends(bench: Bench) -> None:
    hands = Hands()
    async with rolling(bench.client, hands, a_rollout(3)) as handle:

        async def is_upgrading() -> bool:
            return "upgrading" in outcomes(await handle.query(RolloutWorkflow.status))

        await until(is_upgrading, "the first wave began")
        await handle.signal("stop")  # Without its argument, it is from another program.
        assert not (await handle.query(RolloutWorkflow.status)).stopped
        for actor in (BOB, OPS):
            await handle.signal(RolloutWorkflow.stop, StopInput(actor=actor))
        now = await handle.query(RolloutWorkflow.status)
        assert (now.over, now.stopped) == (False, f"{BOB} has stopped it")
        hands.goes_on.set()
        status = await handle.result()
    assert outcomes(status) == ["upgraded", "waiting", "waiting"]
    assert status.sentence.endswith(f"Stopped: {BOB} has stopped it.")


async def test_a_stop_in_the_last_wave_leaves_nothing_undone(bench: Bench) -> None:
    hands = Hands()
    async with rolling(bench.client, hands, a_rollout(1)) as handle:
        await handle.signal(RolloutWorkflow.stop, StopInput(actor=BOB))

        async def is_upgrading() -> bool:
            return bool(hands.asked)

        if outcomes(await handle.query(RolloutWorkflow.status)) == ["upgrading"]:
            await until(is_upgrading, "the upgrade began")
            hands.goes_on.set()
            assert (await handle.result()).stopped == ""
        else:  # The stop came before the first wave.
            assert outcomes(await handle.result()) == ["waiting"]


async def test_a_cancellation_in_temporal_begins_no_further_wave(bench: Bench) -> None:
    hands = Hands()
    async with rolling(bench.client, hands, a_rollout(3)) as handle:

        async def is_upgrading() -> bool:
            return bool(hands.asked)

        await until(is_upgrading, "the first wave began")
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert hands.asked == ["env-0"]


@dataclass
class Fleet:
    """Ready environments, and rollouts by the real activity."""

    client: Client
    queue: str
    script: Script
    items: list[RolloutItem] = field(default_factory=list)

    async def environment(
        self,
        *,
        queue: str = "",
        template: Template = SMALL,
        request_id: str = REQUEST_ID,
        lasts: timedelta = timedelta(hours=8),
    ) -> Handle:
        start: EnvironmentStart = a_start(f"ro-{os.getpid()}-{next(_numbers)}", request_id=request_id)
        start = start.model_copy(
            update={"environment": start.environment.model_copy(update={"template": template})}
        )
        name = start.environment.name
        [item] = a_rollout(1).items
        life = start.environment.mark.life
        request = item.request.model_copy(update={"name": name, "life": life})
        self.items.append(RolloutItem(name=name, life=life, request=request))
        status = ready_status(start, datetime.now(UTC) + lasts)
        return await seed(self.client, start, status, task_queue=queue or self.queue)

    async def start(self, **options: Any) -> WorkflowHandle[RolloutWorkflow, RolloutStatus]:
        # A rollout has one line for each life: environments without a request of their own share one.
        rollout = RolloutInput(template=NEWER, actor=OPS, items=tuple(self.items), **options)
        return await self.client.start_workflow(
            RolloutWorkflow.run, rollout, id=f"{self.queue}-{next(_numbers)}", task_queue=self.queue
        )

    async def outcome(self) -> tuple[str, str]:
        """What becomes of the only environment."""
        [line] = (await (await self.start()).result()).lines
        return line.outcome, line.reason


@pytest.fixture
async def fleet(bench: Bench) -> AsyncIterator[Fleet]:
    script = Script()
    fleet = Fleet(bench.client, f"fleet-{os.getpid()}-{next(_numbers)}", script)
    activities: list[Callable[..., Any]] = [*script.activities(), Rollout(bench.client).upgrade]
    async with working(bench.client, fleet.queue, activities, interceptors=[RealEdge("rollout.")]):
        yield fleet


async def status_of(handle: Handle) -> EnvironmentStatus:
    return await handle.query(EnvironmentWorkflow.status)


async def test_an_environment_has_the_newer_version_and_says_who_asked(fleet: Fleet) -> None:
    handle = await fleet.environment()
    await handle.execute_update(EnvironmentWorkflow.transfer, TransferInput(life=LIFE, actor=BOB, person=BOB))
    assert await fleet.outcome() == ("upgraded", "")
    now = await status_of(handle)
    assert (now.environment.template.version, now.environment.owner) == (2, BOB)
    [asked] = [entry for entry in now.audit_log if entry.action.startswith("asked to change it")]
    assert (asked.actor, asked.action) == (OPS, "asked to change it to small version 2")
    assert await fleet.outcome() == ("upgraded", ""), "a repeat finds it done"
    assert now.audit_log == (await status_of(handle)).audit_log


async def test_an_environment_that_goes_back_is_a_failure_with_its_reason(fleet: Fleet) -> None:
    handle = await fleet.environment()

    async def fail_once() -> None:
        del fleet.script.before["vcluster.ensure"]
        await fails_for_good()()

    fleet.script.before["vcluster.ensure"] = fail_once
    assert await fleet.outcome() == ("rolled back", "vcluster: Rafay: it is not allowed.")
    assert (await status_of(handle)).environment.template.version == 1


async def test_an_upgrade_that_is_asked_again_is_not_made_twice(fleet: Fleet) -> None:
    """Ensures that the next attempt, after a lost worker, reads the same outcome."""
    handle = await fleet.environment()

    async def fail_once() -> None:
        del fleet.script.before["vcluster.ensure"]
        await fails_for_good()()

    fleet.script.before["vcluster.ensure"] = fail_once
    upgrade = UpgradeInput(template=NEWER, actor=OPS, item=fleet.items[0])
    for attempt in (1, 2):
        running = Running(Rollout(fleet.client).upgrade, upgrade, attempt=attempt)
        assert (await running.result()).outcome is RolloutOutcome.ROLLED_BACK
    actions = [entry.action for entry in (await status_of(handle)).audit_log]
    assert actions.count("asked to change it to small version 2") == 1


async def _life_of(handle: Handle) -> str:
    return (await status_of(handle)).environment.mark.life


async def _delete(handle: Handle) -> None:
    by = ActorInput(actor=BOB, life=await _life_of(handle))
    await handle.execute_update(EnvironmentWorkflow.delete, by)


async def _expire(handle: Handle) -> None:
    """Make its end come, and let the sweep end it."""
    ask = SWEPT.model_copy(update={"life": await _life_of(handle)})
    await handle.execute_update(EnvironmentWorkflow.expire, ask)


async def _terminate(handle: Handle) -> None:
    await handle.terminate()


async def _sleep(handle: Handle) -> None:
    by = SleepChangeInput(actor=BOB, life=await _life_of(handle))
    await handle.execute_update(EnvironmentWorkflow.sleep, by)

    async def is_asleep() -> bool:
        return (await status_of(handle)).phase is Phase.ASLEEP

    await until(is_asleep, "it is asleep")


@pytest.mark.parametrize(
    ("meanwhile", "outcome", "words"),
    [
        (_delete, "gone", "it has ended meanwhile"),
        (_terminate, "gone", "it has ended meanwhile"),
        (_sleep, "refused", "is asleep: it can be changed once it is ready"),
    ],
    ids=["deleted", "terminated", "asleep"],
)
async def test_what_happened_before_its_wave(
    fleet: Fleet, meanwhile: Callable[[Handle], Awaitable[None]], outcome: str, words: str
) -> None:
    handle = await fleet.environment()
    await meanwhile(handle)
    found = await fleet.outcome()
    assert found[0] == outcome
    assert words in found[1]


@pytest.mark.parametrize(
    "meanwhile", [_delete, _terminate, _expire], ids=["deleted", "terminated", "expired"]
)
async def test_what_ends_in_the_middle_of_its_upgrade(
    fleet: Fleet, meanwhile: Callable[[Handle], Awaitable[None]]
) -> None:
    handle = await fleet.environment(template=UNWARNED, lasts=timedelta(0))
    fleet.script.before["vcluster.ensure"] = waits
    rollout = await fleet.start()
    await fleet.script.started["vcluster.ensure"].wait()
    await meanwhile(handle)
    assert outcomes(await rollout.result()) == ["gone"]


@pytest.mark.slow
async def test_a_wave_goes_on_when_some_of_it_end_or_sleep(fleet: Fleet) -> None:
    """Ensures that what expires, is deleted or sleeps is no failure, and the others get the version."""
    goes_on = asyncio.Event()
    fleet.script.before["vcluster.ensure"] = waits_for(goes_on)
    ends: dict[int, Any] = {2: {"template": UNWARNED, "lasts": timedelta(0)}}
    handles = [
        await fleet.environment(request_id=f"wave-{number}", **ends.get(number, {})) for number in range(6)
    ]
    rollout = await fleet.start(wave=4)
    _, deleted, expired, asleep, stays, last = handles
    await fleet.script.started["vcluster.ensure"].wait()
    await _sleep(asleep)  # While the first wave runs, before its own.
    goes_on.set()
    goes_on = asyncio.Event()
    fleet.script.before["vcluster.ensure"] = waits_for(goes_on)

    async def is_second_wave() -> bool:
        changing = [bool((await status_of(one)).change) for one in (deleted, expired, stays)]
        return all(changing)

    await until(is_second_wave, "the second wave is being upgraded")
    await _delete(deleted)
    await _expire(expired)
    refusal = await refused(_sleep(stays))
    assert "is being changed to another template: it can sleep once that is over" in refusal.message
    goes_on.set()
    status = await rollout.result()
    assert outcomes(status) == ["upgraded", "gone", "gone", "refused", "upgraded", "upgraded"]
    assert (status.over, status.stopped) == (True, "")
    assert await waves(rollout) == [1, 4, 1]
    assert (await status_of(asleep)).phase is Phase.ASLEEP
    assert [(await status_of(one)).environment.template.version for one in (asleep, stays, last)] == [1, 2, 2]
    assert (await expired.result()).outcome is Outcome.EXPIRED
    assert (await deleted.result()).outcome is Outcome.DELETED


async def test_another_life_and_another_version_are_left_alone(fleet: Fleet) -> None:
    handle = await fleet.environment(template=SMALL.model_copy(update={"version": 3}))
    assert await fleet.outcome() == ("skipped", "it has small version 3 meanwhile")
    fleet.items = [fleet.items[0].model_copy(update={"life": "another"})]
    assert (await fleet.outcome())[0] == "gone"
    assert (await status_of(handle)).audit_log == ()


@pytest.mark.slow
async def test_an_environment_that_does_not_answer_stops_it(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_activity, "CALL_TIMEOUT", timedelta(seconds=1))
    monkeypatch.setattr(rollout_activity, "ANSWER_TIMEOUT", timedelta(seconds=1))
    await fleet.environment(queue="no-worker")
    outcome, reason = await fleet.outcome()
    assert outcome == "failed"
    assert reason
