"""The messages of the capacity audit: what the workflow holds, and how that differs from what is open."""

from datetime import datetime, timedelta

from contracts.capacity.bookings import BookingHold
from contracts.capacity.models import FoundStandby, HostCapacity, Reservation
from contracts.types.models import Frozen


class ReservationList(Frozen):
    """All reservations, and what is held for bookings."""

    reservations: tuple[Reservation, ...]
    bookings: tuple[BookingHold, ...] = ()


class AuditInput(Frozen):
    """The input of the audit: Temporal's time."""

    now: datetime


class AuditResult(Frozen):
    """How the reservations differ from the open environments, and the hosts' capacity.

    `ended_claims`: claims, as name, life and time of the claim, of lives that are over or never started.
    `adopted`: open environments that have no reservation yet, or another one. `moved_ends`: ends that have
    moved, in seconds. `slept`: reservations that say wrongly whether their environment is asleep, as name,
    what is right, and the `changed` of the reservation. `is_partial`: the result is not complete.
    `needs_renewal`: the workflow's argument is encrypted with a former key. `next_audit_in`: the time until
    the next audit. `standbys` are those among the adopted. `bookings` are open and hold nothing yet;
    `ended_bookings` are the lives of those that hold something and are over.
    """

    hosts: tuple[HostCapacity, ...] = ()
    ended_claims: tuple[tuple[str, str, int], ...] = ()
    adopted: tuple[Reservation, ...] = ()
    moved_ends: tuple[tuple[str, int], ...] = ()
    slept: tuple[tuple[str, bool, int], ...] = ()
    is_partial: bool = False
    needs_renewal: bool = False
    next_audit_in: timedelta = timedelta(minutes=2)
    standbys: tuple[FoundStandby, ...] = ()
    bookings: tuple[BookingHold, ...] = ()
    ended_bookings: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The result in one line."""
        return (
            f"{len(self.ended_claims)} claims over, {len(self.adopted)} adopted, "
            f"{len(self.moved_ends)} ends moved, {len(self.slept)} asleep or awake"
        )
