"""The input and output of the capacity workflow: requests, hosts, and who holds what.

The decisions are in `contracts.capacity.admission`.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import Field

from contracts.errors import Refusal
from contracts.types.models import Frozen

CAPACITY_WORKFLOW = "CapacityWorkflow"
#: There is one workflow in each Temporal namespace, because there is one installation in it.
CAPACITY_ID = "capacity"
#: The names that environments and activities use. They may not import the workflow, so a test compares the
#: names.
SIGNAL_RELEASE = "release"
SIGNAL_SLEEP = "sleep"
UPDATE_WAKE = "wake"
SIGNAL_RESIZED = "resized"
UPDATE_RESIZE = "resize"
SIGNAL_STANDBY = "standby"
QUERY_RESERVATIONS = "reservations"


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

    def at_least(self, other: "Amount") -> "Amount":
        """Return the larger of both in each field."""
        return Amount(
            environments=max(self.environments, other.environments),
            cpu=max(self.cpu, other.cpu),
            memory=max(self.memory, other.memory),
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

    `ended_life` is the latest life of that name, if the caller has seen that it is over.
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
    ended_life: str = ""
    pool: str = Field(default="", description="the warm pool of which a standby will do; see `pool_key`")
    booking: str = Field(default="", description="the life of the booking of which it is a seat")


class StandbyName(Frozen):
    """A standby, by its name and its life."""

    name: str
    life: str


class Standby(Frozen):
    """A standby in the ledger: its life, its warm pool, and whether it can be taken over."""

    life: str
    pool: str
    is_ready: bool = False


class FoundStandby(Standby):
    """A standby that the audit has found."""

    name: str


class PlacementDecision(Frozen):
    """The host of a life, or why it has none and when the next environment there ends.

    `standby` is what the life may take over there. `displaced` are standbys that give way to it.
    """

    host: str = ""
    standby: StandbyName | None = None
    displaced: tuple[StandbyName, ...] = ()
    refusal: Refusal | None = None
    next_end: datetime | None = None


class ReserveInput(Frozen):
    """Requests that are decided together, so that many requests at the same time are one update."""

    requests: tuple[ReservationRequest, ...]


class ReserveResult(Frozen):
    """The decisions, in the order of the requests.

    When no request gets a place, the update is rejected, and the rejection's details contain this result.
    """

    decisions: tuple[PlacementDecision, ...]


class ReassignInput(Frozen):
    """The place of an open life gets another owner, whose limits `request` contains."""

    request: ReservationRequest


class WakeInput(Frozen):
    """A life that is to be woken asks for its CPU and memory again, on the one host in `request`."""

    request: ReservationRequest


class ResizeInput(Frozen):
    """An open life asks for another size or template at its place.

    `asked_at` is by the life's own clock, as `settled_at` is: one that comes after the end of its change is
    refused.
    """

    request: ReservationRequest
    asked_at: datetime


class CapacitySleepInput(Frozen):
    """A life that has fallen asleep gives its CPU and memory back."""

    name: str
    life: str


class ResizedInput(Frozen):
    """What an open life holds after a change, whether that has succeeded or was rolled back."""

    name: str
    life: str
    template: str
    size: Amount
    settled_at: datetime


class ReleaseInput(Frozen):
    """A life gives its place back.

    `was_open` means that it was the open life, so earlier claims are over too.
    """

    name: str
    life: str
    was_open: bool = True


class StandbyReport(Frozen):
    """A standby is ready to be taken over, or has a `problem` and could not be made."""

    name: str
    life: str
    problem: str = ""


class HostCapacity(Frozen):
    """The capacity of a host.

    `known` is False until the cluster has reported it, where the settings do not set it. `remark` says what
    is wrong with the host; the numbers are then the last known ones.
    """

    name: str
    total: Limits = Limits()
    known: bool = True
    remark: str = ""
    #: Only the worker beside the host can say what it has; `total` is what the settings say.
    is_elsewhere: bool = False


#: A life that has not started this long after its claim will never start: the API tries to start one several
#: times, but for a shorter time.
START_GRACE = timedelta(minutes=2)

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reservation:
    """The place of one name.

    All lives in `claims` share it: at most one of them is open at a time. `ends` and the values of `claims`,
    which are the times of the claims, are in seconds. While it is `asleep`, it holds no CPU and no memory;
    `changed` is when it last fell asleep or was woken, in seconds. `settled` is when its last change of
    template ended, in thousandths of a second. `booking` is the life of the booking of which it is a seat or
    a standby: no person and no team holds that. Without `size`, it is a standby of a booking that leaves, and
    holds no room.
    """

    name: str
    owner: str
    team: str
    template: str
    host: str
    size: Amount
    ends: int
    claims: tuple[tuple[str, int], ...]
    asleep: bool = False
    changed: int = 0
    settled: int = 0
    booking: str = ""

    @property
    def held(self) -> Amount:
        """How much it holds now. A seat of a booking keeps its room while it sleeps."""
        is_resting = self.asleep and not self.booking
        return Amount(environments=self.size.environments) if is_resting else self.size

    @property
    def lives(self) -> frozenset[str]:
        """The lives that have a claim."""
        return frozenset(life for life, _ in self.claims)

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys of the sums in which the reservation counts."""
        if self.booking:
            return (("host", self.host), ("booking", self.booking, self.host))
        return (
            ("host", self.host),
            ("person", self.owner),
            ("team", self.team),
            ("person", self.owner, self.template),
            ("team", self.team, self.template),
        )

    def after_life(self, life: str, now: int) -> "Reservation | None":
        """Return the reservation after `life`, which was open, is over; None if no claim is left.

        The claims that may still start remain.
        """
        fresh = now - int(START_GRACE.total_seconds())
        return self._with(tuple(claim for claim in self.claims if claim[0] != life and claim[1] > fresh))

    def without_claim(self, life: str, made: int | None = None) -> "Reservation | None":
        """Return the reservation without the claim of `life`; None if no claim is left.

        With `made`, the claim is removed only if it was made at that time.
        """
        return self._with(
            tuple(claim for claim in self.claims if claim[0] != life or made not in (None, claim[1]))
        )

    def _with(self, claims: tuple[tuple[str, int], ...]) -> "Reservation | None":
        return replace(self, claims=claims) if claims else None


class StateInput(Frozen):
    """The person and the teams for which a user asks how much of their quotas they use."""

    person: str
    teams: tuple[str, ...]


class HostState(Frozen):
    """A host, and how much of it is held."""

    capacity: HostCapacity
    reserved: Amount


class CapacityState(Frozen):
    """The state of the capacity.

    Before the first audit, `audited_at` is None and it is not yet known who holds what.
    """

    audited_at: datetime | None
    hosts: tuple[HostState, ...]
    person: Amount
    teams: dict[str, Amount]
    reservations: int
