"""A warm pool that a test wants by itself, on a stack whose own templates keep none.

The API of such a stack wants no pool, so it changes nothing of what the test wants.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle

from contracts.capacity.warm_pools import PoolCount, PoolsInput
from contracts.standby import StandbyEnd, StandbyResult
from contracts.templates.warm_pool import WarmPool
from contracts.types.naming import STANDBY_NAME_START, workflow_id
from embedded.stack.stack import Stack
from starter.catalogue.loader import STARTER_TEMPLATES, load_catalogue
from starter.installation_settings import InstallationConfig
from starter.placement.pools import wanted_pools
from starter.placement.reservations import Reservations
from starter.temporal.errors import NoWorker, TemporalUnavailable
from tests.lifecycle.databases import Systems
from tests.support.deadline import HANG, pauses
from tests.support.stack import client_of
from worker.settings.loading import load_settings
from workflows.capacity.warm_pools import GIVEN_TIME


class PoolOfOne:
    """A pool that keeps one standby ready."""

    def __init__(self, stack: Stack, client: Client) -> None:
        self.systems = Systems(stack)
        self._client = client
        self._reservations = Reservations(client)
        self._installation = InstallationConfig.of(load_settings(stack.env))
        self._version = 0

    async def want(self) -> None:
        """Want another version of the template: the standby of the last one ends, and one is made."""
        self._version += 1
        small = load_catalogue(STARTER_TEMPLATES).get("small")
        assert small
        warm = small.model_copy(update={"version": self._version, "warm": WarmPool(ready=1)})
        await self._reservations.want_pools(wanted_pools([warm], self._installation))

    async def want_none(self) -> None:
        await self._reservations.want_pools(PoolsInput())

    async def is_ready(self) -> list[str]:
        """Wait until a standby can be handed out; return the names of all standbys."""

        async def ready() -> bool:
            return sum(pool.ready for pool in await self.counts()) == 1

        await _until(ready, "no standby is ready")
        return await self.names()

    async def is_whole(self) -> None:
        """Wait until there is one standby, which can be handed out, with one of each on its host."""
        await self.is_ready()

        async def one_of_each() -> bool:
            held = self.systems.all()
            return len(await self.names()) == held.get("namespace") == held.get("release") == 1

        await _until(one_of_each, "there is not one of each", self.systems.all)

    async def is_gone(self) -> None:
        """Want none, and wait until nothing is left on any system and no standby holds a place."""
        await self.want_none()

        async def nothing() -> bool:
            return not self.systems.all() and not await self.names()

        await _until(nothing, "something is left", self.systems.all)

    async def the_standby(self) -> str:
        """Wait until there is one standby, ready or not; return its name."""
        found: list[str] = []

        async def one() -> bool:
            found[:] = await self.names()
            return len(found) == 1

        await _until(one, "there is not one standby", lambda: found)
        return found[0]

    async def cancel(self, name: str) -> None:
        """Cancel the standby, and wait until it has ended with nothing left."""
        handle: WorkflowHandle[Any, StandbyResult] = self._client.get_workflow_handle(
            workflow_id(name), result_type=StandbyResult
        )
        await handle.cancel()
        async with asyncio.timeout(HANG):
            result = await handle.result()
        assert result.end is StandbyEnd.ENDED
        assert result.certificate
        assert result.certificate.nothing_left
        assert self.systems.holds(name) == {}

    async def counts(self) -> tuple[PoolCount, ...]:
        try:
            return await self._reservations.list_pools()
        except (NoWorker, TemporalUnavailable):
            return ()

    async def names(self) -> list[str]:
        return await standbys(self._reservations)


async def standbys(reservations: Reservations) -> list[str]:
    """The names of all standbys that hold a place."""
    try:
        held = await reservations.list_reservations()
    except (NoWorker, TemporalUnavailable):
        return []
    return [one.name for one in held if one.name.startswith(STANDBY_NAME_START)]


async def is_filled(client: Client) -> None:
    """Wait until a pool of the catalogue has a standby that is ready, or has stopped."""
    reservations = Reservations(client)

    async def filled() -> bool:
        try:
            return any(pool.ready or pool.has_stopped for pool in await reservations.list_pools())
        except (NoWorker, TemporalUnavailable):
            return False

    await _until(filled, "no pool is filled")


async def end_pool(stack: Stack, template: Path, text: str) -> None:
    """Write the template, which keeps no pool any more, and wait until nothing is left of the standbys.

    One that was given to an environment, which then made its own, ends only after `GIVEN_TIME`.
    """
    await asyncio.to_thread(template.write_text, text)
    reservations, systems = Reservations(await client_of(stack)), Systems(stack)

    async def ended() -> bool:
        return not await standbys(reservations) and not systems.standbys()

    await _until(
        ended, "standbys are left, and no template keeps a pool", systems.standbys, longest=GIVEN_TIME
    )


async def _until(
    holds: Callable[[], Awaitable[bool]],
    otherwise: str,
    found: Callable[[], object] = lambda: "",
    *,
    longest: timedelta = timedelta(0),
) -> None:
    ends = asyncio.get_running_loop().time() + longest.total_seconds() + HANG
    for pause in pauses(0.1, 0.5):
        if await holds():
            return
        assert asyncio.get_running_loop().time() < ends, f"{otherwise}: {found()}"
        await asyncio.sleep(pause)
