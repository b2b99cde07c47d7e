"""The warm pools: how many standbys wait, which pools have stopped, and the way to resume one."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from starter.api.dependencies import CallerDep, ReservationsDep
from starter.api.routes.capacity import resume_pool
from starter.auth.policy import GlobalVerb, ensure_allowed_globally
from starter.page.rendering import page
from starter.placement.schemas import pool_view

router = APIRouter()

PATH = "/platform/pools"


@router.get(PATH)
async def pools_page(request: Request, reservations: ReservationsDep, caller: CallerDep) -> Response:
    """Show all warm pools, those that have stopped first."""
    ensure_allowed_globally(caller, GlobalVerb.RESUME_POOL)
    views = map(pool_view, await reservations.list_pools())
    found = sorted(views, key=lambda pool: (not pool.has_stopped, pool.template))
    return page(request, "platform/pools.html", pools=found)


@router.post(PATH + "/{template}/resume")
async def resume(template: str, reservations: ReservationsDep, caller: CallerDep) -> Response:
    """Let a pool that has stopped make standbys again."""
    await resume_pool(template, reservations, caller)
    return RedirectResponse(PATH, HTTPStatus.SEE_OTHER)
