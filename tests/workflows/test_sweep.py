"""Ensures that a sweep warns and ends exactly the environments that are due, also after failures."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    WorkflowHandle,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from contracts.environment.models import Outcome, Phase
from contracts.environment_workflow import ActorInput, ExtendInput
from contracts.sweeps.expiry import SWEEP_SCHEDULE, OutcomeCount
from contracts.temporal import search_attributes
from contracts.temporal.workflow_memo import build_memo
from tests.support.deadline import HANG
from tests.support.processes import spawn_module
from tests.workflows.conftest import LIFE, Bench, until
from tests.workflows.scripted_activities import fails_for_good, waits
from tests.workflows.sweeping import (
    Handle,
    Sweeper,
    fresh_name,
    is_listed,
    line_of,
    lives_by,
    seeded,
    sweeper,
    sweeping,
)
from workflows.environment.workflow import EnvironmentWorkflow

pytestmark = pytest.mark.slow

#: More than any sweep here takes.
SOON = HANG
#: Of many that end together, few start their teardown, which other tests cover.
TEARDOWNS_PER_SECOND = 1.0


async def many(bench: Bench, count: int, ends_in: float, **policy: Any) -> list[Handle]:
    found = await asyncio.gather(
        *(seeded(bench.client, bench.task_queue, ends_in, **policy) for _ in range(count))
    )
    await is_listed(bench.client, *found)
    return list(found)


async def ended_once(bench: Bench, ids: set[str]) -> None:
    """Check that each environment was ended exactly once; terminate all."""
    for id in ids:
        handle: WorkflowHandle[EnvironmentWorkflow, Any] = bench.client.get_workflow_handle_for(
            EnvironmentWorkflow.run, id
        )
        status = await handle.query(EnvironmentWorkflow.status)
        assert status.outcome is Outcome.EXPIRED
        assert [line.action for line in status.audit_log].count("ended it: its time was up") == 1
        with contextlib.suppress(RPCError):  # its teardown may be over
            await handle.terminate()


async def teardown_time(handle: Handle) -> timedelta:
    """How long after its end by the sweep an environment was torn down, and wrote what has become of it."""
    events = (await handle.fetch_history()).events
    [ended] = [
        each for each in events if each.HasField("workflow_execution_update_accepted_event_attributes")
    ]
    [written] = [
        each
        for each in events
        if each.activity_task_scheduled_event_attributes.activity_type.name == "audit_log.write"
    ]
    return written.event_time.ToDatetime() - ended.event_time.ToDatetime()


def names(tally: OutcomeCount) -> set[str]:
    return {f"environment/{line.name}" for line in tally.lines}


async def test_it_warns_ends_and_keeps_and_says_so(bench: Bench) -> None:
    """Ensures that each gets what is due, and the result says how many, which, and why."""
    [over] = await many(bench, 1, -5)
    [soon] = await many(bench, 1, 60, warnings=["5m"])
    [late] = await many(bench, 1, -3600, warnings=["5m"])
    [graced] = await many(bench, 1, -5, grace="1h")
    [later] = await many(bench, 1, 3600)
    async with sweeper(bench.client) as sweep:
        result = await sweep()
        assert line_of(result.ended, over)
        assert {soon.id, late.id} <= names(result.warned)
        moved = line_of(result.warned, late)
        assert moved
        assert "later than it was to" in moved.reason
        assert not {graced.id, later.id} & (names(result.ended) | names(result.warned))
        assert result.checked == sum(
            tally.count for tally in (result.warned, result.ended, result.kept, result.failed)
        )
        assert (await over.result()).outcome is Outcome.EXPIRED
        again = await sweep()
        everybody = names(again.warned) | names(again.ended)
        assert not {over.id, soon.id, late.id, graced.id, later.id} & everybody, "it did something twice"
    for handle in (soon, late, graced, later):
        assert (await handle.query(EnvironmentWorkflow.status)).phase is Phase.READY
        await handle.terminate()


async def test_those_that_end_together_are_ended_at_once_and_torn_down_gradually(bench: Bench) -> None:
    """Ensures that thousands that end together do not fall on the control plane and the host together."""
    over = await many(bench, 3, -5)
    async with sweeper(bench.client) as sweep:
        result = await sweep(ends_per_second=1)
        assert {handle.id for handle in over} <= names(result.ended)
        for handle in over:
            status = await handle.query(EnvironmentWorkflow.status)
            assert status.outcome is Outcome.EXPIRED, "it was ended only when its turn came"
    await asyncio.gather(*(handle.result() for handle in over))
    _, second, third = sorted([await teardown_time(handle) for handle in over])
    assert second >= timedelta(seconds=1), "the second does not start a second after the first"
    assert third >= timedelta(seconds=2), "the third does not start a second after the second"


async def test_a_dry_run_says_the_same_and_does_nothing(bench: Bench) -> None:
    """Ensures that one can look before one leaps."""
    [over] = await many(bench, 1, -5)
    [soon] = await many(bench, 1, 60, warnings=["5m"])
    async with sweeper(bench.client) as sweep:
        dry = await sweep(dry_run=True)
        assert line_of(dry.ended, over)
        assert line_of(dry.warned, soon)
        for handle in (over, soon):
            status = await handle.query(EnvironmentWorkflow.status)
            assert (status.phase, status.audit_log) == (Phase.READY, ())
        real = await sweep()
        assert line_of(real.ended, over)
        assert line_of(real.warned, soon)
    await soon.terminate()


async def test_one_that_ends_or_has_ended_is_never_touched(bench: Bench) -> None:
    """Ensures that what was deleted or has failed, or waits for a person, is left to itself."""
    bench.script.before["identity.remove"] = fails_for_good()
    start = lives_by(fresh_name(), timedelta(seconds=1))
    timeouts = start.timeouts.model_copy(update={"give_up_after": start.timeouts.first_pause * 3})
    stuck = await bench.begin(start.model_copy(update={"timeouts": timeouts}))

    async def ready() -> bool:
        return (await stuck.status()).phase is Phase.READY

    async def given_up() -> bool:
        return (await stuck.status()).phase is Phase.TEARDOWN_INCOMPLETE

    await until(ready, "it became ready")
    await stuck.handle.execute_update(
        EnvironmentWorkflow.delete, ActorInput(actor="alice@example.com", life=LIFE)
    )
    await until(given_up, "it gave up")
    before = await stuck.status()
    async with sweeper(bench.client) as sweep:
        for _ in range(3):
            result = await sweep()
            tallies = (result.warned, result.ended, result.failed)
            assert not any(line_of(tally, stuck.handle) for tally in tallies)
    assert (await stuck.status()).audit_log == before.audit_log
    await stuck.handle.terminate()


async def test_one_in_provisioning_past_its_end_is_found_and_ended(bench: Bench) -> None:
    """Ensures that what never becomes ready does not stay."""
    bench.script.before["vcluster.ensure"] = waits
    start = lives_by(fresh_name(), timedelta(milliseconds=500), warnings=["5m"])
    handle = await bench.client.start_workflow(
        EnvironmentWorkflow.run,
        start,
        id=f"environment/{start.environment.name}",
        task_queue=bench.task_queue,
        memo=build_memo(start),
        search_attributes=TypedSearchAttributes(
            [SearchAttributePair(search_attributes.PHASE, "provisioning")]
        ),
    )
    await bench.script.started["vcluster.ensure"].wait()
    async with sweeper(bench.client) as sweep:

        async def ended() -> bool:
            return line_of((await sweep()).ended, handle) is not None

        await until(ended, "the sweep ended it")
    assert (await handle.result()).outcome is Outcome.EXPIRED
    assert not bench.script.world


async def test_visibility_that_lags_behind_decides_nothing(bench: Bench) -> None:
    """Ensures that the environment has the last word: what is listed wrongly is kept, and says why."""
    past, future = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)
    task_queue = bench.task_queue
    extended = await seeded(bench.client, task_queue, 3600, attributes={search_attributes.DUE_AT: past})
    unknown = await seeded(bench.client, task_queue, -5, attributes={search_attributes.DUE_AT: None})
    behind = await seeded(bench.client, task_queue, -5, attributes={search_attributes.DUE_AT: future})
    await is_listed(bench.client, extended, unknown, behind)
    async with sweeper(bench.client) as sweep:
        result = await sweep()
    kept = line_of(result.kept, extended)
    assert kept
    assert "it ends" in kept.reason
    assert line_of(result.ended, unknown), "one that began before there was this attribute is not found"
    assert behind.id not in names(result.ended), "that one is for the next sweep"
    await extended.terminate()
    await behind.terminate()


async def test_one_that_is_extended_while_the_sweep_goes_through_the_list_is_kept(bench: Bench) -> None:
    """Ensures that what was listed as over, and is extended before it is asked, is kept."""
    handles = await many(bench, 16, -1, extension={"times": 1, "total": "1d"}, grace="3s")
    await asyncio.sleep(2.2)
    async with sweeper(bench.client) as sweep:
        running = await sweep.begin(concurrency=1, page_size=1000, ends_per_second=TEARDOWNS_PER_SECOND)
        ask = ExtendInput(actor="alice@example.com", life=LIFE, by=timedelta(hours=1))
        answers = await asyncio.gather(
            *(handle.execute_update(EnvironmentWorkflow.extend, ask) for handle in reversed(handles)),
            return_exceptions=True,
        )
        result = await running.result()
    for handle, answer in zip(reversed(handles), answers, strict=True):
        if isinstance(answer, BaseException):
            await ended_once(bench, {handle.id})
        else:
            assert handle.id not in names(result.ended)
            assert (await handle.query(EnvironmentWorkflow.status)).phase is Phase.READY
            await handle.terminate()


async def test_two_sweeps_at_once_do_everything_once(bench: Bench) -> None:
    """Ensures that each environment is ended by one of them, and by one only."""
    handles = {handle.id for handle in await many(bench, 16, -5)}
    async with sweeper(bench.client) as sweep:
        sizes = (3, 5, 3)
        results = await asyncio.gather(
            *(sweep(page_size=size, ends_per_second=TEARDOWNS_PER_SECOND) for size in sizes)
        )
    ended = [id for result in results for id in names(result.ended) & handles]
    assert sorted(ended) == sorted(handles), "some were ended by two sweeps, or by none"
    await ended_once(bench, handles)


async def test_a_sweep_that_is_killed_in_the_middle_goes_on_from_its_page(
    server: WorkflowEnvironment, bench: Bench
) -> None:
    """Ensures that all are ended, each once, though the worker is killed; and by Temporal's time, for the
    clock of the one that is killed is ten minutes fast."""
    handles = {handle.id for handle in await many(bench, 24, -5)}
    [not_yet] = await many(bench, 1, 300)
    queue = fresh_name("killed")
    address = server.client.service_client.config.target_host
    process = spawn_module("tests.workflows.sweep_worker", [address, queue], stdin=0)
    try:
        sweep = await Sweeper(bench.client, queue).begin(
            page_size=2, concurrency=1, lookahead=timedelta(0), ends_per_second=TEARDOWNS_PER_SECOND
        )

        for _ in range(int(HANG / 0.01)):
            pending = (await sweep.describe()).raw_description.pending_activities
            if pending and b"page 4" in pending[0].heartbeat_details.SerializeToString():
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("it never came to its fourth page")
    finally:
        process.kill()
        process.wait()
    ended_by_then = await _count_over(bench.client, handles)
    assert ended_by_then < len(handles), "it was over before it could be killed"
    async with sweeping(bench.client, queue):
        result = await asyncio.wait_for(sweep.result(), SOON)
    assert result.pages >= 12, "it did not go on from where the first one was"
    await ended_once(bench, handles)
    assert (await not_yet.query(EnvironmentWorkflow.status)).phase is Phase.READY, "the wrong clock ended it"
    await not_yet.terminate()


async def _count_over(client: Client, handles: set[str]) -> int:
    async def is_over(id: str) -> bool:
        handle: WorkflowHandle[EnvironmentWorkflow, Any] = client.get_workflow_handle_for(
            EnvironmentWorkflow.run, id
        )
        return (await handle.query(EnvironmentWorkflow.status)).outcome is not None

    return sum(await asyncio.gather(*(is_over(id) for id in handles)))


async def test_what_cannot_be_asked_is_reported_and_blocks_no_other(bench: Bench) -> None:
    """Ensures that an environment that does not answer is in the result, and that the others are ended."""
    [well] = await many(bench, 1, -5)
    mute = await bench.client.start_workflow(
        "EnvironmentWorkflow",
        id=f"environment/{fresh_name('mute')}",
        task_queue=fresh_name("no-worker"),
        search_attributes=_due_attributes(),
    )
    await is_listed(bench.client, mute)
    async with sweeper(bench.client) as sweep:
        result = await sweep()
    assert line_of(result.ended, well)
    assert line_of(result.failed, mute)
    await mute.terminate()


async def test_when_ends_are_frozen_nothing_ends_and_after_it_everything_does(bench: Bench) -> None:
    """Ensures that a paused schedule is a freeze for every sweep, and that no owner loses a warning by it."""
    [over] = await many(bench, 1, -5)
    [soon] = await many(bench, 1, -5, warnings=["5m"])
    [long_over] = await many(bench, 1, -86400, warnings=["5m"])
    action = ScheduleActionStartWorkflow("none", id="none", task_queue="none")
    schedule = await bench.client.create_schedule(
        SWEEP_SCHEDULE,
        Schedule(
            action=action,
            spec=ScheduleSpec(),
            state=ScheduleState(paused=True, note="Frozen by alice@example.com: a fair"),
        ),
    )
    try:
        async with sweeper(bench.client) as sweep:
            frozen = await sweep()
            assert "a fair" in frozen.frozen
            kept = line_of(frozen.kept, over)
            assert kept
            assert "a fair" in kept.reason
            assert line_of(frozen.kept, soon)
            assert (await over.query(EnvironmentWorkflow.status)).phase is Phase.READY
            await schedule.unpause()
            thawed = await sweep()
            assert line_of(thawed.ended, over)
            assert line_of(thawed.warned, soon), "it ended without the notice that it could not have before"
            status = await soon.query(EnvironmentWorkflow.status)
            assert status.expires_at > datetime.now(UTC) + timedelta(minutes=4)
            assert line_of(thawed.warned, long_over), "a day of being frozen has taken its notice away"
            status = await long_over.query(EnvironmentWorkflow.status)
            assert status.expires_at > datetime.now(UTC) + timedelta(minutes=4)
    finally:
        await schedule.delete()
    await soon.terminate()
    await long_over.terminate()


async def test_a_schedule_that_was_paused_goes_on_with_the_next_sweep(bench: Bench) -> None:
    """Ensures that what was missed while ends were frozen is not made up for, sweep after sweep."""
    # Overlaps are allowed here, so that every started sweep can be counted.
    action = ScheduleActionStartWorkflow("none", id=fresh_name("none"), task_queue="none")
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=1))])
    state = ScheduleState(paused=True, note="a fair")
    policy = SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL, catchup_window=timedelta(days=2))
    schedule = await bench.client.create_schedule(
        fresh_name("paused"), Schedule(action=action, spec=spec, state=state, policy=policy)
    )
    try:
        await asyncio.sleep(8)
        assert (await schedule.describe()).info.num_actions == 0
        unpaused = time.monotonic()
        await schedule.unpause()

        async def began() -> bool:
            return (await schedule.describe()).info.num_actions > 0

        await until(began, "a sweep began")
        count = (await schedule.describe()).info.num_actions
        # One a second since then, and those that were missed if they are made up for: eight.
        due = time.monotonic() - unpaused + 1
        assert count < due + 7, (
            f"{count} sweeps at once: those that were missed while it was paused are made up for"
        )
    finally:
        for started in (await schedule.describe()).info.recent_actions:
            assert isinstance(started.action, ScheduleActionExecutionStartWorkflow)
            await bench.client.get_workflow_handle(started.action.workflow_id).terminate()
        await schedule.delete()


def _due_attributes() -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [
            SearchAttributePair(search_attributes.PHASE, "ready"),
            SearchAttributePair(search_attributes.DUE_AT, datetime.now(UTC) - timedelta(hours=1)),
        ]
    )
