"""Ensures that an end is moved, warned of and carried out by the rules, and by Temporal's time."""

import asyncio
import contextlib
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowUpdateFailedError
from temporalio.service import RPCError

from contracts.environment.models import Outcome, Phase, StepName
from contracts.environment_workflow import (
    ENVIRONMENT_WORKFLOW,
    QUERY_DUE,
    UPDATE_EXPIRE,
    UPDATE_WARN,
    DueInput,
    ExtendInput,
)
from contracts.errors import RefusalReason
from contracts.expiry import DueKind
from contracts.notifications import NotificationKind
from contracts.temporal import search_attributes
from tests.workflows.conftest import LIFE, Bench, accepted_updates, until
from tests.workflows.scripted_activities import fails, fails_for_good, waits
from tests.workflows.sweeping import SWEPT, Handle, fresh_name, lives_by, refused, seeded
from workflows.environment.workflow import EnvironmentWorkflow

pytestmark = pytest.mark.slow

ALICE = "alice@example.com"
LATE = timedelta(seconds=10)


async def expires_at(handle: Handle) -> datetime:
    return (await handle.query(EnvironmentWorkflow.status)).expires_at


async def extend(handle: Handle, id: str | None = None, **ask: object) -> object:
    update = EnvironmentWorkflow.extend
    return await handle.execute_update(update, ExtendInput(**{"actor": ALICE, "life": LIFE, **ask}), id=id)


def test_the_names_that_activities_call() -> None:
    """Ensures that what the sweep asks for by name is there by that name."""
    definition = workflow._Definition.must_from_class(EnvironmentWorkflow)
    assert definition.name == ENVIRONMENT_WORKFLOW
    assert QUERY_DUE in definition.queries
    assert {UPDATE_WARN, UPDATE_EXPIRE} <= set(definition.updates)


async def test_an_extension_moves_the_end_everywhere(bench: Bench) -> None:
    """Ensures that the new end is in the status, the search attribute and, with who asked, the trail."""
    handle = await seeded(
        bench.client, bench.task_queue, 3600, extension={"times": 2, "total": "2h"}, warnings=["10m"]
    )
    before = await expires_at(handle)
    answer = await extend(handle, "e-1", by=timedelta(hours=1))
    assert await extend(handle, "e-1", by=timedelta(hours=1)) == answer, "a repeat was carried out again"
    status = await handle.query(EnvironmentWorkflow.status)
    assert status.expires_at == before + timedelta(hours=1)
    attributes = (await handle.describe()).typed_search_attributes
    assert abs(attributes[search_attributes.EXPIRES_AT] - status.expires_at) < timedelta(milliseconds=1)
    assert abs(attributes[search_attributes.DUE_AT] - status.term.due_at) < timedelta(milliseconds=1)
    [line] = status.audit_log
    assert (line.actor, line.action, line.ends_at) == (ALICE, "extended it by 1h", status.expires_at)

    refusal = await refused(extend(handle, by=timedelta(hours=2)))
    assert refusal.reason is RefusalReason.BEYOND_POLICY
    assert refusal.latest == before + timedelta(hours=2)
    assert "2 times and 2h in all" in refusal.message
    updates = await accepted_updates(handle)
    await refused(extend(handle, until=before))
    assert await accepted_updates(handle) == updates, "a refusal is in the history"

    assert (await refused(extend(handle, by=timedelta(days=9), override=True))).message.endswith("reason.")
    await extend(handle, by=timedelta(days=9), override=True, reason="a demo")
    status = await handle.query(EnvironmentWorkflow.status)
    assert status.expires_at == before + timedelta(days=9, hours=1)
    assert "beyond what its template allows" in status.audit_log[-1].action
    assert "a demo" in status.audit_log[-1].result
    await handle.terminate()


