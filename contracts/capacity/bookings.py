"""What bookings hold in the capacity, and the messages by which they hold it and give it back.

The decisions are in `contracts.capacity.booking_admission`.
"""

from datetime import datetime

from contracts.bookings import BookingMark, pool_of_booking, seat_names
from contracts.capacity.models import Amount, StandbyName
from contracts.environment.models import Environment
from contracts.errors import Refusal
from contracts.types.models import Frozen

#: The update with which a booking asks for its room, and the signal with which it gives it back.
UPDATE_BOOK = "book"
SIGNAL_END_BOOKING = "end_booking"


class BookingRequest(Frozen):
    """A booking that is to start asks for room for its seats on `hosts`.

    `environment` is what each seat's standby is made from: its mark and host are replaced.
    """

    event: str
    life: str
    owner: str
    seats: int
    hosts: tuple[str, ...]
    starts_at: datetime
    ends_at: datetime
    environment: Environment
    size: Amount


class BookingHold(Frozen):
    """The room that a booking holds until it ends: so many seats on each host, taken or not.

    The seats that environments and standbys of the booking have taken are in the reservations of these.
    """

    event: str
    life: str
    owner: str
    seats: dict[str, int]
    starts_at: datetime
    ends_at: datetime
    made_at: datetime
    environment: Environment
    size: Amount

    @property
    def number(self) -> int:
        """The number of its seats."""
        return sum(self.seats.values())

    @property
    def template(self) -> str:
        """The name of its template."""
        return self.environment.template.name

    @property
    def pool(self) -> str:
        """The key of the pool of its standbys."""
        return pool_of_booking(self.life)

    @property
    def mark(self) -> BookingMark:
        """The mark of its environments and standbys."""
        return BookingMark(event=self.event, life=self.life, ends_at=self.ends_at)

    @property
    def names(self) -> frozenset[str]:
        """The names of its seats."""
        return frozenset(seat_names(self.event, self.number))


class BookInput(Frozen):
    """A booking asks for its room."""

    request: BookingRequest


class BookingDecision(Frozen):
    """What a booking holds, or why it gets nothing; `displaced` are standbys that give way to it."""

    hold: BookingHold | None = None
    displaced: tuple[StandbyName, ...] = ()
    refusal: Refusal | None = None


class EndBookingInput(Frozen):
    """A booking gives back what it holds and has not taken."""

    life: str


class BookingList(Frozen):
    """All that is held for bookings; `is_known` is False before the first audit."""

    bookings: tuple[BookingHold, ...]
    is_known: bool = True
