"""Ensures that a tenant gets at nothing but its own, and uses no more than its template's size."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from embedded.stack.stack import Stack
from tests.e2e.cluster import Cluster
from tests.e2e.environments import Environments
from tests.e2e.using import kubeconfig_of, retried, running_pod
from tests.lifecycle.environment_client import Asking

#: Seconds until a refusal of the host is an event inside, and until a pod that uses too much is evicted.
REPORTED, EVICTED = 60, 240
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
#: Far more than an environment of the suite's size may have.
MANY = 90


@pytest.fixture(scope="module")
async def inside(
    real: Stack, environments: Environments, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The kubeconfig of a tenant, whose pod `hello` runs."""
    async with Asking(real) as alice:
        kubeconfig = await kubeconfig_of(alice, environments["first"], tmp_path_factory.mktemp("inside"))
    await running_pod(cluster, kubeconfig)
    return kubeconfig


def _manifest(kind: str, name: str, spec: Any, version: str = "v1", **more: Any) -> str:
    metadata = {"name": name, "namespace": "default"}
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec, **more})


def _pod(cluster: Cluster, name: str, command: str = "sleep 600", **spec: Any) -> str:
    container = {"name": "a", "image": cluster.toolbox_image, "command": ["sh", "-c", command]}
    container |= spec.pop("container", {})
    return _manifest("Pod", name, {"containers": [container], "terminationGracePeriodSeconds": 1, **spec})


async def _wait_for_event(cluster: Cluster, kubeconfig: Path, about: str, words: str) -> None:
    """Wait until an event inside says these words of that object."""
    for _ in range(REPORTED * 2):
        events = cluster.get(f"--kubeconfig={kubeconfig}", "events", "-n", "default")["items"]
        said = [each["message"] for each in events if each["involvedObject"]["name"] == about]
        if any(words in each for each in said):
            return
        await asyncio.sleep(0.5)
    pytest.fail(f"no event says {words!r} of {about}: {said}")


async def test_addresses_of_others(environments: Environments, inside: Path, cluster: Cluster) -> None:
    if not cluster.is_ours:
        pytest.skip("whether it enforces network policies, and has our toolbox, is not known")

    def reached(*addresses: str) -> set[str]:
        """Try all of them together from the pod, and return those that answer."""
        tries = [f"(fetch -timeout 4s tcp://{each} >&2 && echo {each}) &" for each in addresses]
        done = cluster.run("exec", "hello", "--", "sh", "-c", " ".join([*tries, "wait"]), kubeconfig=inside)
        return set(done.split())

    own, other = (addresses(cluster, f"mrg-{environments[which]}") for which in ("first", "other"))
    api = cluster.get("service", "kubernetes", "-n", "default")["spec"]["clusterIP"]
    dns = cluster.get("service", "kube-dns", "-n", "kube-system")["spec"]["clusterIP"]
    forbidden = {
        **{f"another environment's {what}": address for what, address in other.items()},
        "the kubelet": f"{cluster.node_address}:10250",
        "the host's API server": f"{cluster.node_address}:6443",
        "the Service of the host's API server": f"{api}:443",
        "port 53 of this machine": f"{cluster.host_address}:53",
        "port 53 of the node": f"{cluster.node_address}:53",
    }
    allowed = {own["service"], f"{dns}:53"}
    found = reached(*forbidden.values(), *allowed)
    assert not [f"{what} at {address}" for what, address in forbidden.items() if address in found]
    assert found == allowed, "it reaches neither its own API server nor DNS: the test would prove nothing"


