"""What tests do with an environment on a real cluster: use it as its owner would, and see it gone."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from embedded.stack.stack import Stack
from tests.e2e.cluster import Cluster
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.credentials import usable_kubeconfig
from tests.support.stand_ins import CHECKOUT

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: hello}}
spec:
  containers:
  - name: hello
    image: {image}
    command: [sh, -c, "trap 'exit 0' TERM; echo hello from inside; sleep 3600 & wait"]
"""


async def kubeconfig_of(asking: Asking, name: str, folder: Path) -> Path:
    """The kubeconfig of the caller, with a certificate in it."""
    path = folder / f"{name}.kubeconfig"
    path.write_text(await usable_kubeconfig(asking.call, name))
    return path


async def running_pod(cluster: Cluster, kubeconfig: Path) -> None:
    """A pod that runs inside the vCluster."""
    await retried(
        cluster, "apply", "-f", "-", kubeconfig=kubeconfig, text=POD.format(image=cluster.toolbox_image)
    )
    arguments = ("wait", "--for=condition=Ready", "pod/hello", "--timeout=120s")
    done = await asyncio.to_thread(cluster.attempt, *arguments, kubeconfig=kubeconfig, seconds=130)
    assert done.returncode == 0, done.stderr


async def retried(
    cluster: Cluster, *arguments: str, kubeconfig: Path, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """A command of kubectl, again until it succeeds: the default ServiceAccount comes moments after ready."""
    ends = time.monotonic() + 30
    while True:
        done = await asyncio.to_thread(cluster.attempt, *arguments, kubeconfig=kubeconfig, text=text)
        if done.returncode == 0 or time.monotonic() > ends:
            assert done.returncode == 0, done.stderr
            return done
        await asyncio.sleep(0.5)


async def parts_of(real: Stack, *arguments: str, **changes: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit code of `moorage setup` or `moorage doctor`, and what came of each part."""
    variables = real.env | {f"MOORAGE_{name}": value for name, value in changes.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "moorage", *arguments, "--output", "json",
        cwd=CHECKOUT, env=os.environ | variables,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    assert out, err.decode()
    answer = json.loads(out)
    return process.returncode, answer["parts"] if isinstance(answer, dict) else answer


def unclaimed_volume(cluster: Cluster, name: str, namespace: str, *, policy: str, until: str) -> None:
    """A volume that a claim in that namespace, which is gone, had bound; in that phase.

    With the policy Delete it fails: Kubernetes removes no folders of nodes but temporary ones.
    """
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Mi"},
        "claimRef": {"namespace": namespace, "name": "data", "uid": str(uuid4())},
        "hostPath": {"path": "/nowhere"},
        "persistentVolumeReclaimPolicy": policy,
    }
    body = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}
    cluster.run("create", "-f", "-", text=json.dumps(body))
    cluster.run("wait", f"--for=jsonpath={{.status.phase}}={until}", f"persistentvolume/{name}")


async def until_no_namespace(cluster: Cluster, namespace: str) -> None:
    """Wait until a namespace that is being deleted is gone."""
    wait = ("wait", "--for=delete", f"namespace/{namespace}", "--timeout=300s")
    done = await asyncio.to_thread(cluster.attempt, *wait, seconds=310)
    assert done.returncode == 0, done.stderr


async def gone(asking: Asking, name: str, cluster: Cluster, stand_ins: Systems) -> None:
    """Ask for its end and see, past Moorage, that nothing is left."""
    assert (await asking.delete(name)).status_code == 202
    await has_gone(asking, name, cluster, stand_ins)


async def has_gone(asking: Asking, name: str, cluster: Cluster, stand_ins: Systems) -> None:
    """Wait for its end and see, past Moorage, that nothing is left."""
    ended = await asking.until_phase(name, "gone")
    assert ended["outcome"] == "deleted"
    assert ended["certificate"]["nothing_left"] is True
    assert cluster.holds(f"mrg-{name}") == []
    assert stand_ins.holds(name) == {}
