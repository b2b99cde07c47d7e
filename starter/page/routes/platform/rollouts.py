"""Upgrades of all environments of a template: a dry run, its confirmation, what runs, and its stop."""

from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from contracts.rollout import (
    DEFAULT_STOP_AFTER,
    DEFAULT_WAVE,
    MAX_ENVIRONMENTS,
    MAX_WAVE,
    RolloutLine,
    RolloutOutcome,
    RolloutStatus,
)
from starter.api.dependencies import CallerDep, CatalogueDep, RolloutsDep
from starter.api.problem_details import ApiProblem
from starter.api.request_models import RolloutRequest
from starter.api.routes.rollouts import roll_out, rollout_status
from starter.api.routes.rollouts import stop_rollout as stop_running
from starter.auth.policy import GlobalVerb, Principal, ensure_allowed_globally
from starter.catalogue.loader import offered_templates
from starter.page.errors import api_request, problem_of
from starter.page.rendering import page

router = APIRouter()

PATH = "/platform/rollouts"
#: Rows of one page: they fit into its budget of bytes.
ROWS = 50
#: The outcomes in the order of the list: those first that a person has to look at.
_ORDER = (
    RolloutOutcome.FAILED,
    RolloutOutcome.ROLLED_BACK,
    RolloutOutcome.RUNNING,
    RolloutOutcome.REFUSED,
    RolloutOutcome.WAITING,
    RolloutOutcome.SKIPPED,
    RolloutOutcome.GONE,
    RolloutOutcome.UPGRADED,
)


@router.get(PATH)
async def rollouts_page(
    request: Request, rollouts: RolloutsDep, catalogue: CatalogueDep, caller: CallerDep
) -> Response:
    """Show which rollouts run, and the form of a dry run."""
    return await _page(request, rollouts, catalogue, caller)


@router.post(PATH)
async def start(
    request: Request,
    rollouts: RolloutsDep,
    catalogue: CatalogueDep,
    caller: CallerDep,
    template: Annotated[str, Form(max_length=200)] = "",
    version: Annotated[str, Form(max_length=20)] = "",
    wave: Annotated[str, Form(max_length=20)] = str(DEFAULT_WAVE),
    stop_after: Annotated[str, Form(max_length=20)] = str(DEFAULT_STOP_AFTER),
    dry_run: Annotated[bool, Form()] = True,
) -> Response:
    """Show what would be upgraded, or start what a dry run has shown. Its page follows it."""
    ensure_allowed_globally(caller, GlobalVerb.ROLLOUT)
    typed = {"template": template, "wave": wave, "stop_after": stop_after}
    try:
        body = api_request(RolloutRequest, **typed, dry_run=dry_run, version=version or None)
        view = await roll_out(body, rollouts, caller, Response())
    except Exception as error:
        problem = problem_of(error, request)
        return await _page(request, rollouts, catalogue, caller, typed=typed, problem=problem)
    if not dry_run:
        return RedirectResponse(_address(template), HTTPStatus.SEE_OTHER)
    lines = _sorted(view.result)
    return page(
        request, "platform/rollout-plan.html",
        view=view, lines=lines[:ROWS], count=len(lines), body=body, WAITING=RolloutOutcome.WAITING,
    )  # fmt: skip


@router.get(PATH + "/{template}")
async def rollout_page(
    template: str,
    request: Request,
    rollouts: RolloutsDep,
    caller: CallerDep,
    offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
) -> Response:
    """Show the running rollout of a template, or the last one."""
    view = await rollout_status(template, rollouts, caller, Response())
    lines = _sorted(view.result)
    return page(
        request, "platform/rollout.html",
        template=template, address=_address(template), view=view, waves=_waves(view.result),
        counts=[(one, view.result.count(one)) for one in _ORDER] if view.result else [],
        lines=lines[offset : offset + ROWS], count=len(lines), offset=offset, rows=ROWS,
    )  # fmt: skip


@router.post(PATH + "/{template}/stop")
async def stop(template: str, rollouts: RolloutsDep, caller: CallerDep) -> Response:
    """Begin no further wave."""
    await stop_running(template, rollouts, caller, Response())
    return RedirectResponse(_address(template), HTTPStatus.SEE_OTHER)


def _address(template: str) -> str:
    return f"{PATH}/{quote(template, safe='')}"


async def _page(
    request: Request,
    rollouts: RolloutsDep,
    catalogue: CatalogueDep,
    caller: Principal,
    *,
    typed: dict[str, str] | None = None,
    problem: ApiProblem | None = None,
) -> Response:
    ensure_allowed_globally(caller, GlobalVerb.ROLLOUT)
    return page(
        request,
        "platform/rollouts.html",
        status=problem.details.status if problem else HTTPStatus.OK,
        running=await rollouts.running(),
        templates=offered_templates(catalogue.current(), caller),
        max_wave=MAX_WAVE,
        max_failures=MAX_ENVIRONMENTS,
        typed=typed or {"template": "", "wave": DEFAULT_WAVE, "stop_after": DEFAULT_STOP_AFTER},
        problem=problem.details if problem else None,
    )


def _sorted(status: RolloutStatus | None) -> list[RolloutLine]:
    """Return the environments, what a person has to look at first, then in the order of their waves."""
    lines = status.lines if status else ()
    return sorted(lines, key=lambda line: (_ORDER.index(line.outcome), line.wave, line.name))


def _waves(status: RolloutStatus | None) -> tuple[int, int]:
    """Return how many waves have started, and how many there are."""
    lines = status.lines if status else ()
    started = [line.wave for line in lines if line.outcome is not RolloutOutcome.WAITING]
    return max(started, default=0), max((line.wave for line in lines), default=0)
