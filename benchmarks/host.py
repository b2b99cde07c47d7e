"""`make bench-host`: request to usable on a real cluster, beside `vcluster create` with the same values.

The two alternate on the same host in the same run. Usable means for both that the virtual API server answers
`/readyz` with the exported kubeconfig.
"""

import argparse
import asyncio
import base64
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import yaml

from clients.host import Kubeconfig
from clients.virtual_cluster import VirtualClusterApi
from embedded.stack import Part, Stack
from tests.e2e.cluster import Cluster, find_cluster
from tests.e2e.harbour import harbour
from tests.environment.asking import Asking

#: Usable takes at most so many times what the official CLI takes.
TARGET = 1.1
#: The worker with the libraries of Helm and Kubernetes loaded.
TARGET_MEMORY_MB = 300
#: How often to look whether the CLI's vCluster is usable; Moorage looks as often.
LOOK_SECONDS = 0.1
PATIENCE = 600.0


async def measure(runs: int, folder: Path) -> dict[str, Any]:
    """All the numbers of the cluster."""
    cluster = find_cluster()
    async with harbour(cluster, folder) as stack, Asking(stack, patience=PATIENCE) as asking:
        ours: list[dict[str, float]] = []
        theirs: list[float] = []
        memory = []
        values: dict[str, Any] = {}
        for number in range(runs):
            name = f"bench-{number}"
            ours.append(await _moorage(asking, name))
            values = values or _values_of(cluster, f"mrg-{name}")
            await asking.delete(name)
            await asking.until_phase(name, "gone")
            theirs.append(await _official(cluster, f"bench-cli-{number}", values, folder))
            memory.append(_resident(stack))
            print(
                f"{number}: moorage {ours[-1]['usable']:.1f} s, vcluster create {theirs[-1]:.1f} s",
                flush=True,
            )
        five = await _five(asking)
        memory.append(_resident(stack))
    usable = [each["usable"] for each in ours]
    ratio = statistics.median(usable) / statistics.median(theirs)
    return {
        "runs": runs,
        "usable p50 s": round(statistics.median(usable), 1),
        "usable worst s": round(max(usable), 1),
        "ready p50 s": round(statistics.median(each["ready"] for each in ours), 1),
        "vcluster create p50 s": round(statistics.median(theirs), 1),
        "ratio": round(ratio, 2),
        "seconds per step": {
            step: round(statistics.median(each[step] for each in ours), 1)
            for step in ours[0]
            if step not in ("usable", "ready")
        },
        "five at once: the last one usable s": round(five, 1),
        "worker MB, from first to last": [round(each) for each in memory],
        "target": f"ratio <= {TARGET}, worker < {TARGET_MEMORY_MB} MB",
        "reached": ratio <= TARGET and max(memory) < TARGET_MEMORY_MB,
        "load": os.getloadavg()[0],
    }


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


async def _five(asking: Asking) -> float:
    names = [f"bench-five-{number}" for number in range(5)]
    taken = await asyncio.gather(*(_moorage(asking, name) for name in names))
    for name in names:
        await asking.delete(name)
    await asyncio.gather(*(asking.until_phase(name, "gone") for name in names))
    return max(each["usable"] for each in taken)


def _values_of(cluster: Cluster, release: str) -> dict[str, Any]:
    """What Moorage has installed with, but for the way in: the CLI's is a port of the chart's Service."""
    command = ["helm", "get", "values", release, "-n", release, "-o", "json"]
    environment = {**_environment(cluster), "KUBECONFIG": str(cluster.kubeconfig)}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    values: dict[str, Any] = json.loads(found.stdout)
    del values["exportKubeConfig"]
    values["controlPlane"]["service"]["spec"]["type"] = "NodePort"
    return values


async def _official(cluster: Cluster, name: str, values: dict[str, Any], folder: Path) -> float:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(values))
    chart = f"{cluster.chart_repository}/vcluster-{cluster.chart_version}.tgz"
    command = ["vclusterctl", "create", name, "-n", name, "--local-chart-dir", chart]
    command += ["--connect=false", "--add=false", "-f", str(file)]
    environment = {**_environment(cluster), "HOME": str(folder), "KUBECONFIG": str(cluster.kubeconfig)}
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    await _until(lambda: _answers(cluster, name))
    took = time.monotonic() - began
    await process.wait()
    await asyncio.to_thread(cluster.run, "delete", "namespace", name, "--wait=false")
    gone = ("wait", "--for=delete", f"namespace/{name}", "--timeout=180s")
    await asyncio.to_thread(cluster.attempt, *gone, seconds=190)
    return took


async def _answers(cluster: Cluster, name: str) -> bool:
    found = await asyncio.to_thread(cluster.attempt, "get", "secret", f"vc-{name}", "-n", name, "-o", "json")
    if found.returncode != 0:
        return False
    document = yaml.safe_load(base64.b64decode(json.loads(found.stdout)["data"]["config"]))
    service = await asyncio.to_thread(cluster.get, "service", name, "-n", name)
    port = service["spec"]["ports"][0]["nodePort"]
    document["clusters"][0]["cluster"]["server"] = f"https://{cluster.node_address}:{port}"
    kubeconfig = Kubeconfig(yaml.safe_dump(document), secret_name=f"vc-{name}")
    async with VirtualClusterApi(kubeconfig, timeout=timedelta(seconds=5)) as virtual:
        return await virtual.ready()


async def _until(reached: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await reached():  # noqa: ASYNC110 - a cluster sets no event
            await asyncio.sleep(LOOK_SECONDS)


def _environment(cluster: Cluster) -> dict[str, str]:
    programs = f"{cluster.programs}{os.pathsep}" if cluster.programs else ""
    return {**os.environ, "PATH": f"{programs}{os.environ['PATH']}"}


def _resident(stack: Stack) -> float:
    return psutil.Process(stack.pid(Part.WORKER)).memory_info().rss / 2**20


def main() -> int:
    """Print the numbers; exit code 1 when a target was not reached."""
    parser = argparse.ArgumentParser(prog="make bench-host", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="how many of each (default: 10)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="moorage-bench-") as folder:
        numbers = asyncio.run(measure(chosen.runs, Path(folder)))
    print(json.dumps(numbers, indent=2))
    return 0 if numbers["reached"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
