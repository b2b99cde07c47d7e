"""Everything about ends: the freeze, the sweeps, what expires soon, and who has left."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from starter.api.dependencies import (
    CallerDep,
    FreezeDep,
    InstallationDep,
    LeaversDep,
    ReconcileDep,
    ReservationsDep,
    SweepsDep,
)
from starter.api.problem_details import ApiProblem
from starter.api.request_models import FreezeRequest
from starter.api.routes.capacity import capacity
from starter.api.routes.expiry import sweep as start_sweep
from starter.auth.policy import GlobalVerb, Principal, ensure_allowed_globally
from starter.page.errors import api_request, problem_of
from starter.page.rendering import page
from starter.page.routes.platform.reconcile import facts_of

router = APIRouter()
_log = structlog.get_logger(__name__)

#: What expires within this time is listed, and how many of it.
SOON, MAX_LISTED = timedelta(days=7), 50
PATH = "/platform/ends"
#: What a form has done, as the page says it after the redirect.
_NOTES = {
    "frozen": "All ends are frozen.",
    "still-sweeping": "All ends are frozen. A sweep that was running has not stopped yet: it may still end "
    "what it has asked.",
    "was-frozen": "Ends were frozen before, and that stays. Your reason is not kept; thaw first.",
    "thawed": "Thawed: the next sweep warns and ends what is due.",
    "was-thawed": "Ends were not frozen.",
}


@dataclass
class Parts:
    """What the page shows a part of."""

    freeze: FreezeDep
    leavers: LeaversDep
    reconcile: ReconcileDep
    reservations: ReservationsDep
    installation: InstallationDep


PartsDep = Annotated[Parts, Depends()]


@router.get(PATH)
async def platform_ends(
    request: Request,
    parts: PartsDep,
    caller: CallerDep,
    done: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Show the freeze, the sweep, and what ends soon."""
    return await _page(request, parts, caller, note=_NOTES.get(done, ""))


@router.post("/platform/freeze", name="freeze")
async def freeze_ends(
    request: Request,
    parts: PartsDep,
    caller: CallerDep,
    reason: Annotated[str, Form(max_length=10_000)] = "",
) -> Response:
    """Let no environment end until the thaw."""
    ensure_allowed_globally(caller, GlobalVerb.FREEZE)
    try:
        asked = api_request(FreezeRequest, reason=reason.strip())
        before = await parts.freeze.state()
        state, has_stopped = await parts.freeze.freeze(caller.email, asked.reason)
    except Exception as error:
        return await _page(request, parts, caller, problem=problem_of(error, request), reason=reason)
    _log.info("frozen", actor=caller.email, reason=asked.reason, was=before.reason if before else "")
    if before is not None and state == before:
        return _back("was-frozen")
    return _back("frozen" if has_stopped else "still-sweeping")


@router.post("/platform/thaw")
async def thaw(freeze: FreezeDep, caller: CallerDep) -> Response:
    """Let environments end again."""
    ensure_allowed_globally(caller, GlobalVerb.THAW)
    state = await freeze.thaw(caller.email)
    _log.info("thawed", actor=caller.email, was=state.reason if state else "")
    return _back("thawed" if state else "was-thawed")


@router.post("/platform/sweeps")
async def sweep(
    sweeps: SweepsDep,
    freeze: FreezeDep,
    caller: CallerDep,
    dry_run: Annotated[bool, Form()] = True,
) -> Response:
    """Sweep now, or say what a sweep would do. Its page waits for the result."""
    view = await start_sweep(sweeps, freeze, caller, Response(), dry_run=dry_run)
    return RedirectResponse(
        f"/platform/sweeps/{view.id}?dry_run={str(dry_run).lower()}", HTTPStatus.SEE_OTHER
    )


@router.get("/platform/sweeps/{run_id}")
async def sweep_result(
    run_id: str, request: Request, sweeps: SweepsDep, caller: CallerDep, dry_run: bool = False
) -> Response:
    """Show the result of a sweep, or that it is under way."""
    ensure_allowed_globally(caller, GlobalVerb.SWEEP)
    return page(request, "platform/sweep.html", sweep=await sweeps.wait(run_id, dry_run=dry_run))


async def _page(
    request: Request,
    parts: PartsDep,
    caller: Principal,
    *,
    note: str = "",
    problem: ApiProblem | None = None,
    reason: str = "",
) -> Response:
    ensure_allowed_globally(caller, GlobalVerb.LEAVERS)
    view = await capacity(parts.reservations, parts.installation, caller, holdings=True)
    until = datetime.now(UTC) + SOON
    ending = sorted(
        (one for one in view.holdings or () if one.ends_at <= until), key=lambda one: (one.ends_at, one.name)
    )
    return page(
        request,
        "platform/ends.html",
        status=problem.details.status if problem else HTTPStatus.OK,
        frozen=await parts.freeze.state(),
        schedule=await parts.freeze.schedule(),
        reconcile_schedule=await parts.reconcile.schedule(),
        **facts_of(await parts.reconcile.last()),
        leavers=await parts.leavers.last(),
        ending=ending[:MAX_LISTED],
        count=len(ending),
        note=note,
        problem=problem.details if problem else None,
        reason=reason,
    )


def _back(done: str) -> Response:
    return RedirectResponse(f"{PATH}?done={done}", HTTPStatus.SEE_OTHER)
