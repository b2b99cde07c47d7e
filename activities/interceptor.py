"""The edge between the steps and Temporal: the steps know of receipts and errors, Temporal of activities.

For every activity of the worker: one translation of errors, a heartbeat with what it waits for, an end
within moments of a cancellation or a stopping worker, and no call cut in its middle.
"""

import asyncio
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities import activity_context
from activities.activity_context import Progress
from activities.errors import translate
from clients.deadline import set_deadline_check
from contracts.activities import Waiting
from contracts.environment import Receipt
from contracts.errors import ErrorType
from contracts.tampering import Tampered

#: Heartbeats within one heartbeat timeout: two may get lost or late.
BEATS_PER_TIMEOUT = 3
#: How often to heartbeat when an activity has no heartbeat timeout: cancellations come with the answers.
BEAT_BY_DEFAULT = timedelta(seconds=10)


class ActivityEdge(Interceptor):
    """Wraps every activity of a worker. Register it as the outermost interceptor."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """See the base class."""
        return _Edge(next)


class _Edge(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        for argument in input.args:
            if isinstance(argument, Tampered):
                raise ApplicationError(argument.why, type=ErrorType.TAMPERED, non_retryable=True)
        info = activity.info()
        again = info.attempt > 1
        current = Progress(time_left=_time_left(info), silence=info.heartbeat_timeout, kept=_kept(info))
        activity_context.enter(current)
        # What Temporal has timed out is tried again or undone by others: nothing is begun beside them.
        set_deadline_check(current.is_late)
        # A task of its own: the worker cancels the one that awaits here, and so never the step itself.
        body = asyncio.create_task(self.next.execute_activity(input))
        try:
            await _run_shielded(body, current, _beat_interval(info))
            result = body.result()
        except Exception as error:
            # From None: the chain of causes would travel too, with texts that nobody has looked at.
            raise translate(error, again=again) from None
        finally:
            current.close()
        if again and isinstance(result, Receipt):
            return result.model_copy(update={"in_doubt": True})
        return result


async def _run_shielded(body: asyncio.Task[Any], current: Progress, interval: float) -> None:
    """Return when `body` is done, however often it is cancelled; heartbeat meanwhile."""
    while not body.done():
        try:
            await asyncio.wait({body}, timeout=interval)
        except asyncio.CancelledError:
            if task := asyncio.current_task():
                task.uncancel()
            details = activity.cancellation_details()
            # All but the workflow's wish (a stopping worker, a pause, a reset) is to be taken up again.
            current.stop(
                final=details is not None and details.cancel_requested,
                given_up=details is not None and (details.not_found or details.timed_out),
            )
        else:
            if not body.done():
                current.beat()


def _beat_interval(info: activity.Info) -> float:
    if info.heartbeat_timeout is None:
        return BEAT_BY_DEFAULT.total_seconds()
    return info.heartbeat_timeout.total_seconds() / BEATS_PER_TIMEOUT


def _kept(info: activity.Info) -> str:
    """What the heartbeats of an earlier try have kept."""
    try:
        return Waiting.model_validate(info.heartbeat_details[0]).kept if info.heartbeat_details else ""
    except ValidationError:
        return ""  # of another version of the worker: the work begins afresh


def _time_left(info: activity.Info) -> timedelta | None:
    """What Temporal gives this try: its own limit, or what is left of that of all tries. By one clock."""
    limits = []
    if info.start_to_close_timeout is not None:
        limits.append(info.start_to_close_timeout)
    if info.schedule_to_close_timeout is not None:
        limits.append(info.scheduled_time + info.schedule_to_close_timeout - info.started_time)
    return min(limits, default=None)
