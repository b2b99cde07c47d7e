"""Ensures that a worker is asked only for what can have changed, and missed within seconds."""

import asyncio
import dataclasses
import time
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import WorkflowExecutionStatus

from contracts.environment.models import Phase, Restore, StepName, StepState
from contracts.types.naming import workflow_id
from starter.environments import reader as reader_module
from starter.environments.reader import EnvironmentReader, EnvironmentSnapshot
from starter.environments.schemas import AccessView, Progress, StepView, Unwell
from tests.api.test_sign_in import STANDING


class Scripted(EnvironmentReader):
    """A reader whose run has the given length of history, and whose worker counts what it is asked."""

    def __init__(self) -> None:
        super().__init__(cast(Any, None))
        self.decoded = 0
        self.length, self.run_id, self.asked, self.worker = 10, "r", 0, True
        self.described = 0
        self.pending: list[str] = []
        self.run_status = WorkflowExecutionStatus.RUNNING
        self.temporal = asyncio.Event()
        self.temporal.set()

    async def _describe(self, name: str) -> DescribeWorkflowExecutionResponse:
        self.described += 1
        await self.temporal.wait()
        described = DescribeWorkflowExecutionResponse()
        info = described.workflow_execution_info
        info.execution.workflow_id, info.execution.run_id = workflow_id(name), self.run_id
        info.history_length, info.status = self.length, int(self.run_status)  # type: ignore[assignment]
        described.pending_activities.extend(
            PendingActivityInfo(activity_id=activity) for activity in self.pending
        )
        return described

    def _run(self, described: DescribeWorkflowExecutionResponse) -> Any:
        self.decoded += 1
        info = described.workflow_execution_info
        fields = {"run_id": info.execution.run_id, "history_length": info.history_length}
        fields |= {"id": info.execution.workflow_id, "raw_description": described}
        return type("Run", (), fields | {"status": self.run_status})

    async def _query_status(self, id: str, run_id: str) -> tuple[Any, str]:
        self.asked += 1
        return ("status", "") if self.worker else (None, "No worker is answering.")

    async def end_of(self, run: Any) -> Any:
        return "end"

    async def _progress(self, run: Any) -> Any:
        pending = run.raw_description.pending_activities
        return {"step": Progress(waiting_for="it")} if pending else {}

    async def _snapshot(
        self, run: Any, status: Any, progress: Any, remark: str, known_at: int = 0
    ) -> EnvironmentSnapshot:
        view = STANDING.view.model_copy(update={"remark": remark, "steps": _steps(progress)})
        return EnvironmentSnapshot(**{**vars(STANDING), "run_id": run.run_id, "history_length": known_at,
                           "status": status, "view": view})  # fmt: skip


def _steps(progress: Any) -> tuple[StepView, ...]:
    return tuple(
        StepView(step=StepName.NAMESPACE, system="host cluster", state=StepState.RUNNING, progress=one)
        for one in progress.values()
    )


async def test_a_step_that_has_just_ended_is_not_shown_as_running() -> None:
    """Ensures that a view with progress is made again, although the history is as long as then."""
    reader = Scripted()
    reader.pending = ["1"]
    running = await reader.read("demo")
    assert running
    assert running.view.steps
    reader.pending = []
    ended = await reader.read("demo")
    assert ended
    assert not ended.view.steps


async def test_a_run_that_has_closed_is_read_whatever_its_history() -> None:
    reader = Scripted()
    await reader.read("demo")
    reader.run_status = WorkflowExecutionStatus.TERMINATED
    closed = await reader.read("demo")
    assert closed
    assert closed.status == "end"


async def test_an_unchanged_history_is_not_asked_about() -> None:
    reader = Scripted()
    for _ in range(20):
        assert await reader.read("demo")
    assert reader.asked == 1
    assert reader.decoded == 1, "what Temporal says of an unchanged run is decoded again"
    reader.pending = ["1"]
    await reader.read("demo")
    assert reader.decoded == 2, "an activity that has just started is not shown"
    reader.pending = []
    reader.length += 1
    await reader.read("demo")
    await reader.read("demo")
    assert reader.asked == 2
    reader.run_id = "continued as new"
    await reader.read("demo")
    assert reader.asked == 3
    await reader.read("other")
    assert reader.asked == 4


async def test_what_is_at_rest_is_not_put_together_again() -> None:
    """Ensures that it is while a step is under way: what that waits for changes without the history."""
    reader = Scripted()
    first = await reader.read("demo")
    assert await reader.read("demo") is first
    reader.pending = ["vcluster"]
    assert await reader.read("demo") is not first
    assert reader.asked == 1


