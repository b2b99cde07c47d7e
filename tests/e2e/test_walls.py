"""Ensures that environments are kept apart, within their quota, and Moorage within its rights."""

import asyncio
import json
from pathlib import Path

import pytest

from embedded.stack import Stack
from tests.e2e.cluster import Cluster
from tests.e2e.test_whole_way import kubeconfig_of, retried, running_pod
from tests.environment.asking import Asking
from tests.environment.systems import Systems
from tests.support.stack import unique


async def test_isolation(alice: Asking, cluster: Cluster, stand_ins: Systems, tmp_path: Path) -> None:
    if not cluster.is_ours:
        pytest.skip("whether it enforces network policies, and has our toolbox, is not known")
    names = [unique("apart"), unique("apart")]
    for name in names:
        await alice.request(name)
    await asyncio.gather(*(alice.until_phase(name, "ready") for name in names))
    first, second = [await kubeconfig_of(alice, name, tmp_path) for name in names]
    await running_pod(cluster, first)

    def reaches(address: str) -> bool:
        command = ("exec", "hello", "--", "fetch", "-timeout", "3s", f"tcp://{address}")
        return cluster.attempt(*command, kubeconfig=first).returncode == 0

    own, other = (_addresses(cluster, f"mrg-{name}") for name in names)
    assert reaches(own["service"]), "it cannot reach its own API server: the test would prove nothing"
    for what, address in other.items():
        assert not reaches(address), f"it reaches another environment's {what} at {address}"
    assert not reaches(f"{cluster.node_address}:10250"), "it reaches the kubelet"

    await _beyond_the_quota(cluster, second, f"mrg-{names[1]}")
    for name in names:
        await alice.delete(name)
    await asyncio.gather(*(alice.until_phase(name, "gone") for name in names))
    for name in names:
        assert cluster.holds(f"mrg-{name}") == []
        assert stand_ins.holds(name) == {}


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


async def test_rights(real: Stack, alice: Asking, cluster: Cluster, tmp_path: Path) -> None:
    name = unique("rights")
    namespace = f"mrg-{name}"
    await alice.request(name)
    await alice.until_phase(name, "ready")
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
    await alice.delete(name)
    await alice.until_phase(name, "gone")
