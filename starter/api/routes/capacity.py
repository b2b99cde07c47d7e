"""Route of the capacity: totals, reservations, and what the caller may still request."""

from typing import Annotated

from fastapi import APIRouter, Query

from contracts.capacity.models import StateInput
from starter.api.dependencies import CallerDep, CatalogueDep, InstallationDep, ReservationsDep
from starter.auth.policy import GlobalVerb, ensure_allowed_globally
from starter.catalogue.loader import offered_templates
from starter.placement.schemas import CapacityView, PoolList, capacity_view, pool_view

router = APIRouter(tags=["capacity"])


@router.get("/capacity")
async def capacity(
    reservations: ReservationsDep,
    installation: InstallationDep,
    caller: CallerDep,
    holdings: Annotated[bool, Query(description="who holds what, too; for the platform team")] = False,
) -> CapacityView:
    """Show what each host has in total, reserved and free, and your quotas and those of your teams."""
    ensure_allowed_globally(caller, GlobalVerb.HOLDINGS if holdings else GlobalVerb.CAPACITY)
    state = await reservations.cached_state(StateInput(person=caller.email, teams=caller.teams))
    held = await reservations.list_reservations() if holdings else None
    return capacity_view(state, caller, installation, held)


@router.get("/pools")
async def pools(reservations: ReservationsDep, catalogue: CatalogueDep, caller: CallerDep) -> PoolList:
    """Show the warm pools of the templates that you may use: how many standbys wait, and what is wrong."""
    ensure_allowed_globally(caller, GlobalVerb.CAPACITY)
    offered = {template.name for template in offered_templates(catalogue.current(), caller)}
    found = await reservations.list_pools()
    return PoolList(pools=tuple(pool_view(one) for one in found if one.template in offered))
