"""Ensures that an environment on a real cluster is whole and usable, and afterwards gone without a trace."""

import asyncio
import subprocess
import time
from pathlib import Path

import httpx
import yaml

from clients.errors import Denied
from clients.host import Kubeconfig
from clients.virtual_cluster import VirtualClusterApi
from embedded.stack import Stack
from tests.e2e.cluster import Cluster
from tests.e2e.harbour import TIMEOUT
from tests.environment.asking import Asking
from tests.environment.systems import Systems
from tests.support.stack import unique

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: hello}}
spec:
  containers:
  - name: hello
    image: {image}
    command: [sh, -c, "echo hello from inside; sleep 3600"]
"""


async def kubeconfig_of(asking: Asking, name: str, folder: Path) -> Path:
    """The kubeconfig, as the API hands it out."""
    answer = await asking.call("GET", f"/environments/{name}/kubeconfig")
    assert answer.status_code == 200, answer.text
    path = folder / f"{name}.kubeconfig"
    path.write_text(answer.text)
    return path


async def running_pod(cluster: Cluster, kubeconfig: Path) -> None:
    """A pod that runs inside the vCluster."""
    await retried(
        cluster, "apply", "-f", "-", kubeconfig=kubeconfig, text=POD.format(image=cluster.toolbox_image)
    )
    arguments = ("wait", "--for=condition=Ready", "pod/hello", "--timeout=120s")
    done = await asyncio.to_thread(cluster.attempt, *arguments, kubeconfig=kubeconfig, seconds=130)
    assert done.returncode == 0, done.stderr


async def retried(
    cluster: Cluster, *arguments: str, kubeconfig: Path, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """A command of kubectl, again until it succeeds: the default ServiceAccount comes moments after ready."""
    ends = time.monotonic() + 30
    while True:
        done = await asyncio.to_thread(cluster.attempt, *arguments, kubeconfig=kubeconfig, text=text)
        if done.returncode == 0 or time.monotonic() > ends:
            assert done.returncode == 0, done.stderr
            return done
        await asyncio.sleep(0.5)


async def gone(asking: Asking, name: str, cluster: Cluster, stand_ins: Systems) -> None:
    """Ask for its end and see, past Moorage, that nothing is left."""
    assert (await asking.delete(name)).status_code == 202
    ended = await asking.until_phase(name, "gone")
    assert ended["certificate"]["nothing_left"] is True
    assert cluster.holds(f"mrg-{name}") == []
    assert stand_ins.holds(name) == {}


async def test_whole_way(
    real: Stack, alice: Asking, cluster: Cluster, stand_ins: Systems, tmp_path: Path
) -> None:
    name = unique("whole")
    assert (await alice.request(name)).status_code == 202
    await alice.until_phase(name, "ready")
    kubeconfig = await kubeconfig_of(alice, name, tmp_path)
    await running_pod(cluster, kubeconfig)
    said = cluster.run("exec", "hello", "--", "sh", "-c", "echo through exec", kubeconfig=kubeconfig)
    assert said == "through exec\n"
    assert cluster.run("logs", "hello", kubeconfig=kubeconfig) == "hello from inside\n"

    await gone(alice, name, cluster, stand_ins)
    # Deleted means revoked: nothing answers to the old kubeconfig any more.
    old = Kubeconfig(kubeconfig.read_text(), secret_name="old")
    async with VirtualClusterApi(old, timeout=TIMEOUT) as virtual:
        assert not await virtual.ready()


async def test_ready_is_the_word_of_an_agent_that_ran_inside(
    alice: Asking, cluster: Cluster, stand_ins: Systems, tmp_path: Path
) -> None:
    name = unique("agent")
    await alice.request(name)
    await alice.until_phase(name, "ready")
    pods = cluster.get("pods", "-n", f"mrg-{name}")["items"]
    agents = [each for each in pods if each["metadata"]["name"].startswith("rafay-agent-")]
    assert [each["status"]["phase"] for each in agents] == ["Running"]
    log = cluster.run("logs", "-n", f"mrg-{name}", agents[0]["metadata"]["name"])
    assert "reported as v1.36.0" in log
    await gone(alice, name, cluster, stand_ins)


async def test_the_same_name_again_at_once(
    alice: Asking, cluster: Cluster, stand_ins: Systems, tmp_path: Path
) -> None:
    name = unique("again")
    await alice.request(name)
    await alice.until_phase(name, "ready")
    first = await kubeconfig_of(alice, name, tmp_path)
    await retried(cluster, "create", "configmap", "mine", kubeconfig=first)
    old = Kubeconfig(first.read_text(), secret_name="old")
    await gone(alice, name, cluster, stand_ins)

    assert (await alice.request(name)).status_code == 202
    await alice.until_phase(name, "ready")
    second = await kubeconfig_of(alice, name, tmp_path)
    maps = cluster.run("get", "configmaps", "-A", "-o", "name", kubeconfig=second)
    assert "configmap/mine" not in maps
    new = Kubeconfig(second.read_text(), secret_name="new")
    assert new.fingerprint != old.fingerprint
    # The old credentials, at the address of the new one, are refused.
    await refused(old, new)
    await gone(alice, name, cluster, stand_ins)


async def refused(old: Kubeconfig, new: Kubeconfig) -> None:
    """Show the old client certificate to the new API server."""
    document, current = yaml.safe_load(old.text()), yaml.safe_load(new.text())
    document["clusters"] = current["clusters"]
    document["contexts"][0]["context"]["cluster"] = current["clusters"][0]["name"]
    mixed = Kubeconfig(yaml.safe_dump(document), secret_name="mixed")
    async with VirtualClusterApi(mixed, timeout=TIMEOUT) as virtual:
        try:
            await virtual.present([{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}])
        except (Denied, httpx.HTTPError):
            return
    raise AssertionError("the old credentials are good for the new vCluster")


async def test_five_at_once_on_two_hosts(
    real: Stack, alice: Asking, cluster: Cluster, stand_ins: Systems, tmp_path: Path
) -> None:
    names = [unique("five") for _ in range(5)]
    for number, name in enumerate(names):
        host = ("local", "second")[number % 2]
        assert (await alice.request(name, host=host)).status_code == 202
    await asyncio.gather(*(alice.until_phase(name, "ready") for name in names))
    for name in names:
        assert len(cluster.holds(f"mrg-{name}")) == 3, "a namespace, a volume, a release record"
    await asyncio.gather(*(gone(alice, name, cluster, stand_ins) for name in names))
