"""Ensures that what fails for real says why in words, leaves nothing, and touches nothing of others."""

import asyncio
import json

import httpx
import pytest

from embedded.faults import Fault, FaultKind
from embedded.rafay_behaviour import BEHAVIOUR_PATH
from embedded.stack.stack import Part, Stack
from tests.e2e.cluster import Cluster
from tests.e2e.environments import Environments
from tests.e2e.using import has_gone, until_no_namespace
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.stack import unique
from tests.support.stand_ins import control, set_faults

#: Templates that cannot become an environment, and what the cause has to say.
CAUSES = {
    "no-image": ("image", "0.0.0-none"),
    "quota": ("pod not admitted", "exceeded quota"),
    "no-class": ("PVC data-", "no storage class none-such"),
    "no-chart": ("9.9.9",),
    "no-values": ("controlPlane.distro.k8s", "none-such"),
    "no-version": ("1.99", "1.36"),
    "no-right": ("poddisruptionbudgets.policy (sync.toHost.podDisruptionBudgets)", "deploy/rbac.yaml"),
    "no-class-of-its-own": ("ClusterRole", "whole cluster (sync.toHost.priorityClasses)"),
}


@pytest.fixture(scope="module", autouse=True)
async def asked(real: Stack) -> dict[str, tuple[str, httpx.Response]]:
    """One of each such template, asked for at once: its name, and what the API said.

    Before the first test: a registry that is not there is waited for a while, and others go on meanwhile.
    """
    names = {template: unique(template) for template in CAUSES}
    async with Asking(real) as alice:
        return {
            template: (name, await alice.request(name, template=template)) for template, name in names.items()
        }


async def test_invalid_bootstrap(real: Stack, alice: Asking, cluster: Cluster, stand_ins: Systems) -> None:
    name, rafay = unique("bootstrap"), real.url(Part.CONTROL_PLANE)
    # Half of it: of the right kinds, and with a Deployment that no API server accepts.
    control(rafay, "PUT", BEHAVIOUR_PATH, {"bootstrap_form": "yaml"})
    set_faults(rafay, Fault(operation="bootstrap.get", kind=FaultKind.TRUNCATE))
    try:
        await alice.request(name)
        ended = await alice.until_phase(name, "gone")
    finally:
        set_faults(rafay)
        control(rafay, "PUT", BEHAVIOUR_PATH, {"bootstrap_form": "json"})
    assert (ended["outcome"], ended["problem"]["step"]) == ("failed", "import")
    assert "bootstrap" in ended["problem"]["cause"] + ended["problem"]["remedy"], ended["problem"]
    assert cluster.holds(f"mrg-{name}") == []
    assert stand_ins.holds(name) == {}


async def test_a_namespace_that_is_not_ours(alice: Asking, cluster: Cluster, stand_ins: Systems) -> None:
    name = unique("theirs")
    namespace = f"mrg-{name}"
    cluster.run("create", "namespace", namespace)
    try:
        before = cluster.get("namespace", namespace)
        await alice.request(name)
        ended = await alice.until_phase(name, "gone")
        assert (ended["outcome"], ended["problem"]["step"]) == ("failed", "namespace")
        assert "was not made by Moorage" in ended["problem"]["cause"]
        assert cluster.get("namespace", namespace) == before, "another owner's namespace was touched"
        assert stand_ins.holds(name) == {}
    finally:
        cluster.run("delete", "namespace", namespace)


async def test_a_namespace_that_was_deleted_and_made_again_by_another_owner(
    environments: Environments, alice: Asking, cluster: Cluster, stand_ins: Systems
) -> None:
    name = await environments.ready("taken")
    namespace = f"mrg-{name}"
    cluster.run("delete", "namespace", namespace, "--wait=false")
    await until_no_namespace(cluster, namespace)
    cluster.run("create", "namespace", namespace)
    try:
        before = cluster.get("namespace", namespace)
        assert (await alice.delete(name)).status_code == 202
        ended = await alice.until_phase(name, "gone")
        assert ended["certificate"]["nothing_left"] is True
        assert cluster.get("namespace", namespace) == before, "another owner's namespace was touched"
        assert stand_ins.holds(name) == {}
    finally:
        cluster.run("delete", "namespace", namespace)


@pytest.mark.parametrize("template", CAUSES)
async def test_a_template_that_cannot_be(
    asked: dict[str, tuple[str, httpx.Response]],
    alice: Asking,
    cluster: Cluster,
    stand_ins: Systems,
    template: str,
) -> None:
    name, answer = asked[template]
    if answer.status_code == 422:  # refused before anything was made
        assert all(words in answer.text for words in CAUSES[template]), answer.text
    else:
        ended = await alice.until_phase(name, "gone")
        assert ended["outcome"] == "failed"
        cause = ended["problem"]["cause"]
        assert all(words in cause for words in CAUSES[template]), cause
        assert ended["certificate"]["nothing_left"] is True
    assert cluster.holds(f"mrg-{name}") == []
    assert stand_ins.holds(name) == {}


async def _until_helm_has_started(alice: Asking, name: str, cluster: Cluster) -> None:
    await alice.until_step(name, "vcluster", "running")
    for _ in range(200):
        # Its record is the first thing that it makes.
        found = await asyncio.to_thread(cluster.attempt, "get", "secrets", "-n", f"mrg-{name}", "-o", "name")
        if "sh.helm.release" in found.stdout:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"Helm has not started to install {name}")


async def test_worker_killed_in_the_helm_install_and_in_the_deletion_of_the_namespace(
    real: Stack, alice: Asking, cluster: Cluster, stand_ins: Systems
) -> None:
    name, finalizer = unique("killed"), "example.com/held"
    namespace = f"mrg-{name}"
    await alice.request(name)
    await _until_helm_has_started(alice, name, cluster)
    await real.kill(Part.WORKER)
    # Helm may just have ended: this is what it leaves when it was killed a moment earlier.
    record = cluster.get("secrets", "-n", namespace, "-l", "owner=helm")["items"][0]["metadata"]["name"]
    cluster.run("label", "secret", record, "-n", namespace, "--overwrite", "status=pending-install")
    await real.start(Part.WORKER)
    await alice.until_phase(name, "ready")
    records = cluster.get("secrets", "-n", namespace, "-l", "owner=helm")["items"]
    assert [each["metadata"]["labels"]["status"] for each in records] == ["deployed"]

    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": [finalizer]}}
    cluster.run("create", "-n", namespace, "-f", "-", text=json.dumps(held))
    await alice.delete(name)
    await alice.until(name, lambda shown: finalizer in json.dumps(shown), "naming the finalizer")
    assert cluster.holds(namespace) == [f"namespace {namespace}"]
    await real.kill(Part.WORKER)
    patch = '{"metadata": {"finalizers": null}}'
    cluster.run("patch", "configmap", "held", "-n", namespace, "--type=merge", "-p", patch)
    await real.start(Part.WORKER)
    await has_gone(alice, name, cluster, stand_ins)
