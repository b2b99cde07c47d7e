"""The reconcile sweep: what the last one found, a dry run, and the confirmation for which its brake waits."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from contracts.reconcile.drift import is_to_repair
from contracts.reconcile.models import MAX_ORPHANS
from contracts.reconcile.outcomes import LifeOutcome, count_outcomes
from starter.api.dependencies import CallerDep, ReconcileDep
from starter.api.request_models import ReconcileRequest
from starter.api.routes.reconcile import reconcile as start_sweep
from starter.auth.policy import GlobalVerb, ensure_allowed_globally
from starter.expiry.reconcile import ReconcileView
from starter.page.errors import api_request
from starter.page.rendering import page

router = APIRouter()

PATH = "/platform/reconcile"
#: The lives of a form, with a blank after each.
_MAX_CONFIRMED = MAX_ORPHANS * 25
_WORDS = {
    LifeOutcome.ADOPTED: "Adopted",
    LifeOutcome.UNDONE: "Teardown started",
    LifeOutcome.REPAIRED: "Repair started",
    LifeOutcome.REPORTED: "Reported",
    LifeOutcome.QUARANTINED: "Incomplete, in their grace",
    LifeOutcome.WAITING: "Wait for your confirmation",
    LifeOutcome.FAILED: "Failed",
}


def facts_of(view: ReconcileView) -> dict[str, Any]:
    """Return what templates show of a sweep: the sweep, and how many lives had each outcome."""
    counts = count_outcomes(view.result) if view.result else {}
    return {"reconcile": view, "outcomes": [(_WORDS[one], count) for one, count in counts.items() if count]}


@router.get(PATH)
async def last_reconcile(request: Request, sweeps: ReconcileDep, caller: CallerDep) -> Response:
    """Show what the last sweep found and did, by schedule or on request."""
    ensure_allowed_globally(caller, GlobalVerb.RECONCILE)
    return _page(request, await sweeps.last())


@router.post(PATH)
async def reconcile(
    sweeps: ReconcileDep,
    caller: CallerDep,
    dry_run: Annotated[bool, Form()] = True,
    confirmed: Annotated[str, Form(max_length=_MAX_CONFIRMED)] = "",
) -> Response:
    """Compare now, say what that would do, or confirm lives. The page of the sweep waits for the result."""
    body = api_request(ReconcileRequest, dry_run=dry_run, confirmed=confirmed.split())
    view = await start_sweep(body, sweeps, caller, Response())
    return RedirectResponse(f"{PATH}/{view.id}?dry_run={str(dry_run).lower()}", HTTPStatus.SEE_OTHER)


@router.get(PATH + "/{run_id}")
async def reconcile_result(
    run_id: str, request: Request, sweeps: ReconcileDep, caller: CallerDep, dry_run: bool = False
) -> Response:
    """Show the result of a sweep on request, or that it is under way."""
    ensure_allowed_globally(caller, GlobalVerb.RECONCILE)
    return _page(request, await sweeps.wait(run_id, dry_run=dry_run))


def _page(request: Request, view: ReconcileView) -> Response:
    return page(request, "platform/reconcile.html", is_to_repair=is_to_repair, **facts_of(view))
