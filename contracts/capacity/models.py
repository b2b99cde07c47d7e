"""What goes into the workflow of the capacity and what comes back: who asks, what there is, who holds what.

How it is decided is in `contracts.capacity.admission`.
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
#: There is one in each Temporal namespace, as there is one installation.
CAPACITY_ID = "capacity"
#: What environments and activities ask of it by name: they may not import it. A test compares them.
SIGNAL_RELEASE = "release"
QUERY_HOLDINGS = "holdings"


class Amount(Frozen):
    """So many environments, thousandths of a CPU, and bytes of memory."""

    environments: int = 0
    cpu: int = 0
    memory: int = 0

    def plus(self, other: "Amount", times: int = 1) -> "Amount":
        """With `times` so much more."""
        return Amount(
            environments=self.environments + times * other.environments,
            cpu=self.cpu + times * other.cpu,
            memory=self.memory + times * other.memory,
        )


class Limits(Frozen):
    """At most so much of each, or left of each; None is as much as anybody asks for."""

    environments: int | None = Field(default=None, ge=0)
    cpu: int | None = Field(default=None, ge=0)
    memory: int | None = Field(default=None, ge=0)

    def over(self, below: "Limits") -> "Limits":
        """These, and where they say nothing, those below."""
        return below.model_copy(update=self.model_dump(exclude_none=True))

    def without(self, held: Amount) -> "Limits":
        """What is left when so much is held; never less than nothing."""
        return Limits(
            **{
                field: max(0, limit - getattr(held, field))
                for field, limit in self.model_dump(exclude_none=True).items()
            }
        )


class Quotas(Frozen):
    """How much may be open at a time, as it concerns one request: all in all, and of its template."""

    person: Limits = Limits()
    team: Limits = Limits()
    template_person: Limits = Limits()
    template_team: Limits = Limits()


class ReservationRequest(Frozen):
    """A life that shall begin asks for its place on one of the `hosts`.

    `over` is the latest life of that name, if whoever asks has seen that it is over.
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
    """The host on which a life has its place, or why it has none and when the next environment there ends."""

    host: str = ""
    refusal: Refusal | None = None
    next_end: datetime | None = None


class ReserveInput(Frozen):
    """Lives that ask together: what many want at once is one update."""

    asks: tuple[ReservationRequest, ...]


class ReserveResult(Frozen):
    """What each was told, in the order in which they asked.

    When none has a place the update is refused instead, with this in the refusal's details.
    """

    verdicts: tuple[PlacementDecision, ...]


class ReleaseInput(Frozen):
    """A life needs its place no more. `ran`: it was the one that was open, so earlier claims are over too."""

    name: str
    life: str
    ran: bool = True


class HostCapacity(Frozen):
    """What a host has. `known` is False until its cluster has told, where the settings do not.

    `remark` says what is wrong with it; then its numbers are the last that were known.
    """

    name: str
    total: Limits = Limits()
    known: bool = True
    remark: str = ""


class Holdings(Frozen):
    """All that is held, packed: words and sizes once, and a row of places in them for each holding.

    A row: name, places of owner, team, template, host and size, the end in seconds, then each life that has
    a claim, and when it made that, in seconds.
    """

    words: tuple[str, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    rows: tuple[tuple[str | int, ...], ...] = ()


class Carried(Frozen):
    """The state that goes from one run of the capacity's workflow to the next.

    `ended` is when lives have given their places back that lists may still show as open.
    """

    holdings: Holdings
    hosts: tuple[HostCapacity, ...]
    audited_at: datetime
    next_audit: datetime
    ended: dict[str, datetime] = {}


class CapacityStart(Frozen):
    """The workflow's argument. `settle`: how long a fresh one waits before it first looks.

    Visibility may be late by moments, and what began just before must not be missed.
    """

    settle: timedelta = timedelta(seconds=2)
    carried: Carried | None = None


class AuditInput(Frozen):
    """For the audit: Temporal's time."""

    now: datetime


class AuditResult(Frozen):
    """How what is held differs from what there is, and what the hosts have.

    `over`: claims, as name, life and when it was made, of lives that are over or never began. `adopted`: open
    environments that hold nothing yet, or something else. `ends`: ends that have moved, in seconds.
    `more`: it is not all yet. `renew`: what it was started with is encrypted with a former key.
    `next_in`: when to look again.
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
        """The whole in one line."""
        return f"{len(self.over)} claims over, {len(self.adopted.rows)} adopted, {len(self.ends)} ends moved"


class StateInput(Frozen):
    """Whose quotas somebody wants to know the use of."""

    person: str
    teams: tuple[str, ...]


class HostState(Frozen):
    """A host, and what is held of it."""

    room: HostCapacity
    held: Amount


class CapacityState(Frozen):
    """How the capacity stands. Until `audited_at` is known it is still finding out who holds what."""

    audited_at: datetime | None
    hosts: tuple[HostState, ...]
    person: Amount
    teams: dict[str, Amount]
    holdings: int


def parts_of_size(size: Size, values: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """What the namespace of an environment may use at most, as the quantities of which it is the sum.

    The template's size is for what the developer runs; on top comes what the vCluster itself needs, given the
    values of its chart.
    """
    own = ("controlPlane", "statefulSet", "resources", "limits")
    etcd = (*ETCD, "statefulSet", "resources", "limits")

    def parts(asked: str, what: str) -> tuple[str, ...]:
        planes = [str(value_at(values, *own, what))] * control_planes(values)
        stores = [str(value_at(values, *etcd, what))] * etcds(values)
        return (asked, *planes, DNS_LIMITS[what], *stores)

    return {"cpu": parts(size.cpu, "cpu"), "memory": parts(size.memory, "memory")}


def size_of(size: Size, values: Mapping[str, Any]) -> Amount:
    """What an environment holds: all that its namespace may use. ValueError for what is no quantity."""
    parts = parts_of_size(size, values)
    return Amount(
        environments=1,
        cpu=ceil(sum(map(parse_quantity, parts["cpu"]), Decimal(0)) * 1000),
        memory=ceil(sum(map(parse_quantity, parts["memory"]), Decimal(0))),
    )


def said_cpu(thousandths: int) -> str:
    """CPUs as sentences have them: "4", "0.5"."""
    return f"{thousandths / 1000:g}"


def said_memory(octets: int) -> str:
    """Memory as sentences have it: "8Gi", "1.5Gi", "170Mi"."""
    if octets >= 2**30 or octets == 0:
        return f"{round(octets / 2**30, 1):g}Gi"
    return f"{round(octets / 2**20):g}Mi"
