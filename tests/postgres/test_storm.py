"""Ensures that three workers of two versions bring every life to its end once while all parts fail in turn.

`TEST_STORM` is how many lives there are; 100 without.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from embedded.stack.stack import Part, Stack
from tests.chaos.test_storm import TIMEOUT, WEATHER, Storm
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.postgres.deployment import another_build, make_current
from tests.support.fault_points import STAND_INS, no_faults
from tests.support.stack import HURRY, ON_POSTGRES, hurried
from tests.support.stand_ins import set_faults
from tests.support.worker_processes import WorkerProcess
from tests.workflows.conftest import until

COUNT = int(os.environ.get("TEST_STORM", "100"))
#: The whole storm, on two busy cores.
LONGEST = 1800.0
pytestmark = [pytest.mark.postgres, pytest.mark.timeout(LONGEST + 300)]


@asynccontextmanager
async def a_stack(folder: Path) -> AsyncIterator[Stack]:
    """A stack with a worker of version 1, in which no step is given up."""
    timeouts = HURRY.model_copy(update={"step_timeout": None, "give_up_after": timedelta(hours=1)})
    options = hurried(
        timeouts=timeouts,
        timeout=TIMEOUT,
        environment={"MOORAGE_CAPACITY__AUDIT": "5s"},
        environment_of={Part.WORKER: {"MOORAGE_WORKER__VERSION": "v1"}},
        waits_for_host=False,
    )
    async with Stack(folder, options) as stack:
        yield stack


def kill_part_of_temporal(stack: Stack, name: str) -> None:
    """End PostgreSQL or the server of Temporal by SIGKILL; what started it starts it again."""
    addresses = json.loads((stack.folder / "temporal" / "addresses.json").read_text())
    os.kill(addresses[f"{name}_pid"], signal.SIGKILL)


class Blows:
    """What happens to the parts, each once, when so many of the lives have ended."""

    def __init__(self, stack: Stack, storm: Storm, others: list[WorkerProcess]) -> None:
        self._stack, self._storm = stack, storm
        self._drained, self._stays = others
        self.done: dict[str, int] = {}

    async def run(self) -> None:
        await self._at(0.10, "the version changes", lambda: make_current(self._stack, "v2"))
        await self._at(0.25, "a worker is drained", self._drain)
        await self._at(0.40, "Temporal's server is killed", lambda: self._end_temporal("temporal"))
        await self._at(0.55, "a worker is killed", self._kill)
        await self._at(0.70, "PostgreSQL is killed", lambda: self._end_temporal("postgres"))

    async def _at(self, share: float, what: str, deed: Callable[[], Awaitable[None]]) -> None:
        async def so_many() -> bool:
            return self._storm.outcomes.total() >= share * COUNT

        await until(so_many, what, LONGEST)
        self.done[what] = self._storm.outcomes.total()
        await deed()

    async def _drain(self) -> None:
        assert await self._drained.drain() == 0

    async def _kill(self) -> None:
        """A machine that fails; what watches over it starts its worker elsewhere, of the same version."""
        await self._stack.kill(Part.WORKER)
        await self._stack.start(Part.WORKER)

    async def _end_temporal(self, name: str) -> None:
        if ON_POSTGRES:
            kill_part_of_temporal(self._stack, name)
        else:
            await self._stack.restart(Part.TEMPORAL)


async def test_none_is_lost_and_none_is_there_twice(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    code = await asyncio.to_thread(another_build, tmp_path / "another")
    async with a_stack(tmp_path / "stack") as stack, Asking(stack) as asking:
        others = [
            WorkerProcess(stack, f"worker-{number}", {"MOORAGE_WORKER__VERSION": "v2"}, code)
            for number in (2, 3)
        ]
        await make_current(stack, "v1")
        await stack.wait_for_host()
        try:
            for worker in others:
                await worker.start()
            for part in STAND_INS:
                set_faults(stack.url(part), *WEATHER)
            began, storm = time.monotonic(), Storm(stack, asking)
            await _outlast(storm, Blows(stack, storm, others), record_property)
            record_property("seconds", round(time.monotonic() - began))
            no_faults(stack)
        finally:
            for worker in others:
                if worker.runs:
                    await worker.drain()
        # "Twice" is looked for in the databases of the systems while they are ready.
        assert storm.wrong == []
        assert storm.outcomes.total() == COUNT
        assert Systems(stack).all() == {}, "something is left"


async def _outlast(storm: Storm, blows: Blows, record_property: Callable[[str, object], None]) -> None:
    striking = asyncio.create_task(blows.run())
    lives = [asyncio.create_task(storm.environment(number)) for number in range(COUNT)]
    _, unended = await asyncio.wait(lives, timeout=LONGEST)
    for task in unended:
        task.cancel()
    assert not unended, f"{storm.outcomes.total()} of {COUNT} ended in {LONGEST:.0f} s: {storm.wrong}"
    await asyncio.gather(*lives)
    await striking
    record_property("ended", dict(storm.outcomes))
    record_property("lives that had ended at each blow", blows.done)
