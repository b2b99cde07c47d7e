"""Health of ready environments: the API asks their hosts when a caller reads them, with a cache."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from clients.errors import ClientError, Denied
from clients.host.models import Health
from clients.host.protocol import Host
from contracts.environment import Environment

#: How long the answer of a host is valid, for all callers.
FRESH_SECONDS = 10.0
#: How long a caller waits for a host. A later answer of the host is in the cache for the next caller.
PATIENCE_SECONDS = 1.5
#: Timeout of the call to a host: longer than it takes to detect that its API server does not answer.
CALL_SECONDS = 8.0
#: Number of environments in the cache.
KEPT = 2000


@dataclass
class _Known:
    """The last answer of the host, and since when the same problem exists."""

    problem: str = ""
    since: datetime | None = None
    answered_at: float = float("-inf")
    asking: asyncio.Task[None] | None = None


class EnvironmentHealth:
    """Asks the hosts for the health of environments, and caches the answers by life."""

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        self._hosts = hosts
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def look(self, environment: Environment) -> Health:
        """Return what is wrong with the ready environment, and since when it is known."""
        host = self._hosts.get(environment.host)
        if host is None:
            return Health()
        known = self._known.setdefault(environment.mark.life, _Known())
        self._known.move_to_end(environment.mark.life)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        now = asyncio.get_running_loop().time()
        if now - known.answered_at > FRESH_SECONDS:
            if known.asking is None:
                known.asking = asyncio.create_task(_ask(host, environment, known))
            await asyncio.wait({known.asking}, timeout=PATIENCE_SECONDS)
        return Health(known.problem, known.since)

    def stop(self) -> None:
        """Cancel all running calls to hosts."""
        for known in self._known.values():
            if known.asking is not None:
                known.asking.cancel()


async def _ask(host: Host, environment: Environment, known: _Known) -> None:
    try:
        health = await asked(host, environment)
        if health.problem != known.problem:
            known.since = datetime.now(UTC) if health.problem else None
        known.problem, known.since = health.problem, health.since or known.since
        known.answered_at = asyncio.get_running_loop().time()
    finally:
        known.asking = None


async def asked(host: Host, environment: Environment) -> Health:
    """Return the health of the environment from its host, within CALL_SECONDS.

    A host that does not answer is a problem of the environment as well.
    """
    name = environment.derived_name
    try:
        async with asyncio.timeout(CALL_SECONDS):
            namespace = await host.get_namespace(name)
            if namespace is not None and not environment.mark.is_in(namespace.labels):
                return Health("its namespace is somebody else's")
            return await host.health(name, name)
    except Denied:
        # The rights on the host are of an older Moorage, or have to be applied again; `moorage doctor`
        # reports that.
        return Health()
    except (TimeoutError, ClientError):
        return Health(f"its host {environment.host} does not answer")
