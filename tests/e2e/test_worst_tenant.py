"""Ensures that no tenant holds up the end of an environment, whatever they leave in it."""

import json
import time
from pathlib import Path

from tests.e2e.cluster import Cluster
from tests.e2e.environments import Environments
from tests.e2e.using import has_gone, kubeconfig_of, retried
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking

#: The most that a pod may ask for.
LONG = 600
#: Within which the worst tenant is gone: a minute that what ends by itself has, and the rest of a teardown.
SOON = 180
HELD = "example.com/held"


def _stubborn(cluster: Cluster) -> str:
    """A pod that ignores signals, has the longest grace period, and has a volume."""
    container = {
        "name": "a",
        "image": cluster.toolbox_image,
        "command": ["sh", "-c", "trap '' TERM; while true; do sleep 1; done"],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    }
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "stays"}}
    spec = {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": LONG}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stays", "finalizers": [HELD]},
        "spec": spec,
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "stays", "finalizers": [HELD]},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [claim, pod]})


def _refusing() -> str:
    """A webhook that is not there, and without which nothing is changed inside."""
    rules = [{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]}]
    webhook = {
        "name": "refuses.example.com",
        "clientConfig": {"url": "https://127.0.0.1:1/x"},
        "rules": rules,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": 30,
    }
    return json.dumps(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "refuses"},
            "webhooks": [webhook],
        }
    )


async def test_the_worst_tenant(
    environments: Environments, alice: Asking, cluster: Cluster, stand_ins: Systems, tmp_path: Path
) -> None:
    name = await environments.ready("worst")
    namespace = f"mrg-{name}"
    kubeconfig = await kubeconfig_of(alice, name, tmp_path)
    await retried(cluster, "apply", "-f", "-", kubeconfig=kubeconfig, text=_stubborn(cluster))
    wait = ("wait", "--for=condition=Ready", "pod/stays", "--timeout=100s")
    assert cluster.attempt(*wait, kubeconfig=kubeconfig, seconds=110).returncode == 0
    # A namespace inside that never goes.
    stuck = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "finalizers": [HELD]}}
    cluster.run("create", "namespace", "stuck", kubeconfig=kubeconfig)
    cluster.run("create", "-n", "stuck", "-f", "-", kubeconfig=kubeconfig, text=json.dumps(stuck))
    cluster.run("delete", "namespace", "stuck", "--wait=false", kubeconfig=kubeconfig)
    cluster.run("apply", "-f", "-", kubeconfig=kubeconfig, text=_refusing())
    # Finalizers on synced and on other objects of the host, as a bug of a syncer would leave them.
    patch = json.dumps({"metadata": {"finalizers": [HELD]}})
    synced = [
        each["metadata"]["name"]
        for each in cluster.get("pods", "-n", namespace)["items"]
        if each["metadata"]["name"].startswith("stays-x-")
    ]
    assert len(synced) == 1
    cluster.run("patch", "pod", synced[0], "-n", namespace, "--type=merge", "-p", patch)
    for kind in ("service", "secret", "configmap"):
        cluster.run("create", kind, *_of(kind), "held", *_more(kind), "-n", namespace)
        cluster.run("patch", kind, "held", "-n", namespace, "--type=merge", "-p", patch)

    started = time.monotonic()
    assert (await alice.delete(name)).status_code == 202
    await has_gone(alice, name, cluster, stand_ins)
    took = time.monotonic() - started
    shown = await alice.show(name)
    lines = [line for system in shown["certificate"]["systems"] for line in system["forced"]]
    assert f"Pod {synced[0]} got 30 s to terminate: it requested {LONG} s" in lines, lines
    assert not [line for line in lines if "may run on" in line], "something still runs on the node"
    assert f"Pod {synced[0]} lost its finalizers {HELD}" in lines
    for kind in ("Service", "Secret", "ConfigMap"):
        assert f"{kind} held lost its finalizers {HELD}" in lines
    assert took < SOON, f"it took {took:.0f} s: {lines}"


def _of(kind: str) -> list[str]:
    return {"service": ["clusterip"], "secret": ["generic"]}.get(kind, [])


def _more(kind: str) -> list[str]:
    return ["--tcp=80"] if kind == "service" else []
