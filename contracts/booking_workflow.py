"""The input and output of a booking's workflow: its argument, its updates, its result."""

from datetime import datetime
from enum import StrEnum

from contracts.bookings import seat_names
from contracts.capacity.bookings import BookingHold
from contracts.environment.models import Certificate, Outcome
from contracts.types.models import Frozen

BOOKING_WORKFLOW = "BookingWorkflow"


class BookingPhase(StrEnum):
    """Where a booking is in its life; it is in the search attribute `EnvPhase` of its run."""

    OPEN = "open"
    ENDING = "ending"
    ENDED = "ended"


class Seat(Frozen):
    """One seat: its name, which is that of its environment, and who has taken it."""

    name: str
    person: str = ""
    taken_at: datetime | None = None


class PlaceLeft(Frozen):
    """An environment or a standby of a booking that is not gone yet, and why."""

    name: str
    why: str


class EndedPlace(Frozen):
    """An environment or a standby of a booking that is gone, and the certificate of its teardown.

    `remark` says why there is no certificate. `is_unproven`: it was made, and its certificate cannot be read.
    """

    name: str
    outcome: Outcome | None = None
    certificate: Certificate | None = None
    remark: str = ""
    is_unproven: bool = False


class BookingStatus(Frozen):
    """How a booking stands; its result, once all has ended.

    `left` is what has to end yet, `problem` why that could not be found out. `ended` is its certificate: all
    its environments and standbys that were there at its end or before, with their own certificates.
    """

    event: str
    life: str
    owner: str
    template: str
    hosts: dict[str, int]
    starts_at: datetime
    ends_at: datetime
    booked_at: datetime
    seats: tuple[Seat, ...]
    phase: BookingPhase = BookingPhase.OPEN
    frozen: str = ""
    ended_by: str = ""
    left: tuple[PlaceLeft, ...] = ()
    problem: str = ""
    ended: tuple[EndedPlace, ...] = ()
    ended_at: datetime | None = None

    @property
    def taken(self) -> int:
        """How many seats people have taken."""
        return sum(bool(seat.person) for seat in self.seats)

    @property
    def nothing_left(self) -> bool:
        """Whether no system has anything left of it: all has ended, and each certificate says so.

        A certificate that cannot be read says nothing.
        """
        is_clean = all(
            place.certificate.nothing_left if place.certificate else not place.is_unproven
            for place in self.ended
        )
        return self.phase is BookingPhase.ENDED and is_clean


class BookingStart(Frozen):
    """The workflow's argument: what the booking holds, and the hash of the code of each seat, in their order.

    `carried` is the state from the previous run, after continue-as-new.
    """

    request_id: str
    hold: BookingHold
    codes: tuple[str, ...]
    carried: BookingStatus | None = None


def status_at_start(hold: BookingHold) -> BookingStatus:
    """Return the status of a booking at its start: it is open, and all its seats are free."""
    return BookingStatus(
        event=hold.event,
        life=hold.life,
        owner=hold.owner,
        template=hold.template,
        hosts=hold.seats,
        starts_at=hold.starts_at,
        ends_at=hold.ends_at,
        booked_at=hold.made_at,
        seats=tuple(Seat(name=name) for name in seat_names(hold.event, hold.number)),
    )


class RedeemInput(Frozen):
    """A person who is signed in takes the seat of a code, of which this is the hash."""

    code: str
    person: str


class RenewCodesInput(Frozen):
    """The hashes of new codes by the names of seats; a seat that is taken keeps its code."""

    codes: dict[str, str]


class RenewCodesResult(Frozen):
    """The names of the seats that have new codes."""

    seats: tuple[str, ...]


class EndNowInput(Frozen):
    """A person of the platform team ends the booking before its time."""

    actor: str


class EndPlacesInput(Frozen):
    """What has to end: the environments of these names and all others of the booking, and its standbys.

    `is_settled`: no environment that was given a place before the booking ended can start any more.
    """

    event: str
    life: str
    names: tuple[str, ...]
    actor: str
    is_settled: bool


class EndPlacesResult(Frozen):
    """What is gone, and what is not gone yet."""

    ended: tuple[EndedPlace, ...]
    left: tuple[PlaceLeft, ...]
