"""The API's response models for bookings."""

from datetime import datetime

from pydantic import Field

from contracts.booking_workflow import BookingPhase, BookingStatus, EndedPlace, PlaceLeft, Seat
from contracts.environment.models import Outcome
from contracts.types.models import Frozen
from starter.environments.schemas import CertificateView, certificate_view


class BookingRow(Frozen):
    """One booking in the list: how many seats it has, and how many of them people have taken."""

    event: str
    owner: str
    template: str
    seats: int
    taken: int
    starts_at: datetime
    ends_at: datetime
    phase: BookingPhase
    remark: str = Field(default="", description="what is wrong with it")


class BookingList(Frozen):
    """Bookings, the latest end first."""

    bookings: tuple[BookingRow, ...]


class SeatView(Frozen):
    """One seat, which is the name of its environment, and who has taken it."""

    name: str
    person: str = ""
    taken_at: datetime | None = None


class PlaceLeftView(Frozen):
    """An environment or a standby that is not gone yet, and why."""

    name: str
    why: str


class EndedPlaceView(Frozen):
    """An environment or a standby that is gone. `remark` says why it has no certificate."""

    name: str
    outcome: Outcome | None = None
    certificate: CertificateView | None = None
    remark: str = ""


class BookingView(BookingRow):
    """One booking: who has come, and what has ended of it.

    `ended` is its certificate, once its `phase` is "ended": each environment and standby with its own.
    """

    hosts: dict[str, int] = Field(description="how many seats are held on which host")
    booked_at: datetime
    people: tuple[SeatView, ...]
    ended_by: str = ""
    left: tuple[PlaceLeftView, ...] = ()
    ended: tuple[EndedPlaceView, ...] = ()
    ended_at: datetime | None = None
    nothing_left: bool = False


class SeatCode(Frozen):
    """The code of one seat. It is shown once, and Moorage keeps only its hash."""

    seat: str
    code: str


class BookingCodes(Frozen):
    """A booking with new codes for the seats that are free."""

    booking: BookingView
    codes: tuple[SeatCode, ...]


def booking_view(status: BookingStatus, remark: str = "") -> BookingView:
    """Build the view of a booking."""
    frozen = status.frozen and f"Its end waits, because all ends are frozen: {status.frozen}."
    return BookingView(
        event=status.event,
        owner=status.owner,
        template=status.template,
        seats=len(status.seats),
        taken=status.taken,
        starts_at=status.starts_at,
        ends_at=status.ends_at,
        phase=status.phase,
        remark=remark or " ".join(filter(None, (frozen, status.problem))),
        hosts=status.hosts,
        booked_at=status.booked_at,
        people=tuple(_seat(seat) for seat in status.seats),
        ended_by=status.ended_by,
        left=tuple(_left(place) for place in status.left),
        ended=tuple(_ended(place) for place in status.ended),
        ended_at=status.ended_at,
        nothing_left=status.nothing_left,
    )


def _seat(seat: Seat) -> SeatView:
    return SeatView(name=seat.name, person=seat.person, taken_at=seat.taken_at)


def _left(place: PlaceLeft) -> PlaceLeftView:
    return PlaceLeftView(name=place.name, why=place.why)


def _ended(place: EndedPlace) -> EndedPlaceView:
    certificate = certificate_view(place.certificate) if place.certificate else None
    return EndedPlaceView(
        name=place.name, outcome=place.outcome, certificate=certificate, remark=place.remark
    )
