"""Routes of environments: request, list, show, cancel, delete, and resume a teardown."""

import secrets
from http import HTTPStatus
from typing import Annotated

import structlog
from fastapi import APIRouter, Header, Query, Response

from clients.jsonl_file import JsonLinesFile
from contracts.capacity.models import ReservationRequest
from contracts.environment import Phase
from contracts.environment_workflow import AnswerKind, EnvironmentStart
from contracts.errors import Refusal, RefusalReason
from contracts.models import Printable
from contracts.naming import is_name, life_of, request_id
from contracts.template import Template
from starter.api.dependencies import Asking, Parts, TheParts
from starter.api.problem_details import ApiProblem
from starter.api.request_models import EnvironmentRequest
from starter.auth.policy import Principal, Role, Verb, may, relations
from starter.auth.security_log import note_object
from starter.catalogue.loader import Catalogue
from starter.environments.archive import is_for, view_of_record
from starter.environments.commands import Finished
from starter.environments.history import records_of
from starter.environments.listing import Filters, list_environments
from starter.environments.people_check import check_people
from starter.environments.planning import (
    NotValid,
    RequestedEnvironment,
    people_problems,
    plan,
    status_at_start,
)
from starter.environments.reader import EnvironmentSnapshot
from starter.environments.schemas import (
    Done,
    DoneKind,
    EnvironmentPage,
    EnvironmentView,
    view_of_status,
)
from starter.temporal.errors import NothingStarted
from starter.temporal.updates import NoCapacity, Refused, WorkflowClosed

router = APIRouter(tags=["environments"])
_log = structlog.get_logger(__name__)

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="repeats with the same key are answered, never done twice",
    ),
]
OnlyLife = Annotated[
    str | None,
    Query(
        max_length=100,
        description="`life` of the environment that is meant: 409 if its name has begun another since",
    ),
]


@router.post(
    "/environments",
    status_code=HTTPStatus.ACCEPTED,
    responses={200: {"model": Done, "description": "It is there already, or nothing was to be started"}},
)
async def request_environment(
    body: EnvironmentRequest,
    response: Response,
    parts: TheParts,
    principal: Asking,
    idempotency_key: IdempotencyKey = None,
    dry_run: Annotated[bool, Query(description="say what would be made, and start nothing")] = False,
) -> Done:
    """Ask for an environment. 202: it is being made; follow its events. 200: it was asked for before."""
    wish = body.wish()
    note_object(wish.name[:100])
    key = idempotency_key or secrets.token_hex(16)
    id = request_id(principal.email, wish.name, key)
    start = plan(wish, principal, id, parts.catalogue.current(), parts.house)
    await _require_no_leftovers(parts, principal, wish.name)
    start = await _with_people_checked(parts, start, wish)
    ask = await parts.placing.ask(start)
    try:
        if dry_run:
            response.status_code = HTTPStatus.OK
            return await _dry_run(parts, principal, start, ask)
        asked = await parts.actor.request(start, ask)
    except NoCapacity as refused:
        raise await parts.placing.advised(refused, start, _offered(parts, principal)) from None
    name, life = wish.name, start.environment.mark.life
    if isinstance(asked, Finished):
        response.status_code = HTTPStatus.OK
        outcome = asked.standing.view.outcome or "ended"
        message = (
            f"{name} was made for this very request before and is gone ({outcome}): nothing was started."
        )
        return Done(
            kind=DoneKind.FINISHED, message=message, name=name, life=life, environment=asked.standing.view
        )
    answer = asked.answer
    _log.info("requested", environment=name, life=answer.life, who=principal.email, answer=answer.kind)
    if answer.kind is not AnswerKind.CREATED:
        response.status_code = HTTPStatus.OK
    if answer.kind is AnswerKind.CREATED and len(ask.hosts) == 1 and not asked.again:
        view: EnvironmentView | None = view_of_status(status_at_start(start))
    else:
        # Read it also for a new environment with several candidate hosts, because only its status has the
        # host.
        standing = await parts.reader.read(name)
        view = standing.view if standing else None
    response.headers["Location"] = f"environments/{name}"
    return Done(
        kind=DoneKind(answer.kind), message=answer.message, name=name, life=answer.life, environment=view
    )


