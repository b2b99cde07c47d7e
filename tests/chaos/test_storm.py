"""Ensures that hundreds of environments end as asked while everything around them fails, and nothing is left.

`MOORAGE_STORM` is how many; 300 without.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack import Part, Stack
from tests.chaos.deeds import ONE_OF_EACH
from tests.environment.asking import Asking
from tests.environment.conftest import STAND_INS
from tests.environment.systems import Systems
from tests.support.stack import HURRY, TIMEOUT, hurried
from tests.support.stand_ins import set_faults

COUNT = int(os.environ.get("MOORAGE_STORM", "300"))
#: So many are on their way at one time: more would only wait for the two cores.
AT_ONCE = 40
WORKER_LIVES = 20.0
#: The whole storm: an environment takes seconds of work, and most calls of it are struck by something.
LONGEST = 900.0

WEATHER = (
    Fault(kind=FaultKind.STATUS, status=500, share=0.10),
    Fault(kind=FaultKind.STATUS, status=429, retry_after=1, share=0.05),
    Fault(kind=FaultKind.CUT_AFTER, share=0.05),
    Fault(kind=FaultKind.DELAY_AFTER, seconds=TIMEOUT.total_seconds() + 1, share=0.02),
)


class Storm:
    """The people in it, who ask until they are answered, and what they have seen."""

    def __init__(self, stack: Stack, asking: Asking) -> None:
        self._asking = asking
        self._systems = Systems(stack)
        self._random = random.Random(4711)
        self._gate = asyncio.Semaphore(AT_ONCE)
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def environment(self, number: int) -> None:
        """One life: made and then deleted, or deleted or cancelled on its way."""
        name, how = f"storm-{number}", self._random.choice(("ready", "ready", "delete", "cancel"))
        pause = self._random.uniform(0, 8)
        async with self._gate:
            await self._until_answered(
                "POST", "/environments", json={"name": name, "template": "small"}, key=name
            )
            if how == "ready":
                await self._until(name, lambda shown: shown["phase"] in ("ready", "gone"))
                held = self._systems.holds(name)
                twice = {kind: held[kind] for kind in ONE_OF_EACH if held.get(kind, 0) > 1}
                if twice:
                    self.wrong.append(f"{name} has twice: {twice}")
            else:
                await asyncio.sleep(pause)
            if how == "cancel":
                await self._until_answered("POST", f"/environments/{name}/cancel", key=f"c-{name}")
            await self._until_answered("DELETE", f"/environments/{name}", key=f"d-{name}")
            gone = await self._until(name, lambda shown: bool(shown["ended"]))
        self.outcomes[gone["outcome"]] += 1
        wanted = {
            "ready": ("deleted", "failed"),
            "delete": ("deleted", "failed"),
            "cancel": ("cancelled", "deleted", "failed"),
        }
        if gone["outcome"] not in wanted[how]:
            self.wrong.append(f"{name} was to be {how} and is {gone['outcome']}: {gone.get('problem')}")
        elif gone["outcome"] == "failed" and not gone.get("problem"):
            self.wrong.append(f"{name} failed and does not say why")
        if not gone["certificate"]["nothing_left"]:
            self.wrong.append(f"{name}: {gone['certificate']}")

    async def _until_answered(self, method: str, path: str, *, key: str, **more: object) -> None:
        """Ask again, with the same key, until the API has an answer: it may be without Temporal or worker."""
        while True:
            try:
                answer = await self._asking.call(method, path, headers={"Idempotency-Key": key}, **more)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code < 500:
                # 409: it is being torn down already, or has just become ready.
                if answer.status_code not in (200, 202, 409):
                    self.wrong.append(f"{method} {path}: {answer.status_code} {answer.text}")
                return
            if answer is not None and answer.status_code != 503:
                self.wrong.append(f"{method} {path}: {answer.status_code} {answer.text}")
            await asyncio.sleep(1)

    async def _until(self, name: str, condition: Callable[[dict[str, object]], bool]) -> dict[str, object]:
        while True:
            try:
                answer = await self._asking.call("GET", f"/environments/{name}")
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == 200 and condition(shown := answer.json()):
                return shown
            await asyncio.sleep(1)


async def _kill_workers(stack: Stack) -> None:
    while True:
        await asyncio.sleep(WORKER_LIVES)
        await stack.kill(Part.WORKER)
        await stack.start(Part.WORKER)


async def _restart_temporal(stack: Stack) -> None:
    for pause in (25, 40):
        await asyncio.sleep(pause)
        await stack.restart(Part.TEMPORAL)


@pytest.mark.chaos
@pytest.mark.guarantee("5. Storm")
@pytest.mark.timeout(LONGEST + 120)
async def test_all_end_as_asked(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    pace = HURRY.model_copy(update={"longest_step": None, "give_up_after": timedelta(hours=1)})
    began = time.monotonic()
    async with Stack(tmp_path, hurried(pace=pace)) as stack, Asking(stack) as asking:
        for part in STAND_INS:
            set_faults(stack.url(part), *WEATHER)
        storm = Storm(stack, asking)
        blows = [asyncio.create_task(_kill_workers(stack)), asyncio.create_task(_restart_temporal(stack))]
        lives = [asyncio.create_task(storm.environment(number)) for number in range(COUNT)]
        _, unended = await asyncio.wait(lives, timeout=LONGEST)
        for task in (*blows, *unended):
            task.cancel()
        for blow in await asyncio.gather(*blows, return_exceptions=True):
            assert blow is None or isinstance(blow, asyncio.CancelledError), (
                f"a part did not come back: {blow!r}"
            )
        assert not unended, (
            f"{storm.outcomes.total()} of {COUNT} ended in {LONGEST:.0f} s: {storm.outcomes}, {storm.wrong}"
        )
        await asyncio.gather(*lives)
        assert storm.wrong == []
        assert storm.outcomes.total() == COUNT
        left = {
            name: held
            for name in (f"storm-{n}" for n in range(COUNT))
            if (held := Systems(stack).holds(name))
        }
        assert left == {}
        assert Systems(stack).all() == {}, "something is there that bears no name of ours"
    record_property("environments", COUNT)
    record_property("ended", dict(storm.outcomes))
    record_property("per minute", round(COUNT / (time.monotonic() - began) * 60))
