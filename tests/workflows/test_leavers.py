"""Ensures that people who have left lose their access, and that a broken directory removes no access."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from activities import activity_context
from activities.notices.notifications import NotificationChannels, Notifications
from activities.sweeps import leavers as leaver_sweep
from activities.sweeps.leavers import LeaverSweep
from clients.errors import Denied, Rejected, ServerFailed
from clients.smtp import Security, Smtp
from contracts.environment.models import EnvironmentStatus, Outcome, Phase
from contracts.environment_workflow import ExtendInput, TransferInput
from contracts.notifications import NotificationKind
from contracts.sweeps.leavers import (
    LEAVER_WORKFLOW,
    UPDATE_PERSON_LEFT,
    LeaverAction,
    LeaverInput,
    LeaverSweepInput,
    LeaverSweepResult,
)
from contracts.temporal import workflow_memo
from starter.monitoring.warnings import waiting_leavers
from tests.activities.activity_runs import succeed
from tests.activities.notification_receivers import mail_server
from tests.support.deadline import HANG
from tests.support.seeding import ready_status, seed
from tests.support.temporal_server import running_temporal_server
from tests.support.workers import working
from tests.workflows.conftest import LIFE, until
from tests.workflows.real_edge import RealEdge
from tests.workflows.scripted_activities import Script
from tests.workflows.sweeping import is_listed, lives_by, sweeper
from workflows.environment.workflow import EnvironmentWorkflow
from workflows.sweeps.leavers import LeaverSweepWorkflow

Handle = WorkflowHandle[EnvironmentWorkflow, EnvironmentStatus]
PLENTY = tuple(f"p{number}@example.com" for number in range(20))
ADA, BOB = "ada@example.com", "bob@example.com"
TEAM_END = timedelta(days=3)


@dataclass
class Directory:
    """People who are there, and what it says instead."""

    gone: set[str] = field(default_factory=set)
    #: Who is missing at the first look only.
    flickers: set[str] = field(default_factory=set)
    errors: dict[str, Exception] = field(default_factory=dict)
    broken: Exception | None = None
    calls: list[str] = field(default_factory=list)

    async def find_user(self, email: str) -> object | None:
        self.calls.append(email)
        if self.broken:
            raise self.broken
        if email in self.errors:
            raise self.errors[email]
        if email in self.flickers:
            self.flickers.discard(email)
            return None
        return None if email in self.gone else email


@dataclass
class Office:
    """Environments, a directory, and the sweep."""

    client: Client
    queue: str
    directory: Directory
    script: Script
    number: int = 0

    async def environment(
        self, owner: str, *people: str, ends_in: float = 7 * 86400, queue: str = "", **policy: Any
    ) -> Handle:
        self.number += 1
        policy = {"extension": {"times": 9, "total": "9d"}, **policy}
        start = lives_by(f"lv-{os.getpid()}-{self.number}", ttl=timedelta(days=7), **policy)
        spec = start.environment.spec.model_copy(update={"collaborators": people})
        start = start.model_copy(
            update={"environment": start.environment.model_copy(update={"owner": owner, "spec": spec})}
        )
        status = ready_status(start, datetime.now(UTC) + timedelta(seconds=ends_in))
        handle = await seed(self.client, start, status, task_queue=queue or self.queue)
        await is_listed(self.client, handle)
        return handle

    async def sweep(self, **options: Any) -> LeaverSweepResult:
        self.number += 1
        defaults = {"lookups_per_minute": 60_000, "second_look_after": timedelta(milliseconds=10)}
        return await self.client.execute_workflow(
            LeaverSweepWorkflow.run,
            LeaverSweepInput(**{**defaults, **options}),
            id=f"{self.queue}-sweep-{self.number}",
            task_queue=self.queue,
        )


@pytest.fixture(scope="module")
async def temporal() -> AsyncIterator[Client]:
    """A client of a separate server: a sweep looks at all open environments."""
    async with running_temporal_server(pydantic_data_converter) as server:
        yield server.client


@pytest.fixture
async def office(temporal: Client) -> AsyncIterator[Office]:
    directory, script = Directory(), Script()
    office = Office(temporal, f"leavers-{id(directory)}", directory, script)
    sweep = LeaverSweep(temporal, directory)
    activities: list[Callable[..., Any]] = [*script.activities(), sweep.look, sweep.apply]
    async with working(temporal, office.queue, activities, interceptors=[RealEdge("leavers.")]):
        yield office
    query = "WorkflowType = 'EnvironmentWorkflow' AND ExecutionStatus = 'Running'"
    while (await temporal.count_workflows(query)).count:
        async for run in temporal.list_workflows(query):
            try:
                await temporal.get_workflow_handle(run.id).terminate()
            except RPCError:
                continue
        await asyncio.sleep(0.05)


async def status(handle: Handle) -> EnvironmentStatus:
    return await handle.query(EnvironmentWorkflow.status)


async def settled(handle: Handle) -> EnvironmentStatus:
    async def there() -> bool:
        return not (await status(handle)).access.is_pending

    await until(there, "all systems have the change")
    return await status(handle)


def test_the_names_are_those_of_the_workflows() -> None:
    assert workflow._Definition.must_from_class(LeaverSweepWorkflow).name == LEAVER_WORKFLOW
    assert EnvironmentWorkflow.person_left._defn.name == UPDATE_PERSON_LEFT


@pytest.mark.slow
async def test_a_collaborator_who_has_left_is_removed_everywhere(office: Office) -> None:
    one, two = await office.environment(ADA, BOB, *PLENTY), await office.environment(BOB + "x", BOB)
    office.script.members |= {BOB}
    office.script.inside |= {BOB}
    office.directory.gone = {BOB}
    result = await office.sweep()
    assert (result.left, result.brake, result.waiting) == ((BOB,), "", ())
    assert {line.result for line in result.lines} == {f"{BOB} is no collaborator any more"}
    for handle in (one, two):
        assert BOB not in (await settled(handle)).environment.people
    assert BOB not in office.script.members | office.script.inside
    assert office.directory.calls.count(BOB) == 2, "the sweep did not look a second time"
    assert len(office.directory.calls) == len(set(office.directory.calls)) + 1, "a person was asked for twice"
    assert (await office.sweep()).lines == ()


async def test_an_owner_who_has_left_loses_access_and_the_team_gets_an_offer(office: Office) -> None:
    handle = await office.environment(ADA, *PLENTY[:3])
    await office.environment(BOB, *PLENTY)
    office.script.members |= {ADA}
    office.script.inside |= {ADA}
    office.directory.gone = {ADA}
    before = await status(handle)
    result = await office.sweep()
    assert [line.result for line in result.lines] == ["offered to team blue"]
    now = await settled(handle)
    assert now.owner_left
    assert ADA not in office.script.members | office.script.inside
    assert abs(now.expires_at - (now.owner_left.at + TEAM_END)) < timedelta(seconds=1)
    assert now.phase is Phase.READY
    [notice] = office.script.notices
    assert (notice.kind, notice.people, notice.owner_left) == (NotificationKind.OWNER_LEFT, PLENTY[:3], True)
    run = await handle.describe()
    assert await run.memo_value(workflow_memo.OWNER_LEFT) == now.owner_left.at.isoformat()

    extension = ExtendInput(life=LIFE, actor=BOB, by=timedelta(hours=1))
    with pytest.raises(WorkflowUpdateFailedError) as failure:
        await handle.execute_update(EnvironmentWorkflow.extend, extension)
    assert "must take it first" in str(failure.value.cause)
    again = await office.sweep()
    assert again.lines == (), "an owner leaves once"
    await handle.execute_update(EnvironmentWorkflow.transfer, TransferInput(life=LIFE, actor=BOB, person=BOB))
    now = await settled(handle)
    assert now.owner_left is None
    assert now.expires_at == before.expires_at, "the end that it had is not given back"
    run = await handle.describe()
    assert not await run.memo_value(workflow_memo.OWNER_LEFT, "")


@pytest.mark.slow
async def test_an_environment_that_its_team_does_not_take_ends_with_warnings_to_the_platform_team(
    office: Office,
) -> None:
    """Ensures that the platform team gets the offer, the warning and the end by e-mail."""
    handle = await office.environment(ADA, without_owner="2s", warnings=["1s"])
    await office.environment(BOB, *PLENTY)
    office.directory.gone = {ADA}
    result = await office.sweep()
    assert [line.result for line in result.lines] == ["offered to team blue"]
    async with sweeper(office.client) as sweep_ends:

        async def is_closed() -> bool:
            await sweep_ends()
            return (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED

        await until(is_closed, "it has ended")
    ended = await handle.result()
    assert (ended.outcome, ended.phase) == (Outcome.EXPIRED, Phase.GONE)
    left = ended.owner_left
    assert left is not None
    assert ended.expires_at >= left.at + timedelta(seconds=2), "the team had less time than the template says"
    notices = office.script.notices
    assert [(notice.kind, notice.owner_left, notice.people) for notice in notices] == [
        (kind, True, ())
        for kind in (NotificationKind.OWNER_LEFT, NotificationKind.WARNING, NotificationKind.ENDED)
    ]
    assert [entry.action for entry in ended.audit_log].count("notified its people") == len(notices)
    async with mail_server() as mailbox:
        smtp = Smtp(
            "127.0.0.1",
            mailbox.port,
            security=Security.NONE,
            sender="moorage@example.com",
            login=None,
            timeout=timedelta(seconds=HANG),
        )
        channels = Notifications(NotificationChannels(mail=smtp, platform_team=("ops@example.com",)))
        for notice in notices:
            await succeed(channels.send, notice)
    assert [recipients for recipients, _ in mailbox.mails] == [["ops@example.com"]] * len(notices)


async def test_an_end_that_is_nearer_stays(office: Office) -> None:
    handle = await office.environment(ADA, *PLENTY[:3], ends_in=3600)
    await office.environment(BOB, *PLENTY)
    before = await status(handle)
    office.directory.gone = {ADA}
    await office.sweep()
    assert (await status(handle)).expires_at == before.expires_at


async def test_an_owner_who_is_back_gets_access_again(office: Office) -> None:
    handle = await office.environment(ADA, *PLENTY[:3])
    await office.environment(BOB, *PLENTY)
    before = await status(handle)
    office.directory.gone = {ADA}
    await office.sweep()
    await settled(handle)
    office.directory.gone = set()

    async def given_back() -> bool:
        await office.sweep()
        return (await status(handle)).owner_left is None

    await until(given_back, "the owner is back")
    now = await settled(handle)
    assert now.expires_at == before.expires_at
    assert ADA in office.script.members


async def test_who_is_missing_once_keeps_access(office: Office) -> None:
    handle = await office.environment(ADA, *PLENTY)
    office.directory.flickers = {ADA, PLENTY[0]}
    result = await office.sweep()
    assert (result.left, result.lines) == ((), ())
    assert (await status(handle)).owner_left is None


async def warned(client: Client, words: str) -> None:
    """Wait until Temporal lists the sweep that is over, and the one warning about it has these words."""

    async def is_warned() -> bool:
        warnings = await waiting_leavers(client)
        assert len(warnings) <= 1
        return any(words in warning for warning in warnings)

    await until(is_warned, f"a warning says {words!r}")


@pytest.mark.slow
async def test_a_directory_that_lost_its_people_ends_nobodys_access(office: Office) -> None:
    """Ensures that an empty or half an answer waits for a person, and acts for those that were confirmed."""
    handle = await office.environment(ADA, *PLENTY)
    await office.environment(BOB, *PLENTY)
    for gone in ({ADA, BOB, *PLENTY}, {ADA, *PLENTY[:10]}):
        office.directory.gone = gone
        result = await office.sweep()
        assert result.brake
        assert set(result.waiting) == gone
        await warned(office.client, result.brake)
        assert result.lines == ()
        assert (await status(handle)).environment.people == (ADA, *PLENTY)
    office.directory.gone = {ADA, PLENTY[1], PLENTY[5]}
    result = await office.sweep(confirmed=(ADA, PLENTY[0], PLENTY[1]), requested_by="ops@example.com")
    assert result.brake == "", "those who were not confirmed are few enough"
    now = await settled(handle)
    assert now.owner_left
    assert {PLENTY[1], PLENTY[5]}.isdisjoint(now.environment.collaborators)
    assert PLENTY[0] in now.environment.collaborators, "who is there lost access because of the confirmation"
    assert any("confirmed by ops@example.com" in entry.actor for entry in now.audit_log)


async def test_a_directory_that_does_not_answer_ends_nobodys_access(office: Office) -> None:
    handle = await office.environment(ADA, *PLENTY)
    office.directory.broken = Denied("SCIM directory", "find user", "401")
    result = await office.sweep()
    assert "401" in result.problem
    await warned(office.client, "could not be asked")
    assert result.lines == ()
    office.directory.broken = None
    office.directory.gone = {ADA}
    office.directory.errors = {
        PLENTY[0]: Rejected("SCIM directory", "find user", "2 people have this address"),
        PLENTY[1]: ServerFailed("SCIM directory", "find user", "500", status=500),
    }
    result = await office.sweep()
    assert "did not answer about 2 of 21 people" in result.brake
    assert (await status(handle)).environment.people == (ADA, *PLENTY)
    del office.directory.errors[PLENTY[1]]
    assert (await office.sweep()).unclear == 1
    assert (await status(handle)).owner_left


async def test_an_environment_that_does_not_answer_keeps_no_other_from_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that the sweep reports it, and reaches the environments after it."""
    monkeypatch.setattr(leaver_sweep, "UPDATE_TIMEOUT", timedelta(seconds=1))
    answering = [await office.environment(ADA, BOB, *PLENTY)]
    await office.environment(ADA, BOB, queue="no-worker")
    answering.append(await office.environment(ADA, BOB))
    office.directory.gone = {BOB}
    result = await office.sweep()
    assert [line.result for line in result.lines if line.failed] == ["it gave no answer in time"]
    assert len(result.lines) == 3
    for handle in answering:
        assert BOB not in (await status(handle)).environment.people