async def test_a_worker_that_has_gone_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that what has not changed is still shown, with a remark, and that no reader waits."""
    reader = Scripted()
    await reader.read("demo")
    reader.worker = False
    monkeypatch.setattr(reader_module, "STATUS_VALID_SECONDS", 0.0)
    first = await reader.read("demo")
    assert first
    assert (first.status, first.view.remark) == ("status", "")
    await checked(reader)
    monkeypatch.setattr(reader_module, "STATUS_VALID_SECONDS", 3600.0)
    for _ in range(3):
        snapshot = await reader.read("demo")
        assert snapshot
        assert (snapshot.status, snapshot.view.remark) == ("status", "No worker is answering.")
    monkeypatch.setattr(reader_module, "STATUS_VALID_SECONDS", 0.0)
    reader.worker = True
    await reader.read("demo")
    await checked(reader)
    snapshot = await reader.read("demo")
    assert snapshot
    assert snapshot.view.remark == ""
    await checked(reader)
    reader.worker = False
    reader.length += 1
    snapshot = await reader.read("demo")
    assert snapshot
    assert (snapshot.status, snapshot.view.remark) == (None, "No worker is answering."), "it may have changed"


async def test_who_follows_an_environment_learns_that_no_worker_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ensures that a watched environment at rest, which no other caller reads, is shown with the remark."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reader = Scripted()
    last = await reader.read("demo")
    reader.worker = False
    for _ in range(3):
        now[0] += reader_module.STATUS_VALID_SECONDS
        last = await reader.read("demo", last)
        await checked(reader)
    assert last
    assert (last.status, last.view.remark) == ("status", "No worker is answering.")
    reader.worker = True
    for _ in range(2):
        last = await reader.read("demo", last)
        await checked(reader)
    assert last
    assert (last.status, last.view.remark) == ("status", "")
    assert reader.asked == 5, "a worker is asked more often than is needed"


async def test_who_follows_an_environment_keeps_its_last_status_while_no_worker_answers() -> None:
    """Ensures that what others read meanwhile is not that status: it may have changed."""
    reader = Scripted()
    last = await reader.read("demo")
    reader.worker = False
    reader.length += 1
    for _ in range(2):
        last = await reader.read("demo", last)
        assert last
        assert (last.status, last.view.remark) == ("status", "No worker is answering.")
    other = await reader.read_recent("demo")
    assert other
    assert (other.status, other.view.remark) == (None, "No worker is answering.")
    reader.worker = True
    last = await reader.read("demo", last)
    assert last
    assert (last.status, last.history_length, last.view.remark) == ("status", reader.length, "")


async def test_the_health_of_a_followed_environment_is_not_taken_for_its_status() -> None:
    """Ensures that it is not shown to others when the host no longer says it."""
    last = await Scripted().read("demo")
    assert last
    unwell = Unwell(what="its pod is gone", since=datetime.now(UTC))
    last = dataclasses.replace(last, view=last.view.model_copy(update={"unwell": unwell}))
    reader = Scripted()
    assert await reader.read("demo", last) == last
    assert reader.asked == 0
    other = await reader.read("demo")
    assert other
    assert other.view.unwell is None


async def checked(reader: EnvironmentReader) -> None:
    """Wait until the reader has asked for its worker."""
    await asyncio.gather(*(known.check for known in reader._known.values() if known.check))


async def test_what_is_trusted_does_not_live_on_by_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that a status expires by the time since a worker reported it."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reader = Scripted()
    for _ in range(30):
        await reader.read("demo")
        await checked(reader)
        now[0] += 1.0
    assert reader.asked == 6
    assert len(reader._known) == 1
    for number in range(reader_module.MAX_STATUSES + 20):
        await reader.read(f"other-{number}")
    assert len(reader._known) == reader_module.MAX_STATUSES


async def test_a_ready_environment_is_shown_again_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that views share a call to Temporal, and that a change is never based on such a view."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reader = Scripted()
    shown = [await reader.read_recent("demo") for _ in range(5)]
    assert reader.described == 1
    assert all(one is shown[0] for one in shown)
    await reader.read("demo")
    assert reader.described == 2, "a change is based on what Temporal says now"
    now[0] += reader_module.REST_VALID_SECONDS
    await reader.read_recent("demo")
    assert reader.described == 3, "it was shown for longer than it is valid"


async def test_a_view_is_not_older_than_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that a caller sees what it has just changed, also if a read was under way meanwhile."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reader = Scripted()
    reading = asyncio.ensure_future(reader.read_recent("demo"))
    await asyncio.sleep(0)
    now[0] += 0.01
    reader.note_change()
    await reading
    await reader.read_recent("demo")
    assert reader.described == 2


@pytest.mark.parametrize("change", ["working", "pending people", "restore", "no worker"])
async def test_only_a_ready_environment_at_rest_is_shown_again(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that progress, and a worker that is gone, are seen at once."""
    reader = Scripted()
    await reader.read_recent("demo")
    known = reader._known["demo"]
    if change == "working":
        view = known.snapshot.view.model_copy(update={"phase": Phase.PROVISIONING})
        known.snapshot = dataclasses.replace(known.snapshot, view=view)
    elif change == "pending people":
        view = known.snapshot.view.model_copy(update={"access": AccessView(granting=("bob@example.com",))})
        known.snapshot = dataclasses.replace(known.snapshot, view=view)
    elif change == "restore":
        restore = Restore(number=1, actor="bob@example.com", started_at=known.snapshot.view.requested_at)
        view = known.snapshot.view.model_copy(update={"restore": restore})
        known.snapshot = dataclasses.replace(known.snapshot, view=view)
    else:
        known.remark = "No worker is answering."
    await reader.read_recent("demo")
    assert reader.described == 2


