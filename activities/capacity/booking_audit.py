"""The part of the capacity audit that compares what is held for bookings with the bookings that are open."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from temporalio import activity
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities.environment_runs import CALL_TIMEOUT, UNREADABLE_ERRORS, life_of, start_input_of
from contracts.booking_workflow import BOOKING_WORKFLOW, BookingPhase, BookingStart
from contracts.bookings import booking_id
from contracts.capacity.bookings import BookingHold
from contracts.capacity.models import START_GRACE
from contracts.temporal import search_attributes

_OPEN = f"WorkflowType = '{BOOKING_WORKFLOW}' AND ExecutionStatus = 'Running'"


@dataclass(frozen=True)
class BookingDifferences:
    """Open bookings that hold nothing, lives that hold something and are over, and the runs to renew."""

    adopted: tuple[BookingHold, ...]
    ended: tuple[str, ...]
    outdated: tuple[str, ...]


async def compare_bookings(
    temporal: Client,
    held: Iterable[BookingHold],
    now: datetime,
    is_to_renew: Callable[[WorkflowExecution], bool],
) -> BookingDifferences:
    """Compare what is held with the open bookings. A booking that ends has given its seats back."""
    by_life = {hold.life: hold for hold in held}
    open_lives: set[str] = set()
    adopted: list[BookingHold] = []
    outdated: list[str] = []
    async for run in temporal.list_workflows(_OPEN, rpc_timeout=CALL_TIMEOUT):
        if is_to_renew(run):
            outdated.append(run.id)
        if (life := await life_of(run)) and not _is_ending(run):
            open_lives.add(life)
            if life not in by_life and (hold := await _hold_of(temporal, run)):
                adopted.append(hold)
    ended = [
        hold.life
        for hold in by_life.values()
        # One that has just been made is about to start, and lists may be late.
        if hold.life not in open_lives
        and hold.made_at <= now - START_GRACE
        and await _is_over(temporal, hold)
    ]
    return BookingDifferences(tuple(adopted), tuple(ended), tuple(outdated))


async def _is_over(temporal: Client, hold: BookingHold) -> bool:
    """Return whether the booking is over, by its own record; False if that cannot be read."""
    try:
        run = await temporal.get_workflow_handle(booking_id(hold.event)).describe(rpc_timeout=CALL_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return True
        raise
    life = await life_of(run)
    is_open = run.status is WorkflowExecutionStatus.RUNNING and not _is_ending(run)
    return bool(life) and (life != hold.life or not is_open)


async def _hold_of(temporal: Client, run: WorkflowExecution) -> BookingHold | None:
    """Return what an open booking holds, as its start says; None if it is over, or that cannot be read."""
    try:
        payloads = await start_input_of(temporal, run.id, run.run_id)
        [start] = await run.data_converter.decode(payloads, [BookingStart])
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    except UNREADABLE_ERRORS as error:
        activity.logger.warning("what %s holds is unknown (%s)", run.id, type(error).__name__)
        return None
    found: BookingHold = start.hold
    return found


def _is_ending(run: WorkflowExecution) -> bool:
    return run.typed_search_attributes.get(search_attributes.PHASE) == BookingPhase.ENDING.value