async def test_an_extension_of_what_is_ending_comes_too_late(bench: Bench) -> None:
    """Ensures that an extension after the start of the end is rejected."""
    bench.script.before["project.ensure"] = waits
    bench.script.before["project.remove"] = fails(20)
    life = await bench.begin(
        lives_by(fresh_name(), timedelta(milliseconds=1), extension={"times": 9, "total": "9d"})
    )
    await bench.script.started["project.ensure"].wait()
    await life.handle.execute_update(EnvironmentWorkflow.expire, SWEPT)
    refusal = await refused(extend(life.handle, by=timedelta(hours=1)))
    assert refusal.reason is RefusalReason.BEING_TORN_DOWN
    again = await refused(life.handle.execute_update(EnvironmentWorkflow.expire, SWEPT))
    assert again.reason is RefusalReason.NOT_DUE
    bench.script.before.clear()
    assert (await life.handle.result()).outcome is Outcome.EXPIRED


async def test_one_that_is_still_being_made_past_its_end_is_ended_and_undone(bench: Bench) -> None:
    """Ensures that `provisioning` is no way to live for ever."""
    bench.script.before["vcluster.ensure"] = waits
    life = await bench.begin(lives_by(fresh_name(), timedelta(milliseconds=1), warnings=["15m"]))
    await bench.script.started["vcluster.ensure"].wait()
    answer = await life.handle.execute_update(EnvironmentWorkflow.expire, SWEPT)
    assert "before it was ready" in answer.result
    status = await life.handle.result()
    assert status.outcome is Outcome.EXPIRED
    assert not bench.script.world
    assert [notice.kind for notice in bench.script.notices] == [NotificationKind.ENDED]


async def test_it_ends_with_a_warning_first_and_the_end_counts_from_it(bench: Bench) -> None:
    """Ensures that an end that was not warned of in time moves, says so, and is then carried out."""
    handle = await seeded(bench.client, bench.task_queue, -3600, warnings=["20s", "10s"])
    was = await expires_at(handle)
    asked = DueInput(now=datetime.now(UTC))
    assert (await handle.query(EnvironmentWorkflow.due, asked)).kind is DueKind.WARN
    assert (await refused(handle.execute_update(EnvironmentWorkflow.expire, SWEPT))).reason is (
        RefusalReason.NOT_DUE
    ), "it would have ended without a warning"
    answer = await handle.execute_update(EnvironmentWorkflow.warn, SWEPT)
    assert "later than it was to, because the warning is late" in answer.result
    status = await handle.query(EnvironmentWorkflow.status)
    assert status.expires_at == status.warnings[-1].at + timedelta(seconds=10)
    assert "could not be recorded in time" in status.audit_log[0].result
    await refused(handle.execute_update(EnvironmentWorkflow.warn, SWEPT))
    await refused(handle.execute_update(EnvironmentWorkflow.expire, SWEPT))
    await asyncio.sleep((status.expires_at - datetime.now(UTC)).total_seconds() + 0.1)
    await handle.execute_update(EnvironmentWorkflow.expire, SWEPT)
    status = await handle.result()
    assert status.outcome is Outcome.EXPIRED
    warning, ended = bench.script.notices
    assert (warning.kind, ended.kind) == (NotificationKind.WARNING, NotificationKind.ENDED)
    assert warning.moved == status.expires_at - was
    assert warning.id != ended.id
    assert [line.action for line in status.audit_log].count("notified its people") == 2


async def test_a_word_from_before_is_not_obeyed_later(bench: Bench) -> None:
    """Ensures that what a sweep has said before a freeze does not come about after it."""
    handle = await seeded(bench.client, bench.task_queue, -60)
    stale = SWEPT.model_copy(update={"valid_until": datetime.now(UTC) - timedelta(seconds=1)})
    assert (
        "asked too late" in (await refused(handle.execute_update(EnvironmentWorkflow.expire, stale))).message
    )
    assert (await handle.query(EnvironmentWorkflow.status)).phase is Phase.READY
    await handle.terminate()


