"""The workflow of one booking: its open run is the record of who has which seat, until nothing is left of it.

Room is held in the capacity workflow before this one starts. It keeps hashes of codes and never codes.
"""

import asyncio
import hmac
from contextlib import suppress
from datetime import timedelta
from typing import NoReturn

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from contracts.activities.fleet import BookingActivities
    from contracts.booking_workflow import (
        BOOKING_WORKFLOW,
        BookingPhase,
        BookingStart,
        BookingStatus,
        EndNowInput,
        EndPlacesInput,
        RedeemInput,
        RenewCodesInput,
        RenewCodesResult,
        Seat,
        status_at_start,
    )
    from contracts.bookings import STANDBY_LEAD, seat_names
    from contracts.capacity.bookings import SIGNAL_END_BOOKING, EndBookingInput
    from contracts.capacity.models import CAPACITY_ID, START_GRACE
    from contracts.environment.models import MOORAGE_ACTOR
    from contracts.environment_workflow import undo_queue
    from contracts.errors import ErrorType, Refusal, RefusalReason
    from contracts.expiry import format_utc
    from contracts.temporal import search_attributes
    from contracts.temporal.booking_start import TAKEN, booking_memo

from workflows.activity_failures import problem_of, require_genuine
from workflows.record.state import TEMPORAL_ACTOR
from workflows.shielded_waits import ShieldedWaits
from workflows.update_decorator import described_update
from workflows.version_upgrade import is_to_move, next_version

#: One pass over all seats: a few calls to Temporal for each.
PASS_TIMEOUT, PASS_HEARTBEAT = timedelta(minutes=5), timedelta(seconds=30)
#: All attempts of one pass; the next pass comes after a pause all the same.
ALL_ATTEMPTS_TIMEOUT = timedelta(minutes=10)
#: Pauses between passes while environments are torn down: half a minute each, or days if one is stuck.
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(minutes=5)
#: Between two looks whether a freeze of all ends is over.
FREEZE_PAUSE = timedelta(minutes=1)
FREEZE_TIMEOUT = timedelta(seconds=30)