@router.get("/environments")
async def list_of_environments(
    parts: TheParts,
    principal: Asking,
    # Printable, because Temporal fails on a query with other characters.
    owner: Annotated[Printable | None, Query(max_length=254, description="an e-mail address")] = None,
    team: Annotated[Printable | None, Query(max_length=100)] = None,
    template: Annotated[Printable | None, Query(max_length=100)] = None,
    phase: Phase | None = None,
    ended: Annotated[bool, Query(description="the past instead of the present")] = False,
    mine: Annotated[bool, Query(description="only your own")] = False,
    stuck: Annotated[bool, Query(description="only what something holds up, with what that is")] = False,
    troubles: Annotated[
        bool,
        Query(description="say what is wrong with each"),
    ] = False,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=4000, description="`next` of the page before")] = None,
) -> EnvironmentPage:
    """Your environments and those of your teams; all of them for the platform team."""
    filters = Filters(
        owner=principal.email if mine else owner.lower() if owner else owner,
        team=team,
        template=template,
        phase=phase,
        ended=ended,
        stuck=stuck,
        troubles=troubles,
    )
    page = await list_environments(
        parts.client,
        parts.reader,
        parts.cursors,
        principal,
        filters,
        limit=limit,
        cursor=cursor,
        past=parts.past,
    )
    rows = page.environments
    if troubles and not stuck:
        house = parts.house
        rows = await parts.healths.add_to_rows(rows, installation=house.installation, prefix=house.prefix)
    return page.model_copy(update={"environments": rows, "frozen": await parts.freezer.shown()})


@router.get("/environments/{name}")
async def show_environment(name: str, parts: TheParts, principal: Asking) -> EnvironmentView:
    """How an environment stands, or how its last life ended."""
    try:
        standing = await parts.environment(name, principal, Verb.SHOW)
    except ApiProblem:
        # Temporal may have dropped the run; then read it from its account, as lists and histories do.
        file = JsonLinesFile(parts.trail_file) if parts.trail_file and is_name(name) else None
        for account in reversed(await records_of(file, name)):
            if is_for(account, principal, Verb.SHOW):
                return view_of_record(account)
        raise
    view = _beside_catalogue(await parts.healths.add_to(standing), parts.catalogue.current())
    if standing.ended:
        return view
    return view.model_copy(update={"frozen": await parts.freezer.shown()})


@router.delete("/environments/{name}", status_code=HTTPStatus.ACCEPTED)
async def delete_environment(
    name: str,
    parts: TheParts,
    principal: Asking,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
) -> Done:
    """Have it torn down, whatever phase it is in. Follow its events for the certificate."""
    return await _change(parts, principal, name, Verb.DELETE, idempotency_key, life)


@router.post("/environments/{name}/cancel", status_code=HTTPStatus.ACCEPTED)
async def cancel_environment(
    name: str,
    parts: TheParts,
    principal: Asking,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
) -> Done:
    """Stop making it and take down what was made. Refused once it is ready."""
    return await _change(parts, principal, name, Verb.CANCEL, idempotency_key, life)


@router.post("/environments/{name}/resume-teardown", status_code=HTTPStatus.ACCEPTED)
async def resume_teardown(
    name: str,
    parts: TheParts,
    principal: Asking,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
) -> Done:
    """Try again to undo what a teardown has given up on. For the platform team."""
    return await _change(parts, principal, name, Verb.RESUME_TEARDOWN, idempotency_key, life)


async def _require_no_leftovers(parts: Parts, principal: Principal, name: str) -> None:
    """Refuse a name whose last life was closed from outside.

    The next life would fail because of the resources that it left.
    """
    latest = await parts.reader.latest(name)
    if latest is None or not latest.closed_from_outside:
        return
    standing = await parts.reader.read(name)
    if standing is None or standing.view.phase is not Phase.ORPHANED:
        return
    held = relations(
        principal, owner=standing.owner, team=standing.team, collaborators=standing.collaborators
    )
    if not may(Verb.SHOW, held):
        raise Refused(Refusal.taken(name))
    detail = f"{name} cannot be asked for yet. {standing.view.remark}"
    raise ApiProblem(HTTPStatus.CONFLICT, "refused", detail, reason="left_behind")


def _beside_catalogue(standing: EnvironmentSnapshot, catalogue: Catalogue) -> EnvironmentView:
    """Return the view, with a note if its template has changed in the catalogue since."""
    view, kept = standing.view, standing.status.environment.template if standing.status else None
    now = catalogue.get(view.template)
    if standing.ended or kept is None or now is None or now == kept:
        return view
    if now.version > kept.version:
        return view.model_copy(update={"template_newer": now.version})
    if now.version == kept.version:
        remark = (
            f"The template {kept.name} has changed since, and is version {now.version} still: "
            "the platform team should raise it."
        )
        return view.model_copy(update={"remark": f"{view.remark} {remark}".strip()})
    return view


