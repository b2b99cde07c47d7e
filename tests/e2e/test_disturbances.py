"""Ensures that `show` tells what befalls an environment on its host, and that it is survived or deletable."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.environments import Environments
from tests.lifecycle.environment_client import Asking

#: What a kubelet says of a node whose disk is full.
FULL = {
    "status": {"conditions": [{"type": "DiskPressure", "status": "True", "reason": "KubeletHasDiskPressure"}]}
}


async def _until_shown(asking: Asking, name: str, words: str) -> dict[str, Any]:
    """Wait until `show` says these words of what is wrong; "" until nothing is."""

    def is_shown(shown: dict[str, Any]) -> bool:
        unwell = shown.get("unwell") or {"what": ""}
        return words in unwell["what"] if words else not unwell["what"]

    return await asking.until(name, is_shown, f"shown as {words or 'well again'!r}")


async def test_what_befalls_an_environment(
    environments: Environments, alice: Asking, cluster: Cluster
) -> None:
    name = await environments.ready("disturbed")
    namespace = f"mrg-{name}"
    here = ("-n", namespace)
    await _until_shown(alice, name, "")

    # Its pod is killed, and there is no room for another until the node takes pods again.
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    cluster.run("cordon", node)
    try:
        cluster.run("delete", "pod", f"{namespace}-0", *here, "--wait=false")
        shown = await _until_shown(
            alice, name, f"no pod of its StatefulSet is ready; node {node} is cordoned"
        )
        assert shown["phase"] == "ready"
        assert shown["unwell"]["since"]
        page = await alice.call("GET", "/environments", params={"troubles": True})
        [row] = [each for each in page.json()["environments"] if each["name"] == name]
        assert row["unwell"]["what"] == shown["unwell"]["what"]

        def is_full(shown: dict[str, Any]) -> bool:
            # Again and again, since the kubelet knows better.
            cluster.run("patch", "node", node, "--subresource=status", "-p", json.dumps(FULL))
            return f"node {node} has DiskPressure" in (shown["unwell"] or {"what": ""})["what"]

        await alice.until(name, is_full, "shown as on a full node")
    finally:
        cluster.run("uncordon", node)
    await _until_shown(alice, name, "")

    # Its quota is changed by hand: by whom, the host knows.
    more = json.dumps({"spec": {"hard": {"pods": "999"}}})
    cluster.run("patch", "resourcequota", "moorage", *here, "--type=merge", "-p", more)
    await _until_shown(alice, name, "its quota was changed by kubectl-patch")

    # Its claim is deleted: it stays until its pod ends, and then all is lost.
    claim = f"data-{namespace}-0"
    cluster.run("delete", "persistentvolumeclaim", claim, *here, "--wait=false")
    await _until_shown(alice, name, f"the claim {claim} of its volume is being deleted")

    # The Secret with its kubeconfig is deleted.
    cluster.run("scale", "statefulset", namespace, *here, "--replicas=0")
    await _until_shown(alice, name, "its StatefulSet is scaled to zero")
    cluster.run("delete", "statefulset", namespace, *here, "--cascade=orphan")
    await _until_shown(alice, name, "its StatefulSet is gone")
    await environments.release(name)


async def test_a_secret_that_is_deleted(environments: Environments, alice: Asking, cluster: Cluster) -> None:
    name = environments["other"]
    namespace = f"mrg-{name}"
    secret = cluster.get("secret", f"vc-{namespace}", "-n", namespace)
    cluster.run("delete", "secret", f"vc-{namespace}", "-n", namespace)
    shown = await alice.show(name)
    if shown["unwell"] is None:
        # Its vCluster may be quicker, and write it again.
        shown = await _until_shown_or_back(alice, name, cluster, namespace)
    if shown["unwell"]:
        assert shown["unwell"]["what"] == f"the Secret vc-{namespace} with its kubeconfig is gone"
    if cluster.attempt("get", "secret", f"vc-{namespace}", "-n", namespace).returncode != 0:
        metadata = {key: secret["metadata"][key] for key in ("name", "namespace", "labels")}
        cluster.run("create", "-f", "-", text=json.dumps({**secret, "metadata": metadata}))
    await _until_shown(alice, name, "")
    answer = await alice.call("GET", f"/environments/{name}/kubeconfig")
    assert answer.status_code == 200


async def _until_shown_or_back(alice: Asking, name: str, cluster: Cluster, namespace: str) -> dict[str, Any]:
    back: Callable[[dict[str, Any]], bool] = lambda shown: (  # noqa: E731
        bool(shown["unwell"])
        or cluster.attempt("get", "secret", f"vc-{namespace}", "-n", namespace).returncode == 0
    )
    return await alice.until(name, back, "shown without its Secret, or with a new one")


async def test_kubelet_and_api_server_away(
    environments: Environments, alice: Asking, cluster: Cluster
) -> None:
    if not cluster.is_ours:
        pytest.skip("its components are not ours to stop")
    ready, starting = environments["other"], await environments.request("outage", "small")
    await alice.until_step(starting, "vcluster", "running")
    await asyncio.to_thread(cluster.node, "pause", "kubelet")
    await asyncio.to_thread(cluster.node, "pause")
    try:
        await _until_shown(alice, ready, "its host")
        await alice.until(starting, lambda shown: "cannot connect" in _failure(shown), "waiting for its host")
    finally:
        await asyncio.to_thread(cluster.node, "resume")
        await asyncio.to_thread(cluster.node, "resume", "kubelet")
        # They connect again by themselves, after pauses that have grown to most of a minute.
        for watching in ("kube-controller-manager", "kube-scheduler"):
            for what in ("pause", "resume"):
                await asyncio.to_thread(cluster.node, what, watching)
    shown = await _until_shown(alice, ready, "")
    assert shown["phase"] == "ready"
    await environments.ready("outage")


def _failure(shown: dict[str, Any]) -> str:
    """Return why the last attempt of the step of the vCluster failed, while it is tried again."""
    [progress] = [row["progress"] for row in shown["steps"] if row["step"] == "vcluster"]
    return progress["last_failure"] if progress else ""
