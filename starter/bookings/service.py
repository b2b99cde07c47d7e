"""Books room for an event, gives seats to those who have codes, and ends a booking.

Booking: plan, hold the room in the capacity workflow, start the booking's workflow. Redeeming: find the
booking of the code, have its workflow give the seat to the person, start the environment of the seat.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import WorkflowAlreadyStartedError

from contracts.booking_workflow import (
    BookingStart,
    BookingStatus,
    EndNowInput,
    RedeemInput,
    RenewCodesInput,
    RenewCodesResult,
    Seat,
    status_at_start,
)
from contracts.bookings import BOOKING_LABEL, BookingMark, booking_id, booking_problems, seat_names
from contracts.capacity.bookings import BookingHold, BookingRequest
from contracts.capacity.models import ReservationRequest
from contracts.environment.models import Environment, Spec
from contracts.environment_workflow import TASK_QUEUE, EnvironmentStart
from contracts.errors import Refusal, RefusalReason
from contracts.templates.template import Template
from contracts.temporal.booking_start import booking_options
from contracts.types.naming import OwnerMark, life_id, request_id
from starter.auth.policy import Principal
from starter.bookings.codes import hash_code, is_of_booking, make_code, read_code
from starter.bookings.reader import BookingNotFound, BookingReader, LatestBooking
from starter.bookings.schemas import BookingCodes, BookingView, SeatCode, booking_view
from starter.catalogue.loader import Catalogue, offered_templates, unknown_template
from starter.catalogue.parameters import read_parameters
from starter.config_files.reloading import Reloaded
from starter.environments.people_check import PeopleDirectory, check_people
from starter.environments.reader import EnvironmentReader, Latest
from starter.environments.requests.service import (
    EnvironmentStarter,
    LeftBehind,
    done_of,
    is_start_rejected,
)
from starter.environments.schemas import Done, DoneKind
from starter.environments.workflow_start import START_TIMEOUT
from starter.installation_settings import InstallationConfig
from starter.placement.advisor import PlacementAdvisor
from starter.placement.reservations import Reservations
from starter.request_errors import FieldProblem, InvalidRequest
from starter.temporal.errors import UPDATE_TIMEOUT, TemporalUnavailable, map_rpc_errors
from starter.temporal.updates import NoCapacity, Refused, WorkflowClosed, map_update_errors, send_until_taken
from workflows.booking import BookingWorkflow

#: Typed as Any because mypy rejects an `async def` update with a validator against the SDK's types.
_REDEEM: Any = BookingWorkflow.redeem
_RENEW_CODES: Any = BookingWorkflow.renew_codes
_END: Any = BookingWorkflow.end
NOT_GOOD = (
    "This code is not good: it is mistyped, used by another person, replaced, or of a booking that is over. "
    "Ask those who gave it to you."
)

_log = structlog.get_logger(__name__)


class WrongCode(Exception):
    """The code gives no seat to this person; the one sentence does not say why."""

    def __init__(self) -> None:
        super().__init__(NOT_GOOD)


@dataclass(frozen=True)
class RequestedBooking:
    """The booking that a caller requests."""

    event: str
    template: str
    seats: int
    starts_at: datetime
    ends_at: datetime


class BookingService:
    """Answers requests for bookings and for their seats."""

    def __init__(
        self,
        *,
        client: Client,
        installation: InstallationConfig,
        catalogue: Reloaded[Catalogue],
        people: PeopleDirectory,
        placement: PlacementAdvisor,
        reservations: Reservations,
        environments: EnvironmentReader,
        starter: EnvironmentStarter,
    ) -> None:
        self._client = client
        self._installation = installation
        self._catalogue = catalogue
        self._people = people
        self._placement = placement
        self._reservations = reservations
        self._environments = environments
        self._starter = starter
        self.reader = BookingReader(client)

    # --- bookings -------------------------------------------------------------------------------------

    async def book(self, requested: RequestedBooking, principal: Principal) -> BookingCodes:
        """Hold the room and start the booking, or do neither; return the codes of its seats.

        A repeat goes on where the request of before was cut off: it holds the same room.

        Raises:
            InvalidRequest: A field is wrong.
            NoCapacity: The hosts have not enough room; the numbers are in the sentence.
            Refused: The event is booked already.
        """
        template = self._check(requested, principal)
        latest = await self.reader.latest(requested.event)
        if latest and latest.is_open:
            raise Refused(_booked_already(requested.event))
        id = _request_id_of(requested, principal, latest)
        request = await self._plan(requested, template, principal, life_id(id))
        decision = await self._reservations.book(request)
        if decision.refusal or decision.hold is None:
            raise NoCapacity(decision.refusal or _booked_already(requested.event), None)
        hold = decision.hold
        codes = _new_codes(hold.life, seat_names(hold.event, hold.number))
        start = BookingStart(
            request_id=id, hold=hold, codes=tuple(hash_code(hold.life, one.code) for one in codes)
        )
        try:
            await self._start(start)
        except WorkflowAlreadyStartedError:
            latest = await self.reader.latest(requested.event)
            # A repeat at the same moment may have started it: then the room is held for that.
            if latest and latest.request_id not in ("", id):
                await self._reservations.end_booking(hold.life)
            raise Refused(_booked_already(requested.event)) from None
        except TemporalUnavailable as error:
            # After any other error it may have started, so keep the room; the audit gives it back if not.
            if is_start_rejected(error):
                await self._reservations.end_booking(hold.life)
            raise
        _log.info("booked", booking=hold.event, life=hold.life, actor=principal.email, seats=hold.number)
        # Ask no worker for it: without the answer the codes would be lost.
        return BookingCodes(booking=booking_view(status_at_start(hold)), codes=codes)

    async def renew_codes(self, event: str, principal: Principal) -> BookingCodes:
        """Give new codes to the seats that are free; the former ones are not good any more."""
        view = await self.reader.read(event)
        hold = next((one for one in await self._holds() if one.event == event), None)
        if hold is None:
            raise Refused(Refusal(reason=RefusalReason.BEING_TORN_DOWN, message=f"{event} is over."))
        codes = _new_codes(hold.life, (seat.name for seat in view.people if not seat.person))
        ask = RenewCodesInput(codes={one.seat: hash_code(hold.life, one.code) for one in codes})
        result: RenewCodesResult = await self._update(event, _RENEW_CODES, ask)
        _log.info("codes renewed", booking=event, actor=principal.email, seats=len(result.seats))
        new = tuple(one for one in codes if one.seat in result.seats)
        return BookingCodes(booking=view, codes=new)

    async def end(self, event: str, principal: Principal) -> BookingView:
        """End the booking now; one that is over is shown as it has ended."""
        latest = await self.reader.latest(event)
        if latest and latest.is_open:
            try:
                status: BookingStatus = await self._update(event, _END, EndNowInput(actor=principal.email))
                _log.info("booking ended", booking=event, actor=principal.email)
                return booking_view(status)
            except WorkflowClosed:
                pass  # It has just ended by itself.
        return await self.reader.read(event)

    def _check(self, requested: RequestedBooking, principal: Principal) -> Template:
        """Return the template of the booking; raise InvalidRequest with every problem."""
        offered = offered_templates(self._catalogue.current(), principal)
        template = next((one for one in offered if one.name == requested.template), None)
        now = datetime.now(UTC)
        longest = template.ttl.maximum if template else timedelta.max
        problems = [
            FieldProblem(field=field, message=message)
            for field, message in booking_problems(
                requested.event, requested.seats, requested.starts_at, requested.ends_at, longest, now
            ).items()
        ]
        if template is None:
            message = unknown_template(requested.template[:80], offered)
            problems.append(FieldProblem(field="template", message=message))
        else:
            problems += _parameter_problems(template)
        if problems or template is None:
            raise InvalidRequest(problems)
        return template

    async def _plan(
        self, requested: RequestedBooking, template: Template, principal: Principal, life: str
    ) -> BookingRequest:
        mark = BookingMark(event=requested.event, life=life, ends_at=requested.ends_at)
        environment = Environment(
            mark=OwnerMark.for_request(self._installation.installation, "standby", template.name),
            prefix=self._installation.prefix,
            owner="",
            spec=Spec(template=template.name, team="", labels={BOOKING_LABEL: requested.event}),
            template=template.with_parameters({}),
            ttl=requested.ends_at - datetime.now(UTC),
            host="",
            has_identity_provider=False,
            is_standby=True,
            booking=mark,
        )
        place = await self._placement.reservation_request(environment)
        if not place.hosts:
            message = f'"{template.name}" finds no host: tell the platform team'
            raise InvalidRequest([FieldProblem(field="template", message=message)])
        return BookingRequest(
            event=requested.event,
            life=life,
            owner=principal.email,
            seats=requested.seats,
            hosts=place.hosts,
            starts_at=requested.starts_at,
            ends_at=requested.ends_at,
            environment=environment,
            size=place.size,
        )

    async def _start(self, start: BookingStart) -> None:
        with map_rpc_errors():
            await self._client.start_workflow(
                BookingWorkflow.run,
                start,
                task_queue=TASK_QUEUE,
                rpc_timeout=START_TIMEOUT,
                **booking_options(start),
            )

    # --- seats ----------------------------------------------------------------------------------------

    async def redeem(self, text: str, principal: Principal) -> Done:
        """Give the seat of a code to the caller, and start its environment, or show the one that is there.

        A repeat by the same person gets the same seat. If its environment has ended, another one is made.

        Raises:
            WrongCode: The code is not good for this person, for whatever reason.
            InvalidRequest: The directory does not know the person.
            Refused: The booking begins later, or the person has another seat of it.
            NoCapacity: No host has room for it just now.
        """
        code = read_code(text)
        for hold in await self._holds():
            if code and is_of_booking(code, hold.life):
                check = await check_people(self._people, [principal.email])
                if problem := check.problems.get(principal.email):
                    raise InvalidRequest([FieldProblem(field="owner", message=problem)])
                if seat := await self._take(hold, code, principal):
                    return await self._start_seat(hold, seat, principal, people_are_checked=check.complete)
        raise WrongCode

    async def _take(self, hold: BookingHold, code: str, principal: Principal) -> Seat | None:
        """Have the booking give the seat to the person; None if the code is not good."""
        ask = RedeemInput(code=hash_code(hold.life, code), person=principal.email)
        try:
            seat: Seat = await self._update(hold.event, _REDEEM, ask)
        except (WorkflowClosed, BookingNotFound):
            return None
        except Refused as error:
            if error.refusal.reason is RefusalReason.WRONG_CODE:
                return None
            raise
        return seat

    async def _start_seat(
        self, hold: BookingHold, seat: Seat, principal: Principal, *, people_are_checked: bool
    ) -> Done:
        latest = await self._environments.latest(seat.name)
        if latest and not latest.ended and (there := await self._environments.read(seat.name)):
            if there.owner != principal.email:
                message = f"{seat.name} was your seat, and has another owner now: ask {there.owner}."
                raise Refused(Refusal(reason=RefusalReason.OTHER_OWNER, message=message))
            message = f"{seat.name} is your seat of {hold.event}."
            return Done(
                kind=DoneKind.JOINED, message=message, name=seat.name, life=there.life, environment=there.view
            )
        start, reservation = self._plan_seat(hold, seat.name, principal, people_are_checked, latest)
        try:
            outcome = await self._starter.start_or_join(start, reservation)
        except LeftBehind as error:
            message = f"{seat.name} cannot be made yet. {error}"
            raise Refused(Refusal(reason=RefusalReason.LEFT_BEHIND, message=message)) from None
        _log.info("seat taken", booking=hold.event, environment=seat.name, actor=principal.email)
        return done_of(seat.name, outcome)

    def _plan_seat(
        self,
        hold: BookingHold,
        name: str,
        principal: Principal,
        people_are_checked: bool,
        latest: Latest | None,
    ) -> tuple[EnvironmentStart, ReservationRequest]:
        # The person who asks again means the same life until one has ended: what it was promised, also its
        # standby, is there if the API was killed before it started it. The date is in it because Temporal
        # forgets an ended run after a day or later, and no life is made twice.
        key = f"{hold.life}/{latest.first_run_id if latest else ''}/{datetime.now(UTC):%Y-%m-%d}"
        id = request_id(principal.email, name, key)
        host = next(iter(hold.seats))
        environment = Environment(
            mark=OwnerMark.for_request(self._installation.installation, name, id),
            prefix=self._installation.prefix,
            owner=principal.email,
            spec=Spec(template=hold.template, team=principal.teams[0], labels={BOOKING_LABEL: hold.event}),
            template=hold.environment.template,
            ttl=hold.ends_at - datetime.now(UTC),
            host=host,
            has_identity_provider=self._installation.has_identity_provider,
            booking=hold.mark,
        )
        start = EnvironmentStart(
            environment=environment,
            request_id=id,
            people_are_checked=people_are_checked,
            timeouts=self._installation.timeouts,
        )
        reservation = ReservationRequest(
            name=name,
            life=environment.mark.life,
            owner=environment.owner,
            team=environment.spec.team,
            template=hold.template,
            size=hold.size,
            hosts=tuple(hold.seats),
            ends_at=hold.ends_at,
            pool=hold.pool,
            booking=hold.life,
        )
        return start, reservation

    async def _holds(self) -> tuple[BookingHold, ...]:
        held = await self._reservations.list_bookings()
        if not held.is_known:
            with map_rpc_errors():
                await self._reservations.ensure_started()
            message = "It is not known yet who holds what."
            raise NoCapacity(Refusal(reason=RefusalReason.NOT_KNOWN, message=message), None)
        return held.bookings

    async def _update(self, event: str, update: Any, ask: Any) -> Any:
        handle: WorkflowHandle[BookingWorkflow, Any] = self._client.get_workflow_handle_for(
            BookingWorkflow.run, booking_id(event)
        )
        async with map_update_errors(UPDATE_TIMEOUT):
            return await send_until_taken(lambda: handle.execute_update(update, ask))


def _request_id_of(requested: RequestedBooking, principal: Principal, latest: LatestBooking | None) -> str:
    """Return the same id for the same request until it has led to a booking.

    The date is in it because Temporal forgets an ended run after a day or later, and no life is made twice.
    """
    now = datetime.now(UTC)
    moments = (at.astimezone(UTC).isoformat() for at in (requested.starts_at, requested.ends_at))
    of_before = latest.run_id if latest else ""
    key = "/".join((requested.template, str(requested.seats), *moments, of_before, f"{now:%Y-%m-%d}"))
    return request_id(principal.email, requested.event, key)


def _new_codes(life: str, names: Any) -> tuple[SeatCode, ...]:
    return tuple(SeatCode(seat=name, code=make_code(life)) for name in names)


def _booked_already(event: str) -> Refusal:
    message = (
        f"{event} is booked already: choose another name for the event. "
        f"If the booking is yours and you have not got its codes: moorage bookings {event} --new-codes"
    )
    return Refusal(reason=RefusalReason.OTHER_OWNER, message=message)


def _parameter_problems(template: Template) -> list[FieldProblem]:
    _, wrong = read_parameters(template, {})
    return [FieldProblem(field="template", message=f"{one.field}: {one.message}") for one in wrong]
