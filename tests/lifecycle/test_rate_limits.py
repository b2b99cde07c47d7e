"""Ensures that all workers together start no more steps of a system in a second than its limit allows."""

import itertools
import math
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType

from contracts.types.naming import workflow_id
from embedded.stack.stack import Stack
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import MAKING, calls
from tests.support.stack import client_of, hurried, unique
from tests.support.worker_processes import with_workers

pytestmark = pytest.mark.slow

#: Of the control plane, for both of its queues; forward steps get one half.
RATE = 4.0
FORWARD = RATE / 2
ENVIRONMENTS = 4
#: Temporal's bucket lets through a second's worth at once after a pause. One more is on its way to
#: each worker when the clock is read.
BURST = math.ceil(FORWARD) + 2


async def _started(stack: Stack, names: list[str]) -> list[float]:
    """When each attempt of a forward step of the control plane was started, by Temporal's clock."""
    client, found = await client_of(stack), []
    for name in names:
        scheduled: set[int] = set()
        async for event in client.get_workflow_handle(workflow_id(name)).fetch_history_events():
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                queue = event.activity_task_scheduled_event_attributes.task_queue.name
                if queue == "moorage-control-plane":
                    scheduled.add(event.event_id)
            # The attributes of an event of another type have the number 0, which no event has.
            elif event.activity_task_started_event_attributes.scheduled_event_id in scheduled:
                found.append(event.event_time.ToNanoseconds() / 1e9)
    return sorted(found)


async def test_two_workers_together_obey_the_limit_of_the_control_plane(tmp_path: Path) -> None:
    limited = {
        "MOORAGE_CONTROL_PLANE__MAX_STEPS_PER_SECOND": str(RATE),
        # Steps wait for their turn, and no time is up meanwhile.
        "MOORAGE_TIMEOUTS__STEP_TIMEOUT": "10m",
    }
    part, create = MAKING["project"]
    async with (
        Stack(tmp_path, hurried(environment=limited)) as stack,
        with_workers(stack, 2),
        Asking(stack) as asking,
    ):
        names = [unique("limited") for _ in range(ENVIRONMENTS)]
        for name in names:
            assert (await asking.request(name)).status_code == 202
        for name in names:
            await asking.until_phase(name, "ready")
        started = await _started(stack, names)
        assert len(started) >= 4 * ENVIRONMENTS, "the steps of the control plane have another queue"
        assert calls(stack, part, create) == ENVIRONMENTS
        # In every stretch of time; a slow machine only has fewer in it.
        for first, last in itertools.combinations(range(len(started)), 2):
            length, count = started[last] - started[first], last - first + 1
            assert count <= FORWARD * length + BURST, f"{count} steps were started in {length:.2f} s"
        for name in names:
            await asking.delete(name)
        for name in names:
            await asking.until_phase(name, "gone")
