"""Ensures that workers of two versions serve side by side, and that all lives move from one to the other.

The two are builds that cannot replay each other's histories. `TEST_LIVES` is how many lives there are.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from contracts.environment_workflow import ENVIRONMENT_WORKFLOW
from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.postgres.deployment import another_build, make_current, open_runs, until_all_run_on
from tests.support.fault_points import UNMAKING
from tests.support.stack import HURRY, client_of, hurried
from tests.support.stand_ins import set_faults
from tests.support.worker_processes import WorkerProcess

LIVES = int(os.environ.get("TEST_LIVES", "50"))
#: Of five groups of lives each is in another phase at an upgrade.
EACH = LIVES // 5
#: So long is a request under way, so that many are when the version changes.
START_SECONDS = 3.0
LONGEST = 1200.0
pytestmark = [pytest.mark.postgres, pytest.mark.timeout(LONGEST)]


def version(name: str) -> dict[str, str]:
    return {"MOORAGE_WORKER__VERSION": name}


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """A stack whose worker is version 1, which is current; its audits come quickly."""
    options = hurried(
        environment={"MOORAGE_CAPACITY__AUDIT": "2s"},
        environment_of={Part.WORKER: version("v1")},
        stand_ins={Part.HOST: {"start_seconds": START_SECONDS, "stop_seconds": 1.0}},
        timeouts=HURRY.model_copy(
            update={"give_up_after": timedelta(seconds=20), "undo_timeout": timedelta(seconds=5)}
        ),
        waits_for_host=False,
    )
    async with Stack(tmp_path / "stack", options) as stack:
        await make_current(stack, "v1")
        await stack.wait_for_host()
        yield stack


@pytest.fixture
async def asking(stack: Stack) -> AsyncIterator[Asking]:
    async with Asking(stack, max_wait=LONGEST, look_every=1.0) as asking:
        yield asking


@pytest.fixture
async def client(stack: Stack) -> Client:
    return await client_of(stack)


@pytest.fixture
async def second(stack: Stack, tmp_path: Path) -> AsyncIterator[WorkerProcess]:
    """A worker of another build, which has not been started."""
    code = await asyncio.to_thread(another_build, tmp_path / "another")
    worker = WorkerProcess(stack, "worker-v2", version("v2"), code)
    yield worker
    if worker.runs:
        await worker.drain()


def names(group: str) -> list[str]:
    return [f"{group}-{number}" for number in range(EACH)]


async def each(action: Callable[[str], Awaitable[object]], of: Sequence[str]) -> None:
    await asyncio.gather(*map(action, of))


async def make(asking: Asking, *groups: str) -> None:
    """Have these groups of lives ready."""
    of = [name for group in groups for name in names(group)]
    await each(asking.request, of)
    await each(lambda name: asking.until_phase(name, "ready"), of)


class Pulse:
    """Someone who extends a ready environment all the time; what the longest wait for an answer was."""

    def __init__(self, asking: Asking, name: str) -> None:
        self._asking, self._name = asking, name
        self.longest = 0.0
        self.refused: list[str] = []
        self.answers = 0

    async def run(self) -> None:
        for number in range(10_000):
            began = time.monotonic()
            answer = await self._asking.call(
                "PUT",
                f"/environments/{self._name}/collaborators/bob@example.com",
                headers={"Idempotency-Key": f"pulse-{number}"},
            )
            self.longest = max(self.longest, time.monotonic() - began)
            self.answers += 1
            if answer.status_code not in (200, 202):
                self.refused.append(f"{answer.status_code} {answer.text}")
            await asyncio.sleep(1.0)


@asynccontextmanager
async def pulse(asking: Asking, name: str) -> AsyncIterator[Pulse]:
    pulse = Pulse(asking, name)
    task = asyncio.create_task(pulse.run())
    try:
        yield pulse
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def failed_tasks(client: Client) -> list[str]:
    """The workflow tasks that failed, of all lives: a replay by the wrong build is one."""
    found = []
    async for run in client.list_workflows(f"WorkflowType = '{ENVIRONMENT_WORKFLOW}'"):
        history = await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
        found += [
            f"{run.id}: {event.workflow_task_failed_event_attributes.failure.message}"
            for event in history.events
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
        ]
    return found


async def test_lives_in_every_phase_move_to_another_version_and_back(
    stack: Stack,
    asking: Asking,
    client: Client,
    second: WorkerProcess,
    record_property: Callable[[str, object], None],
) -> None:
    await make(asking, "idle", "leaving", "stuck")
    part, operation = UNMAKING["identity"]
    set_faults(stack.url(part), Fault(operation=operation, kind=FaultKind.STATUS, status=500))
    await each(asking.delete, names("stuck"))
    await each(lambda name: asking.until_phase(name, "teardown_incomplete"), names("stuck"))
    set_faults(stack.url(part))

    await second.start()
    async with pulse(asking, "idle-0") as answered:
        began = time.monotonic()
        await asyncio.gather(each(asking.request, names("coming")), each(asking.delete, names("leaving")))
        await make_current(stack, "v2")
        await each(asking.request, names("later"))
        await each(lambda name: asking.until_phase(name, "ready"), [*names("coming"), *names("later")])
        await each(lambda name: asking.until_phase(name, "gone"), names("leaving"))
        await until_all_run_on(client, "v2")
        record_property("seconds until no life needed the former version", round(time.monotonic() - began, 1))
        await stack.stop(Part.WORKER)
        for name in names("stuck"):
            assert (await asking.show(name))["phase"] == "teardown_incomplete"
            answer = await asking.call("POST", f"/environments/{name}/resume-teardown")
            assert answer.status_code == 202, answer.text
        await each(lambda name: asking.until_phase(name, "gone"), names("stuck"))
        assert set(await open_runs(client)) == {"v2"}

        began = time.monotonic()
        await stack.start(Part.WORKER)
        await make_current(stack, "v1")
        await until_all_run_on(client, "v1")
        record_property("seconds until no life needed the later version", round(time.monotonic() - began, 1))
        assert await second.drain() == 0
        left = [*names("idle"), *names("coming"), *names("later")]
        for name in left:
            assert (await asking.show(name))["phase"] == "ready"
    record_property("answers to updates", answered.answers)
    record_property("longest wait for one (s)", round(answered.longest, 2))
    assert answered.refused == []
    assert await failed_tasks(client) == []
    await each(asking.delete, left)
    await each(lambda name: asking.until_phase(name, "gone"), left)
    assert Systems(stack).all() == {}
