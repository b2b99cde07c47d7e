"""Ensures that a vCluster which is reached from within the host cluster alone is reached there as written."""

import asyncio
import base64
import json
from pathlib import Path

import yaml

from tests.e2e.cluster import Cluster
from tests.e2e.using import retried
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.stack import unique


async def test_in_cluster(alice: Asking, cluster: Cluster, stand_ins: Systems, tmp_path: Path) -> None:
    name = unique("inside")
    namespace = f"mrg-{name}"
    await alice.request(name, host="inside")
    # The worker of the suite stands outside, where the address does not resolve: so it waits.
    await alice.until_step(name, "kubeconfig", "running")
    path = tmp_path / "inside.kubeconfig"
    for _ in range(300):
        found = await asyncio.to_thread(
            cluster.attempt, "get", "secret", f"vc-{namespace}", "-n", namespace, "-o", "json"
        )
        if found.returncode == 0:
            break
        await asyncio.sleep(0.2)
    path.write_bytes(base64.b64decode(json.loads(found.stdout)["data"]["config"]))
    server = yaml.safe_load(path.read_text())["clusters"][0]["cluster"]["server"]
    assert server == f"https://{namespace}.{namespace}.svc"

    # The name leads there from a pod of the host cluster, and the certificate bears it.
    host = server.removeprefix("https://")
    asks = ["nc", "-z", "-w", "20", host, "443"]
    if cluster.is_ours:
        asks = ["fetch", "-timeout", "20s", f"tcp://{host}:443"]
    probe = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "probe", "image": cluster.toolbox_image, "command": asks}],
        },
    }
    cluster.run("apply", "-n", "default", "-f", "-", text=json.dumps(probe))
    try:
        reached = ("wait", f"pod/{name}", "-n", "default", "--for=jsonpath={.status.phase}=Succeeded")
        done = await asyncio.to_thread(cluster.attempt, *reached, "--timeout=50s")
        assert done.returncode == 0, done.stderr
    finally:
        cluster.run("delete", "pod", name, "-n", "default", "--wait=false")
    if cluster.is_ours:  # addresses of services are reached from this machine
        address = cluster.get("service", namespace, "-n", namespace)["spec"]["clusterIP"]
        there = ("--server", f"https://{address}", "--tls-server-name", host)
        answer = await retried(cluster, *there, "get", "--raw", "/readyz", kubeconfig=path)
        assert answer.stdout == "ok"

    await alice.cancel(name)
    gone = await alice.until_phase(name, "gone")
    assert gone["outcome"] == "cancelled"
    assert cluster.holds(namespace) == []
    assert stand_ins.holds(name) == {}
