"""Ensures that a vCluster whose chart deploys etcd is ready and usable, and that its volumes go with it."""

from pathlib import Path

from tests.e2e.cluster import Cluster
from tests.e2e.environments import Environments
from tests.e2e.test_volumes import volumes_of
from tests.e2e.using import gone, kubeconfig_of, retried
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking


async def test_deployed_etcd(
    environments: Environments, alice: Asking, cluster: Cluster, stand_ins: Systems, tmp_path: Path
) -> None:
    name = await environments.ready("etcd")
    namespace = f"mrg-{name}"
    kubeconfig = await kubeconfig_of(alice, name, tmp_path)
    await retried(cluster, "create", "configmap", "mine", kubeconfig=kubeconfig)
    [store] = cluster.get("pods", "-n", namespace, "-l", "app=vcluster-etcd")["items"]
    assert store["status"]["phase"] == "Running"
    [volume] = volumes_of(cluster, name)
    assert volume["spec"]["claimRef"]["name"] == f"data-{namespace}-etcd-0"

    await gone(alice, name, cluster, stand_ins)
    assert volumes_of(cluster, name) == []
    ended = await alice.show(name)
    assert ended["unfinished"] == [], "a pass of the teardown did not suffice"
