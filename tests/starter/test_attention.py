"""What needs attention: queues without workers, overdue sweeps, stuck environments; Temporal is a fake."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import PollerInfo
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeTaskQueueResponse
from temporalio.service import RPCError, RPCStatusCode

from contracts.environment.models import System
from contracts.temporal.task_queues import OwnQueues
from starter.api import health
from starter.monitoring import warnings
from starter.monitoring.warnings import Attention, find_unpolled_queues, overdue_sweep, stuck_environments
from worker.settings.groups.expiry import Sweep

WORKFLOWS = ("moorage", TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW)
STEPS = ("moorage", TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
UNDOS = ("moorage-undo", TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)


class Pretended:
    """A client of Temporal that answers what it is given."""

    namespace = "default"

    def __init__(self, **given: Any) -> None:
        self.polls: dict[Any, list[float]] = given.get("polls", {WORKFLOWS: [1], STEPS: [1], UNDOS: [1]})
        self.schedule: Any = given.get("schedule")
        self.counts: list[int] = given.get("counts", [0, 0])
        self.queries: list[str] = []
        self.asked = 0
        self.error: RPCError | None = given.get("error")
        self.workflow_service = self

    async def describe_task_queue(
        self, request: DescribeTaskQueueRequest, **_: Any
    ) -> DescribeTaskQueueResponse:
        self.asked += 1
        if self.error:
            raise self.error
        answer = DescribeTaskQueueResponse()
        for ago in self.polls.get((request.task_queue.name, request.task_queue_type), []):
            poller = PollerInfo()
            poller.last_access_time.FromDatetime(datetime.now(UTC) - timedelta(seconds=ago))
            answer.pollers.append(poller)
        return answer

    async def describe_namespace(self, *_: Any, **__: Any) -> None:
        if self.error:
            raise self.error

    def get_schedule_handle(self, _: str) -> Any:
        async def describe(**_: Any) -> Any:
            if self.schedule is None:
                raise RPCError("none", RPCStatusCode.NOT_FOUND, b"")
            return self.schedule

        return SimpleNamespace(describe=describe)

    async def count_workflows(self, query: str, **_: Any) -> Any:
        self.queries.append(query)
        return SimpleNamespace(count=self.counts[(len(self.queries) - 1) % 2])

    async def list_workflows(self, query: str, *, limit: int, **_: Any) -> Any:
        if query not in self.queries:
            return  # of leavers, of whom there are none
        for number in range(min(limit, self.counts[self.queries.index(query)])):
            yield SimpleNamespace(id=f"environment/env-{number}")


def scheduled(*ran: float, created: float = 9000, paused: bool = False, note: str = "") -> Any:
    """A schedule with sweeps so many seconds ago."""
    now = datetime.now(UTC)
    return SimpleNamespace(
        info=SimpleNamespace(
            created_at=now - timedelta(seconds=created),
            last_updated_at=None,
            recent_actions=[SimpleNamespace(started_at=now - timedelta(seconds=ago)) for ago in ran],
        ),
        schedule=SimpleNamespace(state=SimpleNamespace(paused=paused, note=note)),
    )


@pytest.mark.parametrize(
    ("polls", "missing"),
    [
        ({WORKFLOWS: [50, 3], STEPS: [60], UNDOS: [1]}, []),
        ({WORKFLOWS: [70, 200], STEPS: [1], UNDOS: [1]}, ["workflows"]),
        ({WORKFLOWS: [1], STEPS: [], UNDOS: [1]}, ["steps"]),
        ({WORKFLOWS: [1], STEPS: [1], UNDOS: [66]}, ["undos and sweeps"]),
        ({}, ["workflows", "steps", "undos and sweeps"]),
    ],
)
async def test_queues_without_a_worker(polls: dict[Any, list[float]], missing: list[str]) -> None:
    """Ensures that each task queue that no worker has polled within a minute is named."""
    found = await find_unpolled_queues(Pretended(polls=polls))  # type: ignore[arg-type]
    assert [one.split("asked for ")[1].split(" (task queue ")[0] for one in found] == missing


@pytest.mark.parametrize(
    ("schedule", "is_overdue"),
    [
        # Made within the test: a busy machine may come to it minutes after this file was loaded.
        (lambda: None, True),
        (lambda: scheduled(30, 90), False),
        (lambda: scheduled(200, 260), True),
        (lambda: scheduled(created=20), False),
        (lambda: scheduled(created=300), True),
        (lambda: scheduled(9000, paused=True), False),
        (
            lambda: scheduled(9000, note=f"Thawed by a@b.c at {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"),
            False,
        ),
        (lambda: scheduled(9000, note="Thawed by a@b.c at 2020-01-01T00:00:00Z"), True),
        (lambda: scheduled(9000, note="Thawed by a@b.c at noon"), True),
    ],
)
async def test_no_sweep_runs(schedule: Callable[[], Any], is_overdue: bool) -> None:
    """Ensures that an overdue sweep is reported, but not one that is frozen or was just thawed."""
    found = await overdue_sweep(Pretended(schedule=schedule()), Sweep())  # type: ignore[arg-type]
    assert bool(found) == is_overdue, found


async def test_environments_are_stuck() -> None:
    """Ensures that those who wait for a person, or are not ready for long, are counted and named."""
    sentences, names = await stuck_environments(Pretended(counts=[1, 12]))  # type: ignore[arg-type]
    assert sentences == (
        "1 environment whose teardown waits for a person.",
        "12 environments not ready after 20m.",
    )
    assert len(names) == 11
    assert await stuck_environments(Pretended()) == ((), ())  # type: ignore[arg-type]


async def test_probes_do_not_multiply(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that Temporal is asked now and then, however often probes ask; what it hides is no worry."""
    client = Pretended(polls={}, schedule=scheduled(1), counts=[2, 0])
    ours = Attention(client, Sweep())  # type: ignore[arg-type]
    first = await ours.warnings()
    assert [await ours.warnings() for _ in range(5)] == [first] * 5
    assert client.asked == 3
    assert len(first) == 4
    assert "env-0" not in " ".join(first), "anybody may read these"
    monkeypatch.setattr(warnings, "READ_INTERVAL_SECONDS", 0.0)
    client.error = RPCError("not for you", RPCStatusCode.PERMISSION_DENIED, b"")
    assert await ours.warnings() == ()
    client.error = RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
    with pytest.raises(RPCError):
        await ours.warnings()


