"""The part that tells of warm pools which make no standbys, because these fail."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from temporalio.client import Client

from contracts.templates.template import Template
from starter.placement.reservations import Reservations
from starter.setup.areas import Area
from starter.setup.check import Found, Kind, SetupCheck, well
from starter.setup.temporal import SYSTEM, Temporal
from starter.temporal.errors import NoWorker


@dataclass(frozen=True)
class WarmPools:
    """Checks the warm pools of the capacity workflow. Without a template that has one it calls nothing."""

    temporal: Temporal
    templates: Callable[[], Iterable[Template]]

    def parts(self, *needs: SetupCheck) -> tuple[SetupCheck, ...]:
        """Return the part."""
        return (SetupCheck(Area.TEMPORAL, SYSTEM, "warm pools", "", self._pools, needs=needs),)

    async def _pools(self) -> Found:
        names = [template.name for template in self.templates() if template.warm]
        if not names:
            return well("no template keeps one")
        client: Client = await self.temporal.client()
        try:
            pools = await Reservations(client).list_pools()
        except NoWorker:
            return well("no worker answers, so it is not known how they stand")
        pools = tuple(pool for pool in pools if not pool.booking)
        stopped = [pool for pool in pools if pool.has_stopped]
        if stopped:
            detail = " ".join(f"{pool.template} has stopped: {pool.problem}" for pool in stopped)
            remedy = f"mend the cause, then: moorage pools --resume {stopped[0].template}"
            return Found(Kind.BY_HAND, detail, remedy)
        counts = ", ".join(f"{pool.template} has {pool.ready} of {pool.wanted} ready" for pool in pools)
        return well(counts or f"{', '.join(names)}: not filled yet")
