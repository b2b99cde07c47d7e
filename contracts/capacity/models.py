"""The input and output of the capacity workflow: requests, hosts, and who holds what.

The decisions are in `contracts.capacity.admission`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from math import ceil
from typing import Any

from pydantic import Field

from contracts.chart_values import DNS_LIMITS, ETCD, control_planes, etcds, value_at
from contracts.errors import Refusal
from contracts.models import Frozen
from contracts.quantities import parse_quantity
from contracts.template import Size

CAPACITY_WORKFLOW = "CapacityWorkflow"
#: There is one workflow in each Temporal namespace, because there is one installation in it.
CAPACITY_ID = "capacity"
#: The names that environments and activities use. They may not import the workflow, so a test compares the
#: names.
SIGNAL_RELEASE = "release"
QUERY_HOLDINGS = "holdings"


class Amount(Frozen):
    """A number of environments, thousandths of a CPU, and bytes of memory."""

    environments: int = 0
    cpu: int = 0
    memory: int = 0

    def plus(self, other: "Amount", times: int = 1) -> "Amount":
        """Return the sum with `other` multiplied by `times`."""
        return Amount(
            environments=self.environments + times * other.environments,
            cpu=self.cpu + times * other.cpu,
            memory=self.memory + times * other.memory,
        )


class Limits(Frozen):
    """The limit of each field, or what is left of it; None is unlimited."""

    environments: int | None = Field(default=None, ge=0)
    cpu: int | None = Field(default=None, ge=0)
    memory: int | None = Field(default=None, ge=0)

    def over(self, below: "Limits") -> "Limits":
        """Return these limits, with those of `below` where these are None."""
        return below.model_copy(update=self.model_dump(exclude_none=True))

    def without(self, held: Amount) -> "Limits":
        """Return what is left when `held` is held; never negative."""
        return Limits(
            **{
                field: max(0, limit - getattr(held, field))
                for field, limit in self.model_dump(exclude_none=True).items()
            }
        )


class Quotas(Frozen):
    """The limits for one request: for all open environments, and for those of its template."""

    person: Limits = Limits()
    team: Limits = Limits()
    template_person: Limits = Limits()
    template_team: Limits = Limits()


class ReservationRequest(Frozen):
    """A life that is to start asks for its place on one of the `hosts`.

    `over` is the latest life of that name, if the caller has seen that it is over.
    """

    name: str
    life: str
    owner: str
    team: str
    template: str
    size: Amount
    hosts: tuple[str, ...]
    ends_at: datetime
    quotas: Quotas = Quotas()
    over: str = ""


class PlacementDecision(Frozen):
    """The host of a life, or why it has none and when the next environment there ends."""

    host: str = ""
    refusal: Refusal | None = None
    next_end: datetime | None = None


class ReserveInput(Frozen):
    """Requests that are decided together, so that many requests at the same time are one update."""

    asks: tuple[ReservationRequest, ...]


class ReserveResult(Frozen):
    """The decisions, in the order of the requests.

    When no request gets a place, the update is rejected, and the rejection's details contain this result.
    """

    verdicts: tuple[PlacementDecision, ...]


class ReleaseInput(Frozen):
    """A life gives its place back.

    `ran` means that it was the open life, so earlier claims are over too.
    """

    name: str
    life: str
    ran: bool = True


class HostCapacity(Frozen):
    """The capacity of a host.

    `known` is False until the cluster has reported it, where the settings do not set it. `remark` says what
    is wrong with the host; the numbers are then the last known ones.
    """

    name: str
    total: Limits = Limits()
    known: bool = True
    remark: str = ""


class Holdings(Frozen):
    """All reservations in packed form.

    Words and sizes are stored once, and each reservation is a row of indexes into them. A row: the name, the
    indexes of owner, team, template, host and size, the end in seconds, then each life that has a claim, and
    when it made that claim, in seconds.
    """

    words: tuple[str, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    rows: tuple[tuple[str | int, ...], ...] = ()


class Carried(Frozen):
    """The state that one run of the capacity workflow hands to the next.

    `ended` is when lives have given their places back. Lists may still show these lives as open.
    """

    holdings: Holdings
    hosts: tuple[HostCapacity, ...]
    audited_at: datetime
    next_audit: datetime
    ended: dict[str, datetime] = {}


class CapacityStart(Frozen):
    """The workflow's argument. `settle` is how long a new workflow waits before its first audit.

    Visibility may be late by moments, and the audit must not miss what started just before.
    """

    settle: timedelta = timedelta(seconds=2)
    carried: Carried | None = None


class AuditInput(Frozen):
    """The input of the audit: Temporal's time."""

    now: datetime


class AuditResult(Frozen):
    """How the reservations differ from the open environments, and the hosts' capacity.

    `over`: claims, as name, life and time of the claim, of lives that are over or never started. `adopted`:
    open environments that have no reservation yet, or another one. `ends`: ends that have moved, in seconds.
    `more`: the result is not complete. `renew`: the workflow's argument is encrypted with a former key.
    `next_in`: the time until the next audit.
    """

    hosts: tuple[HostCapacity, ...] = ()
    over: tuple[tuple[str, str, int], ...] = ()
    adopted: Holdings = Holdings()
    ends: tuple[tuple[str, int], ...] = ()
    more: bool = False
    renew: bool = False
    next_in: timedelta = timedelta(minutes=2)

    @property
    def sentence(self) -> str:
        """The result in one line."""
        return f"{len(self.over)} claims over, {len(self.adopted.rows)} adopted, {len(self.ends)} ends moved"


class StateInput(Frozen):
    """The person and the teams for which a user asks how much of their quotas they use."""

    person: str
    teams: tuple[str, ...]


class HostState(Frozen):
    """A host, and how much of it is held."""

    room: HostCapacity
    held: Amount


class CapacityState(Frozen):
    """The state of the capacity.

    Before the first audit, `audited_at` is None and it is not yet known who holds what.
    """

    audited_at: datetime | None
    hosts: tuple[HostState, ...]
    person: Amount
    teams: dict[str, Amount]
    holdings: int


def parts_of_size(size: Size, values: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return what an environment's namespace may use at most, as the quantities of each sum.

    The template's size is for what the developer runs. What the vCluster itself needs, given the values of
    its chart, is added.
    """
    own = ("controlPlane", "statefulSet", "resources", "limits")
    etcd = (*ETCD, "statefulSet", "resources", "limits")

    def parts(asked: str, what: str) -> tuple[str, ...]:
        planes = [str(value_at(values, *own, what))] * control_planes(values)
        stores = [str(value_at(values, *etcd, what))] * etcds(values)
        return (asked, *planes, DNS_LIMITS[what], *stores)

    return {"cpu": parts(size.cpu, "cpu"), "memory": parts(size.memory, "memory")}


def size_of(size: Size, values: Mapping[str, Any]) -> Amount:
    """Return what an environment reserves: all that its namespace may use.

    Raises:
        ValueError: A value of the chart is not a quantity.
    """
    parts = parts_of_size(size, values)
    return Amount(
        environments=1,
        cpu=ceil(sum(map(parse_quantity, parts["cpu"]), Decimal(0)) * 1000),
        memory=ceil(sum(map(parse_quantity, parts["memory"]), Decimal(0))),
    )
