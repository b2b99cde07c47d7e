"""The main job on a real cluster, as a developer would do it: `make demo HOST=cluster`.

It types the commands that anybody can type, and ends with what the cluster itself shows.
"""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from embedded.stack.stack import Stack
from tests.e2e.cluster import Cluster, find_cluster
from tests.e2e.harbour import harbour
from tests.e2e.using import POD

NAME = "demo"


async def demo(folder: Path) -> None:
    """Ask, run a pod inside, look at the host, delete, look again."""
    started = time.monotonic()
    _title("Finding the cluster; without one of your own it is started")
    cluster = find_cluster()
    async with harbour(cluster, folder) as stack:
        await _moorage(stack, "request", NAME, "small")
        kubeconfig = folder / f"{NAME}.kubeconfig"
        await _moorage(stack, "kubeconfig", NAME, "--embed", "--file", str(kubeconfig))
        await _pod(cluster, kubeconfig)
        _title("$ kubectl get pods -A    (inside the vCluster)")
        print(cluster.run("get", "pods", "-A", kubeconfig=kubeconfig))
        _title("$ kubectl logs hello    (inside the vCluster)")
        print(cluster.run("logs", "hello", kubeconfig=kubeconfig))
        _title("$ kubectl get namespaces    (on the host)")
        print(cluster.run("get", "namespaces"))
        await _moorage(stack, "delete", NAME, "--yes")
        _title("$ kubectl get namespaces    (on the host)")
        print(cluster.run("get", "namespaces"))
    _title(f"Done in {time.monotonic() - started:.0f} s; the cluster stays up: make cluster-down")


async def _pod(cluster: Cluster, kubeconfig: Path) -> None:
    _title("$ kubectl apply -f hello.yaml    (inside the vCluster)")
    text = POD.format(image=cluster.toolbox_image)
    for _ in range(60):
        # The account that pods run as comes moments after ready.
        if cluster.attempt("apply", "-f", "-", kubeconfig=kubeconfig, text=text).returncode == 0:
            break
        await asyncio.sleep(0.5)
    print(cluster.run("wait", "--for=condition=Ready", "pod/hello", "--timeout=50s", kubeconfig=kubeconfig))


async def _moorage(stack: Stack, *arguments: str) -> None:
    _title(f"$ moorage {' '.join(arguments)}")
    environment = os.environ | {"MOORAGE_STATE": str(stack.folder)}
    command = [sys.executable, "-m", "moorage", *arguments]
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    if code := await process.wait():
        sys.exit(f"moorage {arguments[0]} ended with exit code {code}")


def _title(text: str) -> None:
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="moorage-demo-") as folder:
        asyncio.run(demo(Path(folder)))