def addresses(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Where an environment is reached by itself and, if policies let them, by others."""
    pods = cluster.get("pods", "-n", namespace)["items"]
    [own] = [each for each in pods if each["metadata"].get("labels", {}).get("app") == "vcluster"]
    dns = next(each for each in pods if each["metadata"]["name"].startswith("coredns"))
    service = cluster.get("service", namespace, "-n", namespace)
    access = cluster.get("service", "moorage-access", "-n", namespace)
    return {
        "pod": f"{own['status']['podIP']}:8443",
        "DNS": f"{dns['status']['podIP']}:1053",
        "service": f"{service['spec']['clusterIP']}:443",
        "way in": f"{cluster.node_address}:{access['spec']['ports'][0]['nodePort']}",
    }


async def test_the_hosts_api_with_the_tokens_of_a_pod(
    environments: Environments, inside: Path, cluster: Cluster
) -> None:
    token = cluster.run("exec", "hello", "--", "cat", TOKEN, kubeconfig=inside).strip()
    assert token.count(".") == 2, "the pod holds no token: the test would prove nothing"
    there = cluster.run("config", "view", "--raw", "--minify", "-o", "json")
    server = json.loads(there)["clusters"][0]["cluster"]["server"]
    asked = ("get", "pods", "-A", "--server", server, "--insecure-skip-tls-verify", "--token", token)
    done = cluster.attempt(*asked, kubeconfig=Path("/dev/null"))
    assert done.returncode != 0
    assert "Unauthorized" in done.stderr or "must be logged in" in done.stderr, done.stderr
    pods = cluster.get("pods", "-n", f"mrg-{environments['first']}")["items"]
    [hello] = [each for each in pods if each["metadata"]["name"].startswith("hello-x-")]
    assert hello["spec"]["automountServiceAccountToken"] is False


async def test_services_that_draw_traffic_or_open_ports(inside: Path, cluster: Cluster) -> None:
    # Services are made on the host first, so that they are refused at once.
    port = {"ports": [{"port": 80}], "selector": {"a": "b"}}
    for spec, words in (
        ({**port, "externalIPs": ["198.51.100.7"]}, "has no externalIPs"),
        ({**port, "type": "NodePort"}, "takes no ports of the nodes"),
        ({**port, "type": "LoadBalancer"}, "takes no ports of the nodes"),
        ({"type": "ExternalName", "externalName": "kubernetes.default.svc"}, "name of the internet"),
    ):
        refused = cluster.attempt(
            "apply", "-f", "-", kubeconfig=inside, text=_manifest("Service", "drawn", spec)
        )
        assert refused.returncode != 0, f"{spec} is let in"
        assert words in refused.stderr, refused.stderr


async def test_pods_that_are_the_nodes(inside: Path, cluster: Cluster) -> None:
    port = {"container": {"ports": [{"containerPort": 80, "hostPort": 8080}]}}
    nfs = {"volumes": [{"name": "a", "nfs": {"server": cluster.node_address, "path": "/"}}]}
    for name, spec, words in (
        ("with-host-port", port, "hostPort"),
        ("in-host-network", {"hostNetwork": True}, "host namespaces"),
        ("with-nfs", nfs, "volumes of an environment's pods are"),
    ):
        await retried(cluster, "apply", "-f", "-", kubeconfig=inside, text=_pod(cluster, name, **spec))
        await _wait_for_event(cluster, inside, name, words)


async def test_what_the_virtual_api_server_calls_for_its_tenant(
    environments: Environments, inside: Path, cluster: Cluster
) -> None:
    """By webhooks and APIServices its tenant has it call any address: from the host it gets at no more."""
    if not cluster.is_ours:
        pytest.skip("whether it enforces network policies is not known")
    other = addresses(cluster, f"mrg-{environments['other']}")["pod"]
    rules = [
        {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
    ]
    webhooks = [
        {
            "name": f"calls-{number}.example.com",
            "clientConfig": {"url": f"https://{address}/x"},
            "rules": rules,
            "namespaceSelector": {"matchLabels": {"called": str(number)}},
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "timeoutSeconds": 3,
        }
        for number, address in enumerate((f"{cluster.node_address}:10250", other))
    ]
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "calls"},
        "webhooks": webhooks,
    }
    cluster.run("apply", "-f", "-", kubeconfig=inside, text=json.dumps(body))
    try:
        for number, webhook in enumerate(webhooks):
            cluster.run("create", "namespace", f"called-{number}", kubeconfig=inside)
            labels = ("label", "namespace", f"called-{number}", f"called={number}")
            cluster.run(*labels, kubeconfig=inside)
            made = ("create", "configmap", "x", "-n", f"called-{number}")
            done = cluster.attempt(*made, kubeconfig=inside)
            assert "failed calling webhook" in done.stderr, done.stderr
            reached = [words for words in ("x509", "status", "401", "403") if words in done.stderr]
            assert not reached, f"{webhook['clientConfig']} answers: {done.stderr}"
    finally:
        cluster.run("delete", "validatingwebhookconfiguration", "calls", kubeconfig=inside)


async def test_thousands_of_objects(environments: Environments, inside: Path, cluster: Cluster) -> None:
    items = [
        json.loads(_manifest("Service", f"many-{number}", {"ports": [{"port": 80}], "selector": {"a": "b"}}))
        for number in range(MANY)
    ]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    done = await asyncio.to_thread(
        cluster.attempt, "create", "-f", "-", kubeconfig=inside, text=text, seconds=120
    )
    namespace = f"mrg-{environments['first']}"
    quota = cluster.get("resourcequota", "moorage", "-n", namespace)["status"]
    assert "exceeded quota" in done.stderr, done.stderr
    assert int(quota["used"]["services"]) <= int(quota["hard"]["services"]) < MANY
    names = [f"many-{number}" for number in range(MANY)]
    await asyncio.to_thread(
        cluster.attempt,
        "delete", "service", "--ignore-not-found", "--wait=false", *names, kubeconfig=inside, seconds=120,
    )  # fmt: skip


async def test_disks_that_are_filled(environments: Environments, inside: Path, cluster: Cluster) -> None:
    namespace = f"mrg-{environments['first']}"
    pods = cluster.get("pods", "-n", namespace)["items"]
    [hello] = [each for each in pods if each["metadata"]["name"].startswith("hello-x-")]
    limits = hello["spec"]["containers"][0]["resources"]["limits"]
    assert limits["ephemeral-storage"] == "1Gi", "a pod that names no limits may fill the node's disk"
    # The same with little ones, since a gibibyte takes long: by an emptyDir, beside the image, and by logs.
    # With little of all else, so that the quota lets all of them in.
    little = {"resources": {"limits": {"cpu": "100m", "memory": "32Mi", "ephemeral-storage": "5Mi"}}}
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    volume = {"volumes": [{"name": "v", "emptyDir": {}}]}
    fill = "head -c 12000000 /dev/zero > {}; sleep 600"
    filling = {
        "fills-volume": _pod(
            cluster, "fills-volume", fill.format("/v/x"), container=little | mount, **volume
        ),
        "fills-image": _pod(cluster, "fills-image", fill.format("/x"), container=little),
        "fills-log": _pod(
            cluster,
            "fills-log",
            "head -c 12000000 /dev/zero | tr '\\0' x | fold; sleep 600",
            container=little,
        ),
    }
    for text in filling.values():
        await retried(cluster, "apply", "-f", "-", kubeconfig=inside, text=text)
    # And a claim of more than all claims may be together.
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "50Gi"}}}
    large = _manifest("PersistentVolumeClaim", "large", claim)
    await retried(cluster, "apply", "-f", "-", kubeconfig=inside, text=large)
    await _wait_for_event(cluster, inside, "large", "maximum storage usage per PersistentVolumeClaim")
    evicted: dict[str, str] = {}
    for _ in range(EVICTED):
        for each in cluster.get("pods", "-n", namespace)["items"]:
            status = each.get("status") or {}
            if status.get("reason") == "Evicted":
                evicted[each["metadata"]["name"].partition("-x-")[0]] = status.get("message", "")
        if set(filling) <= set(evicted):
            break
        await asyncio.sleep(1)
    assert set(filling) <= set(evicted), evicted
    names = [*filling, "with-host-port", "in-host-network", "with-nfs"]
    gone = ("delete", "pod", "--ignore-not-found", "--wait=false", *names)
    cluster.attempt(*gone, kubeconfig=inside)
