"""Ask for an environment: the templates as cards, and the form of one."""

import secrets
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from contracts.templates.parameters import MAX_PARAMETERS
from contracts.templates.template import Template
from contracts.types.durations import format_duration
from contracts.types.models import Printable
from contracts.types.naming import is_name
from starter.api.dependencies import (
    CATALOGUE_IS_BROKEN,
    CallerDep,
    CatalogueDep,
    InstallationDep,
    PlacementDep,
    PreviewDep,
    PreviewThrottleDep,
    ReaderDep,
    ReservationsDep,
    ServiceDep,
)
from starter.api.problem_details import ApiProblem
from starter.api.routes.environments import require_few_previews
from starter.api.routes.templates import offered_template
from starter.auth.policy import Principal
from starter.auth.security_log import note_read
from starter.catalogue.loader import SHORTEST_TTL, offered_templates
from starter.environments.reader import EnvironmentReader
from starter.environments.requests.planning import RequestedEnvironment
from starter.environments.schemas import Done, DoneKind
from starter.page.errors import problem_of
from starter.page.rendering import page
from starter.page.template_cards import TemplateCards

router = APIRouter(prefix="/new")

#: Lengths of life that the form offers, as far as a template allows them.
_LENGTHS = tuple(
    timedelta(minutes=minutes)
    for minutes in (15, 30, 60, 120, 240, 480, 720, 1440, 2880, 4320, 7200, 10080, 20160, 43200, 86400)
)
#: The start of the names of the fields for parameters of the template.
_PARAMETER = "parameter-"
#: Names that are tried for a suggestion.
_SUGGESTIONS = 9

Key = Annotated[str, Form(max_length=100, pattern=r"^[\x21-\x7e]+$")]


class Action(StrEnum):
    """The button of the form."""

    PREVIEW = "preview"
    REQUEST = "request"


class RequestForm:
    """What was typed into the form."""

    def __init__(
        self,
        template: str,
        name: Annotated[str, Form(max_length=200)] = "",
        team: Annotated[Printable | None, Form(max_length=200)] = None,
        ttl: Annotated[Printable | None, Form(max_length=100)] = None,
        collaborators: Annotated[str, Form(max_length=10_000)] = "",
        host: Annotated[Printable | None, Form(max_length=200)] = None,
    ) -> None:
        self.name = name.strip()
        self.template = template
        self.team = team or None
        self.ttl = ttl or None
        self.collaborators = collaborators
        self.host = host or None
        self.parameters: dict[str, str] = {}

    def requested(self) -> RequestedEnvironment:
        """Return the request, with one person for each line or part of a line."""
        people = self.collaborators.replace(",", "\n").replace(";", "\n").split("\n")
        return RequestedEnvironment(
            name=self.name,
            template=self.template,
            team=self.team,
            ttl=self.ttl,
            collaborators=tuple(filter(None, (person.strip() for person in people))),
            host=self.host,
            parameters=self.parameters,
        )


async def _read_form(request: Request, form: Annotated[RequestForm, Depends()]) -> RequestForm:
    """Return the form with the parameters of the template; an empty field leaves its default."""
    given = [
        (name.removeprefix(_PARAMETER), value.strip())
        for name, value in (await request.form()).multi_items()
        if name.startswith(_PARAMETER) and isinstance(value, str)
    ]
    form.parameters = {name: value for name, value in given[:MAX_PARAMETERS] if value}
    return form


FormDep = Annotated[RequestForm, Depends(_read_form)]


async def _cards(
    service: ServiceDep, placement: PlacementDep, reservations: ReservationsDep, installation: InstallationDep
) -> TemplateCards:
    return TemplateCards(service, placement, reservations, installation)


CardsDep = Annotated[TemplateCards, Depends(_cards)]


@router.get("")
async def templates(
    request: Request, catalogue: CatalogueDep, cards: CardsDep, caller: CallerDep
) -> Response:
    """Show the templates that the caller may request."""
    offered = offered_templates(catalogue.current(), caller)
    remark = CATALOGUE_IS_BROKEN if catalogue.problems else ""
    return page(request, "templates.html", cards=await cards.of(caller, offered), remark=remark)


