"""The warm pools of `make bench-host`: requests that are given a standby, beside others that are not.

The two alternate on the same host in the same run, with the same chart and values. The control plane and the
directory answer each call late, as such systems do.
"""

import asyncio
import math
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.e2e.cluster import Cluster
from tests.e2e.harbour import write_template
from tests.lifecycle.environment_client import Asking
from tests.support.stand_ins import set_faults

#: Seconds that each call of the control plane and of the directory takes.
LATENCY = 0.15
TARGET_SECONDS = 2.0
TARGET_AT_ONCE_SECONDS = 6.0
TEMPLATE = "warm"
#: Warm requests in a round, after a cold one.
ROUND = 2
FILL_SECONDS = 900.0


@dataclass
class WarmSamples:
    """Seconds from the request to usable, and what the steps took."""

    warm: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    steps: list[dict[str, float]] = field(default_factory=list)
    #: The load of the machine before each of `warm`: beyond its cores, times of the clock say less.
    load: list[float] = field(default_factory=list)
    at_once: list[float] = field(default_factory=list)
    #: Of those at once, how many had no standby.
    cold_at_once: int = 0


class WarmPools:
    """Measures on a stack whose worker may take standbys over."""

    def __init__(self, stack: Stack, asking: Asking, cluster: Cluster) -> None:
        self._stack, self._asking, self._cluster = stack, asking, cluster
        self._templates = Path(stack.env["MOORAGE_TEMPLATES"])

    async def alternate(self, samples: WarmSamples, *, rounds: int, keep: Callable[[], None]) -> None:
        """Add so many rounds to the samples."""
        await self._fill(ROUND)
        for part in (Part.CONTROL_PLANE, Part.DIRECTORY):
            slow = Fault(kind=FaultKind.DELAY_BEFORE, seconds=LATENCY)
            set_faults(self._stack.url(part), slow)
        for number in range(rounds):
            cold = f"bench-cold-{number}"
            samples.cold.append(await self._usable(cold, "small"))
            await self._asking.until_phase(cold, "ready")
            names = [f"bench-warm-{number}-{each}" for each in range(ROUND)]
            # One right after the other: standbys are made again some seconds after the last request.
            for name in names:
                samples.load.append(round(os.getloadavg()[0], 1))
                samples.warm.append(await self._usable(name, TEMPLATE))
                samples.steps.append(_seconds_per_step(await self._asking.show(name)))
            for name in names:
                await self._asking.until_phase(name, "ready")
                assert not self._is_cold(name), f"{name} was made without a standby"
            await self._remove(*names, cold)
            keep()
            print(f"{number}: warm {samples.warm[-ROUND:]}, cold {samples.cold[-1]:.1f} s", flush=True)
            await self._filled(ROUND)

    async def take_at_once(self, samples: WarmSamples, count: int) -> None:
        """Take a whole pool at the same time."""
        await self._fill(count)
        names = [f"bench-burst-{number}" for number in range(count)]
        samples.at_once += await asyncio.gather(*(self._usable(name, TEMPLATE) for name in names))
        # No others are made in their place: nothing is measured any more.
        self._turn_off()
        places = Counter(place for name in names for place in self._places(name))
        assert set(places.values()) == {1}, f"a standby has two owners: {places}"
        samples.cold_at_once += sum(self._is_cold(name) for name in names)
        print(f"{count} at once: the last one {max(samples.at_once):.1f} s", flush=True)
        await self._remove(*names)

    async def end(self) -> None:
        """Turn the pool off, and wait until none of its standbys is left."""
        for part in (Part.CONTROL_PLANE, Part.DIRECTORY):
            set_faults(self._stack.url(part))
        self._turn_off()
        ends = time.monotonic() + FILL_SECONDS
        while any("-standby-" in name for name in self._namespaces()):
            assert time.monotonic() < ends, "a standby does not end"
            await asyncio.sleep(1)

    def _turn_off(self) -> None:
        (self._templates / f"{TEMPLATE}.yaml").unlink(missing_ok=True)

    async def _usable(self, name: str, template: str) -> float:
        asked_at = datetime.now(UTC)
        answer = await self._asking.request(name, template=template)
        assert answer.status_code == 202, answer.text
        shown = await self._asking.until(name, lambda now: bool(now["usable_at"]), "usable")
        return round((datetime.fromisoformat(shown["usable_at"]) - asked_at).total_seconds(), 2)

    async def _fill(self, ready: int) -> None:
        write_template(self._templates, self._cluster, TEMPLATE, warm={"ready": ready})
        await self._filled(ready)

    async def _filled(self, ready: int) -> None:
        ends = time.monotonic() + FILL_SECONDS
        while True:
            pools = (await self._asking.call("GET", "/pools")).json().get("pools", [])
            if any(pool["ready"] >= ready and not pool["making"] for pool in pools):
                return
            assert time.monotonic() < ends, f"no pool is filled: {pools}"
            await asyncio.sleep(1)

    async def _remove(self, *names: str) -> None:
        for name in names:
            await self._asking.delete(name)
        await asyncio.gather(*(self._asking.until_phase(name, "gone") for name in names))

    def _namespaces(self) -> dict[str, str]:
        """Each namespace of the host with the name in its mark."""
        found = self._cluster.get("namespaces", "-l", "moorage.dev/name")["items"]
        return {one["metadata"]["name"]: one["metadata"]["labels"]["moorage.dev/name"] for one in found}

    def _places(self, name: str) -> list[str]:
        return [place for place, owner in self._namespaces().items() if owner == name]

    def _is_cold(self, name: str) -> bool:
        return f"mrg-{name}" in self._places(name)


def report_warm(samples: WarmSamples) -> dict[str, Any]:
    """The numbers, over all samples."""
    if not samples.warm:
        return {}
    found: dict[str, Any] = {
        "what": "request from a warm pool, beside one without",
        "request to usable from a warm pool s": _spread(samples.warm),
        "without one s": _spread(samples.cold),
        "of the steps s": {
            step: round(statistics.median(each[step] for each in samples.steps), 2)
            for step in samples.steps[0]
        },
    }
    reached = _p95(samples.warm) < TARGET_SECONDS
    target = f"p95 < {TARGET_SECONDS:g} s with {LATENCY * 1000:g} ms a call"
    if samples.at_once:
        found["at once s"] = {**_spread(samples.at_once), "cold": samples.cold_at_once}
        target += f", at once < {TARGET_AT_ONCE_SECONDS:g} s and none cold"
        is_quick = _p95(samples.at_once) < TARGET_AT_ONCE_SECONDS
        reached = reached and is_quick and not samples.cold_at_once
    return {**found, "load before each": samples.load, "target": target, "reached": reached}


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "number": len(values),
        "p50": round(statistics.median(values), 2),
        "p95": _p95(values),
        "worst": max(values),
    }


def _p95(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def _seconds_per_step(shown: dict[str, Any]) -> dict[str, float]:
    """What each step took until usable, and what came before the first one."""
    began = datetime.fromisoformat(shown["requested_at"])
    seconds = {}
    for row in shown["steps"]:
        if row["step"] != "import":
            ended = datetime.fromisoformat(row["ended_at"])
            seconds[row["step"]] = (ended - began).total_seconds()
            began = ended
    return seconds
