"""The list of environments: the caller's own and those of their teams."""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from contracts.environment.models import Phase
from contracts.types.models import Printable
from starter.api.dependencies import CallerDep, FreezeDep, HealthDep, InstallationDep, ListDep
from starter.api.routes.environments import complete_page, selectors
from starter.auth.policy import Principal, Role
from starter.environments.lists.listing import EnvironmentList, Filters
from starter.environments.schemas import EnvironmentPage, EnvironmentRow
from starter.page.rendering import page

router = APIRouter()

#: Rows of one page: they fit into its budget of bytes, and few people have more.
ROWS = 50
#: Rows that an order other than Temporal's own, newest first, is made of: it has to read them all.
MAX_SORTED = 500


class Scope(StrEnum):
    """Whose environments are listed."""

    ALL = "all"
    MINE = "mine"
    STUCK = "stuck"
    ENDED = "ended"


class Order(StrEnum):
    """The order of the rows, over all pages."""

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
    start: Annotated[int, Query(ge=0, lt=MAX_SORTED)] = 0,
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
    read = await _read(environments, caller, filters, order, cursor)
    found = await complete_page(read.page, filters, health, freeze, installation)
    rows = sorted(found.environments, key=_SORT_KEYS[order])
    following = {"cursor": found.next} if found.next else {}
    if order is not Order.NEWEST:
        # Some may have ended since the page with the link.
        start = min(start, max(0, len(rows) - 1) // ROWS * ROWS)
        following = {"start": str(start + ROWS)} if len(rows) > start + ROWS else {}
        rows = rows[start : start + ROWS]
    query = {"show": show, "order": order, "q": searched, "label": label, **more}
    return page(
        request,
        "list.html",
        rows=rows,
        next=urlencode({**query, **following}) if following else "",
        is_first=cursor is None and start == 0,
        most_sorted=None if read.is_complete else MAX_SORTED,
        frozen=found.frozen,
        show=show,
        q=searched,
        label=label,
        more=more,
        query=urlencode(query),
        order=order,
        scopes=_scopes(caller.role),
        orders=_ORDERS,
    )


class _Read(NamedTuple):
    page: EnvironmentPage
    is_complete: bool


async def _read(
    environments: EnvironmentList, caller: Principal, filters: Filters, order: Order, cursor: str | None
) -> _Read:
    """Read one page; or for an order that Temporal does not have, all pages, up to `MAX_SORTED` rows."""
    if order is Order.NEWEST:
        return _Read(await environments.page(caller, filters, limit=ROWS, cursor=cursor), True)
    rows, is_complete = await environments.first(caller, filters, MAX_SORTED)
    return _Read(EnvironmentPage(environments=tuple(rows[:MAX_SORTED])), is_complete)


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
