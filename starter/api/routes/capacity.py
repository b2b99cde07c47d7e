"""Route of the capacity: totals, reservations, and what the caller may still request."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from contracts.capacity.ledger import unpack
from contracts.capacity.models import StateInput
from starter.api.dependencies import Asking, TheParts
from starter.api.problem_details import ApiProblem
from starter.auth.policy import GlobalVerb, is_allowed_globally
from starter.placement.schemas import CapacityView, view_of

router = APIRouter(tags=["capacity"])


@router.get("/capacity")
async def capacity(
    parts: TheParts,
    principal: Asking,
    holdings: Annotated[bool, Query(description="who holds what, too; for the platform team")] = False,
) -> CapacityView:
    """Of each host the total, what is held and what is left; and your quotas and those of your teams."""
    verb = GlobalVerb.HOLDINGS if holdings else GlobalVerb.CAPACITY
    if not is_allowed_globally(verb, principal.role):
        raise ApiProblem(HTTPStatus.FORBIDDEN, "not-allowed", f"{verb} is for the platform team")
    state = await parts.reservations.state(StateInput(person=principal.email, teams=principal.teams))
    held = unpack(await parts.reservations.holdings()) if holdings else None
    return view_of(state, principal, parts.house, held)
