"""Bookings as their service answers, without Temporal: one that is open, one that ends, one that is over."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from contracts.booking_workflow import BookingPhase, BookingStatus, EndedPlace, PlaceLeft, Seat
from contracts.environment.models import Certificate, Finding, Outcome, StepName
from starter.auth.policy import Principal
from starter.bookings.reader import BookingNotFound
from starter.bookings.schemas import BookingRow, BookingView, booking_view
from starter.bookings.service import WrongCode
from starter.environments.schemas import Done, DoneKind

NOW = datetime.now(UTC)
CODE = "K7QF-9XMB-2DWT-HRVE"


def a_status(
    event: str = "k8s-101", phase: BookingPhase = BookingPhase.OPEN, seats: int = 3
) -> BookingStatus:
    """Two people have come; an open one began an hour ago."""
    people = ("ann@example.com", "ben@example.com")
    taken = [Seat(name=f"{event}-{n:02}", person=who, taken_at=NOW) for n, who in enumerate(people, 1)]
    free = [Seat(name=f"{event}-{n:02}") for n in range(3, seats + 1)]
    return BookingStatus(
        event=event,
        life="0" * 20,
        owner="pia@example.com",
        template="small",
        hosts={"local": seats},
        starts_at=NOW - timedelta(hours=1),
        ends_at=NOW + timedelta(hours=7),
        booked_at=NOW - timedelta(days=2),
        seats=(*taken, *free),
        phase=phase,
    )


def an_ended(left: Sequence[str] = ()) -> BookingStatus:
    """One that is over; `left` is what an inspection has found of the second seat."""
    found = [Finding(step=StepName.NAMESPACE, system="host cluster", left=tuple(left))]
    clean = Certificate(inspected_at=NOW, findings=(Finding(step=StepName.PROJECT, system="control plane"),))
    status = a_status("over", BookingPhase.ENDED)
    ended = (
        EndedPlace(name="over-01", outcome=Outcome.DELETED, certificate=clean),
        EndedPlace(
            name="over-02",
            outcome=Outcome.DELETED,
            certificate=Certificate(inspected_at=NOW, findings=tuple(found)),
        ),
        EndedPlace(name="over-03", remark="no environment was made, or Temporal has forgotten it"),
    )
    return status.model_copy(update={"ended": ended, "ended_at": NOW, "ended_by": "pia@example.com"})


class Bookings:
    """The service, and its reader."""

    def __init__(self, why: str = "its teardown has given up, and needs the platform team") -> None:
        ending = a_status("ending", BookingPhase.ENDING)
        left = (PlaceLeft(name="ending-01", why=why),)
        ending = ending.model_copy(update={"left": left, "ended_by": "Moorage"})
        found = (a_status(), ending, an_ended())
        self.views = {status.event: booking_view(status) for status in found}
        self.ended: list[str] = []
        self.seat = "k8s-101-03"
        self.reader = self

    async def list(self) -> tuple[BookingRow, ...]:
        return tuple(self.views.values())

    async def read(self, event: str) -> BookingView:
        if event not in self.views:
            raise BookingNotFound(event)
        return self.views[event]

    async def end(self, event: str, principal: Principal) -> BookingView:
        self.ended.append(f"{event} by {principal.email}")
        return await self.read(event)

    async def redeem(self, code: str, principal: Principal) -> Done:
        if code != CODE:
            raise WrongCode
        return Done(kind=DoneKind.CREATED, message=f"for {principal.email}", name=self.seat, life="0" * 20)
