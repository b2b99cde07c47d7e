"""The schedules as data, and their reconciliation with the schedules that Temporal has.

Only schedules with our id prefix are changed or removed. A paused schedule stays paused, because a freeze is
a paused schedule.
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
from contracts.reconcile.models import (
    RECONCILE_SCHEDULE,
    RECONCILE_SCHEDULED,
    RECONCILE_WORKFLOW,
    ReconcileInput,
)
from contracts.sweeps.expiry import SCHEDULE_PREFIX, SWEEP_SCHEDULE, SWEEP_SCHEDULED, SweepInput
from contracts.sweeps.leavers import LEAVER_SCHEDULE, LEAVER_SCHEDULED, LEAVER_WORKFLOW, LeaverSweepInput
from worker.data_converter import converter_at
from worker.settings.groups.expiry import Sweep
from worker.settings.groups.reconcile import Reconcile
from workflows.sweeps.expiry import ExpirySweepWorkflow
from workflows.sweeps.leavers import LeaverSweepWorkflow
from workflows.sweeps.reconcile import ReconcileWorkflow

#: Timeout of one call to Temporal about a schedule.
CALL_TIMEOUT = timedelta(seconds=10)
_DEFAULT = Reconcile()

_InputType = type[SweepInput] | type[LeaverSweepInput] | type[ReconcileInput]
_INPUTS: Mapping[str, _InputType] = {LEAVER_WORKFLOW: LeaverSweepInput, RECONCILE_WORKFLOW: ReconcileInput}


def sweep_input(settings: Sweep, *, dry_run: bool = False, by: str = "") -> SweepInput:
    """Build the input of a sweep, for the schedule and for sweeps on request."""
    return SweepInput(
        dry_run=dry_run,
        requested_by=by,
        lookahead=settings.lookahead,
        concurrency=settings.concurrency,
        ends_per_second=settings.ends_per_second,
    )


def leaver_input(settings: Sweep, *, confirmed: tuple[str, ...] = (), by: str = "") -> LeaverSweepInput:
    """Build the input of a leaver sweep, for the schedule and for sweeps on request."""
    return LeaverSweepInput(
        confirmed=confirmed,
        requested_by=by,
        lookups_per_minute=settings.leavers_per_minute,
        limit_percent=settings.leavers_limit_percent,
        second_look_after=settings.leavers_second_look,
    )


def reconcile_input(
    settings: Reconcile, *, dry_run: bool = False, confirmed: tuple[str, ...] = (), by: str = ""
) -> ReconcileInput:
    """Build the input of a reconcile sweep, for the schedule and for sweeps on request."""
    return ReconcileInput(
        dry_run=dry_run,
        confirmed=confirmed,
        requested_by=by,
        grace=settings.grace,
        repair=settings.repair,
        ignore=settings.ignore,
        limit=settings.limit,
        limit_percent=settings.limit_percent,
    )


def schedules(settings: Sweep, reconciling: Reconcile = _DEFAULT) -> Mapping[str, Schedule]:
    """Return every schedule that must exist, by id."""
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
                # Skip, because a sweep that lasts longer than the interval also does the work of the next
                # one.
                overlap=ScheduleOverlapPolicy.SKIP,
                # Set it, because the server's default is a year: after an outage it would start sweeps for
                # hours.
                catchup_window=settings.catch_up,
                pause_on_failure=False,
            ),
        ),
        LEAVER_SCHEDULE: Schedule(
            action=ScheduleActionStartWorkflow(
                LeaverSweepWorkflow.run,
                leaver_input(settings),
                id=LEAVER_SCHEDULED,
                task_queue=TASK_QUEUE,
                static_summary="ends the access of people who have left",
            ),
            spec=ScheduleSpec(
                intervals=[ScheduleIntervalSpec(every=settings.leavers_interval)], jitter=settings.jitter
            ),
            policy=SchedulePolicy(
                overlap=ScheduleOverlapPolicy.SKIP, catchup_window=settings.catch_up, pause_on_failure=False
            ),
        ),
        RECONCILE_SCHEDULE: Schedule(
            action=ScheduleActionStartWorkflow(
                ReconcileWorkflow.run,
                reconcile_input(reconciling),
                id=RECONCILE_SCHEDULED,
                task_queue=TASK_QUEUE,
                static_summary="adopts or undoes what no open environment owns",
            ),
            spec=ScheduleSpec(
                intervals=[ScheduleIntervalSpec(every=reconciling.interval)], jitter=settings.jitter
            ),
            policy=SchedulePolicy(
                overlap=ScheduleOverlapPolicy.SKIP, catchup_window=settings.catch_up, pause_on_failure=False
            ),
        ),
    }


class Difference(StrEnum):
    """How a schedule in Temporal differs from the required one."""

    MISSING = "is missing"
    OTHER = "differs from the settings"
    FORMER = "does not belong to Moorage any more"


async def differences(
    client: Client, settings: Sweep, reconciling: Reconcile = _DEFAULT
) -> Mapping[str, Difference]:
    """Return what `reconcile` would change, by id; a paused schedule is not a difference."""
    wanted = schedules(settings, reconciling)
    found = {}
    for id, schedule in wanted.items():
        try:
            there = (await client.get_schedule_handle(id).describe(rpc_timeout=CALL_TIMEOUT)).schedule
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            found[id] = Difference.MISSING
            continue
        if await _defined_parts(client, there) != await _defined_parts(client, schedule):
            found[id] = Difference.OTHER
    return found | dict.fromkeys(await _find_former(client, wanted), Difference.FORMER)


async def _defined_parts(client: Client, schedule: Schedule) -> tuple[object, ...]:
    """Return the parts of a schedule that Moorage defines, as values that can be compared."""
    spec, policy, action = schedule.spec, schedule.policy, schedule.action
    when = (
        tuple((one.every, one.offset or timedelta(0)) for one in spec.intervals),
        spec.jitter,
        (tuple(spec.calendars), tuple(spec.cron_expressions), tuple(spec.skip), spec.start_at, spec.end_at),
    )
    how = (policy.overlap, policy.catchup_window, policy.pause_on_failure)
    if not isinstance(action, ScheduleActionStartWorkflow):
        return (when, how, "starts no workflow")
    kind = _INPUTS.get(action.workflow, SweepInput)
    given = [await _decode(client, action.id, one, kind) for one in action.args]
    return (when, how, action.workflow, action.id, action.task_queue, given)


async def _decode(
    client: Client,
    id: str,
    argument: object,
    kind: _InputType,
) -> object:
    """Return the decoded value of an argument of a schedule's action.

    Temporal returns an argument as a payload, which may be encrypted with a former key.
    """
    if not isinstance(argument, Payload):
        return argument
    try:
        [value] = await converter_at(client, id).decode([argument], [kind])
    except Exception:  # For any error, the argument differs from the required one.
        return "not to be read"
    return value


async def _find_former(client: Client, wanted: Mapping[str, Schedule]) -> list[str]:
    found = await client.list_schedules(rpc_timeout=CALL_TIMEOUT)
    return [one.id async for one in found if one.id.startswith(SCHEDULE_PREFIX) and one.id not in wanted]


async def reconcile(client: Client, settings: Sweep, reconciling: Reconcile = _DEFAULT) -> None:
    """Create missing schedules, update different ones, and delete those of ours not required."""
    wanted = schedules(settings, reconciling)
    for id, schedule in wanted.items():
        await create_or_update(client, id, schedule)
    for id in await _find_former(client, wanted):
        try:
            await client.get_schedule_handle(id).delete(rpc_timeout=CALL_TIMEOUT)
        except RPCError as error:
            # Ignore it: another worker was faster, or the list is not up to date.
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise


async def create_or_update(client: Client, id: str, schedule: Schedule) -> None:
    """Create one schedule, or update an existing one except its state, which people control."""

    def changed(input: ScheduleUpdateInput) -> ScheduleUpdate:
        return ScheduleUpdate(replace(schedule, state=input.description.schedule.state))

    try:
        await client.create_schedule(id, schedule, rpc_timeout=CALL_TIMEOUT)
    except ScheduleAlreadyRunningError:
        # It existed before, or another worker has just created it.
        await client.get_schedule_handle(id).update(changed, rpc_timeout=CALL_TIMEOUT)
