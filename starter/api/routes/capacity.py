"""Route of the capacity: totals, reservations, and what the caller may still request."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Query

from contracts.capacity.models import StateInput
from contracts.capacity.warm_pools import PoolCount
from starter.api.dependencies import CallerDep, CatalogueDep, InstallationDep, ReservationsDep
from starter.api.problem_details import ApiProblem, ProblemType
from starter.auth.policy import GlobalVerb, ensure_allowed_globally
from starter.catalogue.loader import offered_templates
from starter.placement.reservations import Reservations
from starter.placement.schemas import CapacityView, PoolList, PoolView, capacity_view, pool_view

_log = structlog.get_logger(__name__)
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


@router.post("/pools/{template}/resume")
async def resume_pool(template: str, reservations: ReservationsDep, caller: CallerDep) -> PoolView:
    """Let a warm pool that has stopped make standbys again. For the platform team. Repeats change nothing."""
    ensure_allowed_globally(caller, GlobalVerb.RESUME_POOL)
    await _pool_of(template, reservations)
    await reservations.resume_pool(template)
    _log.info("warm pool resumed", actor=caller.email, template=template)
    return pool_view(await _pool_of(template, reservations))


async def _pool_of(template: str, reservations: Reservations) -> PoolCount:
    """Return the pool of the template; raise ApiProblem if none is kept."""
    for pool in await reservations.list_pools():
        if pool.template == template:
            return pool
    kept = "`moorage pools` shows those that are kept"
    raise ApiProblem(ProblemType.NOT_FOUND, f'The template "{template[:80]}" keeps no warm pool: {kept}.')