@workflow.defn(name=BOOKING_WORKFLOW)
class BookingWorkflow:
    """One booking: open, and then ended with all its environments and standbys.

    Completes with its status, which is the one certificate. A cancellation ends it as well.
    """

    @workflow.init
    def __init__(self, start: BookingStart) -> None:
        # Create all state here, because an update may be handled before the first line of `run`.
        hold = start.hold
        self._start = start
        self._codes = dict(zip(seat_names(hold.event, hold.number), start.codes, strict=True))
        self._status = start.carried or status_at_start(hold)
        self._is_renewal_requested = False
        self._closed_at = workflow.now()
        self._has_ended_all = False
        self._is_pass_wanted = False
        self._waits = ShieldedWaits(self._note_cancellation)

    @workflow.run
    async def run(self, start: BookingStart) -> BookingStatus:  # noqa: ARG002  (`__init__` reads it)
        """Stay open until its end, end all that belongs to it, and close."""
        await self._stay_open()
        self._set(phase=BookingPhase.ENDING, frozen="")
        workflow.upsert_search_attributes([search_attributes.PHASE.value_set(BookingPhase.ENDING.value)])
        await self._waits.run(self._give_back())
        await self._end_all()
        await self._waits.until(workflow.all_handlers_finished)
        self._set(phase=BookingPhase.ENDED, ended_at=workflow.now())
        return self._status

    async def _stay_open(self) -> None:
        waiting = asyncio.create_task(self._wait_for_its_end())
        while not self._is_ending:
            await self._waits.until(
                lambda: waiting.done() or self._is_ending or self._should_continue_as_new()
            )
            if waiting.done():
                waiting.result()
                self._end(MOORAGE_ACTOR)
            self._note_cancellation()
            # An update may have come meanwhile.
            if not self._is_ending and self._should_continue_as_new():
                self._continue_as_new()
        waiting.cancel()

    async def _wait_for_its_end(self) -> None:
        """Return at the end of the booking, or when a freeze of all ends that lasts then is over."""
        left = self._start.hold.ends_at - workflow.now()
        await workflow.sleep(max(left, timedelta(0)), summary="until its end")
        while frozen := await self._freeze():
            self._set(frozen=frozen)
            await workflow.sleep(FREEZE_PAUSE, summary="until the next look at the freeze")

    async def _freeze(self) -> str:
        """Return why all ends are frozen, or why that is not known; "" if they are not."""
        try:
            return require_genuine(
                await workflow.execute_activity_method(
                    BookingActivities.freeze,
                    task_queue=undo_queue(workflow.info().task_queue),
                    schedule_to_close_timeout=FREEZE_TIMEOUT,
                    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1)),
                    summary="whether all ends are frozen",
                )
            )
        except ActivityError as error:
            return (
                f"whether all ends are frozen is not known: {problem_of(error, 'freeze', 'Temporal').cause}"
            )

    async def _give_back(self) -> None:
        """Signal the capacity workflow; if the signal fails, the capacity audit finds that it ends."""
        with suppress(FailureError):
            await workflow.get_external_workflow_handle(CAPACITY_ID).signal(
                SIGNAL_END_BOOKING, EndBookingInput(life=self._start.hold.life)
            )

    async def _end_all(self) -> None:
        """Make passes until nothing is left: a teardown that is stuck is shown, and not forgotten."""
        pause = FIRST_PAUSE
        while not self._has_ended_all:
            self._is_pass_wanted = False
            await self._waits.run(self._make_pass())
            if self._has_ended_all:
                return
            if self._should_continue_as_new():
                self._continue_as_new()
            await self._waits.run(self._pause(pause))
            pause = min(pause * 1.5, LONGEST_PAUSE)

    async def _pause(self, pause: timedelta) -> None:
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._is_pass_wanted, timeout=pause, timeout_summary="until the next pass"
            )

    async def _make_pass(self) -> None:
        ended = {place.name: place for place in self._status.ended}
        taken = [seat.name for seat in self._status.seats if seat.person]
        names = dict.fromkeys((*taken, *(place.name for place in self._status.left)))
        try:
            found = require_genuine(
                await workflow.execute_activity_method(
                    BookingActivities.end_places,
                    EndPlacesInput(
                        event=self._start.hold.event,
                        life=self._start.hold.life,
                        names=tuple(name for name in names if name not in ended),
                        actor=self._status.ended_by,
                        is_settled=workflow.now() - self._closed_at > START_GRACE,
                    ),
                    task_queue=undo_queue(workflow.info().task_queue),
                    start_to_close_timeout=PASS_TIMEOUT,
                    schedule_to_close_timeout=ALL_ATTEMPTS_TIMEOUT,
                    heartbeat_timeout=PASS_HEARTBEAT,
                    retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=20)),
                    summary="end its environments and standbys",
                )
            )
        except ActivityError as error:
            self._set(problem=problem_of(error, "end", "Temporal").cause)
            return
        for place in found.left:
            ended.pop(place.name, None)
        ended |= {place.name: place for place in found.ended}
        self._set(left=found.left, ended=tuple(ended[name] for name in sorted(ended)), problem="")
        self._has_ended_all = not found.left

    @property
    def _is_ending(self) -> bool:
        return bool(self._status.ended_by) or workflow.cancellation_reason() is not None

    def _note_cancellation(self) -> None:
        if workflow.cancellation_reason() is not None:
            self._end(TEMPORAL_ACTOR)

    def _end(self, actor: str) -> None:
        """End it; the first actor counts."""
        if not self._status.ended_by:
            self._set(ended_by=actor, phase=BookingPhase.ENDING)

    def _set(self, **fields: object) -> None:
        self._status = self._status.model_copy(update=fields)

    def _should_continue_as_new(self) -> bool:
        is_long = workflow.info().is_continue_as_new_suggested() or self._is_renewal_requested
        return (is_long or is_to_move()) and workflow.all_handlers_finished()

    def _continue_as_new(self) -> NoReturn:
        start = self._start.model_copy(update={"codes": tuple(self._codes.values()), "carried": self._status})
        # Create the memo again: Temporal would copy the old memo, which may be encrypted with a former key.
        workflow.continue_as_new(start, memo=booking_memo(start), initial_versioning_behavior=next_version())

    # --- updates, signals and queries -----------------------------------------------------------------

    @described_update("Take a seat with its code")
    async def redeem(self, ask: RedeemInput) -> Seat:
        """Give the seat of the code to the person; the same person gets the same seat again."""
        seat = self._seat_for(ask)
        if not seat.person:
            taken = seat.model_copy(update={"person": ask.person, "taken_at": workflow.now()})
            seats = tuple(taken if one.name == seat.name else one for one in self._status.seats)
            self._set(seats=seats)
            workflow.upsert_memo({TAKEN: self._status.taken})
            return taken
        return seat

    @redeem.validator
    def _check_redeem(self, ask: RedeemInput) -> None:
        """Reject the update here, so that a wrong code leaves nothing in the history."""
        self._seat_for(ask)

    def _seat_for(self, ask: RedeemInput) -> Seat:
        """Return the seat that the person may have; raise the same error for every code that is not good."""
        matches = [name for name, code in self._codes.items() if hmac.compare_digest(code, ask.code)]
        seat = next((one for one in self._status.seats if one.name in matches), None)
        hold, now = self._start.hold, workflow.now()
        if seat is None or seat.person not in ("", ask.person) or self._is_ending or now >= hold.ends_at:
            raise _refused(RefusalReason.WRONG_CODE, "This code is not good.")
        if opens := max(hold.starts_at - STANDBY_LEAD - now, timedelta(0)):
            message = f"{hold.event} begins {format_utc(hold.starts_at)}: "
            message += f"its codes are good from {format_utc(now + opens)} on."
            raise _refused(RefusalReason.NOT_NOW, message)
        own = next((one.name for one in self._status.seats if one.person == ask.person), seat.name)
        if own != seat.name:
            message = f"You have a seat of {hold.event} already, {own}: each person has one."
            raise _refused(RefusalReason.NOT_NOW, message)
        return seat

    @described_update("Give new codes to the seats that are free")
    async def renew_codes(self, ask: RenewCodesInput) -> RenewCodesResult:
        """Replace the codes; the former ones are not good any more."""
        free = {seat.name for seat in self._status.seats if not seat.person}
        new = {name: code for name, code in ask.codes.items() if name in free}
        self._codes |= new
        return RenewCodesResult(seats=tuple(new))

    @renew_codes.validator
    def _check_renew_codes(self, ask: RenewCodesInput) -> None:  # noqa: ARG002
        if self._is_ending:
            raise _refused(RefusalReason.BEING_TORN_DOWN, f"{self._start.hold.event} is over.")

    @described_update("End it now")
    async def end(self, ask: EndNowInput) -> BookingStatus:
        """Begin to end it, or make the next pass at once if it ends already."""
        self._end(ask.actor)
        self._is_pass_wanted = True
        return self._status

    @end.validator
    def _check_end(self, ask: EndNowInput) -> None:
        """Reject an update without its argument, which would fail the handler's workflow task for ever."""

    @workflow.signal(description="Go on in a new run, with the key and the worker version of now")
    def renew(self) -> None:
        """Continue in a new run, with the current key and worker version."""
        self._is_renewal_requested = True

    @workflow.query(description="How the booking stands")
    def status(self) -> BookingStatus:
        """Return the booking's status."""
        return self._status


def _refused(reason: RefusalReason, message: str) -> ApplicationError:
    refusal = Refusal(reason=reason, message=message)
    return ApplicationError(message, refusal, type=ErrorType.REQUEST_REFUSED, non_retryable=True)
