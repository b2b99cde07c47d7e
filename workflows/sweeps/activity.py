"""The one way in which a sweep has its work done: by an activity that may take minutes and is retried."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from contracts.environment_workflow import undo_queue

from workflows.activity_failures import require_genuine

FIRST_RETRY_INTERVAL = timedelta(milliseconds=500)
MAX_RETRY_INTERVAL = timedelta(seconds=20)

_Input = TypeVar("_Input")
_Result = TypeVar("_Result")


async def execute_sweep_activity(
    method: Callable[[Any, _Input], Awaitable[_Result]],
    input: _Input,
    *,
    attempt: timedelta,
    limit: timedelta,
    heartbeat: timedelta,
    summary: str,
) -> _Result:
    """Return the result of the activity: `attempt` is the time of one attempt, and `limit` that of all.

    Raises:
        ActivityError: It has failed, or its result was not written by Moorage.
    """
    return require_genuine(
        await workflow.execute_activity_method(
            method,
            input,
            # It is served also while every place for new steps is taken.
            task_queue=undo_queue(workflow.info().task_queue),
            start_to_close_timeout=attempt,
            schedule_to_close_timeout=limit,
            heartbeat_timeout=heartbeat,
            retry_policy=RetryPolicy(
                initial_interval=FIRST_RETRY_INTERVAL, maximum_interval=MAX_RETRY_INTERVAL
            ),
            # When a cancelled sweep has ended, nothing of it can happen any more.
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=summary,
        )
    )
