"""Whether environments that are ready are well: hosts are asked when somebody looks, and not too often."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from clients.errors import ClientError, Denied
from clients.host import Health, Host
from contracts.environment import Environment

#: For so long what a host has said holds, whoever asks.
FRESH_SECONDS = 10.0
#: How long somebody who looks waits for a host. What it says later is told to the next one.
PATIENCE_SECONDS = 1.5
#: How long a host is asked at all: longer than it takes to find out that an API server does not answer.
CALL_SECONDS = 8.0
#: Environments of which it is remembered how they were.
KEPT = 2000


@dataclass
class _Known:
    """What was said last, and since when the same was wrong."""

    wrong: str = ""
    since: datetime | None = None
    said_at: float = float("-inf")
    asking: asyncio.Task[None] | None = None


class Healths:
    """Asks the hosts, and remembers for a while, each life by itself."""

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        self._hosts = hosts
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def look(self, environment: Environment) -> Health:
        """What is wrong with the environment, which is ready, and since when that is known."""
        host = self._hosts.get(environment.host)
        if host is None:
            return Health()
        known = self._known.setdefault(environment.mark.life, _Known())
        self._known.move_to_end(environment.mark.life)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        now = asyncio.get_running_loop().time()
        if now - known.said_at > FRESH_SECONDS:
            if known.asking is None:
                known.asking = asyncio.create_task(_ask(host, environment, known))
            await asyncio.wait({known.asking}, timeout=PATIENCE_SECONDS)
        return Health(known.wrong, known.since)

    def stop(self) -> None:
        """Ask nobody any more."""
        for known in self._known.values():
            if known.asking is not None:
                known.asking.cancel()


async def _ask(host: Host, environment: Environment, known: _Known) -> None:
    try:
        health = await asked(host, environment)
        if health.wrong != known.wrong:
            known.since = datetime.now(UTC) if health.wrong else None
        known.wrong, known.since = health.wrong, health.since or known.since
        known.said_at = asyncio.get_running_loop().time()
    finally:
        known.asking = None


async def asked(host: Host, environment: Environment) -> Health:
    """What the host says of the environment, in bounded time; that it does not answer is wrong as well."""
    name = environment.derived_name
    try:
        async with asyncio.timeout(CALL_SECONDS):
            namespace = await host.get_namespace(name)
            if namespace is not None and not environment.mark.is_in(namespace.labels):
                return Health("its namespace is somebody else's")
            return await host.health(name, name)
    except Denied:
        # Of an older Moorage, or of rights that are to be applied again: doctor tells.
        return Health()
    except (TimeoutError, ClientError):
        return Health(f"its host {environment.host} does not answer")
