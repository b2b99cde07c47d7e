"""Environments that something holds up, by cause; orphaned ones; and why environments failed."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from fastapi import APIRouter, Request, Response

from contracts.environment.models import Phase
from starter.api.dependencies import CallerDep, ListDep, StatisticsDep
from starter.auth.policy import GlobalVerb, ensure_allowed_globally
from starter.environments.lists.listing import Filters
from starter.environments.schemas import EnvironmentRow
from starter.page.rendering import page
from starter.page.routes.platform.figures import failure_plot

router = APIRouter()

#: Environments that are looked at for this page, at most.
MAX_LOOKED_AT = 500
#: Environments that are listed for one cause; the others are counted.
MAX_LISTED = 10
MAX_CAUSES = 20
#: The period of the failures.
FAILURE_DAYS = 30


@dataclass
class Cause:
    """Environments that the same thing holds up. `text` has "…" in place of their names."""

    text: str
    rows: list[EnvironmentRow] = field(default_factory=list)


@router.get("/platform/problems")
async def platform_problems(
    request: Request, environments: ListDep, statistics: StatisticsDep, caller: CallerDep
) -> Response:
    """Show what needs the platform team."""
    ensure_allowed_globally(caller, GlobalVerb.FIGURES)
    stuck, is_complete = await environments.first(caller, Filters(stuck=True), MAX_LOOKED_AT)
    orphans, _ = await environments.first(caller, Filters(phase=Phase.ORPHANED, ended=True), MAX_LOOKED_AT)
    failures = await statistics.failures(FAILURE_DAYS)
    return page(
        request,
        "platform/problems.html",
        causes=by_cause(stuck),
        is_complete=is_complete,
        orphans=orphans,
        max_listed=MAX_LISTED,
        max_causes=MAX_CAUSES,
        failures=failure_plot(failures, FAILURE_DAYS),
        remark=statistics.remark(),
        temporal_links=request.app.state.temporal_links,
    )


def by_cause(rows: Iterable[EnvironmentRow]) -> list[Cause]:
    """Group the environments by what holds them up, the most frequent cause first."""
    causes: dict[str, Cause] = defaultdict(lambda: Cause(""))
    for row in rows:
        text = row.problem.replace(row.name, "…")
        causes[text].text = text
        causes[text].rows.append(row)
    return sorted(causes.values(), key=lambda cause: (-len(cause.rows), cause.text))
