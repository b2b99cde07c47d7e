"""The schedules as data, and how what Temporal has is brought in line with them.

Only schedules whose ids begin with our prefix are changed or removed. One that is paused stays so: that is
how ends are frozen.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum

from temporalio.api.common.v1 import Payload
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
from temporalio.service import RPCError, RPCStatusCode

from contracts.environment_workflow import TASK_QUEUE
from contracts.expiry_sweep import SCHEDULE_PREFIX, SWEEP_SCHEDULE, SWEEP_SCHEDULED, SweepInput
from worker.data_converter import converter_at
from worker.settings.expiry import Sweep
from workflows.expiry_sweep import ExpirySweepWorkflow

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


class Difference(StrEnum):
    """How a schedule that Temporal has differs from the one that there shall be."""

    MISSING = "is missing"
    OTHER = "is other than it shall be"
    FORMER = "is none of ours any more"


async def differences(client: Client, settings: Sweep) -> Mapping[str, Difference]:
    """What `reconcile` would see to, by id; empty if nothing. That one is paused is no difference."""
    wanted = schedules(settings)
    found = {}
    for id, schedule in wanted.items():
        try:
            there = (await client.get_schedule_handle(id).describe(rpc_timeout=CALL_PATIENCE)).schedule
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            found[id] = Difference.MISSING
            continue
        if await _essence(client, there) != await _essence(client, schedule):
            found[id] = Difference.OTHER
    return found | dict.fromkeys(await _former(client, wanted), Difference.FORMER)


async def _essence(client: Client, schedule: Schedule) -> tuple[object, ...]:
    """All of a schedule that is ours to say, in values that can be compared."""
    spec, policy, action = schedule.spec, schedule.policy, schedule.action
    when = (
        tuple((one.every, one.offset or timedelta(0)) for one in spec.intervals),
        spec.jitter,
        (tuple(spec.calendars), tuple(spec.cron_expressions), tuple(spec.skip), spec.start_at, spec.end_at),
    )
    how = (policy.overlap, policy.catchup_window, policy.pause_on_failure)
    if not isinstance(action, ScheduleActionStartWorkflow):
        return (when, how, "starts no workflow")
    given = [await _value(client, action.id, one) for one in action.args]
    return (when, how, action.workflow, action.id, action.task_queue, given)


async def _value(client: Client, id: str, argument: object) -> object:
    """An argument: as Temporal gives it back it is a payload, encrypted perhaps with a former key."""
    if not isinstance(argument, Payload):
        return argument
    try:
        [value] = await converter_at(client, id).decode([argument], [SweepInput])
    except Exception:  # whatever is wrong with it, it is not what it shall be
        return "not to be read"
    return value


async def _former(client: Client, wanted: Mapping[str, Schedule]) -> list[str]:
    found = await client.list_schedules(rpc_timeout=CALL_PATIENCE)
    return [one.id async for one in found if one.id.startswith(SCHEDULE_PREFIX) and one.id not in wanted]


async def reconcile(client: Client, settings: Sweep) -> None:
    """Make what is missing, change what differs, remove those of ours that are none any more."""
    wanted = schedules(settings)
    for id, schedule in wanted.items():
        await make(client, id, schedule)
    for id in await _former(client, wanted):
        try:
            await client.get_schedule_handle(id).delete(rpc_timeout=CALL_PATIENCE)
        except RPCError as error:
            # Another worker was quicker, or the list is late.
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise


async def make(client: Client, id: str, schedule: Schedule) -> None:
    """Make one schedule, or change it if it is there: all but its state, which people decide on."""

    def changed(input: ScheduleUpdateInput) -> ScheduleUpdate:
        return ScheduleUpdate(replace(schedule, state=input.description.schedule.state))

    try:
        await client.create_schedule(id, schedule, rpc_timeout=CALL_PATIENCE)
    except ScheduleAlreadyRunningError:
        # There before, or another worker has just made it.
        await client.get_schedule_handle(id).update(changed, rpc_timeout=CALL_PATIENCE)
