"""Tells the capacity workflow which warm pools the catalogue wants, and reads how they stand."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

import structlog

from contracts.capacity.sizes import size_of
from contracts.capacity.warm_pools import PoolCount, PoolsInput, WantedPool, pool_key
from contracts.environment.chart_values import compose_values
from contracts.environment.models import Environment, Spec
from contracts.standby import STANDBY_TTL
from contracts.templates.template import Template
from contracts.types.naming import OwnerMark
from starter.installation_settings import InstallationConfig
from starter.placement.candidates import candidate_hosts
from starter.placement.reservations import Reservations
from starter.temporal.errors import NoWorker, TemporalUnavailable

#: Between two looks at the catalogue, whose files may be edited at any time.
LOOK_SECONDS = 15.0
#: Unchanged pools are wanted again after this time, which is well below `WANTED_FOR`.
RENEW_SECONDS = 180.0

_log = structlog.get_logger(__name__)


def wanted_pools(templates: Iterable[Template], installation: InstallationConfig) -> PoolsInput:
    """Return the pools of all templates that have one."""
    pools = [pool for template in templates if (pool := _wanted_pool(template, installation))]
    return PoolsInput(pools=tuple(pools))


def _wanted_pool(template: Template, installation: InstallationConfig) -> WantedPool | None:
    hosts = candidate_hosts(template, None, installation)
    if template.warm is None or not hosts:
        return None
    environment = Environment(
        mark=OwnerMark.for_request(installation.installation, "standby", template.name),
        prefix=installation.prefix,
        owner="",
        spec=Spec(template=template.name, team=""),
        template=template.with_parameters({}),
        ttl=STANDBY_TTL,
        host="",
        has_identity_provider=False,
        is_standby=True,
    )
    try:
        size = size_of(template.size, compose_values(environment))
    except ValueError:
        # A request for it is refused with the reason.
        return None
    key = pool_key(environment)
    return WantedPool(key=key, policy=template.warm, environment=environment, hosts=hosts, size=size)


async def read_pools(
    reservations: Reservations, templates: Callable[[], Iterable[Template]]
) -> tuple[PoolCount, ...]:
    """Return how the warm pools of templates stand; call nothing where no template keeps one.

    The pools of bookings are left out: of one template there may be several.
    """
    found = await reservations.list_pools() if any(one.warm for one in templates()) else ()
    return tuple(pool for pool in found if not pool.booking)


class PoolSync:
    """Keeps the capacity workflow informed, while this process runs.

    Without a pool it asks once whether a former process has wanted one. `templates` returns those of the
    catalogue now.
    """

    def __init__(
        self,
        reservations: Reservations,
        templates: Callable[[], Iterable[Template]],
        installation: InstallationConfig,
    ) -> None:
        self._reservations = reservations
        self._templates = templates
        self._installation = installation
        self._sent: PoolsInput | None = None
        self._sent_at = float("-inf")
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to inform it."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    async def sync(self) -> None:
        """Send what is wanted, if it has changed or has to be renewed."""
        wanted = wanted_pools(self._templates(), self._installation)
        now = asyncio.get_running_loop().time()
        if self._sent is None and not wanted.pools:
            try:
                is_over = not await self._reservations.list_pools()
            except NoWorker:
                return
            if is_over:
                self._sent = wanted
        if wanted == self._sent and (not wanted.pools or now - self._sent_at < RENEW_SECONDS):
            return
        await self._reservations.want_pools(wanted)
        self._sent, self._sent_at = wanted, now

    async def _run(self) -> None:
        while True:
            try:
                await self.sync()
            except TemporalUnavailable as error:
                _log.warning("the warm pools are not renewed", cause=str(error))
            except Exception:
                # The next look may succeed; without one, all pools would end after `WANTED_FOR`.
                _log.exception("the warm pools are not renewed")
            await asyncio.sleep(LOOK_SECONDS)
