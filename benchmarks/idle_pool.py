"""What a warm pool costs while no user asks: the same stack with a pool of ten, and with none."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx

from benchmarks.support.harness import Ground, cpu_seconds, ground
from embedded.stack.stack import Part
from starter.catalogue.loader import STARTER_TEMPLATES

READY = 10
#: An audit, and the checks of the standbys after it, are in it.
SECONDS = 130.0
TARGET_CORE = 0.02
#: What Moorage is made of; the host with its vClusters and the other systems are not.
_PARTS = (Part.API, Part.WORKER, Part.TEMPORAL)


async def measure_idle_pool(folder: Path) -> dict[str, Any]:
    """Let two stacks idle beside each other, one of them with a pool, and compare their processor times."""
    (templates := folder / "templates").mkdir()
    small = (STARTER_TEMPLATES / "small.yaml").read_text()
    (templates / "small.yaml").write_text(f"{small}\nwarm: {{ready: {READY}, most: {READY}}}\n")
    async with AsyncExitStack() as stacks:
        without = await stacks.enter_async_context(ground(folder / "without"))
        settings = {"MOORAGE_TEMPLATES": str(templates)}
        pool = await stacks.enter_async_context(ground(folder / "with", environment=settings))
        await _until_ready(pool)
        before = [_spent(without), _spent(pool)]
        await asyncio.sleep(SECONDS)
        none, ten = (_spent(each) - so_far for each, so_far in zip((without, pool), before, strict=True))
    cost = (ten - none) / SECONDS
    return {
        "what": f"a warm pool of {READY}, idle",
        "no pool": f"{none / SECONDS:.2%} of a core",
        f"pool of {READY}": f"{ten / SECONDS:.2%} of a core",
        "more": f"{cost:.2%} of a core, over {SECONDS:g} s",
        "target": f"a pool of {READY} costs less than {TARGET_CORE:.0%} of a core",
        "reached": cost < TARGET_CORE,
    }


async def _until_ready(pool: Ground) -> None:
    async with asyncio.timeout(300):
        while True:
            answer = await pool.api.get("/pools")
            if answer.status_code == httpx.codes.OK and [
                each["ready"] for each in answer.json()["pools"]
            ] == [READY]:
                return
            await asyncio.sleep(1)


def _spent(each: Ground) -> float:
    return sum(cpu_seconds(each.stack.pid(part)) for part in _PARTS)
