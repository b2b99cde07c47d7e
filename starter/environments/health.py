"""Health of usable environments: the API asks their hosts when a caller reads them, with a cache."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from clients.errors import ClientError, Denied
from clients.host.models import Health
from clients.host.protocol import Host
from contracts.types.naming import OwnerMark
from starter.environments.reader import EnvironmentSnapshot
from starter.environments.schemas import USABLE_PHASES, EnvironmentRow, Unwell

#: How long the answer of a host is valid, for all callers.
FRESH_SECONDS = 10.0
#: How old it may be while the host is asked again, so that only the first caller after a while waits.
USABLE_SECONDS = 60.0
#: How long a caller waits for a host. A later answer of the host is in the cache for the next caller.
ANSWER_TIMEOUT_SECONDS = 1.5
#: Timeout of the call to a host: longer than it takes to detect that its API server does not answer.
CALL_TIMEOUT_SECONDS = 8.0
#: How long that answer is valid for lists, which programs and `list --watch` read every few seconds.
LISTED_FRESH_SECONDS = 60.0
#: Number of environments of a list that the API asks hosts for; it takes the others from the cache. The next
#: lists ask for those that it has not asked for in this one.
MAX_LISTED_CALLS = 20
#: Number of environments in the cache.
MAX_CACHED = 2000


class Located(Protocol):
    """What is needed of an environment to ask its host; `Environment` has it."""

    @property
    def mark(self) -> OwnerMark:
        """The owner mark of its namespace."""

    @property
    def host(self) -> str:
        """The name of its host."""

    @property
    def derived_name(self) -> str:
        """The name of its namespace and its release."""


@dataclass(frozen=True)
class ListedEnvironment:
    """An environment as a list knows it."""

    mark: OwnerMark
    host: str
    prefix: str

    @property
    def derived_name(self) -> str:
        """The name of its namespace and its release."""
        return f"{self.prefix}-{self.mark.name}"


@dataclass
class _Known:
    """The last answer of the host, and since when the same problem exists."""

    problem: str = ""
    since: datetime | None = None
    answered_at: float = float("-inf")
    call: asyncio.Task[None] | None = None


class EnvironmentHealth:
    """Asks the hosts for the health of environments, and caches the answers by life."""

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        self._hosts = hosts
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def read(self, environment: Located) -> Health:
        """Return what is wrong with the usable environment, and since when it is known."""
        [health] = await self._read([environment], fresh=FRESH_SECONDS, max_calls=1)
        return health

    async def add_to(self, snapshot: EnvironmentSnapshot) -> EnvironmentSnapshot:
        """Return the snapshot with what is wrong with its environment, if it is usable."""
        health = Health()
        if snapshot.status is not None and not snapshot.ended and snapshot.view.phase in USABLE_PHASES:
            health = await self.read(snapshot.status.environment)
        return replace(snapshot, view=snapshot.view.model_copy(update={"unwell": _unwell(health)}))

    async def add_to_rows(
        self, rows: Sequence[EnvironmentRow], *, installation: str, prefix: str
    ) -> tuple[EnvironmentRow, ...]:
        """Return the rows of a list with what is known to be wrong with each usable environment.

        The number of calls to hosts is limited: see LISTED_FRESH_SECONDS and MAX_LISTED_CALLS.
        """
        environments = {
            row.life: ListedEnvironment(
                OwnerMark(installation=installation, name=row.name, life=row.life), row.host, prefix
            )
            for row in rows
            if row.life and row.phase in USABLE_PHASES and not row.ended
        }
        found = await self._read(
            list(environments.values()), fresh=LISTED_FRESH_SECONDS, max_calls=MAX_LISTED_CALLS
        )
        unwell = {
            life: _unwell(health) for life, health in zip(environments, found, strict=True) if health.problem
        }
        return tuple(row.model_copy(update={"unwell": unwell.get(row.life)}) for row in rows)

    async def _read(self, environments: Sequence[Located], *, fresh: float, max_calls: int) -> list[Health]:
        known = [self._known_of(each) for each in environments]
        while len(self._known) > MAX_CACHED:
            self._known.popitem(last=False)
        now = asyncio.get_running_loop().time()
        outdated = [
            (one, each)
            for one, each in zip(known, environments, strict=True)
            if one.answered_at < now - fresh and each.host in self._hosts
        ]
        outdated.sort(key=lambda pair: pair[0].answered_at)
        calls = [(one.answered_at, self._ask(one, each)) for one, each in outdated[:max_calls]]
        if awaited := {call for answered_at, call in calls if answered_at < now - USABLE_SECONDS}:
            await asyncio.wait(awaited, timeout=ANSWER_TIMEOUT_SECONDS)
        return [Health(one.problem, one.since) for one in known]

    def _known_of(self, environment: Located) -> _Known:
        known = self._known.setdefault(environment.mark.life, _Known())
        self._known.move_to_end(environment.mark.life)
        return known

    def _ask(self, known: _Known, environment: Located) -> asyncio.Task[None]:
        if known.call is None:
            host = self._hosts[environment.host]
            known.call = asyncio.create_task(_ask(host, environment, known))
        return known.call

    def stop(self) -> None:
        """Cancel all running calls to hosts."""
        for known in self._known.values():
            if known.call is not None:
                known.call.cancel()


def _unwell(health: Health) -> Unwell | None:
    return Unwell(what=health.problem, since=health.since) if health.problem else None


async def _ask(host: Host, environment: Located, known: _Known) -> None:
    try:
        health = await read_health(host, environment)
        if health.problem != known.problem:
            known.since = datetime.now(UTC) if health.problem else None
        known.problem, known.since = health.problem, health.since or known.since
        known.answered_at = asyncio.get_running_loop().time()
    finally:
        known.call = None


async def read_health(host: Host, environment: Located) -> Health:
    """Return the health of the environment from its host, within CALL_TIMEOUT_SECONDS.

    A host that does not answer is a problem of the environment as well.
    """
    name = environment.derived_name
    try:
        async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
            namespace = await host.get_namespace(name)
            if namespace is not None and not environment.mark.matches_labels(namespace.labels):
                return Health("its namespace belongs to another environment")
            return await host.health(name, name)
    except Denied:
        # The rights on the host are of an older Moorage, or have to be applied again; `moorage doctor`
        # reports that.
        return Health()
    except (TimeoutError, ClientError):
        return Health(f"its host {environment.host} does not answer")
