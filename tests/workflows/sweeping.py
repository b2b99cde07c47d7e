"""Sweeps on a server: a worker for the sweep alone, and environments with policies of seconds."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities.interceptor import ActivityInterceptor
from activities.sweeps.expiry import ExpirySweep
from contracts.environment.models import EnvironmentStatus
from contracts.environment_workflow import EnvironmentStart, SweepUpdateInput, undo_queue
from contracts.errors import Refusal
from contracts.sweeps.expiry import OutcomeCount, SweepInput, SweepLine, SweepResult
from contracts.templates.template import TimeToLive
from tests.support.deadline import HANG
from tests.support.seeding import ready_status, seed
from tests.workflows.conftest import LIFE, a_start
from worker.runner import workflow_runner
from workflows.environment.workflow import EnvironmentWorkflow
from workflows.sweeps.expiry import ExpirySweepWorkflow

_numbers = itertools.count(1)
#: No warnings, no grace: it is over when its time is up.
PLAIN: dict[str, Any] = {"default": "8h", "maximum": "30d", "warnings": ()}
#: Ended environments start their teardown at once; another test covers the limit of teardowns per second.
AT_ONCE = 1000.0
#: A word to an environment that is good for long enough.
SWEPT = SweepUpdateInput(actor="the expiry sweep", life=LIFE, valid_until=datetime(2100, 1, 1, tzinfo=UTC))


def fresh_name(start: str = "exp") -> str:
    return f"{start}-{os.getpid()}-{next(_numbers)}"


def lives_by(name: str, ttl: timedelta = timedelta(hours=8), **policy: Any) -> EnvironmentStart:
    """A start of an environment that lives by that policy."""
    start = a_start(name)
    template = start.environment.template.model_copy(
        update={"ttl": TimeToLive.model_validate(PLAIN | policy)}
    )
    environment = start.environment.model_copy(update={"template": template, "ttl": ttl})
    return start.model_copy(update={"environment": environment})


Handle = WorkflowHandle[EnvironmentWorkflow, EnvironmentStatus]


async def seeded(
    client: Client,
    task_queue: str,
    ends_in: float,
    *,
    name: str = "",
    attributes: dict[Any, Any] | None = None,
    **policy: Any,
) -> Handle:
    """A ready environment whose time is up in so many seconds."""
    start = lives_by(name or fresh_name(), **policy)
    status = ready_status(start, datetime.now(UTC) + timedelta(seconds=ends_in))
    return await seed(client, start, status, task_queue=task_queue, attributes=attributes)


@asynccontextmanager
async def sweeping(client: Client, task_queue: str) -> AsyncIterator[None]:
    """What does sweeps and nothing else."""
    throttle = timedelta(milliseconds=50)
    begins = Worker(
        client, task_queue=task_queue, workflows=[ExpirySweepWorkflow], workflow_runner=workflow_runner()
    )
    sweeps = Worker(
        client,
        task_queue=undo_queue(task_queue),
        activities=[ExpirySweep(client).run],
        interceptors=[ActivityInterceptor()],
        max_heartbeat_throttle_interval=throttle,
        default_heartbeat_throttle_interval=throttle,
    )
    async with begins, sweeps:
        yield


@asynccontextmanager
async def sweeper(client: Client) -> AsyncIterator["Sweeper"]:
    """Run a worker for sweeps; yield a starter of sweeps."""
    queue = f"sweeps-{os.getpid()}-{next(_numbers)}"
    async with sweeping(client, queue):
        yield Sweeper(client, queue)


class Sweeper:
    """Begins sweeps."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self.client = client
        self.task_queue = task_queue

    async def begin(self, **how: Any) -> WorkflowHandle[ExpirySweepWorkflow, SweepResult]:
        sweep = SweepInput(**{"lookahead": timedelta(0), "ends_per_second": AT_ONCE, **how})
        return await self.client.start_workflow(
            ExpirySweepWorkflow.run,
            sweep,
            id=f"{self.task_queue}-{next(_numbers)}",
            task_queue=self.task_queue,
        )

    async def __call__(self, **how: Any) -> SweepResult:
        return await (await self.begin(**how)).result()


async def is_listed(client: Client, *handles: Handle) -> None:
    """Wait until visibility has them all: it lags behind."""
    for handle in handles:
        for _ in range(int(HANG / 0.05)):
            found = await client.count_workflows(
                f"WorkflowId = '{handle.id}' AND ExecutionStatus = 'Running' AND EnvPhase = 'ready'"
            )
            if found.count:
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError(f"{handle.id} is not listed")


def line_of(tally: OutcomeCount, handle: Handle) -> SweepLine | None:
    """What a result says of it."""
    return next((line for line in tally.lines if f"environment/{line.name}" == handle.id), None)


async def refused(update: Any) -> Refusal:
    """The refusal that an update gets."""
    with pytest.raises(WorkflowUpdateFailedError) as failure:
        await update
    cause = failure.value.cause
    assert isinstance(cause, ApplicationError)
    return Refusal.model_validate(cause.details[0])
