"""The API's response models for the capacity, which the CLI shows."""

from collections.abc import Iterable
from datetime import UTC, datetime

from pydantic import Field

from contracts.capacity.models import Amount, CapacityState, Limits, Reservation
from contracts.capacity.warm_pools import PoolCount
from contracts.types.models import Frozen
from starter.auth.policy import Principal
from starter.installation_settings import InstallationConfig


class ShareView(Frozen):
    """Total, reserved and free amount of a resource. `total` and `left` are None without a limit."""

    total: int | None
    held: int
    left: int | None


class SharesView(Frozen):
    """Shares of environments, CPU in millicores, and memory in bytes."""

    environments: ShareView
    cpu: ShareView
    memory: ShareView


class HostView(Frozen):
    """One host. Until its cluster has reported its capacity, `known` is False, and it gets no environment."""

    name: str
    labels: dict[str, str]
    shares: SharesView
    known: bool
    remark: str = Field(default="", description="what is wrong with it; its numbers are then the last known")


class QuotaView(Frozen):
    """The quota of a person or a team for open environments."""

    whose: str
    shares: SharesView


class HoldingView(Frozen):
    """One reservation and its owner."""

    name: str
    owner: str
    team: str
    template: str
    host: str
    cpu: int
    memory: int
    ends_at: datetime


class CapacityView(Frozen):
    """The state of the capacity. `remark` says so while the first audit of reservations is not complete."""

    audited_at: datetime | None
    hosts: tuple[HostView, ...]
    quotas: tuple[QuotaView, ...]
    environments: int = Field(description="all that hold a place")
    holdings: tuple[HoldingView, ...] | None = Field(default=None, description="for the platform team")
    remark: str = ""


class PoolView(Frozen):
    """One warm pool.

    `ready` standbys can be taken over, `making` are being made, and `wanted` are to be ready now. `taken`
    were handed out in the last ten minutes. `changes_at` is when the hours begin or end in which it is kept.
    `problem` is why the last ones could not be made; a pool that `has_stopped` makes no more. `booking` is
    the event of a pool that a booking has.
    """

    template: str
    hosts: tuple[str, ...]
    ready: int
    making: int
    wanted: int
    taken: int = 0
    policy: str = Field(description="what its template says, in words")
    is_open: bool = Field(default=True, description="whether standbys are kept in these hours")
    changes_at: datetime | None = None
    has_stopped: bool = False
    problem: str = ""
    booking: str = ""


class PoolList(Frozen):
    """The warm pools of templates that the caller may use."""

    pools: tuple[PoolView, ...]


def pool_view(pool: PoolCount) -> PoolView:
    """Build the view of a pool."""
    now = datetime.now(UTC)
    return PoolView(
        template=pool.template,
        hosts=pool.hosts,
        ready=pool.ready,
        making=pool.making,
        wanted=pool.wanted,
        taken=pool.taken,
        policy=pool.policy.sentence,
        is_open=pool.policy.is_open(now),
        changes_at=pool.policy.next_change(now),
        has_stopped=pool.has_stopped,
        problem=pool.problem,
        booking=pool.booking,
    )


def capacity_view(
    state: CapacityState,
    principal: Principal,
    installation: InstallationConfig,
    reservations: Iterable[Reservation] | None,
) -> CapacityView:
    """Build the view of the capacity for the principal, with the reservations if given."""
    quotas = [QuotaView(whose="you", shares=_shares(installation.person_quota, state.person))]
    for team in principal.teams:
        limits = installation.team_quotas.get(team, Limits())
        quotas.append(
            QuotaView(whose=f"team {team}", shares=_shares(limits, state.teams.get(team, Amount())))
        )
    return CapacityView(
        audited_at=state.audited_at,
        hosts=tuple(
            HostView(
                name=host.capacity.name,
                labels=dict(installation.hosts.get(host.capacity.name, {})),
                shares=_shares(host.capacity.total, host.reserved),
                known=host.capacity.known,
                remark=host.capacity.remark,
            )
            for host in state.hosts
        ),
        quotas=tuple(quotas),
        environments=state.reservations,
        holdings=None
        if reservations is None
        else tuple(_holding(one) for one in sorted(reservations, key=lambda one: one.name)),
        remark="" if state.audited_at else "Who holds what is still being found out: look again soon.",
    )


def _shares(limits: Limits, held: Amount) -> SharesView:
    left = limits.without(held)
    shares = {
        field: ShareView(total=getattr(limits, field), held=getattr(held, field), left=getattr(left, field))
        for field in SharesView.model_fields
    }
    return SharesView(**shares)


def _holding(held: Reservation) -> HoldingView:
    return HoldingView(
        name=held.name,
        owner=held.owner,
        team=held.team,
        template=held.template,
        host=held.host,
        cpu=held.held.cpu,
        memory=held.held.memory,
        ends_at=datetime.fromtimestamp(held.ends, UTC),
    )
