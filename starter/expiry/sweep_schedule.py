"""When a sweep runs, read from its schedule in Temporal."""

from datetime import datetime, timedelta
from typing import Self

from temporalio.client import ScheduleDescription, ScheduleHandle
from temporalio.service import RPCError

from contracts.types.models import Frozen
from starter.temporal.errors import CALL_TIMEOUT, map_rpc_errors


class SweepSchedule(Frozen):
    """When a sweep runs. `is_scheduled` is False before the first worker has scheduled it.

    `next_at` is None while the schedule is paused, as that of the expiry sweep is while ends are frozen.
    """

    is_scheduled: bool
    interval: timedelta
    next_at: datetime | None = None
    last_at: datetime | None = None

    @classmethod
    def of(cls, found: ScheduleDescription | None, interval: timedelta) -> Self:
        """Return what Temporal says of a schedule; None if it does not exist."""
        if found is None:
            return cls(is_scheduled=False, interval=interval)
        is_paused = found.schedule.state.paused
        return cls(
            is_scheduled=True,
            interval=interval,
            next_at=None if is_paused else next(iter(found.info.next_action_times), None),
            last_at=max((one.started_at for one in found.info.recent_actions), default=None),
        )


async def describe_schedule(handle: ScheduleHandle) -> ScheduleDescription | None:
    """Return the schedule as Temporal has it; None if it does not exist."""
    try:
        with map_rpc_errors():
            return await handle.describe(rpc_timeout=CALL_TIMEOUT)
    except RPCError:
        return None
