"""What `vcluster create` takes, the official CLI, with given values: what Moorage is measured against."""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from clients.host.kubeconfig import Kubeconfig
from clients.kubernetes.auth.credentials import CredentialSource
from clients.kubernetes.host import KubernetesHost
from clients.kubernetes.release.helm import Helm
from clients.kubernetes.vcluster_options import HostOptions
from clients.safe_yaml import read_yaml, write_yaml
from clients.virtual_cluster import VirtualClusterApi
from tests.e2e.cluster import Cluster

#: How often to look whether it is usable; Moorage looks as often.
LOOK_SECONDS = 0.1
#: The longest that it may take on a busy machine.
TIMEOUT_SECONDS = 600.0


def values_of(cluster: Cluster, release: str) -> dict[str, Any]:
    """What Moorage has installed with, but for the way in: the CLI's is a port of the chart's Service."""
    command = ["helm", "get", "values", release, "-n", release, "-o", "json"]
    environment = {**_environment(cluster), "KUBECONFIG": str(cluster.kubeconfig)}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    values: dict[str, Any] = json.loads(found.stdout)
    del values["exportKubeConfig"]
    values["controlPlane"]["service"]["spec"]["type"] = "NodePort"
    return values


async def create(cluster: Cluster, name: str, values: dict[str, Any], folder: Path) -> float:
    """Seconds from the call until it is usable; it is removed again."""
    file = folder / f"{name}.yaml"
    file.write_text(write_yaml(values))
    chart = f"{cluster.chart_repository}/vcluster-{cluster.chart_version}.tgz"
    command = ["vclusterctl", "create", name, "-n", name, "--local-chart-dir", chart]
    command += ["--connect=false", "--add=false", "-f", str(file)]
    environment = {**_environment(cluster), "HOME": str(folder), "KUBECONFIG": str(cluster.kubeconfig)}
    access = CredentialSource(cluster.kubeconfig)
    host = KubernetesHost("bench", access, cast(Helm, None), HostOptions(), timeout=timedelta(seconds=10))
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        await _until(lambda: _answers(cluster, host, name))
        took = time.monotonic() - began
        await process.wait()
    finally:
        await host.close()
        cluster.run("delete", "namespace", name, "--wait=false")
    gone = ("wait", "--for=delete", f"namespace/{name}", "--timeout=180s")
    await asyncio.to_thread(cluster.attempt, *gone, seconds=190)
    return took


async def _answers(cluster: Cluster, host: KubernetesHost, name: str) -> bool:
    """Looked at as Moorage looks, over a kept connection: processes of kubectl would slow the CLI down."""
    exported = await host.kubeconfig(name, name)
    if exported is None:
        return False
    document = read_yaml(exported.text())
    service = await asyncio.to_thread(cluster.get, "service", name, "-n", name)
    port = service["spec"]["ports"][0]["nodePort"]
    document["clusters"][0]["cluster"]["server"] = f"https://{cluster.node_address}:{port}"
    kubeconfig = Kubeconfig(write_yaml(document), secret_name=f"vc-{name}")
    async with VirtualClusterApi(kubeconfig, timeout=timedelta(seconds=5)) as virtual:
        while not await virtual.ready():  # noqa: ASYNC110 - a cluster sets no event
            await asyncio.sleep(LOOK_SECONDS)
    return True


async def _until(reached: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not await reached():  # noqa: ASYNC110 - a cluster sets no event
            await asyncio.sleep(LOOK_SECONDS)


def _environment(cluster: Cluster) -> dict[str, str]:
    programs = f"{cluster.programs}{os.pathsep}" if cluster.programs else ""
    return {**os.environ, "PATH": f"{programs}{os.environ['PATH']}"}
