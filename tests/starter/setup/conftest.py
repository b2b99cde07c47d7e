"""Real systems to be set up: control plane, directory, simulated host, Temporal; and no worker."""

import contextlib
import dataclasses
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from clients.identity.scim import Scim
from contracts.sweeps.expiry import SCHEDULE_PREFIX
from embedded.stack.stack import Part, Stack
from starter.setup.areas import Area
from starter.setup.check import Result, State, chosen
from starter.setup.runner import run_checks
from starter.setup.setup_parts import all_checks
from tests.support.stack import TIMEOUT, client_of, hurried
from tests.support.stand_ins import RafayStandIn, set_faults
from worker.client_factory import open_clients
from worker.settings.loading import load_settings
from worker.settings.models import Settings

NAMED = frozenset({Part.TEMPORAL, Part.DIRECTORY, Part.HOST})


@dataclasses.dataclass
class Ground:
    """What is to be set up, and how to look past Moorage."""

    stack: Stack
    rafay: RafayStandIn
    variables: dict[str, str]

    def settings(self, **changes: str | None) -> Settings:
        """The settings, with `MOORAGE_…` changed; None takes one away."""
        changed = self.variables | {f"MOORAGE_{name}": value for name, value in changes.items()}
        return load_settings({name: value for name, value in changed.items() if value is not None})

    async def see_to(
        self,
        *areas: Area,
        repair: bool = True,
        tell: Callable[[Result], None] = lambda _: None,
        **changes: Any,
    ) -> dict[str, Result]:
        """What comes of each part, by its name: of these areas, or of all."""
        settings = self.settings(**changes)
        async with open_clients(settings) as clients:
            parts = chosen(all_checks(settings, clients.rafay, clients.directory, clients.hosts), areas)
            return {one.part: one for one in await run_checks(parts, repair=repair, tell=tell)}

    def execute(self, sql: str, *values: object) -> None:
        """Change the control plane's database past its API, to break its data."""
        with closing(sqlite3.connect(self.rafay.database, timeout=10)) as database, database:
            database.execute(sql, values)

    def groups(self) -> list[str]:
        """The names of all groups in the control plane."""
        return [name for (name,) in self.rafay.rows("SELECT name FROM groups")]

    async def directory_groups(self) -> list[str]:
        """The names of setup's own groups in the directory."""
        scim = Scim(
            self.variables["MOORAGE_IDENTITY__URL"],
            self.variables["MOORAGE_IDENTITY__TOKEN"],
            timeout=TIMEOUT,
        )
        try:
            mark = f"{self.variables['MOORAGE_INSTALLATION']}/0-setup-check"
            return [one.display_name for one in await scim.groups_by_external_id(mark)]
        finally:
            await scim.close()


@pytest.fixture(scope="package")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Stack, RafayStandIn]]:
    folder = tmp_path_factory.mktemp("ground")
    with RafayStandIn(folder) as rafay:
        async with Stack(folder / "stack", hurried(parts=NAMED)) as stack:
            yield stack, rafay


@pytest.fixture
async def ground(
    running: tuple[Stack, RafayStandIn], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Ground]:
    """Systems in which nothing has been set up yet."""
    stack, rafay = running
    variables = {name: value for name, value in stack.env.items() if name.startswith("MOORAGE_")}
    del variables["MOORAGE_READY_FILE"]
    variables |= {
        "MOORAGE_CONTROL_PLANE__URL": rafay.base_url,
        "MOORAGE_CONTROL_PLANE__API_KEY": RafayStandIn.KEY,
    }
    monkeypatch.setenv("TEMPORAL_ADDRESS", stack.temporal_address)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "default")
    ground = Ground(stack, rafay, variables)
    ground.execute("DELETE FROM repositories")
    ground.execute("DELETE FROM bindings")
    ground.execute("DELETE FROM groups")
    ground.execute("DELETE FROM projects WHERE builtin = 0")
    await clear_schedules(await client_of(stack))
    yield ground
    if rafay._process is None:
        rafay.start()
    rafay.reset()
    for part in (Part.DIRECTORY, Part.HOST):
        set_faults(stack.url(part))


async def clear_schedules(client: Client) -> None:
    """Take all schedules of ours away, and wait until the list shows it."""
    while ids := [
        one.id async for one in await client.list_schedules() if one.id.startswith(SCHEDULE_PREFIX)
    ]:
        for id in ids:
            with contextlib.suppress(RPCError):  # gone already, and still listed
                await client.get_schedule_handle(id).delete()


def states(results: dict[str, Result]) -> dict[str, State]:
    """Each part's state."""
    return {name: result.state for name, result in results.items()}