def _offered(parts: Parts, principal: Principal) -> list[Template]:
    everything = principal.role is Role.PLATFORM
    return parts.catalogue.current().offered_to(principal.teams, everything=everything)


async def _with_people_checked(
    parts: Parts, start: EnvironmentStart, wish: RequestedEnvironment
) -> EnvironmentStart:
    checked = await check_people(parts.people, start.environment.people)
    if problems := people_problems(start, wish, checked.problems):
        raise NotValid(problems)
    return start.model_copy(update={"people_are_checked": checked.complete})


async def _dry_run(
    parts: Parts, principal: Principal, start: EnvironmentStart, ask: ReservationRequest
) -> Done:
    environment = start.environment.model_copy(update={"host": ask.hosts[0]})
    start = start.model_copy(update={"environment": environment})
    latest = await parts.reader.latest(environment.name)
    if latest and not latest.ended:
        message = await _would_join(parts, start)
    else:
        over = life_of(latest.request_id) if latest and latest.request_id else ""
        host = await parts.placing.would(ask.model_copy(update={"over": over}))
        environment = environment.model_copy(update={"host": host or environment.host})
        start = start.model_copy(update={"environment": environment})
        message = f"{environment.name} would be made from {environment.template.name} on {environment.host}."
        if host is None:
            # The first audit takes seconds; a real request waits for it.
            message += " Whether there is room is not known yet."
    values = await parts.fitting.values(environment)
    if not start.people_are_checked:
        message += " Nobody could be asked whether all people are known; that is checked first."
    _log.info("dry run", environment=environment.name, who=principal.email)
    return Done(
        kind=DoneKind.DRY_RUN,
        message=f"{message} Nothing was started.",
        name=environment.name,
        environment=view_of_status(status_at_start(start)),
        values=values,
    )


async def _would_join(parts: Parts, start: EnvironmentStart) -> str:
    """Return the answer that a request for a name in use would get; raise Refused as it would."""
    environment = start.environment
    name = environment.name
    standing = await parts.reader.read(name)
    if standing is None or standing.ended:
        return f"{name} has just ended: it would be made again."
    if standing.owner != environment.owner:
        raise Refused(Refusal.taken(name))
    if standing.view.outcome:
        message = f"{name} is being torn down: ask again when it is gone, or choose another name."
        raise Refused(Refusal(reason=RefusalReason.BEING_TORN_DOWN, message=message))
    if standing.status is None:
        raise NothingStarted
    wanted, given = environment.spec.model_dump(), standing.status.environment.spec.model_dump()
    if differing := tuple(field for field in given if wanted[field] != given[field]):
        raise Refused(Refusal.other_spec(name, differing))
    return f"{name} is there already as asked for, and is {standing.view.phase}: the request would join it."


async def _change(
    parts: Parts, principal: Principal, name: str, verb: Verb, key: str | None, life: str | None
) -> Done:
    standing = await parts.environment(name, principal, verb, life)
    if standing.ended:
        return _over(standing, verb)
    act = {
        Verb.DELETE: parts.actor.delete,
        Verb.CANCEL: parts.actor.cancel,
        Verb.RESUME_TEARDOWN: parts.actor.resume_teardown,
    }[verb]
    try:
        answer = await act(standing, principal.email, key)
    except WorkflowClosed:
        # It ended meanwhile. A run that has its name now is another life, which the request does not mean.
        standing = await parts.environment(name, principal, verb)
        if not standing.ended:
            raise
        return _over(standing, verb)
    _log.info(
        "changed", environment=name, life=answer.life, who=principal.email, verb=verb, answer=answer.kind
    )
    return Done(
        kind=DoneKind(answer.kind),
        message=answer.message,
        name=name,
        life=answer.life,
        environment=standing.view,
    )


def _over(standing: EnvironmentSnapshot, verb: Verb) -> Done:
    if verb is Verb.RESUME_TEARDOWN:
        raise ApiProblem(
            HTTPStatus.CONFLICT, "refused", f"{standing.name} is gone: nothing to resume", reason="not_now"
        )
    if standing.view.phase is Phase.ORPHANED:
        raise ApiProblem(HTTPStatus.CONFLICT, "refused", standing.view.remark, reason="left_behind")
    return Done(
        kind=DoneKind.NOTHING_TO_DO,
        message=f"{standing.name} is gone already. {standing.view.remark}".strip(),
        name=standing.name,
        life=standing.life,
        environment=standing.view,
    )
