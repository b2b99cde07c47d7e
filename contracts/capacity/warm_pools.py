"""Warm pools in the capacity: which standbys there are, which are ready, and what is to become of them.

Pure. The places of standbys are in the ledger, as those of environments are. The capacity workflow hands a
standby out with a reservation; its place becomes that of the environment.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from contracts.capacity.models import Amount, Standby, StandbyName
from contracts.environment.chart_values import compose_values
from contracts.environment.models import Environment
from contracts.templates.warm_pool import WarmPool
from contracts.types.models import Frozen

#: The signal with which the API says what it wants.
SIGNAL_WANT_POOLS = "want_pools"
#: The signal with which the platform team lets a pool that has stopped make standbys again.
SIGNAL_RESUME_POOL = "resume_pool"
#: The API renews what it wants every three minutes. After this time without it nothing is made any more.
WANTED_FOR = timedelta(minutes=10)
#: How long no person may have asked for a place before standbys are made: people come first.
QUIET_TIME = timedelta(seconds=5)
#: For how long a standby that was taken counts as demand, so that more are kept ready.
DEMAND_TIME = timedelta(minutes=10)
#: Standbys of one pool that are made at the same time: the steps of people need the same workers and hosts.
MAX_MAKING = 2
#: Standbys that fail one after the other before the pool stops.
MAX_FAILURES = 3
_KEY_LENGTH = 16


def pool_key(environment: Environment) -> str:
    """Return what a standby must have been made from so that the environment can take it over."""
    template = environment.template
    content = [
        template.name,
        template.version,
        template.chart.model_dump(mode="json"),
        compose_values(environment),
    ]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_LENGTH]


class WantedPool(Frozen):
    """A pool that a template of the catalogue wants.

    `environment` is what each standby is made from: its mark and host are replaced. `booking` is the event of
    a pool that a booking has, and not a template.
    """

    key: str
    policy: WarmPool
    environment: Environment
    hosts: tuple[str, ...]
    size: Amount
    booking: str = ""
    most_making: int = MAX_MAKING

    @property
    def template(self) -> str:
        """The name of its template."""
        return self.environment.template.name


class PoolsInput(Frozen):
    """All pools that the catalogue wants now."""

    pools: tuple[WantedPool, ...] = ()


class ResumePoolInput(Frozen):
    """The template whose pool makes standbys again."""

    template: str


class Given(Frozen):
    """The standby that a life was given."""

    life: str
    standby: StandbyName


class PoolFailures(Frozen):
    """How many standbys of a pool have failed one after the other, and why the last one has."""

    number: int
    problem: str


class PoolState(Frozen):
    """What one run of the capacity workflow hands to the next about pools.

    `standbys` and `given` are by the name of the standby, or of the environment. `taken` is when standbys of
    a pool were handed out, and `missed` when a request found none that was ready.
    """

    wanted: PoolsInput = PoolsInput()
    wanted_at: datetime | None = None
    standbys: dict[str, Standby] = {}
    given: dict[str, Given] = {}
    failures: dict[str, PoolFailures] = {}
    taken: dict[str, tuple[datetime, ...]] = {}
    missed: dict[str, tuple[datetime, ...]] = {}


class PoolCount(Frozen):
    """How one pool stands. `booking` is the event of a pool that a booking has.

    `taken` standbys were handed out in the last minutes (`DEMAND_TIME`), and `missed` requests found none.
    """

    template: str
    key: str
    policy: WarmPool
    hosts: tuple[str, ...]
    ready: int
    making: int
    wanted: int
    taken: int = 0
    missed: int = 0
    failures: int = 0
    problem: str = ""
    booking: str = ""

    @property
    def has_stopped(self) -> bool:
        """Whether it makes no more standbys, because they fail."""
        return self.failures >= MAX_FAILURES


class PoolCounts(Frozen):
    """How all pools stand."""

    pools: tuple[PoolCount, ...]


class PoolBook:
    """The pools of the capacity workflow."""

    def __init__(self, state: PoolState | None = None) -> None:
        state = state or PoolState()
        self.wanted, self.wanted_at = state.wanted, state.wanted_at
        #: The pools of bookings that begin soon or have started, as they were at the last look.
        self.booked: tuple[WantedPool, ...] = ()
        self.standbys = dict(state.standbys)
        self.given = dict(state.given)
        self.failures = dict(state.failures)
        self.taken = dict(state.taken)
        self.missed = dict(state.missed)

    @property
    def state(self) -> PoolState:
        """What the next run needs."""
        return PoolState(
            wanted=self.wanted,
            wanted_at=self.wanted_at,
            standbys=self.standbys,
            given=self.given,
            failures=self.failures,
            taken=self.taken,
            missed=self.missed,
        )

    @property
    def is_in_use(self) -> bool:
        """Whether there is a pool, or a standby that is left of one."""
        return bool(self.all_pools or self.standbys)

    @property
    def all_pools(self) -> tuple[WantedPool, ...]:
        """The pools of templates, and then those of bookings."""
        return (*self.wanted.pools, *self.booked)

    def want(self, wanted: PoolsInput, now: datetime) -> None:
        """Record what the catalogue wants. The failures of pools that are not wanted any more are over."""
        self.wanted, self.wanted_at = wanted, now
        keys = {pool.key for pool in self.all_pools}
        self.failures = {key: found for key, found in self.failures.items() if key in keys}
        self.taken = {key: found for key, found in self.taken.items() if key in keys}
        self.missed = {key: found for key, found in self.missed.items() if key in keys}

    def add(self, name: str, standby: Standby) -> None:
        """Record a standby that is made."""
        self.standbys[name] = standby

    def give(self, name: str, life: str, standby: StandbyName, now: datetime) -> None:
        """Record that the life of an environment was given the standby."""
        pool = self.standbys.pop(standby.name).pool
        self.given[name] = Given(life=life, standby=standby)
        self.taken[pool] = (*_lately(self.taken, pool, now), now)

    def miss(self, pool: str, now: datetime) -> None:
        """Record that a request found no standby of the pool that is ready."""
        if any(pool == wanted.key for wanted in self.wanted.pools):
            self.missed[pool] = (*_lately(self.missed, pool, now), now)

    def given_to(self, name: str, life: str) -> StandbyName | None:
        """Return the standby that this life was given."""
        found = self.given.get(name)
        return found.standby if found and found.life == life else None

    def take_back(self, name: str, life: str) -> StandbyName | None:
        """Return the standby that this life was given, and forget that."""
        standby = self.given_to(name, life)
        if standby:
            del self.given[name]
        return standby

    def report(self, name: str, life: str, problem: str) -> None:
        """Record that a standby is ready, or why it could not be made."""
        standby = self.standbys.get(name)
        if standby is None or standby.life != life:
            return
        if not problem:
            self.failures.pop(standby.pool, None)
            self.standbys[name] = standby.model_copy(update={"is_ready": True})
            return
        before = self.failures.get(standby.pool)
        number = 1 + (before.number if before else 0)
        self.failures[standby.pool] = PoolFailures(number=number, problem=problem)
        del self.standbys[name]

    def resume(self, template: str) -> None:
        """Forget the failures of the template's pools, so that a pool that has stopped goes on."""
        for pool in self.all_pools:
            if pool.template == template:
                self.failures.pop(pool.key, None)

    def keep_only(self, held: Iterable[tuple[str, frozenset[str]]]) -> None:
        """Forget standbys and environments that hold no place any more; `held` are names with their lives."""
        lives = dict(held)
        none: frozenset[str] = frozenset()
        self.standbys = {
            name: one for name, one in self.standbys.items() if one.life in lives.get(name, none)
        }
        self.given = {name: one for name, one in self.given.items() if one.life in lives.get(name, none)}

    def missing(self, pool: WantedPool, now: datetime) -> int:
        """Return how many standbys of the pool are to be made now."""
        is_wanted = self.wanted_at is not None and now - self.wanted_at <= WANTED_FOR
        if self._has_stopped(pool.key) or not (is_wanted or pool.booking):
            return 0
        ready, making = self._numbers(pool.key)
        return max(0, min(self.target(pool, now) - ready - making, pool.most_making - making))

    def surplus(self, now: datetime) -> list[str]:
        """Return the standbys that are not wanted: outdated, outside of the hours, or too many.

        Of too many, those that are not ready go first, and then the oldest.
        """
        pools = {pool.key: pool for pool in self.all_pools}
        found: list[str] = []
        for key in dict.fromkeys(standby.pool for standby in self.standbys.values()):
            names = [name for name, one in self.standbys.items() if one.pool == key]
            names.sort(key=lambda name: self.standbys[name].is_ready)
            pool = pools.get(key)
            found += names[: max(0, len(names) - (self.target(pool, now) if pool else 0))]
        return found

    def target(self, pool: WantedPool, now: datetime) -> int:
        """Return how many standbys of the pool are wanted now."""
        if not pool.policy.is_open(now):
            return 0
        return min(pool.policy.limit, pool.policy.ready + len(_lately(self.taken, pool.key, now)))

    def counts(self, now: datetime) -> PoolCounts:
        """Return how the pools stand."""
        counts = []
        for pool in self.all_pools:
            ready, making = self._numbers(pool.key)
            failures = self.failures.get(pool.key)
            counts.append(
                PoolCount(
                    template=pool.template,
                    key=pool.key,
                    policy=pool.policy,
                    hosts=pool.hosts,
                    ready=ready,
                    making=making,
                    wanted=self.target(pool, now),
                    taken=len(_lately(self.taken, pool.key, now)),
                    missed=len(_lately(self.missed, pool.key, now)),
                    failures=failures.number if failures else 0,
                    problem=failures.problem if failures else "",
                    booking=pool.booking,
                )
            )
        return PoolCounts(pools=tuple(counts))

    def _has_stopped(self, key: str) -> bool:
        failures = self.failures.get(key)
        return failures is not None and failures.number >= MAX_FAILURES

    def _numbers(self, key: str) -> tuple[int, int]:
        numbers = Counter(one.is_ready for one in self.standbys.values() if one.pool == key)
        return numbers[True], numbers[False]


def _lately(moments: Mapping[str, tuple[datetime, ...]], key: str, now: datetime) -> tuple[datetime, ...]:
    return tuple(at for at in moments.get(key, ()) if now - at < DEMAND_TIME)
