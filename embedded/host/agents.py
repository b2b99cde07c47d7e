"""Runs the agents that bootstrap manifests bring into pretended vClusters, as if a pod did.

An agent runs while its vCluster does, and is taken up again when the simulated host restarts.
"""

import asyncio
import logging
from dataclasses import dataclass

import httpx

from embedded.host.releases import Releases
from embedded.host.virtual_objects import InnerObjects
from embedded.rafay.agent import agent_client, run_agent
from embedded.rafay.bootstrap_manifest import AgentIdentity

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Running:
    identity: AgentIdentity
    task: asyncio.Task[None]


class Agents:
    """One task for each vCluster that an agent was applied to; `refresh` after whatever may change that."""

    def __init__(self, releases: Releases, inner: InnerObjects) -> None:
        self._releases = releases
        self._inner = inner
        self._http: httpx.AsyncClient | None = None
        self._running: dict[tuple[str, str], _Running] = {}

    def begin(self) -> None:
        """Take up all agents of the vClusters that run; from inside the event loop, before any `refresh`."""
        self._http = agent_client()
        for where in self._releases.running():
            self.refresh(where)

    async def end(self) -> None:
        """Stop all agents, and return when they have stopped."""
        running = list(self._running.values())
        self._running.clear()
        for each in running:
            each.task.cancel()
        await asyncio.gather(*(each.task for each in running), return_exceptions=True)
        if self._http:
            await self._http.aclose()

    def refresh(self, where: tuple[str, str]) -> None:
        """Start, stop or exchange the agent of this vCluster, so that it is the one that should run."""
        alive = self._releases.token(*where) is not None
        wanted = self._inner.agent(where) if alive else None
        running = self._running.get(where)
        if running and running.identity == wanted:
            return  # also when it has ended: whom the control plane has dismissed does not come back
        if running:
            running.task.cancel()
            del self._running[where]
        if wanted:
            self._running[where] = _Running(wanted, asyncio.create_task(self._life(where, wanted)))

    def refresh_namespace(self, namespace: str) -> None:
        """`refresh` for all vClusters of the namespace."""
        for where in [where for where in self._running if where[0] == namespace]:
            self.refresh(where)

    async def _life(self, where: tuple[str, str], identity: AgentIdentity) -> None:
        await asyncio.sleep(self._releases.seconds_to_ready(*where) or 0)
        try:
            version = self._releases.kubernetes_version(*where)
            end = await run_agent(
                identity.endpoint, identity.cluster_id, identity.token, version, http=self._http
            )
        except Exception as error:
            # As a pod that crashes: its control plane hears no more of it. The text may hold the token.
            _log.warning("the simulated agent in %s/%s ended with %s", *where, type(error).__name__)
        else:
            _log.info("the simulated agent in %s/%s ended: %s", *where, end)