@router.get("/{template}")
async def request_form(
    template: str,
    request: Request,
    catalogue: CatalogueDep,
    cards: CardsDep,
    reader: ReaderDep,
    installation: InstallationDep,
    caller: CallerDep,
) -> Response:
    """Show the form of a template."""
    found = offered_template(template, catalogue.current(), caller)
    form = RequestForm(template, name=await _suggest_name(caller, found, reader))
    return await _form_page(request, found, form, cards, installation, caller)


@router.post("/{template}/check")
async def check(
    form: FormDep, request: Request, preview: PreviewDep, throttle: PreviewThrottleDep, caller: CallerDep
) -> JSONResponse:
    """Check the form while it is filled in: the problems by field, or what would be made."""
    note_read()
    require_few_previews(throttle, caller)
    try:
        done = await preview.preview(form.requested(), caller, secrets.token_hex(12))
    except Exception as error:
        details = problem_of(error, request).details
        errors = [(_field_of(each.field), each.message) for each in details.errors]
        return JSONResponse({"errors": errors, "message": "" if errors else details.detail})
    return JSONResponse({"errors": [], "message": done.message})


@router.post("/{template}")
async def request_environment(
    template: str,
    form: FormDep,
    request: Request,
    catalogue: CatalogueDep,
    cards: CardsDep,
    service: ServiceDep,
    preview: PreviewDep,
    throttle: PreviewThrottleDep,
    installation: InstallationDep,
    caller: CallerDep,
    key: Key,
    action: Annotated[Action, Form()] = Action.REQUEST,
) -> Response:
    """Request the environment, or show what would be made."""
    found = offered_template(template, catalogue.current(), caller)
    planned: Done | None = None
    problem: ApiProblem | None = None
    try:
        if action is Action.PREVIEW:
            require_few_previews(throttle, caller)
            planned = await preview.preview(form.requested(), caller, key)
        else:
            done = await service.request(form.requested(), caller, key)
            note = "created" if done.kind is DoneKind.CREATED else "joined"
            return RedirectResponse(f"/environments/{done.name}?done={note}", 303)
    except Exception as error:
        problem = problem_of(error, request)
    return await _form_page(
        request, found, form, cards, installation, caller, key=key, planned=planned, problem=problem
    )


async def _form_page(
    request: Request,
    template: Template,
    form: RequestForm,
    cards: TemplateCards,
    installation: InstallationDep,
    caller: Principal,
    *,
    key: str = "",
    planned: Done | None = None,
    problem: ApiProblem | None = None,
) -> Response:
    (card,) = await cards.of(caller, [template])
    errors: dict[str, list[str]] = {}
    for each in problem.details.errors if problem else ():
        errors.setdefault(_field_of(each.field), []).append(each.message)
    return page(
        request,
        "request.html",
        status=problem.details.status if problem else 200,
        card=card,
        template=template,
        form=form,
        lengths=_lengths(template, form.ttl),
        ttl=form.ttl or format_duration(template.ttl.default),
        hosts=sorted(installation.hosts),
        key=key or secrets.token_hex(12),
        planned=planned,
        problem=problem.details if problem else None,
        errors=errors,
    )


def _lengths(template: Template, typed: str | None) -> list[str]:
    """Return the lengths of life to choose from, the template's own and what was typed among them."""
    policy = template.ttl
    offered = {length for length in _LENGTHS if SHORTEST_TTL <= length <= policy.maximum}
    texts = [format_duration(length) for length in sorted(offered | {policy.default, policy.maximum})]
    return texts if typed is None or typed in texts else [*texts, typed]


def _field_of(field: str) -> str:
    """Return the form's field for a field of a request: one field has all collaborators."""
    first, _, rest = field.partition(".")
    return f"{_PARAMETER}{rest}" if first == "parameters" and rest else first


async def _suggest_name(caller: Principal, template: Template, reader: EnvironmentReader) -> str:
    """Return a name that no open environment has, from the caller's and the template's; "" if none is."""
    person = caller.email.partition("@")[0].lower()
    letters = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in person)
    start = f"{letters.strip('-')[:14].strip('-')}-{template.name}"[:27].strip("-")
    for number in range(1, _SUGGESTIONS + 1):
        name = start if number == 1 else f"{start}-{number}"
        if not is_name(name):
            return ""
        latest = await reader.latest(name)
        if latest is None or (latest.ended and not latest.closed_from_outside):
            return name
    return ""
