"""`make bench-host`: request to usable on a real cluster, beside `vcluster create` with the same values.

The two alternate on the same host in the same run. Usable means for both that the virtual API server answers
`/readyz` with the exported kubeconfig. Then the same from a warm pool: see `benchmarks.warm_pool`.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.results_page import HOST_PAGE, page
from benchmarks.vcluster_cli import create, values_of
from benchmarks.warm_pool import WarmPools, WarmSamples, report_warm
from embedded.stack.stack import Part, Stack
from tests.e2e.cluster import find_cluster
from tests.e2e.harbour import harbour
from tests.lifecycle.environment_client import Asking

#: Usable takes at most so many times what the official CLI takes.
TARGET = 1.1
#: The worker with the libraries of Helm and Kubernetes loaded.
TARGET_MEMORY_MB = 300
#: Environments at once when only memory is looked at.
BATCH = 5
TIMEOUT_SECONDS = 600.0


@dataclass
class Samples:
    """What was measured; with a file, what earlier runs have kept there as well."""

    ours: list[dict[str, float]] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    five: list[float] = field(default_factory=list)
    #: Of each worker, its memory in MB after so many environments were made and removed.
    memory: list[list[float]] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    pools: WarmSamples = field(default_factory=WarmSamples)

    @classmethod
    def kept(cls, file: Path | None) -> "Samples":
        """Return the samples of an interrupted run, or none."""
        if not (file and file.exists()):
            return cls()
        kept = json.loads(file.read_text())
        return cls(**kept | {"pools": WarmSamples(**kept["pools"])})

    def keep(self, file: Path | None) -> None:
        """Called after each: a run that is cut short has not been for nothing."""
        if file:
            file.write_text(json.dumps(asdict(self)))


async def measure(
    samples: Samples,
    file: Path | None,
    folder: Path,
    *,
    runs: int,
    five: int,
    cycles: int,
    warm: int,
    burst: int,
) -> None:
    """Add to the samples: so many of each, as the options of the command say."""
    cluster = find_cluster()
    async with (
        harbour(cluster, folder) as stack,
        Asking(stack, max_wait=TIMEOUT_SECONDS, look_every=1) as asking,
    ):
        samples.load.append(round(os.getloadavg()[0], 1))
        memory = [_resident(stack)]
        samples.memory.append(memory)
        values: dict[str, Any] = {}
        for number in range(runs):
            name = f"bench-{number}"
            samples.ours.append(await _moorage(asking, name))
            values = values or values_of(cluster, f"mrg-{name}")
            await _removed(asking, name)
            samples.theirs.append(await create(cluster, f"bench-cli-{number}", values, folder))
            memory.append(_resident(stack))
            ours, theirs = samples.ours[-1]["usable"], samples.theirs[-1]
            samples.keep(file)
            print(f"{number}: moorage {ours:.1f} s, vcluster create {theirs:.1f} s", flush=True)
        for _ in range(five):
            samples.five.append(await _at_once(asking, 5))
            memory.append(_resident(stack))
            samples.keep(file)
            print(f"five at once: {samples.five[-1]:.1f} s, worker {memory[-1]:.0f} MB", flush=True)
        for number in range(0, cycles, BATCH):
            await _made_and_removed(asking, min(BATCH, cycles - number))
            memory.append(_resident(stack))
            samples.keep(file)
            print(f"after {number + BATCH} makings and removals: {memory[-1]:.0f} MB", flush=True)
        if warm or burst:
            cluster.grant(stack.installation, pools=True)
            pools = WarmPools(stack, asking, cluster)
            if warm:
                await pools.alternate(samples.pools, rounds=warm, keep=lambda: samples.keep(file))
            if burst:
                await pools.take_at_once(samples.pools, burst)
                samples.keep(file)
            await pools.end()
        samples.load.append(round(os.getloadavg()[0], 1))


def report(samples: Samples) -> dict[str, Any]:
    """The numbers, over all samples."""
    usable = [each["usable"] for each in samples.ours]
    most = max(max(each) for each in samples.memory)
    found: dict[str, Any] = {}
    ratio = 0.0
    if usable:
        ratio = statistics.median(usable) / statistics.median(samples.theirs)
        found = {
            "pairs": len(usable),
            "usable s": _spread(usable),
            "ready s": _spread([each["ready"] for each in samples.ours]),
            "vcluster create s": _spread(samples.theirs),
            "ratio of the p50": round(ratio, 2),
            "seconds per step": {
                step: round(statistics.median(each[step] for each in samples.ours), 1)
                for step in samples.ours[0]
                if step not in ("usable", "ready")
            },
        }
    return {
        "what": "request to usable, beside `vcluster create`",
        **found,
        "five at once: the last one usable s": [round(each, 1) for each in samples.five],
        "worker MB": [[round(each) for each in one] for one in samples.memory],
        "target": f"ratio <= {TARGET}, worker < {TARGET_MEMORY_MB} MB",
        "reached": ratio <= TARGET and most < TARGET_MEMORY_MB,
        "load before and after": samples.load,
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"p50": round(statistics.median(values), 1), "worst": round(max(values), 1)}


async def _moorage(asking: Asking, name: str) -> dict[str, float]:
    await asking.request(name)
    shown = await asking.until_phase(name, "ready")
    asked = datetime.fromisoformat(shown["requested_at"])
    seconds = {
        "usable": (datetime.fromisoformat(shown["usable_at"]) - asked).total_seconds(),
        "ready": (datetime.fromisoformat(shown["ready_at"]) - asked).total_seconds(),
    }
    for row in shown["steps"]:
        took = datetime.fromisoformat(row["ended_at"]) - datetime.fromisoformat(row["started_at"])
        seconds[row["step"]] = took.total_seconds()
    return seconds


async def _removed(asking: Asking, *names: str) -> None:
    for name in names:
        await asking.delete(name)
    await asyncio.gather(*(asking.until_phase(name, "gone") for name in names))


async def _made_and_removed(asking: Asking, count: int) -> None:
    """So many whole installs and removals, of vClusters that get no volume and so cost no time."""
    names = [f"bench-cycle-{number}" for number in range(count)]
    for name in names:
        await asking.request(name, template="no-class")
    await asyncio.gather(*(asking.until_phase(name, "gone") for name in names))


async def _at_once(asking: Asking, count: int) -> float:
    """When the last one of so many is usable; all are removed again."""
    names = [f"bench-of-{number}" for number in range(count)]
    taken = await asyncio.gather(*(_moorage(asking, name) for name in names))
    await _removed(asking, *names)
    return max(each["usable"] for each in taken)


def _resident(stack: Stack) -> float:
    return psutil.Process(stack.pid(Part.WORKER)).memory_info().rss / 2**20


def main() -> int:
    """Print the numbers; exit code 1 when a target was not reached."""
    parser = argparse.ArgumentParser(prog="make bench-host", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="pairs of one each (default: %(default)s)")
    parser.add_argument("--five", type=int, default=1, help="times five at once (default: %(default)s)")
    parser.add_argument(
        "--warm",
        type=int,
        default=5,
        help="rounds of two from a warm pool and one without (default: %(default)s)",
    )
    parser.add_argument(
        "--burst", type=int, default=8, help="at once from a warm pool of so many (default: %(default)s)"
    )
    parser.add_argument(
        "--cycles",
        type=int,
        default=0,
        help="then so many more are made and removed, for the worker's memory",
    )
    parser.add_argument(
        "--samples",
        type=Path,
        help="a file that keeps what was measured: the next run adds to it, and tells of all",
    )
    parser.add_argument("--page", action="store_true", help=f"write {HOST_PAGE}")
    chosen = parser.parse_args()
    samples = Samples.kept(chosen.samples)
    # After a signal to end, as from a time limit, it removes what it has created, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="moorage-bench-") as folder:
        measuring = measure(
            samples,
            chosen.samples,
            Path(folder),
            runs=chosen.runs,
            five=chosen.five,
            cycles=chosen.cycles,
            warm=chosen.warm,
            burst=chosen.burst,
        )
        asyncio.run(measuring)
    samples.keep(chosen.samples)
    results = [report(samples)] if samples.ours or samples.five or chosen.cycles else []
    if pools := report_warm(samples.pools):
        results.append(pools)
    print(json.dumps(results, indent=2))
    if chosen.page:
        HOST_PAGE.write_text(_page(samples, results), encoding="utf-8")
    return 0 if all(result["reached"] for result in results) else 1


def _page(samples: Samples, results: list[dict[str, Any]]) -> str:
    machine = {"cores": os.cpu_count(), "load": samples.load[0], "python": platform.python_version()}
    return page(
        machine,
        results,
        datetime.now(UTC).date(),
        title="Benchmark results on Kubernetes",
        command="make bench-host",
        where="A Kubernetes of one node is on this machine, with its vClusters, and all processes are",
    )


if __name__ == "__main__":
    raise SystemExit(main())
