"""The part that checks the health of ready environments on their hosts. An unwell environment is a warning.

It does not prevent the start: a problem of one environment must not keep the API and the worker from serving
the others.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from temporalio.client import Client

from clients.host.protocol import Host
from contracts.environment.models import Phase
from contracts.temporal import search_attributes
from contracts.types.naming import name_from_workflow_id
from starter.environments.health import read_health
from starter.environments.lists.listing import WORKFLOW_TYPE
from starter.environments.reader import EnvironmentReader
from starter.setup.areas import Area
from starter.setup.check import Found, SetupCheck, well
from starter.setup.temporal import Temporal
from starter.temporal.errors import CALL_TIMEOUT
from worker.codec import DecodeError

SYSTEM = "host cluster"
#: Maximum number of environments that are checked; each costs its host some calls, and a user waits.
MAX_LOOKED_AT = 200
AT_ONCE = 10
#: Maximum number of environments that are named in one sentence.
MAX_NAMED = 5


@dataclass(frozen=True)
class Environments:
    """Checks of the ready environments on the hosts of the settings."""

    temporal: Temporal
    hosts: Mapping[str, Host]

    def parts(self, attributes: SetupCheck) -> tuple[SetupCheck, ...]:
        """Return the part; it needs the search attributes, which find the environments."""
        return (
            SetupCheck(
                Area.TEMPORAL,
                SYSTEM,
                "environments",
                ", ".join(self.hosts),
                self._environments,
                needs=(attributes,),
            ),
        )

    async def _environments(self) -> Found:
        client = await self.temporal.client()
        names, more = await _ready(client)
        gate, reader = asyncio.Semaphore(AT_ONCE), EnvironmentReader(client)

        async def look(name: str) -> str:
            async with gate:
                try:
                    standing = await reader.read(name)
                except DecodeError:
                    return f"{name}: what Temporal keeps of it cannot be decrypted"
                if standing is None or standing.status is None or standing.view.phase is not Phase.READY:
                    return ""
                environment = standing.status.environment
                host = self.hosts.get(environment.host)
                health = await read_health(host, environment) if host else None
                return f"{name}: {health.problem}" if health and health.problem else ""

        unwell = [words for words in await asyncio.gather(*map(look, names)) if words]
        found = f"{len(names) - len(unwell)} of {len(names)} that are ready are well"
        if more:
            found += f" (the first {MAX_LOOKED_AT} were looked at)"
        if not unwell:
            return well(found if names else "none is ready")
        rest = f"; and {len(unwell) - MAX_NAMED} more" if len(unwell) > MAX_NAMED else ""
        return well(f"{found}; warning: {'; '.join(unwell[:MAX_NAMED])}{rest}")


async def _ready(client: Client) -> tuple[list[str], bool]:
    """Return the names of ready environments, and whether there are more."""
    query = (
        f"WorkflowType = {search_attributes.quoted(WORKFLOW_TYPE)} AND ExecutionStatus = 'Running' "
        f"AND {search_attributes.PHASE.name} = {search_attributes.quoted(Phase.READY)}"
    )
    names: list[str] = []
    async for run in client.list_workflows(query, page_size=MAX_LOOKED_AT, rpc_timeout=CALL_TIMEOUT):
        if len(names) == MAX_LOOKED_AT:
            return names, True
        names.append(name_from_workflow_id(run.id))
    return names, False
