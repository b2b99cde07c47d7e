"""One environment: watch it being made, use it, extend it, let people in, delete it."""

import secrets
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from contracts.environment import Phase
from contracts.environment_workflow import CollaboratorAction, ExtendInput
from contracts.types.models import Printable
from starter.api.dependencies import (
    CallerDep,
    CommandsDep,
    CredentialThrottleDep,
    DetailsDep,
    FreezeDep,
    HistoryDep,
    KubeconfigDep,
    MembershipDep,
)
from starter.api.problem_details import ApiProblem, ProblemType
from starter.api.routes.credentials import require_few_credentials
from starter.api.routes.kubeconfig import MEDIA_TYPE
from starter.auth.policy import Principal, Verb, is_allowed
from starter.environments.access import relations_in
from starter.environments.schemas import EnvironmentView
from starter.page.environment_parts import parts_of, version_of
from starter.page.environment_sections import choices_of
from starter.page.errors import problem_of
from starter.page.rendering import page
from starter.page.session.addresses import origin_of
from starter.request_errors import FieldProblem, InvalidRequest
from starter.statistics.service import Statistics
from starter.statistics.usual_times import UsualTimes

router = APIRouter(prefix="/environments/{name}")

Life = Annotated[str | None, Form(max_length=100)]
Key = Annotated[str | None, Form(max_length=100, pattern=r"^[\x21-\x7e]+$")]

#: What a form has done, as the page says it after the redirect.
_NOTES = {
    "created": "It was asked for, and is being made. You can leave this page.",
    "joined": "It was asked for before, and this is it.",
    "extended": "Its end was moved.",
    "added": "The person can use it as soon as all systems know.",
    "removed": "The person's access is being taken away.",
    "given": "It has another owner now.",
    "deleted": "It is being deleted. The certificate comes when nothing is left.",
    "cancelled": "What was made is being undone.",
}