async def test_failed_notices_and_records_do_not_block_a_teardown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that a teardown with dead notices and dead sinks ends, and its trail says what was not done."""
    bench.script.before["notification.send"] = fails_for_good()
    bench.script.before["audit_log.write"] = fails_for_good()
    handle = await seeded(bench.client, bench.task_queue, -60)
    await handle.execute_update(EnvironmentWorkflow.expire, SWEPT)
    status = await handle.result()
    assert status.outcome is Outcome.EXPIRED
    said = {line.action for line in status.audit_log}
    assert {"could not tell its people", "could not hand over its account"} <= said


async def test_the_account_is_handed_over_at_the_end_of_every_life(bench: Bench) -> None:
    """Ensures that trail and certificate are kept beyond Temporal's retention, however a life ends."""
    bench.script.after["group.ensure"] = fails_for_good()
    failed = await bench.begin()

    async def over() -> bool:
        return bool(bench.script.accounts)

    await until(over, "its account was handed over")
    [account] = bench.script.accounts
    assert (account.name, account.outcome) == (failed.start.environment.name, Outcome.FAILED)
    assert account.certificate
    assert account.certificate.nothing_left
    assert (account.audit_log[0].action, account.audit_log[-1].action) == ("asked for it", "gone")
    assert [one.step for one in account.steps] == [StepName.PROJECT], "the only step that was done"
    assert account.steps[0].took >= timedelta(0)
    assert (account.usable_at, account.ready_at) == (None, None)
    assert account.problem
    assert account.problem.step == StepName.GROUP


async def rejection_of(update: Any) -> str:
    """Return why an update was rejected, or "" if it was accepted."""
    try:
        await update
    except (WorkflowUpdateFailedError, RPCError) as error:
        return str(error.__cause__ or error)
    return ""


async def race(bench: Bench, ends_in: float) -> bool:
    """Extend and end one at once, as its end comes; whether it was extended. Never both, never neither."""
    handle = await seeded(
        bench.client,
        bench.task_queue,
        ends_in,
        extension={"times": 1, "total": "1d"},
        name=fresh_name("race"),
    )
    status = await handle.query(EnvironmentWorkflow.status)
    if (left := (status.expires_at - datetime.now(UTC)).total_seconds()) > 0:
        await asyncio.sleep(left)

    async def extending() -> bool:
        await asyncio.sleep(random.uniform(0, 0.01))
        said = await rejection_of(extend(handle, by=timedelta(hours=1)))
        if said and not ("torn down" in said or "completed" in said):
            pytest.fail(f"the extension failed otherwise: {said}")
        return not said

    async def ending() -> bool:
        await asyncio.sleep(random.uniform(0, 0.01))
        while said := await rejection_of(handle.execute_update(EnvironmentWorkflow.expire, SWEPT)):
            if "it ends" not in said:
                pytest.fail(f"the end failed otherwise: {said}")
            if await expires_at(handle) > status.expires_at:
                return False
            await asyncio.sleep(0.005)
        return True

    extended, ended = await asyncio.gather(extending(), ending())
    assert extended != ended, f"extended is {extended}, and ended is {ended}"
    if extended:
        kept = await handle.query(EnvironmentWorkflow.status)
        assert (kept.phase, kept.expires_at) == (Phase.READY, status.expires_at + timedelta(hours=1))
    else:
        assert (await handle.query(EnvironmentWorkflow.status)).outcome is Outcome.EXPIRED
    # What an end leads to is not what they race for; it may be over already.
    with contextlib.suppress(RPCError):
        await handle.terminate()
    return extended


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.chaos)])
async def test_twenty_extensions_a_round_at_the_very_instant_of_the_end(bench: Bench, rounds: int) -> None:
    """Ensures that an extension is either accepted and kept, or rejected and the environment ends.

    A thousand times, when the worst is done to it; fewer in the everyday run.
    """
    extended = 0
    for ends_in in (0.5, *[-1.0] * (rounds - 1)):
        extended += sum(await asyncio.gather(*(race(bench, ends_in) for _ in range(20))))
    races = 20 * rounds
    assert races / 20 < extended < races * 19 / 20, f"it was no race: {extended} of {races} were extended"
