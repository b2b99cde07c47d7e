"""How the workflow of a booking is started: its options, and what Temporal's Web UI shows of it."""

from typing import Any

from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)

from contracts.booking_workflow import BookingPhase, BookingStart
from contracts.bookings import booking_id
from contracts.expiry import format_utc
from contracts.temporal import search_attributes
from contracts.temporal.workflow_memo import REQUEST_ID

#: Keys of the memo, which lists read without a worker: the seats, those that are taken, and the begin.
SEATS, TAKEN, STARTS_AT = "seats", "taken", "starts_at"


def booking_memo(start: BookingStart) -> dict[str, Any]:
    """Return the memo of a booking's run."""
    return {
        REQUEST_ID: start.request_id,
        SEATS: start.hold.number,
        TAKEN: start.carried.taken if start.carried else 0,
        STARTS_AT: start.hold.starts_at.isoformat(),
    }


def booking_options(start: BookingStart) -> dict[str, Any]:
    """Return the options of `Client.start_workflow`, except the task queue.

    The server starts the workflow only if the event has no open booking.
    """
    hold = start.hold
    attributes: list[SearchAttributePair[Any]] = [
        SearchAttributePair(search_attributes.OWNER, hold.owner),
        SearchAttributePair(search_attributes.PHASE, BookingPhase.OPEN.value),
        SearchAttributePair(search_attributes.TEMPLATE, hold.template),
        SearchAttributePair(search_attributes.EXPIRES_AT, hold.ends_at),
    ]
    return {
        "id": booking_id(hold.event),
        "id_conflict_policy": WorkflowIDConflictPolicy.FAIL,
        "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        "memo": booking_memo(start),
        "search_attributes": TypedSearchAttributes(attributes),
        "static_summary": f"{hold.event}: {hold.number} seats from {hold.template}",
        "static_details": f"- from: {format_utc(hold.starts_at)}\n- until: {format_utc(hold.ends_at)}\n"
        f"- booked by: {hold.owner}\n\n"
        "To end it: `moorage bookings EVENT --end`, or Cancel here. Never Terminate: "
        "its environments would stay until they expire.",
    }
