"""The interceptor between Temporal and the steps.

The steps know receipts and errors; Temporal knows activities. For every activity of the worker, the
interceptor translates errors in one place, heartbeats what the activity waits for, ends the activity within
moments of a cancellation or a worker shutdown, and never interrupts a call.
"""

import asyncio
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities import activity_context
from activities.activity_context import ActivityContext
from activities.errors import translate
from clients.transport.write_deadline import set_deadline_check
from contracts.activities.steps import HeartbeatDetails
from contracts.environment.models import Receipt
from contracts.errors import ErrorType, StepErrorDetails
from contracts.telemetry.metrics import RETRIES, cause_label, system_label
from contracts.temporal.foreign_payload import RejectedPayload

#: Heartbeats sent within one heartbeat timeout, so that two may be lost or late.
HEARTBEATS_PER_TIMEOUT = 3
#: Heartbeat interval of an activity without a heartbeat timeout. Heartbeats are needed there too, because
#: Temporal delivers cancellations in their responses.
DEFAULT_HEARTBEAT_INTERVAL = timedelta(seconds=10)


class ActivityInterceptor(Interceptor):
    """Interceptor that wraps every activity of a worker. Register it as the outermost interceptor."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap `next`; see the base class."""
        return _Edge(next)


class _Edge(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        for argument in input.args:
            if isinstance(argument, RejectedPayload):
                raise ApplicationError(argument.reason, type=ErrorType.TAMPERED, non_retryable=True)
        info = activity.info()
        is_retry = info.attempt > 1
        current = ActivityContext(
            time_left=_time_left(info), heartbeat_timeout=info.heartbeat_timeout, checkpoint=_checkpoint(info)
        )
        activity_context.set_current(current)
        # When Temporal has timed out this attempt, a retry or an undo may already run. The deadline check
        # stops this attempt from starting calls in parallel with them.
        set_deadline_check(current.is_given_up)
        # The body runs in a separate task: the worker cancels only the task that awaits here, and so never
        # the step itself.
        body = asyncio.create_task(self.next.execute_activity(input))
        try:
            await _run_shielded(body, current, _heartbeat_interval(info))
            result = body.result()
        except Exception as error:
            # Raise "from None", because the chain of causes would travel too, with texts that were not
            # checked for credentials.
            translated = translate(error, is_retry=is_retry)
            _count_retry(translated)
            raise translated from None
        finally:
            current.close()
        if is_retry and isinstance(result, Receipt):
            return result.model_copy(update={"in_doubt": True})
        return result


def _count_retry(error: ApplicationError) -> None:
    if error.non_retryable:
        return
    details = error.details[0] if error.details else None
    system = details.system if isinstance(details, StepErrorDetails) else ""
    labels = {"system": system_label(system), "cause": cause_label(error.type or "")}
    activity.metric_meter().create_counter(RETRIES.name, RETRIES.help).add(1, labels)


async def _run_shielded(body: asyncio.Task[Any], current: ActivityContext, interval: float) -> None:
    """Wait until `body` is done, even when cancelled repeatedly; send heartbeats meanwhile."""
    while not body.done():
        try:
            await asyncio.wait({body}, timeout=interval)
        except asyncio.CancelledError:
            if task := asyncio.current_task():
                task.uncancel()
            details = activity.cancellation_details()
            # Only a cancellation that the workflow requested is final. After any other cause (worker
            # shutdown, pause, reset), another attempt continues the work.
            current.stop(
                is_final=details is not None and details.cancel_requested,
                is_given_up=details is not None and (details.not_found or details.timed_out),
            )
        else:
            if not body.done():
                current.heartbeat()


def _heartbeat_interval(info: activity.Info) -> float:
    if info.heartbeat_timeout is None:
        return DEFAULT_HEARTBEAT_INTERVAL.total_seconds()
    return info.heartbeat_timeout.total_seconds() / HEARTBEATS_PER_TIMEOUT


def _checkpoint(info: activity.Info) -> str:
    """Return what an earlier attempt has saved; "" if there is nothing to read."""
    if not info.heartbeat_details:
        return ""
    try:
        return HeartbeatDetails.model_validate(info.heartbeat_details[0]).checkpoint
    except ValidationError:
        return ""  # Another version of the worker wrote it, so the work starts from the beginning.


def _time_left(info: activity.Info) -> timedelta | None:
    """Return the time that Temporal gives this attempt; None without a limit.

    It is the shorter of the attempt's own limit and the rest of the limit of all attempts. Both are computed
    from Temporal's timestamps, so only one clock counts.
    """
    limits = []
    if info.start_to_close_timeout is not None:
        limits.append(info.start_to_close_timeout)
    if info.schedule_to_close_timeout is not None:
        limits.append(info.scheduled_time + info.schedule_to_close_timeout - info.started_time)
    return min(limits, default=None)
