"""Runs the agents of bootstrap manifests that were applied in simulated vClusters, as a pod would.

An agent runs while its vCluster runs, also after a restart of the simulated host.
"""

import asyncio
import logging
from dataclasses import dataclass

import httpx

from embedded.host.releases import Releases
from embedded.host.virtual.objects import VirtualObjects
from embedded.rafay.agent import agent_client, run_agent
from embedded.rafay.bootstrap_manifest import AgentIdentity

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Running:
    identity: AgentIdentity
    task: asyncio.Task[None]


class Agents:
    """One task for each vCluster with an agent; call `refresh` after each change that may concern one."""

    def __init__(self, releases: Releases, objects: VirtualObjects) -> None:
        self._releases = releases
        self._objects = objects
        self._http: httpx.AsyncClient | None = None
        self._running: dict[tuple[str, str], _Running] = {}

    def start(self) -> None:
        """Start the agents of the vClusters that run; inside the event loop, before any `refresh`."""
        self._http = agent_client()
        for where in self._releases.running():
            self.refresh(where)

    async def stop(self) -> None:
        """Stop all agents, and wait for their end."""
        running = list(self._running.values())
        self._running.clear()
        for each in running:
            each.task.cancel()
        await asyncio.gather(*(each.task for each in running), return_exceptions=True)
        if self._http:
            await self._http.aclose()

    def refresh(self, where: tuple[str, str]) -> None:
        """Start, stop or replace the agent of this vCluster, as its objects require."""
        alive = self._releases.token(*where) is not None
        wanted = self._objects.agent(where) if alive else None
        running = self._running.get(where)
        if running and running.identity == wanted:
            return  # also after its end: the control plane has deregistered it
        if running:
            running.task.cancel()
            del self._running[where]
        if wanted:
            self._running[where] = _Running(wanted, asyncio.create_task(self._run(where, wanted)))

    def refresh_namespace(self, namespace: str) -> None:
        """`refresh` for all vClusters of the namespace."""
        for where in [where for where in self._running if where[0] == namespace]:
            self.refresh(where)

    async def _run(self, where: tuple[str, str], identity: AgentIdentity) -> None:
        await asyncio.sleep(self._releases.seconds_to_ready(*where) or 0)
        try:
            version = self._releases.kubernetes_version(*where)
            outcome = await run_agent(
                identity.endpoint, identity.cluster_id, identity.token, version, http=self._http
            )
        except Exception as error:
            # Like a pod that crashes. The text of the error may contain the token.
            _log.warning("the simulated agent in %s/%s ended with %s", *where, type(error).__name__)
        else:
            _log.info("the simulated agent in %s/%s ended: %s", *where, outcome)
