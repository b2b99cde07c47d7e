"""Ensures that five at once come up on two hosts, kept apart and within bounds, as Moorage itself is."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.using import kubeconfig_of, retried, running_pod
from tests.environment.asking import Asking


async def test_five_at_once_on_two_hosts(five: dict[str, str], alice: Asking, cluster: Cluster) -> None:
    for name in five.values():
        assert len(cluster.holds(f"mrg-{name}")) == 3, "a namespace, a volume, a release record"
    hosts = {(await alice.show(name))["host"] for name in five.values()}
    assert hosts == {"local", "second"}


async def test_isolation(five: dict[str, str], alice: Asking, cluster: Cluster, tmp_path: Path) -> None:
    if not cluster.is_ours:
        pytest.skip("whether it enforces network policies, and has our toolbox, is not known")
    kubeconfig = await kubeconfig_of(alice, five["first"], tmp_path)
    await running_pod(cluster, kubeconfig)

    def reaches(address: str) -> bool:
        command = ("exec", "hello", "--", "fetch", "-timeout", "3s", f"tcp://{address}")
        return cluster.attempt(*command, kubeconfig=kubeconfig).returncode == 0

    own, other = (_addresses(cluster, f"mrg-{five[which]}") for which in ("first", "other"))
    assert reaches(own["service"]), "it cannot reach its own API server: the test would prove nothing"
    for what, address in other.items():
        assert not reaches(address), f"it reaches another environment's {what} at {address}"
    assert not reaches(f"{cluster.node_address}:10250"), "it reaches the kubelet"


async def test_quota(five: dict[str, str], alice: Asking, cluster: Cluster, tmp_path: Path) -> None:
    kubeconfig = await kubeconfig_of(alice, five["other"], tmp_path)
    await _beyond_the_quota(cluster, kubeconfig, f"mrg-{five['other']}")


async def test_rights(five: dict[str, str], cluster: Cluster, tmp_path: Path) -> None:
    namespace = f"mrg-{five['other']}"
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
    for forbidden in (
        ("create", "namespace", "not-ours"),
        ("delete", "namespace", "default"),
        ("get", "secrets", "-n", "kube-system"),
        (*binding, "-n", "default"),
        ("create", "rolebinding", "x", "--clusterrole=cluster-admin", "--user=x", "-n", namespace),
        ("delete", "persistentvolumes", "--all"),
    ):
        assert not may(worker, *forbidden), f"the worker's account may {' '.join(forbidden)}"
    assert may(worker, *binding, "-n", namespace), "the refusals above would prove nothing"


def _addresses(cluster: Cluster, namespace: str) -> dict[str, str]:
    pod = cluster.get("pods", "-n", namespace, "-l", "app=vcluster")["items"][0]
    service = cluster.get("service", namespace, "-n", namespace)
    access = cluster.get("service", "moorage-access", "-n", namespace)
    return {
        "pod": f"{pod['status']['podIP']}:8443",
        "service": f"{service['spec']['clusterIP']}:443",
        "way in": f"{cluster.node_address}:{access['spec']['ports'][0]['nodePort']}",
    }


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
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "opened"},
        "spec": {"type": "NodePort", "ports": [{"port": 80}], "selector": {"a": "b"}},
    }
    await retried(cluster, "apply", "-f", "-", kubeconfig=kubeconfig, text=json.dumps(greedy))
    # Services are made on the host first: this one is refused at once.
    refused = cluster.attempt("apply", "-f", "-", kubeconfig=kubeconfig, text=json.dumps(service))
    assert "exceeded quota" in refused.stderr, refused.stderr
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
