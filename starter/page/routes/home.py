"""The list of environments: the caller's own and those of their teams."""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from contracts.environment import Phase
from contracts.types.models import Printable
from starter.api.dependencies import CallerDep, FreezeDep, HealthDep, InstallationDep, ListDep
from starter.api.routes.environments import complete_page, selectors
from starter.auth.policy import Role
from starter.environments.lists.listing import Filters
from starter.environments.schemas import EnvironmentRow
from starter.page.rendering import page

router = APIRouter()

#: Rows of one page: they fit into its budget of bytes, and few people have more.
ROWS = 50


class Scope(StrEnum):
    """Whose environments are listed."""

    ALL = "all"
    MINE = "mine"
    STUCK = "stuck"
    ENDED = "ended"


class Order(StrEnum):
    """The order of the rows of one page."""

    NEWEST = "newest"
    NAME = "name"
    ENDS = "ends"
    STATE = "state"


_FAR = datetime.max.replace(tzinfo=UTC)
#: What needs a person comes first.
_URGENCY = (Phase.ORPHANED, Phase.TEARDOWN_INCOMPLETE, Phase.PROVISIONING, Phase.TEARING_DOWN)
_SORT_KEYS: dict[Order, Callable[[EnvironmentRow], Any]] = {
    Order.NEWEST: lambda row: -row.requested_at.timestamp(),
    Order.NAME: lambda row: row.name,
    Order.ENDS: lambda row: (row.ended_at if row.ended else row.expires_at) or _FAR,
    Order.STATE: lambda row: (
        not (row.problem or row.unwell or row.owner_left_at),
        _URGENCY.index(row.phase) if row.phase in _URGENCY else len(_URGENCY),
        row.name,
    ),
}


@router.get("/")
async def home(
    request: Request,
    environments: ListDep,
    health: HealthDep,
    freeze: FreezeDep,
    installation: InstallationDep,
    caller: CallerDep,
    show: Scope = Scope.ALL,
    q: Annotated[Printable, Query(max_length=100)] = "",
    label: Annotated[Printable | None, Query(max_length=200)] = None,
    template: Annotated[Printable, Query(max_length=100)] = "",
    team: Annotated[Printable, Query(max_length=100)] = "",
    owner: Annotated[Printable, Query(max_length=254)] = "",
    order: Order = Order.NEWEST,
    cursor: Annotated[str | None, Query(max_length=4000)] = None,
) -> Response:
    """List environments, with the problems of each."""
    searched, label = q.strip().lower(), label or ""
    # As they are typed into the form; the owner is an address, in lower case.
    more = {"template": template.strip(), "team": team.strip(), "owner": owner.strip().lower()}
    filters = Filters(
        name=searched or None,
        owner=caller.email if show is Scope.MINE else more["owner"] or None,
        team=more["team"] or None,
        template=more["template"] or None,
        labels=selectors([label] if label else ()),
        ended=show is Scope.ENDED,
        stuck=show is Scope.STUCK,
        troubles=show is not Scope.ENDED,
    )
    found = await environments.page(caller, filters, limit=ROWS, cursor=cursor)
    found = await complete_page(found, filters, health, freeze, installation)
    return page(
        request,
        "list.html",
        rows=sorted(found.environments, key=_SORT_KEYS[order]),
        next=found.next,
        is_first=cursor is None,
        frozen=found.frozen,
        show=show,
        q=searched,
        label=label,
        more=more,
        query=urlencode({"show": show, "order": order, "q": searched, "label": label, **more}),
        order=order,
        scopes=_scopes(caller.role),
        orders=_ORDERS,
    )


def _scopes(role: Role) -> list[tuple[Scope, str]]:
    everyone = "Everyone's" if role is Role.PLATFORM else "Mine and my teams'"
    return [
        (Scope.ALL, everyone),
        (Scope.MINE, "Mine"),
        (Scope.STUCK, "Held up"),
        (Scope.ENDED, "Ended"),
    ]


_ORDERS = [
    (Order.NEWEST, "Newest first"),
    (Order.NAME, "Name"),
    (Order.ENDS, "End"),
    (Order.STATE, "What needs you first"),
]
