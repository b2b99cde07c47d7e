"""Ensures that an environment on a real cluster is whole and usable, and afterwards gone without a trace."""

from pathlib import Path

import httpx
import yaml

from clients.errors import Denied
from clients.host.kubeconfig import Kubeconfig
from clients.virtual_cluster import VirtualClusterApi
from tests.e2e.cluster import Cluster
from tests.e2e.environments import Environments
from tests.e2e.harbour import TIMEOUT
from tests.e2e.using import gone, kubeconfig_of, retried, running_pod
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking


async def test_the_whole_way_and_the_same_name_again_at_once(
    environments: Environments, alice: Asking, cluster: Cluster, stand_ins: Systems, tmp_path: Path
) -> None:
    name = environments["first"]
    first = await kubeconfig_of(alice, name, tmp_path)
    await running_pod(cluster, first)
    said = cluster.run("exec", "hello", "--", "sh", "-c", "echo through exec", kubeconfig=first)
    assert said == "through exec\n"
    assert cluster.run("logs", "hello", kubeconfig=first) == "hello from inside\n"
    await retried(cluster, "create", "configmap", "mine", kubeconfig=first)
    _ready_was_the_word_of_an_agent_that_ran_inside(cluster, f"mrg-{name}")

    await gone(alice, name, cluster, stand_ins)
    # Deleted means revoked: nothing answers to the old kubeconfig any more.
    old = Kubeconfig(first.read_text(), secret_name="old")
    async with VirtualClusterApi(old, timeout=TIMEOUT) as virtual:
        assert not await virtual.ready()

    assert (await alice.request(name)).status_code == 202
    await alice.until_phase(name, "ready")
    second = await kubeconfig_of(alice, name, tmp_path)
    maps = cluster.run("get", "configmaps,pods", "-A", "-o", "name", kubeconfig=second)
    assert "configmap/mine" not in maps
    assert "pod/hello" not in maps
    new = Kubeconfig(second.read_text(), secret_name="new")
    assert new.fingerprint != old.fingerprint
    # The old credentials, at the address of the new one, are refused.
    await _refused(old, new)
    await environments.release(name)


def _ready_was_the_word_of_an_agent_that_ran_inside(cluster: Cluster, namespace: str) -> None:
    pods = cluster.get("pods", "-n", namespace)["items"]
    agents = [each for each in pods if each["metadata"]["name"].startswith("rafay-agent-")]
    assert [each["status"]["phase"] for each in agents] == ["Running"]
    log = cluster.run("logs", "-n", namespace, agents[0]["metadata"]["name"])
    assert "reported as v1.36.0" in log


async def _refused(old: Kubeconfig, new: Kubeconfig) -> None:
    """Show the old client certificate to the new API server."""
    document, current = yaml.safe_load(old.text()), yaml.safe_load(new.text())
    document["clusters"] = current["clusters"]
    document["contexts"][0]["context"]["cluster"] = current["clusters"][0]["name"]
    mixed = Kubeconfig(yaml.safe_dump(document), secret_name="mixed")
    async with VirtualClusterApi(mixed, timeout=TIMEOUT) as virtual:
        try:
            await virtual.find_existing([{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}])
        except (Denied, httpx.HTTPError):
            return
    raise AssertionError("the old credentials are good for the new vCluster")
