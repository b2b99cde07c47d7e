"""Runs the agents that bootstrap manifests bring into pretended vClusters, as if a pod did.

An agent runs while its vCluster does, and is taken up again when the simulated host restarts.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from embedded.host.cluster import Cluster
from embedded.host.inner import InnerObjects
from embedded.rafay.manifest import AgentIdentity

_log = logging.getLogger(__name__)

RunAgent = Callable[[AgentIdentity], Awaitable[None]]


@dataclass(frozen=True)
class _Running:
    identity: AgentIdentity
    task: asyncio.Task[None]


class Agents:
    """One task for each vCluster that an agent was applied to; `refresh` after whatever may change that."""

    def __init__(self, cluster: Cluster, inner: InnerObjects, run: RunAgent) -> None:
        self._cluster = cluster
        self._inner = inner
        self._run = run
        self._running: dict[tuple[str, str], _Running] = {}

    def begin(self) -> None:
        """Take up all agents of the vClusters that run."""
        for where in self._cluster.running():
            self.refresh(where)

    async def end(self) -> None:
        """Stop all agents, and return when they have stopped."""
        running = list(self._running.values())
        self._running.clear()
        for each in running:
            each.task.cancel()
        await asyncio.gather(*(each.task for each in running), return_exceptions=True)

    def refresh(self, where: tuple[str, str]) -> None:
        """Start, stop or exchange the agent of this vCluster, so that it is the one that should run."""
        alive = self._cluster.token(*where) is not None
        wanted = self._inner.agent(where) if alive else None
        running = self._running.get(where)
        if running and running.identity == wanted and not running.task.done():
            return
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
        await asyncio.sleep(self._cluster.seconds_to_ready(*where) or 0)
        try:
            await self._run(identity)
        except Exception as error:
            # As a pod that crashes: its control plane hears no more of it. The text may hold the token.
            _log.warning("the simulated agent in %s/%s ended with %s", *where, type(error).__name__)
