"""Routes of bookings: book, list, show, end, new codes; and the seat that a code gives."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from starter.api.access_recorder import peer_in
from starter.api.dependencies import (
    BookingsDep,
    CallerDep,
    SeatPeerThrottleDep,
    SeatThrottleDep,
)
from starter.api.problem_details import too_many
from starter.api.request_models import BookingRequest, SeatRequest
from starter.auth.policy import GlobalVerb, Principal, ensure_allowed_globally
from starter.auth.rate_limit import Throttle
from starter.auth.security_log import note_denied, note_object
from starter.bookings.schemas import BookingCodes, BookingList, BookingView
from starter.bookings.service import WrongCode
from starter.environments.schemas import Done, DoneKind
from starter.http_server.connections import peer_of

router = APIRouter(tags=["bookings"])

#: Burst and rate of codes that one person tries: a person has one, and mistypes it a few times.
CODES_BURST, CODES_PER_SECOND = 20, 0.1
#: Those from one address: a class may sit behind one, and all of it comes within a minute.
PEER_CODES_BURST, PEER_CODES_PER_SECOND = 300, 1.0


@router.post("/bookings", status_code=HTTPStatus.CREATED)
async def book(
    body: BookingRequest, response: Response, bookings: BookingsDep, caller: CallerDep
) -> BookingCodes:
    """Hold room for an event, and make a code for each seat. For the platform team.

    The answer is the only one with the codes.
    """
    ensure_allowed_globally(caller, GlobalVerb.BOOK)
    note_object(body.event[:100])
    made = await bookings.book(body.requested(), caller)
    response.headers["Location"] = f"bookings/{made.booking.event}"
    response.headers["Cache-Control"] = "no-store"
    return made


@router.get("/bookings")
async def list_of_bookings(bookings: BookingsDep, caller: CallerDep) -> BookingList:
    """List the bookings, and those that are over while Temporal keeps them. For the platform team."""
    ensure_allowed_globally(caller, GlobalVerb.BOOKINGS)
    return BookingList(bookings=await bookings.reader.list())


@router.get("/bookings/{event}")
async def show_booking(event: str, bookings: BookingsDep, caller: CallerDep) -> BookingView:
    """Show who has which seat of a booking, and its certificate once it is over. For the platform team."""
    ensure_allowed_globally(caller, GlobalVerb.BOOKINGS)
    return await bookings.reader.read(event)


@router.delete("/bookings/{event}", status_code=HTTPStatus.ACCEPTED)
async def end_booking(event: str, bookings: BookingsDep, caller: CallerDep) -> BookingView:
    """End a booking now, with all its environments. For the platform team. Repeats change nothing."""
    ensure_allowed_globally(caller, GlobalVerb.END_BOOKING)
    note_object(event[:100])
    return await bookings.end(event, caller)


@router.post("/bookings/{event}/codes")
async def renew_codes(
    event: str, response: Response, bookings: BookingsDep, caller: CallerDep
) -> BookingCodes:
    """Make new codes for the seats that are free. The former ones are not good any more.

    For the platform team.
    """
    ensure_allowed_globally(caller, GlobalVerb.NEW_CODES)
    note_object(event[:100])
    response.headers["Cache-Control"] = "no-store"
    return await bookings.renew_codes(event, caller)


@router.post(
    "/seats",
    status_code=HTTPStatus.ACCEPTED,
    responses={200: {"model": Done, "description": "It is there already"}},
)
async def take_seat(
    body: SeatRequest,
    request: Request,
    response: Response,
    bookings: BookingsDep,
    throttle: SeatThrottleDep,
    peers: SeatPeerThrottleDep,
    caller: CallerDep,
) -> Done:
    """Take the seat of a code. 202: its environment is being made. 200: it is there.

    A code is good once, and then for the same person only.
    """
    ensure_allowed_globally(caller, GlobalVerb.SEAT)
    require_few_codes(throttle, peers, caller, peer_of(peer_in(request.scope)))
    try:
        done = await bookings.redeem(body.code, caller)
    except WrongCode:
        note_denied()
        raise
    note_object(done.name)
    response.headers["Location"] = f"environments/{done.name}"
    if done.kind is not DoneKind.CREATED:
        response.status_code = HTTPStatus.OK
    return done


def require_few_codes(throttle: Throttle, peers: Throttle, caller: Principal, peer: str) -> None:
    """Raise ApiProblem if the caller, or its address, tries more codes than people do who have one."""
    if limited := throttle.record(caller.email) or peers.record(peer):
        note_denied()
        raise too_many("codes", limited)
