"""The capacity of each host: the places that are held, by whom, and which of them end within a day."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from contracts.types.quantities import format_cpu, format_memory
from starter.api.dependencies import CallerDep, InstallationDep, ReservationsDep
from starter.api.routes.capacity import capacity
from starter.page.rendering import page
from starter.placement.schemas import HoldingView, HostView, ShareView

router = APIRouter()

#: Rows of one page: they fit into its budget of bytes.
ROWS = 50
#: What ends within this time is counted for each host.
SOON = timedelta(days=1)


@dataclass(frozen=True)
class ShareRow:
    """One resource of a host, as numbers for a meter and as texts."""

    name: str
    share: ShareView
    held: str
    total: str
    left: str


@dataclass(frozen=True)
class HostRow:
    """One host, with what ends there soon."""

    host: HostView
    shares: tuple[ShareRow, ...]
    ending: tuple[HoldingView, ...]


@dataclass
class TeamRow:
    """What a team holds on all hosts."""

    team: str
    environments: int = 0
    cpu: int = 0
    memory: int = 0


@router.get("/platform")
async def platform_capacity(
    request: Request,
    reservations: ReservationsDep,
    installation: InstallationDep,
    caller: CallerDep,
    host: Annotated[str, Query(max_length=100)] = "",
    offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
) -> Response:
    """Show the capacity of every host, and who holds what, the next to end first."""
    view = await capacity(reservations, installation, caller, holdings=True)
    holdings = view.holdings or ()
    soon = datetime.now(UTC) + SOON
    listed = sorted(
        (one for one in holdings if host in ("", one.host)), key=lambda one: (one.ends_at, one.name)
    )
    return page(
        request,
        "platform/capacity.html",
        view=view,
        hosts=[
            HostRow(
                one,
                _share_rows(one),
                tuple(held for held in holdings if held.host == one.name and held.ends_at <= soon),
            )
            for one in view.hosts
        ],
        teams=_team_rows(holdings),
        holdings=listed[offset : offset + ROWS],
        count=len(listed),
        host=host,
        offset=offset,
        rows=ROWS,
        format_cpu=format_cpu,
        format_memory=format_memory,
    )


def _share_rows(host: HostView) -> tuple[ShareRow, ...]:
    shares = host.shares
    return tuple(
        ShareRow(
            name,
            share,
            format_amount(share.held),
            "" if share.total is None else format_amount(share.total),
            "" if share.left is None else format_amount(share.left),
        )
        for name, share, format_amount in (
            ("Environments", shares.environments, str),
            ("CPU", shares.cpu, format_cpu),
            ("Memory", shares.memory, format_memory),
        )
    )


def _team_rows(holdings: Iterable[HoldingView]) -> list[TeamRow]:
    teams: dict[str, TeamRow] = defaultdict(lambda: TeamRow(""))
    for one in holdings:
        row = teams[one.team]
        row.team = one.team
        row.environments += 1
        row.cpu += one.cpu
        row.memory += one.memory
    return sorted(teams.values(), key=lambda row: (-row.memory, row.team))