async def test_the_lookups_are_paced(office: Office) -> None:
    await office.environment(ADA, *PLENTY)
    started = asyncio.get_running_loop().time()
    await office.sweep(lookups_per_minute=1200)
    took = asyncio.get_running_loop().time() - started
    assert took >= 21 * 60 / 1200, f"21 people in {took:.1f} s are more than 1200 in a minute"


@pytest.fixture
def unpaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep in batches that waits for nothing between two people."""

    async def at_once(_seconds: float) -> None:
        pass

    monkeypatch.setattr(activity_context, "sleep", at_once)


async def test_a_large_directory_delays_no_leaver(office: Office, unpaced: None) -> None:
    """Ensures that access ends after each batch, before the people of the next one are asked for."""
    await office.environment(PLENTY[0], *PLENTY[1:])
    first = await office.environment("a@example.com", *PLENTY)
    last = await office.environment("z@example.com")
    office.directory.gone = {"a@example.com", "z@example.com"}
    # In order: a, p0, p1, p10 to p19, p2 to p9, z; eight in a batch, and the second stops at p17.
    office.directory.errors = {PLENTY[17]: Denied("SCIM directory", "find user", "401")}
    # The brake lets go more of eight people than one.
    stopped = await office.sweep(lookups_per_minute=2, limit_percent=50)
    assert "401" in stopped.problem
    assert stopped.sentence.startswith("the sweep stopped after 7 people: ")
    assert (await settled(first)).owner_left, "the first batch waited for the others"
    assert not (await status(last)).owner_left
    office.directory.errors = {}
    office.directory.calls.clear()
    result = await office.sweep(lookups_per_minute=2, limit_percent=50)
    assert (result.problem, result.asked, result.left) == ("", 22, ("z@example.com",))
    assert len(set(office.directory.calls)) == 22
    assert (await settled(last)).owner_left


async def test_an_environment_that_is_being_torn_down_is_left_alone(office: Office) -> None:
    handle = await office.environment(ADA, *PLENTY)
    ask = LeaverInput(life="another", actor="the leaver sweep", person=ADA, action=LeaverAction.LEFT)
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update(EnvironmentWorkflow.person_left, ask)
    assert (await status(handle)).owner_left is None
    stranger = ask.model_copy(update={"life": LIFE, "person": "x@example.com"})
    answer = await handle.execute_update(EnvironmentWorkflow.person_left, stranger)
    assert answer == "x@example.com is not one of its people"
