"""One environment: watch it being made, use it, extend it, let people in, delete it."""

import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from contracts.environment.models import Phase
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
    SleepDep,
    TemplateChangesDep,
)
from starter.api.problem_details import ApiProblem, ProblemType
from starter.api.routes.credentials import require_few_credentials
from starter.api.routes.environments import show_environment
from starter.api.routes.kubeconfig import MEDIA_TYPE
from starter.auth.policy import Principal, Verb, is_allowed
from starter.environments.access import relations_in
from starter.environments.schemas import Done, EnvironmentView
from starter.environments.template_change import RequestedChange
from starter.page.environment_parts import parts_of, version_of
from starter.page.environment_sections import choices_of
from starter.page.errors import problem_of
from starter.page.rendering import page
from starter.page.session.addresses import origin_of
from starter.request_errors import FieldProblem, InvalidRequest
from starter.statistics.service import Statistics
from starter.statistics.usual_times import UsualTimes

router = APIRouter(prefix="/environments/{name}")

_T = TypeVar("_T")

#: What a form has done, as the page says it after the redirect.
_NOTES = {
    "created": "It was asked for, and is being made. You can leave this page.",
    "joined": "It was asked for before, and this is it.",
    "extended": "Its end was moved.",
    "asleep": "It is falling asleep. You can leave this page.",
    "waking": "It is being woken, which takes some seconds.",
    "added": "The person can use it as soon as all systems know.",
    "removed": "The person's access is being taken away.",
    "given": "It has another owner now.",
    "changed": "Its template is being changed.",
    "snapshot": "A snapshot is being taken. The volumes of its workloads are left out.",
    "restoring": "The snapshot is being restored, which takes about half a minute. You can leave this page.",
    "deleted": "It is being deleted. The certificate comes when nothing is left.",
    "cancelled": "What was made is being undone.",
    "resumed": "The undo is tried again now.",
}


class ChangeForm:
    """A form on the page of an environment, with what all of them have: the life, the key and the person."""

    def __init__(
        self,
        name: str,
        request: Request,
        details: DetailsDep,
        freeze: FreezeDep,
        caller: CallerDep,
        life: Annotated[str | None, Form(max_length=100)] = None,
        key: Annotated[str | None, Form(max_length=100, pattern=r"^[\x21-\x7e]+$")] = None,
    ) -> None:
        self.name = name
        self.caller = caller
        self.life = life
        self.key = key
        self._request = request
        self._details = details
        self._freeze = freeze

    async def answer(
        self, change: Awaitable[_T], respond: Callable[[_T], Response], **typed: str
    ) -> Response:
        """Make the change, and respond with its result or with a refusal."""
        try:
            changed = await change
        except Exception as error:
            return await self.refuse(error, **typed)
        return respond(changed)

    def back(self, done: str) -> Response:
        """Lead back to the page, which says what was done."""
        return RedirectResponse(f"/environments/{self.name}?done={done}", 303)

    async def refuse(self, error: Exception, **typed: str) -> Response:
        """Show the environment again with the problem and with what was typed."""
        problem = problem_of(error, self._request)
        view = await show_environment(self.name, self._details, self._freeze, self.caller)
        return _page(self._request, view, self.caller, problem=problem, typed=typed)


FormDep = Annotated[ChangeForm, Depends()]


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
    view = await show_environment(name, details, freeze, caller)
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
    return _download(name, await kubeconfigs.read(name, caller))


@router.post("/kubeconfig")
async def embedded_kubeconfig(
    form: FormDep, kubeconfigs: KubeconfigDep, throttle: CredentialThrottleDep
) -> Response:
    """Download a kubeconfig with a credential of at most an hour, for tools without plugins."""

    async def read() -> str:
        require_few_credentials(throttle, form.caller)
        return await kubeconfigs.read_embedded(form.name, form.caller, form.life)

    return await form.answer(read(), lambda text: _download(form.name, text))


@router.post("/extend")
async def extend(form: FormDep, commands: CommandsDep, until: Annotated[datetime, Form()]) -> Response:
    """Move its end to one of the times that the page has offered."""
    moment = until if until.tzinfo else until.replace(tzinfo=UTC)
    request = ExtendInput(actor=form.caller.email, until=moment)
    change = commands.extend(form.name, form.caller, request, form.key, form.life)
    return await form.answer(change, lambda _: form.back("extended"))


