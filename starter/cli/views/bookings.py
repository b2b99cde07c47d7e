"""The API's answers about bookings, as the command line reads them; see `starter.cli.views.base`."""

from datetime import datetime

from contracts.phases import Outcome
from starter.cli.views.base import View
from starter.cli.views.environments import CertificateView


class BookingRow(View, frozen=True, kw_only=True):
    """One booking in the list."""

    event: str
    owner: str
    template: str
    seats: int
    taken: int
    starts_at: datetime
    ends_at: datetime
    phase: str
    remark: str = ""


class BookingList(View, frozen=True, kw_only=True):
    """Bookings, the latest end first."""

    bookings: tuple[BookingRow, ...]


class SeatView(View, frozen=True, kw_only=True):
    """One seat, and who has taken it."""

    name: str
    person: str = ""
    taken_at: datetime | None = None


class PlaceLeftView(View, frozen=True, kw_only=True):
    """What is not gone yet, and why."""

    name: str
    why: str


class EndedPlaceView(View, frozen=True, kw_only=True):
    """What is gone, and its certificate."""

    name: str
    outcome: Outcome | None = None
    certificate: CertificateView | None = None
    remark: str = ""


class BookingView(BookingRow, frozen=True, kw_only=True):
    """One booking: who has come, and what has ended of it."""

    hosts: dict[str, int]
    booked_at: datetime
    people: tuple[SeatView, ...]
    ended_by: str = ""
    left: tuple[PlaceLeftView, ...] = ()
    ended: tuple[EndedPlaceView, ...] = ()
    ended_at: datetime | None = None
    nothing_left: bool = False


class SeatCode(View, frozen=True, kw_only=True):
    """The code of one seat."""

    seat: str
    code: str


class BookingCodes(View, frozen=True, kw_only=True):
    """A booking with new codes."""

    booking: BookingView
    codes: tuple[SeatCode, ...]
