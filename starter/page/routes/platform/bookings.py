"""The bookings: all of them, and one with who has come and its certificate."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from starter.api.dependencies import BookingsDep, CallerDep
from starter.auth.policy import GlobalVerb, ensure_allowed_globally
from starter.page.rendering import page

router = APIRouter()

PATH = "/platform/bookings"


@router.get(PATH)
async def bookings_page(request: Request, bookings: BookingsDep, caller: CallerDep) -> Response:
    """Show all bookings, the latest end first."""
    ensure_allowed_globally(caller, GlobalVerb.BOOKINGS)
    return page(request, "platform/bookings.html", bookings=await bookings.reader.list())


@router.get(PATH + "/{event}")
async def booking_page(event: str, request: Request, bookings: BookingsDep, caller: CallerDep) -> Response:
    """Show one booking: who has come, and its certificate as a page to print once it is over."""
    ensure_allowed_globally(caller, GlobalVerb.BOOKINGS)
    return page(request, "platform/booking.html", booking=await bookings.reader.read(event))


@router.post(PATH + "/{event}/end")
async def end(event: str, bookings: BookingsDep, caller: CallerDep) -> Response:
    """End the booking now."""
    ensure_allowed_globally(caller, GlobalVerb.END_BOOKING)
    ended = await bookings.end(event, caller)
    return RedirectResponse(f"{PATH}/{ended.event}", HTTPStatus.SEE_OTHER)