@router.post("/sleep")
async def put_to_sleep(form: FormDep, sleep: SleepDep) -> Response:
    """Scale it to nothing and give its CPU and memory back."""
    change = sleep.sleep(form.name, form.caller, form.key, form.life)
    return await form.answer(change, lambda _: form.back("asleep"))


@router.post("/wake")
async def wake(form: FormDep, sleep: SleepDep) -> Response:
    """Start it again, if there is room."""
    change = sleep.wake(form.name, form.caller, form.key, form.life)
    return await form.answer(change, lambda _: form.back("waking"))


@router.post("/upgrade")
async def upgrade(form: FormDep, changes: TemplateChangesDep) -> Response:
    """Change it to the newer version of its template."""
    change = changes.change(Verb.UPGRADE, form.name, RequestedChange(), form.caller, form.key, form.life)
    return await form.answer(change, lambda _: form.back("changed"))


@router.post("/snapshots")
async def take_snapshot(form: FormDep, commands: CommandsDep) -> Response:
    """Take a snapshot of the objects in it."""
    change = commands.take_snapshot(form.name, form.caller, form.key, form.life)
    return await form.answer(change, lambda _: form.back("snapshot"))


@router.post("/restore")
async def restore_snapshot(
    form: FormDep, commands: CommandsDep, number: Annotated[int, Form(ge=1)]
) -> Response:
    """Put the objects of a snapshot back."""
    change = commands.restore(form.name, form.caller, number, form.key, form.life)
    return await form.answer(change, lambda _: form.back("restoring"))


@router.post("/people")
async def change_people(
    form: FormDep,
    membership: MembershipDep,
    person: Annotated[Printable, Form(max_length=254)],
    action: Annotated[CollaboratorAction, Form()],
) -> Response:
    """Let a person use it, or take the access away."""
    done = "added" if action is CollaboratorAction.ADD else "removed"
    change = membership.change(action, form.name, person.strip(), form.caller, form.key, form.life)
    return await form.answer(change, lambda _: form.back(done), person=person)


@router.post("/transfer")
async def transfer(
    form: FormDep, membership: MembershipDep, to: Annotated[Printable, Form(max_length=254)]
) -> Response:
    """Give it to a team mate."""

    def respond(given: Done) -> Response:
        # The caller may not see it any more; then the list is next.
        now = given.environment
        may_see = now is not None and is_allowed(Verb.SHOW, relations_in(now, form.caller))
        return form.back("given") if may_see else RedirectResponse("/", 303)

    change = membership.transfer(form.name, to.strip(), form.caller, form.key, form.life)
    return await form.answer(change, respond, to=to)


@router.post("/delete")
async def delete(
    form: FormDep, commands: CommandsDep, typed: Annotated[str, Form(max_length=100)] = ""
) -> Response:
    """Tear it down, if its name was typed."""
    if typed.strip() != form.name:
        message = f'type "{form.name}" to delete it: nothing was deleted'
        return await form.refuse(InvalidRequest([FieldProblem(field="typed", message=message)]))
    change = commands.end(Verb.DELETE, form.name, form.caller, form.key, form.life)
    return await form.answer(change, lambda _: form.back("deleted"))


@router.post("/cancel")
async def cancel(form: FormDep, commands: CommandsDep) -> Response:
    """Stop making it, and undo what was made."""
    change = commands.end(Verb.CANCEL, form.name, form.caller, form.key, form.life)
    return await form.answer(change, lambda _: form.back("cancelled"))


@router.post("/resume-teardown")
async def resume_teardown(form: FormDep, commands: CommandsDep) -> Response:
    """Try again to undo what a teardown has given up on, without the wait for its next pass."""
    change = commands.end(Verb.RESUME_TEARDOWN, form.name, form.caller, form.key, form.life)
    return await form.answer(change, lambda _: form.back("resumed"))


def _download(name: str, text: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}.kubeconfig.yaml"'}
    return Response(text, media_type=MEDIA_TYPE, headers=headers)


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
        temporal_links=request.app.state.temporal_links,
        key=secrets.token_hex(12),
        base_url=origin_of(request.scope, request.app.state.sign_in_pages.public_url),
    )


def _usual(request: Request, view: EnvironmentView) -> UsualTimes:
    statistics: Statistics = request.app.state.statistics
    return statistics.usual_times(view.template, view.host)
