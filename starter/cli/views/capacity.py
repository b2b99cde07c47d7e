"""The API's answers about capacity and warm pools, as the command line reads them."""

from datetime import datetime

from starter.cli.views.base import View


class ShareView(View, frozen=True, kw_only=True):
    """Total, reserved and free amount of a resource."""

    total: int | None
    held: int
    left: int | None


class SharesView(View, frozen=True, kw_only=True):
    """Shares of environments, CPU in millicores, and memory in bytes."""

    environments: ShareView
    cpu: ShareView
    memory: ShareView


class HostView(View, frozen=True, kw_only=True):
    """One host."""

    name: str
    labels: dict[str, str]
    shares: SharesView
    known: bool
    remark: str = ""


class QuotaView(View, frozen=True, kw_only=True):
    """The quota of a person or a team."""

    whose: str
    shares: SharesView


class HoldingView(View, frozen=True, kw_only=True):
    """One reservation and its owner."""

    name: str
    owner: str
    team: str
    template: str
    host: str
    cpu: int
    memory: int
    ends_at: datetime


class CapacityView(View, frozen=True, kw_only=True):
    """The state of the capacity."""

    audited_at: datetime | None
    hosts: tuple[HostView, ...]
    quotas: tuple[QuotaView, ...]
    environments: int
    holdings: tuple[HoldingView, ...] | None = None
    remark: str = ""


class PoolView(View, frozen=True, kw_only=True):
    """One warm pool."""

    template: str
    hosts: tuple[str, ...]
    ready: int
    making: int
    wanted: int
    taken: int = 0
    policy: str
    is_open: bool = True
    changes_at: datetime | None = None
    has_stopped: bool = False
    problem: str = ""
    booking: str = ""


class PoolList(View, frozen=True, kw_only=True):
    """The warm pools of templates that the caller may use."""

    pools: tuple[PoolView, ...]