async def test_a_change_is_seen_also_while_temporal_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that the view of a moment ago, which is shown meanwhile, is not one from before a change."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reader = Scripted()
    await reader.read_recent("demo")
    now[0] += reader_module.REST_VALID_SECONDS
    reader.temporal.clear()
    asking = asyncio.create_task(reader.read_recent("demo"))
    await asyncio.sleep(0)
    reader.note_change()
    now[0] += reader_module.MAX_WAIT_SECONDS
    for _ in range(10):
        await asyncio.sleep(0)
    assert not asking.done(), "it has shown a view from before the change"
    now[0] += 0.01
    reader.temporal.set()
    assert await asking
    assert reader.described == 3, "it has shown what was read from before the change"


async def test_readers_do_not_wait_for_a_call_that_is_slow_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that one call to a slow Temporal delays only those who read when it starts."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reader = Scripted()
    first = await reader.read_recent("demo")
    now[0] += reader_module.REST_VALID_SECONDS
    reader.temporal.clear()
    waiting = asyncio.create_task(reader.read_recent("demo"))
    await asyncio.sleep(0)
    assert not waiting.done(), "it does not wait for a call that may be fast"
    now[0] += reader_module.MAX_WAIT_SECONDS
    assert await waiting is first
    later = asyncio.create_task(reader.read_recent("demo"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert later.done(), "it waits again for the same call"
    assert await later is first
    assert reader.described == 2
    reader.temporal.set()


async def test_a_view_is_read_again_before_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that people who read all the time do not wait for Temporal, however fast it is."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reader = Scripted()
    await reader.read_recent("demo")
    now[0] += reader_module.REST_VALID_SECONDS / 2
    await reader.read_recent("demo")
    assert reader.described == 1
    now[0] += reader_module.REST_VALID_SECONDS * 0.4
    reader.temporal.clear()
    for _ in range(3):
        reading = asyncio.create_task(reader.read_recent("demo"))
        await asyncio.sleep(0)
        assert reading.done(), "a valid view is not shown at once"
    assert reader.described == 2
    reader.temporal.set()


async def test_one_query_tells_of_the_worker_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that readers of many environments ask as seldom as those of one."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reader = Scripted()
    for number in range(20):
        await reader.read(f"demo-{number}")
    assert reader.asked == 20
    now[0] += reader_module.STATUS_VALID_SECONDS
    for number in range(20):
        await reader.read(f"demo-{number}")
        await checked(reader)
    assert reader.asked == 21
    reader.worker = False
    now[0] += reader_module.STATUS_VALID_SECONDS
    for number in range(20):
        await reader.read(f"demo-{number}")
    await checked(reader)
    for number in range(20):
        snapshot = await reader.read(f"demo-{number}")
        assert snapshot
        assert snapshot.view.remark == "No worker is answering."
    reader.worker = True
    await checked(reader)
    await reader.read("demo-1")
    await checked(reader)
    snapshot = await reader.read("demo-1")
    assert snapshot
    assert snapshot.view.remark == ""
