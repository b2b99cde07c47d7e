"""Ensures that five at once come up on two hosts, kept apart and within bounds, as Moorage itself is."""

import asyncio
import json
from pathlib import Path

from tests.e2e.cluster import Cluster
from tests.e2e.environments import Environments
from tests.e2e.using import kubeconfig_of, retried
from tests.lifecycle.environment_client import Asking


async def test_five_at_once_on_two_hosts(environments: Environments, alice: Asking, cluster: Cluster) -> None:
    for name in environments.five:
        assert len(cluster.holds(f"mrg-{name}")) == 3, "a namespace, a volume, a release record"
    hosts = {(await alice.show(name))["host"] for name in environments.five}
    assert hosts == {"local", "second"}


async def test_quota(environments: Environments, alice: Asking, cluster: Cluster, tmp_path: Path) -> None:
    kubeconfig = await kubeconfig_of(alice, environments["other"], tmp_path)
    await _beyond_the_quota(cluster, kubeconfig, f"mrg-{environments['other']}")


async def test_rights(environments: Environments, cluster: Cluster, tmp_path: Path) -> None:
    namespace = f"mrg-{environments['other']}"
    api, worker = (cluster.kubeconfig_of(f"moorage-{part}", tmp_path) for part in ("api", "worker"))

    def may(kubeconfig: Path, *arguments: str) -> bool:
        done = cluster.attempt(*arguments, kubeconfig=kubeconfig)
        assert done.returncode == 0 or "orbidden" in done.stderr, done.stderr
        return done.returncode == 0

    assert may(api, "get", "secret", f"vc-{namespace}", "-n", namespace)
    for forbidden in (
        ("get", "secret", f"vc-config-{namespace}", "-n", namespace),
        ("get", "secrets", "-n", namespace),
        ("get", "secrets", "-n", "moorage"),
        ("delete", "secret", f"vc-{namespace}", "-n", namespace),
        ("delete", "namespace", namespace),
    ):
        assert not may(api, *forbidden), f"the API's account may {' '.join(forbidden)}"
    binding = ("create", "rolebinding", "x", "--clusterrole=moorage-environment", "--user=x")
    for refused in (
        ("create", "namespace", "not-ours"),
        ("delete", "namespace", "default"),
        ("get", "secrets", "-n", "kube-system"),
        (*binding, "-n", "default"),
        ("create", "rolebinding", "x", "--clusterrole=cluster-admin", "--user=x", "-n", namespace),
        ("delete", "persistentvolumes", "--all"),
    ):
        assert not may(worker, *refused), f"the worker's account may {' '.join(refused)}"
    assert may(worker, *binding, "-n", namespace), "the refusals above would prove nothing"


async def _beyond_the_quota(cluster: Cluster, kubeconfig: Path, namespace: str) -> None:
    greedy = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "greedy"},
        "spec": {
            "containers": [
                {
                    "name": "greedy",
                    "image": cluster.toolbox_image,
                    "command": ["sleep", "60"],
                    "resources": {"limits": {"memory": "64Gi", "cpu": "100m"}},
                }
            ]
        },
    }
    await retried(cluster, "apply", "-f", "-", kubeconfig=kubeconfig, text=json.dumps(greedy))
    for _ in range(60):
        events = cluster.run("get", "events", "-A", "-o", "json", kubeconfig=kubeconfig)
        if "exceeded quota" in events:
            break
        await asyncio.sleep(0.5)
    assert "exceeded quota" in events
    pods = cluster.run("get", "pods", "-n", namespace, "-o", "name")
    assert "greedy" not in pods
    services = cluster.get("services", "-n", namespace)["items"]
    opened = [each["metadata"]["name"] for each in services if each["spec"]["type"] == "NodePort"]
    assert opened == ["moorage-access"]