async def test_a_host_without_a_worker_is_named_with_the_command_that_starts_one() -> None:
    now = 0
    polls = {
        WORKFLOWS: [now],
        STEPS: [now],
        UNDOS: [now],
        ("moorage-host-eu", TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY): [120],
        ("moorage-undo-host-eu", TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY): [now],
        ("moorage-control-plane", TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY): [now],
    }
    own = OwnQueues(hosts=frozenset({"eu"}), systems=frozenset({System.CONTROL_PLANE}))
    found = await find_unpolled_queues(Pretended(polls=polls), own)  # type: ignore[arg-type]
    assert found == (
        "No worker has asked for undos in the control plane (task queue moorage-undo-control-plane) at all: "
        "start one.",
        "No worker has asked for steps on host eu (task queue moorage-host-eu) for 2m: start one: "
        "moorage worker --host eu.",
    )


async def test_readyz_is_degraded_while_the_worker_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that the API stays in service, and says what is missing only until a worker polls."""
    monkeypatch.setattr(warnings, "READ_INTERVAL_SECONDS", 0.0)
    client = Pretended(schedule=scheduled(1))
    app = FastAPI()
    app.include_router(health.router)
    app.state.client, app.state.attention = client, Attention(client, Sweep())  # type: ignore[arg-type]
    app.state.catalogue = app.state.tokens = SimpleNamespace(current=lambda: None, problems=())
    app.state.issuers = None
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as http:
        assert (await http.get("/readyz")).json() == {"status": "ok"}
        running, client.polls = client.polls, {queue: [600.0] for queue in client.polls}
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        for queue in ("moorage", "moorage-undo"):
            assert f"(task queue {queue}) for 10m: start one." in answer.json()["remark"]
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        client.polls = running
        assert (await http.get("/readyz")).json() == {"status": "ok"}
