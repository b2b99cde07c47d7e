"""How much there is, how much of it is held, and how much somebody may still have."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from contracts.capacity import StateInput
from contracts.holdings import unpack
from starter.access import HouseVerb, house_may
from starter.api.parts import Asking, TheParts
from starter.api.problems import ApiProblem
from starter.capacities import CapacityView, view_of

router = APIRouter(tags=["capacity"])


@router.get("/capacity")
async def capacity(
    parts: TheParts,
    principal: Asking,
    holdings: Annotated[bool, Query(description="who holds what, too; for the platform team")] = False,
) -> CapacityView:
    """Of each host the total, what is held and what is left; and your quotas and those of your teams."""
    verb = HouseVerb.HOLDINGS if holdings else HouseVerb.CAPACITY
    if not house_may(verb, principal.role):
        raise ApiProblem(HTTPStatus.FORBIDDEN, "not-allowed", f"{verb} is for the platform team")
    state = await parts.reservations.state(StateInput(person=principal.email, teams=principal.teams))
    held = unpack(await parts.reservations.holdings()) if holdings else None
    return view_of(state, principal, parts.house, held)
