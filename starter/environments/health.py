"""Health of usable environments: the API asks their hosts when a caller reads them, with a cache."""

import asyncio
from collections import OrderedDict
from collections.abc import Container, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from clients.errors import ClientError
from clients.host.health import read_health as of_host
from clients.host.models import Health
from clients.host.protocol import Host
from contracts.host_requests import HostAnswer, HostRequestKind
from contracts.types.naming import OwnerMark
from starter.environments.reader import EnvironmentSnapshot
from starter.environments.schemas import USABLE_PHASES, EnvironmentRow, Unwell
from starter.host_workers.requests import HostRequests, Located, request_about
from starter.temporal.errors import TemporalUnavailable

#: How long the answer of a host is valid, for all callers.
FRESH_SECONDS = 10.0
#: How old it may be while the host is asked again, so that only the first caller after a while waits.
USABLE_SECONDS = 60.0
#: How long a caller waits for a host. A later answer of the host is in the cache for the next caller.
ANSWER_TIMEOUT_SECONDS = 1.5
#: How long that answer is valid for lists, which programs and `list --watch` read every few seconds.
LISTED_FRESH_SECONDS = 60.0
#: Number of environments of a list that the API asks hosts for; it takes the others from the cache. The next
#: lists ask for those that it has not asked for in this one.
MAX_LISTED_CALLS = 20
#: Number of environments in the cache.
MAX_CACHED = 2000


@dataclass(frozen=True)
class ListedEnvironment:
    """An environment as a list knows it."""

    mark: OwnerMark
    host: str
    prefix: str
    standby: str = ""

    @property
    def host_names(self) -> tuple[str, ...]:
        """The names that its namespace and its release may have; the last is its own."""
        return tuple(f"{self.prefix}-{name}" for name in (self.standby, self.mark.name) if name)


@dataclass
class _Known:
    """The last answer of the host, and since when the same problem exists."""

    problem: str = ""
    since: datetime | None = None
    answered_at: float = float("-inf")
    call: asyncio.Task[None] | None = None


class EnvironmentHealth:
    """Asks the hosts for the health of environments, and caches the answers by life.

    `elsewhere` are the hosts that only their own worker reaches, which `requests` asks. Lists take these from
    the cache alone: each question is a workflow.
    """

    def __init__(
        self,
        hosts: Mapping[str, Host],
        requests: HostRequests | None = None,
        elsewhere: Container[str] = (),
    ) -> None:
        self._hosts = hosts
        self._requests = requests
        self._elsewhere = elsewhere
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def read(self, environment: Located) -> Health:
        """Return what is wrong with the usable environment, and since when it is known."""
        is_elsewhere = environment.host in self._elsewhere
        fresh = LISTED_FRESH_SECONDS if is_elsewhere else FRESH_SECONDS
        [health] = await self._read([environment], fresh=fresh, max_calls=1, with_workers=True)
        return health

    async def add_to(self, snapshot: EnvironmentSnapshot) -> EnvironmentSnapshot:
        """Return the snapshot with what is wrong with its environment, if it is usable."""
        health, view = Health(), snapshot.view
        # A restore pauses the vCluster, as the view says: that is no problem of its host.
        is_usable = not snapshot.ended and view.phase in USABLE_PHASES and view.restore is None
        if snapshot.status is not None and is_usable:
            health = await self.read(snapshot.status.environment)
        return replace(snapshot, view=view.model_copy(update={"unwell": _unwell(health)}))

    async def add_to_rows(
        self, rows: Sequence[EnvironmentRow], *, installation: str, prefix: str
    ) -> tuple[EnvironmentRow, ...]:
        """Return the rows of a list with what is known to be wrong with each usable environment.

        The number of calls to hosts is limited: see LISTED_FRESH_SECONDS and MAX_LISTED_CALLS.
        """
        environments = {
            row.life: ListedEnvironment(
                OwnerMark(installation=installation, name=row.name, life=row.life),
                row.host,
                prefix,
                row.standby,
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

    async def _read(
        self, environments: Sequence[Located], *, fresh: float, max_calls: int, with_workers: bool = False
    ) -> list[Health]:
        known = [self._known_of(each) for each in environments]
        while len(self._known) > MAX_CACHED:
            self._known.popitem(last=False)
        now = asyncio.get_running_loop().time()
        outdated = [
            (one, each)
            for one, each in zip(known, environments, strict=True)
            if one.answered_at < now - fresh
            and (each.host in self._hosts or (with_workers and each.host in self._elsewhere))
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
            host = self._hosts.get(environment.host)
            health = read_health(host, environment) if host else self._by_host_worker(environment)
            known.call = asyncio.create_task(_ask(health, known))
        return known.call

    async def _by_host_worker(self, environment: Located) -> Health:
        request = request_about(environment, HostRequestKind.HEALTH)
        try:
            answer = await self._requests.send(request) if self._requests else HostAnswer()
        except TemporalUnavailable:
            return Health()  # Other parts of the answer say so.
        except ClientError:
            return Health(f"the worker beside its host {environment.host} does not answer")
        return Health(answer.problem, answer.since)

    def stop(self) -> None:
        """Cancel all running calls to hosts."""
        for known in self._known.values():
            if known.call is not None:
                known.call.cancel()


def _unwell(health: Health) -> Unwell | None:
    return Unwell(what=health.problem, since=health.since) if health.problem else None


async def read_health(host: Host, environment: Located) -> Health:
    """Return the health of the environment from its host."""
    return await of_host(host, environment.host_names, environment.mark.labels, where=environment.host)


async def _ask(health: Coroutine[None, None, Health], known: _Known) -> None:
    try:
        found = await health
        if found.problem != known.problem:
            known.since = datetime.now(UTC) if found.problem else None
        known.problem, known.since = found.problem, found.since or known.since
        known.answered_at = asyncio.get_running_loop().time()
    finally:
        known.call = None
