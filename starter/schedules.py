"""The schedules as data, and how what Temporal has is brought in line with them.

Only schedules whose ids begin with our prefix are changed or removed. One that is paused stays so: that is
how ends are frozen.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from contracts.messages import TASK_QUEUE
from contracts.sweeping import SCHEDULE_PREFIX, SWEEP_SCHEDULE, SWEEP_SCHEDULED, SweepInput
from worker.expiry_settings import Sweep
from workflows.sweep import ExpirySweepWorkflow

#: One call to Temporal about a schedule.
CALL_PATIENCE = timedelta(seconds=10)


def sweep_input(settings: Sweep, *, dry_run: bool = False, by: str = "") -> SweepInput:
    """What a sweep is told, however it begins."""
    return SweepInput(
        dry_run=dry_run,
        by=by,
        ahead=settings.ahead,
        at_once=settings.at_once,
        ends_per_second=settings.ends_per_second,
    )


def schedules(settings: Sweep) -> Mapping[str, Schedule]:
    """Every schedule that there shall be, by id."""
    return {
        SWEEP_SCHEDULE: Schedule(
            action=ScheduleActionStartWorkflow(
                ExpirySweepWorkflow.run,
                sweep_input(settings),
                id=SWEEP_SCHEDULED,
                task_queue=TASK_QUEUE,
                static_summary="warns and ends environments whose time has come",
            ),
            spec=ScheduleSpec(
                intervals=[ScheduleIntervalSpec(every=settings.interval)], jitter=settings.jitter
            ),
            policy=SchedulePolicy(
                # A sweep that lasts longer than the interval does the work of the next one, too.
                overlap=ScheduleOverlapPolicy.SKIP,
                # Said, because the server's own is a year: after an outage it would sweep for hours.
                catchup_window=settings.catch_up,
                pause_on_failure=False,
            ),
        )
    }


async def reconcile(client: Client, settings: Sweep) -> None:
    """Make what is missing, change what differs, remove those of ours that are none any more."""
    wanted = schedules(settings)
    for id, schedule in wanted.items():
        await make(client, id, schedule)
    found = await client.list_schedules(rpc_timeout=CALL_PATIENCE)
    gone = [one.id async for one in found if one.id.startswith(SCHEDULE_PREFIX) and one.id not in wanted]
    for id in gone:
        await client.get_schedule_handle(id).delete(rpc_timeout=CALL_PATIENCE)


async def make(client: Client, id: str, schedule: Schedule) -> None:
    """Make one schedule, or change it if it is there: all but its state, which people decide on."""

    def changed(input: ScheduleUpdateInput) -> ScheduleUpdate:
        return ScheduleUpdate(replace(schedule, state=input.description.schedule.state))

    try:
        await client.create_schedule(id, schedule, rpc_timeout=CALL_PATIENCE)
    except ScheduleAlreadyRunningError:
        # There before, or another worker has just made it.
        await client.get_schedule_handle(id).update(changed, rpc_timeout=CALL_PATIENCE)
