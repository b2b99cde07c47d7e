"""Workers of environments with activities of a test's own, in a hurry to hear of cancellations."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.worker import Interceptor, PollerBehaviorSimpleMaximum, Worker

from contracts.environment import System
from contracts.environment_workflow import undo_queue
from contracts.temporal.task_queues import system_queue
from worker.runner import deployment_of, workflow_runner
from workflows.registry import WORKFLOWS

#: The SDK's five are for a load that no test has; each costs the server a poll at the worker's start and end.
POLLERS = PollerBehaviorSimpleMaximum(maximum=2)


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
    async with does, undoes:
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
    async with first, second:
        yield
