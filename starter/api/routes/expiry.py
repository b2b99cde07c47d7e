"""Routes of the expiry: extend, freeze, thaw, sweep."""

from http import HTTPStatus
from typing import Annotated

import structlog
from fastapi import APIRouter, Query, Response

from contracts.environment_workflow import ExtendInput
from contracts.errors import Refusal, RefusalReason
from contracts.types.durations import parse_duration
from starter.api.dependencies import CallerDep, CommandsDep, FreezeDep, LeaversDep, SweepsDep
from starter.api.request_models import ExtensionRequest, FreezeRequest, LeaversRequest
from starter.api.routes.environments import IdempotencyKey, OnlyLife
from starter.auth.policy import GlobalVerb, Principal, ensure_allowed_globally
from starter.environments.schemas import Done, FreezeAnswer, FreezeView
from starter.expiry.leavers import LeaversView
from starter.expiry.sweeps import Sweeps, SweepView
from starter.request_errors import FieldProblem, InvalidRequest
from starter.temporal.updates import Refused

router = APIRouter(tags=["ends"])
_log = structlog.get_logger(__name__)


@router.post("/environments/{name}/extend")
async def extend_environment(
    name: str,
    body: ExtensionRequest,
    commands: CommandsDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
) -> Done:
    """Move its end. Beyond its template's policy: 409 with the `latest` end, or an override with a reason."""
    return await commands.extend(name, caller, _extension(body, caller), idempotency_key, life)


@router.get("/freeze")
async def freeze_state(freeze: FreezeDep, _: CallerDep) -> FreezeAnswer:
    """Show whether all ends are frozen, by whom, and why."""
    state = await freeze.state()
    return FreezeAnswer(frozen=state, message=_frozen(state) if state else "Ends are not frozen.")


@router.put("/freeze", name="freeze")
async def freeze_ends(body: FreezeRequest, freeze: FreezeDep, caller: CallerDep) -> FreezeAnswer:
    """Let no environment end until the thaw. For the platform team."""
    ensure_allowed_globally(caller, GlobalVerb.FREEZE)
    before = await freeze.state()
    state, stopped = await freeze.freeze(caller.email, body.reason)
    _log.info("frozen", actor=caller.email, reason=body.reason, was=before.reason if before else "")
    message = _frozen(state)
    if before is not None and state == before:
        message = f"Ends were frozen before, and that stays: {message} Your reason is not kept; thaw first."
    if not stopped:
        message += " A sweep that was running has not stopped yet: it may still end what it has asked."
    return FreezeAnswer(frozen=state, message=message)


@router.delete("/freeze")
async def thaw(freeze: FreezeDep, caller: CallerDep) -> FreezeAnswer:
    """Let environments end again. For the platform team."""
    ensure_allowed_globally(caller, GlobalVerb.THAW)
    state = await freeze.thaw(caller.email)
    _log.info("thawed", actor=caller.email, was=state.reason if state else "")
    if state is None:
        return FreezeAnswer(frozen=None, message="Ends were not frozen.")
    message = "Thawed: the next sweep warns and ends what is due."
    return FreezeAnswer(frozen=None, message=message)


@router.post("/sweeps", status_code=HTTPStatus.OK, responses={202: {"model": SweepView}})
async def sweep(
    sweeps: SweepsDep,
    freeze: FreezeDep,
    caller: CallerDep,
    response: Response,
    dry_run: Annotated[bool, Query(description="say what would be done and why, and do nothing")] = False,
) -> SweepView:
    """Sweep now. For the platform team. 202: it is running; get its result by its id."""
    ensure_allowed_globally(caller, GlobalVerb.SWEEP)
    state = await freeze.state()
    if state and not dry_run:
        message = f"{_frozen(state)} Thaw first, or see what would be done with a dry run."
        raise Refused(Refusal(reason=RefusalReason.FROZEN, message=message))
    run_id = await sweeps.start(dry_run=dry_run, by=caller.email)
    _log.info("sweep", actor=caller.email, dry_run=dry_run, run_id=run_id)
    return await _wait(sweeps, response, run_id, dry_run)


@router.get("/sweeps/{run_id}", responses={202: {"model": SweepView}})
async def sweep_result(
    run_id: str, sweeps: SweepsDep, caller: CallerDep, response: Response, dry_run: bool = False
) -> SweepView:
    """Show the result of a sweep that was requested. 202: it is still running."""
    ensure_allowed_globally(caller, GlobalVerb.SWEEP)
    return await _wait(sweeps, response, run_id, dry_run)


@router.get("/leavers")
async def last_leavers(leavers: LeaversDep, caller: CallerDep) -> LeaversView:
    """Show what the last leaver sweep found and did. For the platform team."""
    ensure_allowed_globally(caller, GlobalVerb.LEAVERS)
    return await leavers.last()


@router.post("/leavers", responses={202: {"model": LeaversView}})
async def sweep_leavers(
    body: LeaversRequest, leavers: LeaversDep, caller: CallerDep, response: Response
) -> LeaversView:
    """Ask the directory now who has left. For the platform team. 202: it is running; get it by its id."""
    ensure_allowed_globally(caller, GlobalVerb.LEAVERS)
    confirmed = tuple(sorted({person.lower() for person in body.confirmed}))
    view = await leavers.start(confirmed=confirmed, by=caller.email)
    _log.info("leaver sweep", actor=caller.email, confirmed=confirmed, run_id=view.id)
    response.status_code = HTTPStatus.OK if view.over else HTTPStatus.ACCEPTED
    return view


@router.get("/leavers/{run_id}", responses={202: {"model": LeaversView}})
async def leavers_result(
    run_id: str, leavers: LeaversDep, caller: CallerDep, response: Response
) -> LeaversView:
    """Show the result of a leaver sweep that was requested. 202: it is still running."""
    ensure_allowed_globally(caller, GlobalVerb.LEAVERS)
    view = await leavers.wait(run_id)
    response.status_code = HTTPStatus.OK if view.over else HTTPStatus.ACCEPTED
    return view


async def _wait(sweeps: Sweeps, response: Response, run_id: str, dry_run: bool) -> SweepView:
    view = await sweeps.wait(run_id, dry_run=dry_run)
    if not view.over:
        response.status_code = HTTPStatus.ACCEPTED
    return view


def _extension(body: ExtensionRequest, principal: Principal) -> ExtendInput:
    problems = []
    by = None
    if (body.by is None) == (body.until is None):
        problems.append(FieldProblem(field="by", message="say either by how long, or until when"))
    elif body.by is not None:
        try:
            by = parse_duration(body.by[:80])
        except (ValueError, OverflowError) as error:
            problems.append(FieldProblem(field="by", message=str(error)))
    if body.override and not body.reason.strip():
        problems.append(
            FieldProblem(field="reason", message="an override needs one: it goes into the audit log")
        )
    if problems:
        raise InvalidRequest(problems)
    return ExtendInput(
        actor=principal.email, by=by, until=body.until, override=body.override, reason=body.reason.strip()
    )


def _frozen(state: FreezeView) -> str:
    who = f" by {state.by}" if state.by else ""
    return f"All ends are frozen{who}: {state.reason}."
