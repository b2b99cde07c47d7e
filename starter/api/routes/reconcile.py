"""Routes of the reconcile sweep, for the platform team."""

from http import HTTPStatus

import structlog
from fastapi import APIRouter, Response

from starter.api.dependencies import CallerDep, ReconcileDep
from starter.api.request_models import ReconcileRequest
from starter.auth.policy import GlobalVerb, ensure_allowed_globally
from starter.expiry.reconcile import ReconcileView

router = APIRouter(tags=["ends"])
_log = structlog.get_logger(__name__)


@router.get("/reconcile")
async def last_reconcile(sweeps: ReconcileDep, caller: CallerDep) -> ReconcileView:
    """Show what the last reconcile sweep found and did. For the platform team."""
    ensure_allowed_globally(caller, GlobalVerb.RECONCILE)
    return await sweeps.last()


@router.post("/reconcile", responses={202: {"model": ReconcileView}})
async def reconcile(
    body: ReconcileRequest, sweeps: ReconcileDep, caller: CallerDep, response: Response
) -> ReconcileView:
    """Compare all systems with the open environments now. For the platform team. 202: get it by its id."""
    ensure_allowed_globally(caller, GlobalVerb.RECONCILE)
    confirmed = tuple(sorted(set(body.confirmed)))
    view = await sweeps.start(dry_run=body.dry_run, confirmed=confirmed, by=caller.email)
    _log.info(
        "reconcile sweep", actor=caller.email, dry_run=body.dry_run, confirmed=confirmed, run_id=view.id
    )
    response.status_code = HTTPStatus.OK if view.over else HTTPStatus.ACCEPTED
    return view


@router.get("/reconcile/{run_id}", responses={202: {"model": ReconcileView}})
async def reconcile_result(
    run_id: str, sweeps: ReconcileDep, caller: CallerDep, response: Response, dry_run: bool = False
) -> ReconcileView:
    """Show the result of a reconcile sweep that was requested. 202: it is still running."""
    ensure_allowed_globally(caller, GlobalVerb.RECONCILE)
    view = await sweeps.wait(run_id, dry_run=dry_run)
    response.status_code = HTTPStatus.OK if view.over else HTTPStatus.ACCEPTED
    return view
