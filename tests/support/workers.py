"""Workers of environments with activities of a test's own, in a hurry to hear of cancellations."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.worker import Interceptor, PollerBehaviorSimpleMaximum, Worker

from contracts.environment.models import System
from contracts.environment_workflow import undo_queue
from contracts.temporal.task_queues import system_queue
from worker.runner import deployment_of, workflow_runner
from workflows.registry import WORKFLOWS

#: The SDK's five are for a load that no test has; each costs the server a poll at the worker's start and end.
POLLERS = PollerBehaviorSimpleMaximum(maximum=2)
#: A worker stops within a second on a quiet machine; activities that run are cancelled at once.
STOP_SECONDS = 60.0


@asynccontextmanager
async def working(
    client: Client,
    task_queue: str,
    activities: Sequence[Callable[..., Any]],
    *,
    interceptors: Sequence[Interceptor] = (),
    max_cached_workflows: int = 1000,
    max_concurrent_activities: int = 100,
    version: str = "",
) -> AsyncIterator[Worker]:
    """What does environments and what undoes them, as `worker.runner` has it; leaving it stops both."""
    throttle = timedelta(milliseconds=100)
    does = Worker(
        client,
        task_queue=task_queue,
        workflows=WORKFLOWS,
        workflow_runner=workflow_runner(),
        activities=activities,
        interceptors=interceptors,
        max_cached_workflows=max_cached_workflows,
        max_concurrent_activities=max_concurrent_activities,
        max_heartbeat_throttle_interval=throttle,
        default_heartbeat_throttle_interval=throttle,
        workflow_task_poller_behavior=POLLERS,
        activity_task_poller_behavior=POLLERS,
        deployment_config=deployment_of(version),
    )
    undoes = Worker(
        client,
        task_queue=undo_queue(task_queue),
        activities=activities,
        interceptors=interceptors,
        max_heartbeat_throttle_interval=throttle,
        default_heartbeat_throttle_interval=throttle,
        workflow_task_poller_behavior=POLLERS,
        activity_task_poller_behavior=POLLERS,
        deployment_config=deployment_of(version),
    )
    async with _running(does), _running(undoes):
        yield does


@asynccontextmanager
async def serving_system(
    client: Client, task_queue: str, system: System, host: str, activities: Sequence[Callable[..., Any]]
) -> AsyncIterator[None]:
    """Workers in both task queues that the system has beside the common ones; leaving it stops them."""
    throttle = timedelta(milliseconds=100)
    first, second = (
        Worker(
            client,
            task_queue=system_queue(queue, system, host),
            activities=activities,
            max_heartbeat_throttle_interval=throttle,
            default_heartbeat_throttle_interval=throttle,
            activity_task_poller_behavior=POLLERS,
        )
        for queue in (task_queue, undo_queue(task_queue))
    )
    async with _running(first), _running(second):
        yield


@asynccontextmanager
async def _running(worker: Worker) -> AsyncIterator[None]:
    """Run the worker as `async with worker` does, but do not wait for its end for ever.

    About once in two hundred stops, a poll of the SDK does not end after the shutdown has been asked for
    (seen with temporalio 1.35: `Worker.shutdown` waits, no activity runs, and no timer is set).
    """
    await worker.__aenter__()
    try:
        yield
    finally:
        stopping = asyncio.ensure_future(worker.__aexit__(None, None, None))
        done, _ = await asyncio.wait({stopping}, timeout=STOP_SECONDS)
        if done:
            stopping.result()
        else:
            stopping.cancel()
