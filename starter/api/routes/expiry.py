"""Routes of the expiry: extend, freeze, thaw, sweep, and the history."""

import secrets
from http import HTTPStatus
from typing import Annotated

import structlog
from fastapi import APIRouter, Query, Response

from clients.jsonl_file import JsonLinesFile
from contracts.durations import parse_duration
from contracts.environment_workflow import ExtendInput
from contracts.naming import is_name
from starter.api.dependencies import Asking, Parts, TheParts
from starter.api.problem_details import ApiProblem, no_environment
from starter.api.request_models import ExtensionRequest, FreezeRequest
from starter.api.routes.environments import IdempotencyKey, OnlyLife
from starter.auth.policy import GlobalVerb, Principal, Verb, is_allowed_globally, may, relations
from starter.auth.security_log import note_denied
from starter.environments.history import HistoryView, life_of_record, life_of_snapshot, records_of
from starter.environments.planning import FieldProblem, NotValid
from starter.environments.schemas import Done, DoneKind, FreezeAnswer, FreezeView
from starter.expiry.sweeps import SweepView, begin, wait
from starter.temporal.updates import WorkflowClosed

router = APIRouter(tags=["ends"])
_log = structlog.get_logger(__name__)


@router.post("/environments/{name}/extend")
async def extend_environment(
    name: str,
    body: ExtensionRequest,
    parts: TheParts,
    principal: Asking,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
) -> Done:
    """Move its end. Beyond its template's policy: 409 with the `latest` end, or an override with a reason."""
    verb = Verb.EXTEND_BEYOND if body.override else Verb.EXTEND
    standing = await parts.environment(name, principal, verb, life)
    ask = _extension(body, principal)
    if standing.ended:
        raise ApiProblem(
            HTTPStatus.CONFLICT, "refused", f"{name} is gone: nothing to extend", reason="not_now"
        )
    try:
        answer = await parts.actor.extend(standing, ask, idempotency_key or secrets.token_hex(8))
    except WorkflowClosed:
        detail = f"{name} has just ended: nothing to extend"
        raise ApiProblem(HTTPStatus.CONFLICT, "refused", detail, reason="being_torn_down") from None
    _log.info(
        "extended",
        environment=name,
        life=answer.life,
        who=principal.email,
        override=body.override,
        reason=body.reason,
    )
    now = await parts.reader.read(name)
    return Done(
        kind=DoneKind(answer.kind),
        message=answer.message,
        name=name,
        life=answer.life,
        environment=now.view if now and now.life == answer.life else None,
    )


@router.get("/environments/{name}/history")
async def environment_history(name: str, parts: TheParts, principal: Asking) -> HistoryView:
    """What has happened to it, and to those of that name before it, the latest life first."""
    standing = await parts.reader.read(name) if is_name(name) else None
    lives = []
    if standing and _may_read(principal, standing.owner, standing.team, standing.collaborators):
        lives.append(life_of_snapshot(standing))
    file = JsonLinesFile(parts.trail_file) if parts.trail_file and is_name(name) else None
    for account in reversed(await records_of(file, name)):
        known = standing is not None and standing.life == account.life
        if not known and _may_read(principal, account.owner, account.team, account.collaborators):
            lives.append(life_of_record(account))
    if not lives:
        if standing:
            note_denied()
        raise no_environment(name)
    return HistoryView(name=name, lives=tuple(lives))


@router.get("/freeze")
async def freeze_state(parts: TheParts, _: Asking) -> FreezeAnswer:
    """Whether all ends are frozen, by whom, and why."""
    state = await parts.freezer.state()
    return FreezeAnswer(frozen=state, message=_frozen(state) if state else "Ends are not frozen.")


@router.put("/freeze")
async def freeze(body: FreezeRequest, parts: TheParts, principal: Asking) -> FreezeAnswer:
    """Let no environment end until the thaw. For the platform team."""
    _require(principal, GlobalVerb.FREEZE)
    before = await parts.freezer.state()
    state, stopped = await parts.freezer.freeze(principal.email, body.reason)
    _log.info("frozen", who=principal.email, reason=body.reason, was=before.reason if before else "")
    message = _frozen(state)
    if before is not None and state == before:
        message = f"Ends were frozen before, and that stays: {message} Your reason is not kept; thaw first."
    if not stopped:
        message += " A sweep that had begun before has not stopped yet: it may still end what it has asked."
    return FreezeAnswer(frozen=state, message=message)


@router.delete("/freeze")
async def thaw(parts: TheParts, principal: Asking) -> FreezeAnswer:
    """Let environments end again. For the platform team."""
    _require(principal, GlobalVerb.THAW)
    state = await parts.freezer.thaw(principal.email)
    _log.info("thawed", who=principal.email, was=state.reason if state else "")
    if state is None:
        return FreezeAnswer(frozen=None, message="Ends were not frozen.")
    message = "Thawed: the next sweep warns and ends what is due."
    return FreezeAnswer(frozen=None, message=message)


@router.post("/sweeps", status_code=HTTPStatus.OK, responses={202: {"model": SweepView}})
async def sweep(
    parts: TheParts,
    principal: Asking,
    response: Response,
    dry_run: Annotated[bool, Query(description="say what would be done and why, and do nothing")] = False,
) -> SweepView:
    """Sweep now. For the platform team. 202: it is under way; ask for it by its id."""
    _require(principal, GlobalVerb.SWEEP)
    state = await parts.freezer.state()
    if state and not dry_run:
        detail = f"{_frozen(state)} Thaw first, or see what would be done with a dry run."
        raise ApiProblem(HTTPStatus.CONFLICT, "refused", detail, reason="frozen")
    run_id = await begin(parts.client, parts.sweep, dry_run=dry_run, by=principal.email)
    _log.info("sweep", who=principal.email, dry_run=dry_run, run_id=run_id)
    return await _waited(parts, response, run_id, dry_run)


@router.get("/sweeps/{run_id}", responses={202: {"model": SweepView}})
async def sweep_result(
    run_id: str, parts: TheParts, principal: Asking, response: Response, dry_run: bool = False
) -> SweepView:
    """How a sweep went that was asked for. 202: it is still under way."""
    _require(principal, GlobalVerb.SWEEP)
    return await _waited(parts, response, run_id, dry_run)


async def _waited(parts: Parts, response: Response, run_id: str, dry_run: bool) -> SweepView:
    view = await wait(parts.client, run_id, dry_run=dry_run)
    if view is None:
        raise ApiProblem(HTTPStatus.NOT_FOUND, "not-found", "there is no such sweep")
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
        problems.append(FieldProblem(field="reason", message="an override needs one: it is in the trail"))
    if problems:
        raise NotValid(problems)
    return ExtendInput(
        who=principal.email, by=by, until=body.until, override=body.override, reason=body.reason.strip()
    )


def _may_read(principal: Principal, owner: str, team: str, collaborators: tuple[str, ...]) -> bool:
    return may(Verb.HISTORY, relations(principal, owner=owner, team=team, collaborators=collaborators))


def _require(principal: Principal, verb: GlobalVerb) -> None:
    if not is_allowed_globally(verb, principal.role):
        raise ApiProblem(HTTPStatus.FORBIDDEN, "not-allowed", f"{verb} is for the platform team")


def _frozen(state: FreezeView) -> str:
    who = f" by {state.by}" if state.by else ""
    return f"All ends are frozen{who}: {state.reason}."
