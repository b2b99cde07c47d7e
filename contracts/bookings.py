"""Bookings: room for an event that is held from the moment it is booked, and the rules of a booking. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from contracts.expiry import format_utc
from contracts.types.durations import format_duration
from contracts.types.models import Frozen
from contracts.types.naming import is_name

#: The seats of one event: their names end with two digits.
MAX_SEATS = 99
#: The longest name of an event: "-01" follows it, and an environment's name has 30 characters.
MAX_EVENT_LENGTH = 27
#: How long before its begin standbys of a booking are made.
STANDBY_LEAD = timedelta(minutes=15)
#: How far ahead a booking may begin. Its room is held from the moment of the booking, because no later moment
#: is sound: an environment may be extended, and a freeze lets it outlive its end.
MAX_AHEAD = timedelta(days=30)
#: The shortest booking; the shortest time to live of an environment is as long.
SHORTEST_BOOKING = timedelta(minutes=10)
_ID_START = "booking/"
#: The label of a booking's environments and standbys; its value is the event.
BOOKING_LABEL = "booking"


class BookingMark(Frozen):
    """The booking that an environment or a standby belongs to, and when that ends."""

    event: str
    life: str
    ends_at: datetime


def booking_id(event: str) -> str:
    """Return the id of the workflow that is the record of the booking."""
    return _ID_START + event


def event_of(workflow_id: str) -> str:
    """Return the event in a workflow id; the inverse of `booking_id`."""
    return workflow_id.removeprefix(_ID_START)


def pool_of_booking(life: str) -> str:
    """Return the key of the pool that the standbys of a booking are in."""
    return _ID_START + life


def seat_name(event: str, number: int) -> str:
    """Return the name of a seat, which is that of its environment. Seats are counted from 1."""
    return f"{event}-{number:02}"


def seat_names(event: str, seats: int) -> Iterator[str]:
    """Return the names of all seats."""
    return (seat_name(event, number) for number in range(1, seats + 1))


def booking_problems(
    event: str, seats: int, starts_at: datetime, ends_at: datetime, longest: timedelta, now: datetime
) -> dict[str, str]:
    """Return the fields of a booking that are wrong, each with a sentence.

    `longest` is the longest time to live that the template allows.
    """
    problems = {}
    if not is_name(event) or len(event) > MAX_EVENT_LENGTH:
        problems["event"] = (
            f'"{event[:80]}" cannot be the name of an event: at most {MAX_EVENT_LENGTH} lower-case letters, '
            "digits and hyphens, beginning with a letter and not ending with a hyphen"
        )
    if not 1 <= seats <= MAX_SEATS:
        problems["seats"] = f"{seats} is not a number of seats: from 1 to {MAX_SEATS}"
    if starts_at > now + MAX_AHEAD:
        latest = format_utc(now + MAX_AHEAD)
        problems["from"] = f"a booking begins at most {format_duration(MAX_AHEAD)} ahead: by {latest}"
    if ends_at <= now:
        problems["until"] = "this time is over"
    elif ends_at - starts_at < SHORTEST_BOOKING:
        problems["until"] = f"a booking lasts at least {format_duration(SHORTEST_BOOKING)}"
    elif ends_at - starts_at > longest:
        problems["until"] = f"a booking lasts at most what its template allows: {format_duration(longest)}"
    return problems