@router.get("")
async def environment(
    name: str,
    request: Request,
    details: DetailsDep,
    freeze: FreezeDep,
    caller: CallerDep,
    done: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Show an environment."""
    view = await details.read(name, caller)
    if not view.ended:
        view = view.model_copy(update={"frozen": await freeze.cached_state()})
    return _page(request, view, caller, note=_NOTES.get(done, ""))


@router.get("/history")
async def environment_history(
    name: str, request: Request, history: HistoryDep, caller: CallerDep
) -> Response:
    """Show all lives of the name as a timeline, the latest first."""
    return page(request, "history.html", history=await history.read(name, caller))


@router.get("/certificate")
async def certificate(
    name: str,
    request: Request,
    history: HistoryDep,
    caller: CallerDep,
    life: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """Show the certificate of a life, the latest without `life`, as a page to print."""
    found = await history.read(name, caller)
    for one in found.lives:
        if one.certificate and life in ("", one.life):
            return page(request, "certificate.html", life=one)
    raise ApiProblem(ProblemType.NOT_FOUND, f"there is no certificate of {name}: it comes after a teardown")


@router.get("/kubeconfig")
async def kubeconfig(name: str, kubeconfigs: KubeconfigDep, caller: CallerDep) -> Response:
    """Download the kubeconfig, which has no secret."""
    text = await kubeconfigs.read(name, caller)
    headers = {"Content-Disposition": f'attachment; filename="{name}.kubeconfig.yaml"'}
    return Response(text, media_type=MEDIA_TYPE, headers=headers)


@router.post("/kubeconfig")
async def embedded_kubeconfig(
    name: str,
    request: Request,
    kubeconfigs: KubeconfigDep,
    throttle: CredentialThrottleDep,
    details: DetailsDep,
    caller: CallerDep,
    life: Life = None,
) -> Response:
    """Download a kubeconfig with a credential of at most an hour, for tools without plugins."""
    try:
        require_few_credentials(throttle, caller)
        text = await kubeconfigs.read_embedded(name, caller, life)
    except Exception as error:
        return await _refused(request, error, details, name, caller)
    headers = {"Content-Disposition": f'attachment; filename="{name}.kubeconfig.yaml"'}
    return Response(text, media_type=MEDIA_TYPE, headers=headers)


@router.post("/extend")
async def extend(
    name: str,
    request: Request,
    commands: CommandsDep,
    details: DetailsDep,
    caller: CallerDep,
    until: Annotated[datetime, Form()],
    life: Life = None,
    key: Key = None,
) -> Response:
    """Move its end to one of the times that the page has offered."""
    moment = until if until.tzinfo else until.replace(tzinfo=UTC)
    try:
        await commands.extend(name, caller, ExtendInput(actor=caller.email, until=moment), key, life)
    except Exception as error:
        return await _refused(request, error, details, name, caller)
    return _back(name, "extended")


@router.post("/people")
async def change_people(
    name: str,
    request: Request,
    membership: MembershipDep,
    details: DetailsDep,
    caller: CallerDep,
    person: Annotated[Printable, Form(max_length=254)],
    action: Annotated[CollaboratorAction, Form()],
    life: Life = None,
    key: Key = None,
) -> Response:
    """Let a person use it, or take the access away."""
    try:
        await membership.change(action, name, person.strip(), caller, key, life)
    except Exception as error:
        return await _refused(request, error, details, name, caller, person=person)
    return _back(name, "added" if action is CollaboratorAction.ADD else "removed")


@router.post("/transfer")
async def transfer(
    name: str,
    request: Request,
    membership: MembershipDep,
    details: DetailsDep,
    caller: CallerDep,
    to: Annotated[Printable, Form(max_length=254)],
    life: Life = None,
    key: Key = None,
) -> Response:
    """Give it to a team mate."""
    try:
        given = await membership.transfer(name, to.strip(), caller, key, life)
    except Exception as error:
        return await _refused(request, error, details, name, caller, to=to)
    # The caller may not see it any more; then the list is next.
    now = given.environment
    may_see = now is not None and is_allowed(Verb.SHOW, relations_in(now, caller))
    return _back(name, "given") if may_see else RedirectResponse("/", 303)


@router.post("/delete")
async def delete(
    name: str,
    request: Request,
    commands: CommandsDep,
    details: DetailsDep,
    caller: CallerDep,
    typed: Annotated[str, Form(max_length=100)] = "",
    life: Life = None,
    key: Key = None,
) -> Response:
    """Tear it down, if its name was typed."""
    try:
        if typed.strip() != name:
            message = f'type "{name}" to delete it: nothing was deleted'
            raise InvalidRequest([FieldProblem(field="typed", message=message)])
        await commands.end(Verb.DELETE, name, caller, key, life)
    except Exception as error:
        return await _refused(request, error, details, name, caller)
    return _back(name, "deleted")


@router.post("/cancel")
async def cancel(
    name: str,
    request: Request,
    commands: CommandsDep,
    details: DetailsDep,
    caller: CallerDep,
    life: Life = None,
    key: Key = None,
) -> Response:
    """Stop making it, and undo what was made."""
    try:
        await commands.end(Verb.CANCEL, name, caller, key, life)
    except Exception as error:
        return await _refused(request, error, details, name, caller)
    return _back(name, "cancelled")


def _back(name: str, done: str) -> Response:
    return RedirectResponse(f"/environments/{name}?done={done}", 303)


async def _refused(
    request: Request, error: Exception, details: DetailsDep, name: str, caller: Principal, **typed: str
) -> Response:
    """Show the environment again with the problem and with what was typed."""
    problem = problem_of(error, request)
    view = await details.read(name, caller)
    return _page(request, view, caller, problem=problem, typed=typed)


def _page(
    request: Request,
    view: EnvironmentView,
    caller: Principal,
    *,
    note: str = "",
    problem: ApiProblem | None = None,
    typed: dict[str, str] | None = None,
) -> Response:
    return page(
        request,
        "environment.html",
        status=problem.details.status if problem else 200,
        view=view,
        parts=parts_of(view, _usual(request, view)),
        version=version_of(view),
        note=note,
        problem=problem.details if problem else None,
        typed=typed or {},
        is_live=not view.ended and view.phase is not Phase.ORPHANED,
        **choices_of(view, caller),
        key=secrets.token_hex(12),
        base_url=origin_of(request.scope, request.app.state.sign_in_pages.public_url),
    )


def _usual(request: Request, view: EnvironmentView) -> UsualTimes:
    statistics: Statistics = request.app.state.statistics
    return statistics.usual_times(view.template, view.host)
