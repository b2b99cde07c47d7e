"""The part of the capacity workflow that holds room for bookings."""

from datetime import datetime

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from contracts.capacity.booking_admission import admit_booking, decide_booking
    from contracts.capacity.bookings import BookingDecision, BookingList, BookInput, EndBookingInput
    from contracts.capacity.ledger import CapacityLedger
    from contracts.capacity.models import PlacementDecision
    from contracts.errors import ErrorType

from workflows.capacity.warm_pools import PoolKeeper
from workflows.update_decorator import described_update


class BookingPlaces:
    """Holds the seats of a booking from the moment it is booked until it ends."""

    _ledger: CapacityLedger
    _keeper: PoolKeeper
    _audited_at: datetime | None
    _ended: dict[str, datetime]

    @described_update("Hold room for a booking")
    async def book(self, input: BookInput) -> BookingDecision:
        """Hold all seats of the booking, or none; a booking that asks again holds the same."""
        if self._audited_at is None:
            await workflow.wait_condition(lambda: self._audited_at is not None)
        decision = admit_booking(self._ledger, input.request, workflow.now())
        if decision.refusal:
            raise _refused(decision)
        if decision.displaced:
            displacing = PlacementDecision(displaced=decision.displaced)
            self._keeper.note_decisions((input.request.event,), (displacing,))
        self._keeper.note_bookings()
        return decision

    @book.validator
    def _check_book(self, input: BookInput) -> None:
        """Reject the update here when there is no room; this leaves nothing in the history."""
        if self._audited_at is not None:
            decision = decide_booking(self._ledger, input.request, workflow.now())
            if decision.refusal:
                raise _refused(decision)

    @workflow.signal(description="A booking has ended and holds nothing any more")
    def end_booking(self, input: EndBookingInput | None = None) -> None:
        """Give back the seats that are free. Does nothing without an argument, as `release`."""
        if input is not None:
            self._ended[input.life] = workflow.now()
            self._ledger.bookings.pop(input.life, None)
            self._keeper.note_bookings()

    @workflow.query(description="What is held for bookings")
    def bookings(self) -> BookingList:
        """Return all that is held for bookings."""
        held = tuple(self._ledger.bookings.values())
        return BookingList(bookings=held, is_known=self._audited_at is not None)


def _refused(decision: BookingDecision) -> ApplicationError:
    assert decision.refusal  # noqa: S101  (that is when it is raised)
    return ApplicationError(
        decision.refusal.message, decision, type=ErrorType.REQUEST_REFUSED, non_retryable=True
    )
