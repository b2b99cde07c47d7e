"""The form in which a person types the code of a seat."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from starter.api.access_recorder import peer_in
from starter.api.dependencies import BookingsDep, CallerDep, SeatPeerThrottleDep, SeatThrottleDep
from starter.api.problem_details import ProblemType
from starter.api.routes.bookings import require_few_codes
from starter.auth.security_log import note_denied, note_object
from starter.bookings.service import WrongCode
from starter.http_server.connections import peer_of
from starter.page.errors import problem_of
from starter.page.rendering import page
from starter.temporal.updates import Refused

router = APIRouter()

PATH = "/seat"


@router.get(PATH)
async def seat_form(request: Request, caller: CallerDep) -> Response:  # noqa: ARG001  (who must be signed in)
    """Show the form."""
    return page(request, "seat.html", problem=None)


@router.post(PATH)
async def take_seat(
    request: Request,
    bookings: BookingsDep,
    throttle: SeatThrottleDep,
    peers: SeatPeerThrottleDep,
    caller: CallerDep,
    code: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """Take the seat, and go on to its environment; or show the form again with what is wrong."""
    require_few_codes(throttle, peers, caller, peer_of(peer_in(request.scope)))
    try:
        done = await bookings.redeem(code, caller)
    except (WrongCode, Refused) as error:
        if isinstance(error, WrongCode):
            note_denied()
        problem = problem_of(error, request)
        response = page(request, "seat.html", problem=problem.details)
        response.status_code = problem.details.status or ProblemType.INVALID.status
        return response
    note_object(done.name)
    return RedirectResponse(f"/environments/{done.name}", HTTPStatus.SEE_OTHER)
