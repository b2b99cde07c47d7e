"""Runs one activity as a worker does: behind the edge, in an activity context, to be cancelled at will."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from temporalio.activity import ActivityCancellationDetails
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from activities.interceptor import ActivityInterceptor
from contracts.activities.steps import HeartbeatDetails
from contracts.errors import StepErrorDetails
from tests.support.deadline import HANG, NEVER

#: The start of the lives in these tests: before all that they make.
LIFE_START = datetime(2020, 1, 1, tzinfo=UTC)


class _Innermost(ActivityInboundInterceptor):
    def __init__(self) -> None:
        pass  # there is no next one

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        return await input.fn(*input.args)


class Running:
    """An activity on its way. `result` and `failure` wait for its end; `waits` is what it has said."""

    def __init__(
        self,
        activity: Callable[..., Awaitable[Any]],
        *arguments: object,
        attempt: int = 1,
        limit: float = NEVER,
        heartbeat_timeout: float = NEVER,
        kept: str = "",
    ) -> None:
        self.beats: list[HeartbeatDetails] = []
        self._environment = ActivityEnvironment()
        self._environment.on_heartbeat = self.beats.append
        self._environment.info = replace(
            ActivityEnvironment.default_info(),
            attempt=attempt,
            start_to_close_timeout=timedelta(seconds=limit),
            schedule_to_close_timeout=timedelta(seconds=limit),
            heartbeat_timeout=timedelta(seconds=heartbeat_timeout),
            heartbeat_details=[HeartbeatDetails(waiting_for="", checkpoint=kept)] if kept else [],
        )
        edge = ActivityInterceptor().intercept_activity(_Innermost())
        call = ExecuteActivityInput(fn=activity, args=arguments, executor=None, headers={})

        async def behind_the_edge() -> Any:
            return await edge.execute_activity(call)

        self._task = asyncio.ensure_future(self._environment.run(behind_the_edge))

    @property
    def waits(self) -> list[str]:
        """What it has said that it waits for, in order."""
        return [beat.waiting_for for beat in self.beats if beat.waiting_for]

    @property
    def done(self) -> bool:
        return self._task.done()

    async def says(self, text: str, seconds: float = HANG) -> Self:
        """Wait until its heartbeats say `text`, among other words."""
        ends = time.monotonic() + seconds
        while not any(text in wait for wait in self.waits):
            assert not self._task.done(), f"it ended before it said {text!r}: {self.waits}"
            assert time.monotonic() < ends, f"it has not said {text!r} within {seconds} s: {self.waits}"
            await asyncio.sleep(0.01)
        return self

    async def beats_more(self, times: int) -> None:
        """Wait until it has sent so many heartbeats more."""
        wanted = len(self.beats) + times
        ends = time.monotonic() + HANG
        while len(self.beats) < wanted:
            assert not self._task.done(), f"it ended after {len(self.beats)} of {wanted} heartbeats"
            assert time.monotonic() < ends, f"it has sent {len(self.beats)} of {wanted} heartbeats"
            await asyncio.sleep(0.01)

    def cancel(self) -> None:
        """Cancel it as its workflow does."""
        self._environment.cancel(ActivityCancellationDetails(cancel_requested=True))

    def cut_off(self, details: ActivityCancellationDetails) -> None:
        """Cancel it for another reason."""
        self._environment.cancel(details)

    def stop_worker(self) -> None:
        """Tell it, as all activities of its worker, that the worker is stopping."""
        self._environment.worker_shutdown()

    async def result(self) -> Any:
        """What it returns."""
        return await self._task

    async def failure(self) -> ApplicationError:
        """The error with which it fails."""
        try:
            result = await self._task
        except ApplicationError as error:
            return error
        raise AssertionError(f"it should have failed, and returned {result!r}")


async def succeed(activity: Callable[..., Awaitable[Any]], *arguments: object, attempt: int = 1) -> Any:
    """Run it to its end and return the result."""
    return await Running(activity, *arguments, attempt=attempt).result()


async def fail(
    activity: Callable[..., Awaitable[Any]], *arguments: object, attempt: int = 1, limit: float = NEVER
) -> ApplicationError:
    """Run it to its end, which must be a failure, and return that."""
    return await Running(activity, *arguments, attempt=attempt, limit=limit).failure()


def details(error: ApplicationError) -> StepErrorDetails:
    """The details that every failure of an activity of ours has."""
    [only] = error.details
    assert isinstance(only, StepErrorDetails), f"an error without our details: {error!r}"
    return only
