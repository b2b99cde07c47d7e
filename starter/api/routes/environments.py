"""Routes of environments: request, list, show, history, and the ways to end one."""

import secrets
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from contracts.environment.models import Phase
from contracts.types.labels import ensure_selector
from contracts.types.models import Printable
from starter.api.dependencies import (
    CallerDep,
    CommandsDep,
    DetailsDep,
    ForcedTeardownDep,
    FreezeDep,
    HealthDep,
    HistoryDep,
    InstallationDep,
    ListDep,
    PreviewDep,
    PreviewThrottleDep,
    RequestsCheckDep,
    ServiceDep,
)
from starter.api.problem_details import too_many
from starter.api.request_models import EnvironmentRequest, RequestsToCheck
from starter.api.requests_check import cost_of
from starter.auth.policy import Principal, Verb
from starter.auth.rate_limit import Throttle
from starter.auth.security_log import note_object, note_read
from starter.environments.health import EnvironmentHealth
from starter.environments.lists.listing import Filters
from starter.environments.schemas import (
    Done,
    DoneKind,
    EnvironmentPage,
    EnvironmentView,
    HistoryView,
    RequestsChecked,
)
from starter.expiry.freeze import ExpiryFreeze
from starter.installation_settings import InstallationConfig
from starter.request_errors import FieldProblem, InvalidRequest

router = APIRouter(tags=["environments"])

#: Burst and rate of dry runs for one person: each asks the directory, a worker and Temporal, and the form of
#: the page makes one with each pause of who types.
PREVIEWS_BURST, PREVIEWS_PER_SECOND = 60, 1.0

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
        description="`life` of the environment that is meant: 409 if its name has another life now",
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
    service: ServiceDep,
    preview: PreviewDep,
    throttle: PreviewThrottleDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    dry_run: Annotated[bool, Query(description="say what would be made, and start nothing")] = False,
) -> Done:
    """Request an environment. 202: it is being made; follow its events. 200: it was requested before."""
    requested, key = body.requested(), idempotency_key or secrets.token_hex(16)
    note_object(requested.name[:100])
    if dry_run:
        require_few_previews(throttle, caller)
    answer = preview.preview if dry_run else service.request
    done = await answer(requested, caller, key)
    if done.kind is not DoneKind.CREATED:
        response.status_code = HTTPStatus.OK
    if done.kind in (DoneKind.CREATED, DoneKind.JOINED):
        response.headers["Location"] = f"environments/{done.name}"
    return done


@router.post("/requests/check")
async def check_requests(
    body: RequestsToCheck, check: RequestsCheckDep, throttle: PreviewThrottleDep, caller: CallerDep
) -> RequestsChecked:
    """Check requests together, and start nothing. 422 has the problems of all of them.

    The fields of the problems begin with the number of the request, such as `environments.3.ttl`.
    """
    note_read()
    require_few_previews(throttle, caller, cost_of(body.environments))
    return await check.check(body.environments, caller)


def require_few_previews(throttle: Throttle, caller: Principal, cost: int = 1) -> None:
    """Raise ApiProblem if the caller makes more dry runs than a person needs; this one counts as `cost`."""
    if limited := throttle.record(caller.email, cost):
        raise too_many("dry runs", limited)


@router.get("/environments")
async def list_of_environments(
    environments: ListDep,
    health: HealthDep,
    freeze: FreezeDep,
    installation: InstallationDep,
    caller: CallerDep,
    # Printable, because Temporal fails on a query with other characters.
    owner: Annotated[Printable | None, Query(max_length=254, description="an e-mail address")] = None,
    team: Annotated[Printable | None, Query(max_length=100)] = None,
    template: Annotated[Printable | None, Query(max_length=100)] = None,
    phase: Phase | None = None,
    label: Annotated[
        list[Printable] | None,
        Query(max_length=10, description='"KEY=VALUE", or "KEY" for every value; all of them must match'),
    ] = None,
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
    """List your environments and those of your teams; all of them for the platform team."""
    filters = Filters(
        owner=caller.email if mine else owner.lower() if owner else owner,
        team=team,
        template=template,
        phase=phase,
        labels=selectors(label or ()),
        ended=ended,
        stuck=stuck,
        troubles=troubles,
    )
    page = await environments.page(caller, filters, limit=limit, cursor=cursor)
    return await complete_page(page, filters, health, freeze, installation)


def selectors(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the selectors of labels; raise InvalidRequest for one that no label can match."""
    for text in texts:
        try:
            ensure_selector(text)
        except ValueError as error:
            raise InvalidRequest([FieldProblem(field="label", message=str(error))]) from None
    return tuple(texts)


async def complete_page(
    page: EnvironmentPage,
    filters: Filters,
    health: EnvironmentHealth,
    freeze: ExpiryFreeze,
    installation: InstallationConfig,
) -> EnvironmentPage:
    """Add the freeze of all ends, and what the hosts say of each environment if the filters ask for it."""
    rows = page.environments
    if filters.troubles and not filters.stuck:
        rows = await health.add_to_rows(
            rows, installation=installation.installation, prefix=installation.prefix
        )
    return page.model_copy(update={"environments": rows, "frozen": await freeze.cached_state()})


@router.get("/environments/{name}")
async def show_environment(
    name: str, details: DetailsDep, freeze: FreezeDep, caller: CallerDep
) -> EnvironmentView:
    """Show the state of an environment, or how its last life ended."""
    view = await details.read(name, caller)
    return view if view.ended else view.model_copy(update={"frozen": await freeze.cached_state()})


@router.get("/environments/{name}/history")
async def environment_history(name: str, history: HistoryDep, caller: CallerDep) -> HistoryView:
    """Show what has happened to it, and to those of that name before it, the latest life first."""
    return await history.read(name, caller)


@router.delete("/environments/{name}", status_code=HTTPStatus.ACCEPTED)
async def delete_environment(
    name: str,
    commands: CommandsDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
) -> Done:
    """Tear it down, whatever phase it is in. Follow its events for the certificate."""
    return await commands.end(Verb.DELETE, name, caller, idempotency_key, life)


@router.post("/environments/{name}/cancel", status_code=HTTPStatus.ACCEPTED)
async def cancel_environment(
    name: str,
    commands: CommandsDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
) -> Done:
    """Stop making it and take down what was made. Refused once it is ready."""
    return await commands.end(Verb.CANCEL, name, caller, idempotency_key, life)


@router.post("/environments/{name}/resume-teardown", status_code=HTTPStatus.ACCEPTED)
async def resume_teardown(
    name: str,
    commands: CommandsDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
) -> Done:
    """Try again to undo what a teardown has given up on. For the platform team."""
    return await commands.end(Verb.RESUME_TEARDOWN, name, caller, idempotency_key, life)


@router.post("/environments/{name}/force-teardown", status_code=HTTPStatus.ACCEPTED)
async def force_teardown_of(
    name: str,
    teardown: ForcedTeardownDep,
    caller: CallerDep,
    life: Annotated[
        str | None,
        Query(
            max_length=100,
            description="`life` that is meant; needed if several lives of the name have left something",
        ),
    ] = None,
    host: Annotated[
        str | None,
        Query(max_length=100, description="host of a life that Temporal has forgotten, if nothing says it"),
    ] = None,
    dry_run: Annotated[bool, Query(description="tell what would be torn down, and start nothing")] = False,
) -> Done:
    """Tear down by names and marks what is left of an environment whose workflow was closed from outside.

    Works also if Temporal has forgotten the run: the life is then found by the owner marks that it has left.
    """
    return await teardown.start(name, caller, life, host=host, dry_run=dry_run)
