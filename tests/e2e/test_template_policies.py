"""Ensures that what a template says of network and pod security is so on a real host, and hinders no life."""

import json

from tests.e2e.cluster import Cluster
from tests.e2e.environments import Environments


async def test_a_closed_template(environments: Environments, cluster: Cluster) -> None:
    # Ready: the vCluster, its DNS and the control plane's agent all run under what is enforced.
    name = environments["closed"]
    namespace = f"mrg-{name}"
    labels = cluster.get("namespace", namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    refused = cluster.attempt(
        "create", "--dry-run=server", "-n", namespace, "-f", "-", text=_as_root(cluster)
    )
    assert 'violates PodSecurity "restricted' in refused.stderr, refused.stdout + refused.stderr
    [vcluster] = cluster.get("pods", "-n", namespace, "-l", "app=vcluster")["items"]
    assert vcluster["spec"]["securityContext"]["runAsNonRoot"] is True
    policies = {one["metadata"]["name"] for one in cluster.get("networkpolicies", "-n", namespace)["items"]}
    assert "moorage-deny" in policies
    assert "moorage-internet" not in policies
    await environments.release(name)


def _as_root(cluster: Cluster) -> str:
    container = {"name": "root", "image": cluster.toolbox_image, "securityContext": {"runAsUser": 0}}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "root"},
            "spec": {"containers": [container]},
        }
    )
