"""Ensures that what fails for real says why in words, leaves nothing, and touches nothing of others."""

import asyncio
import json

import pytest

from embedded.faults import Fault, FaultKind
from embedded.rafay.switches import SWITCHES_PATH
from embedded.stack import Part, Stack
from tests.e2e.cluster import Cluster
from tests.environment.asking import Asking
from tests.environment.systems import Systems
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
}


@pytest.mark.parametrize("template", CAUSES)
async def test_a_template_that_cannot_be(
    alice: Asking, cluster: Cluster, stand_ins: Systems, template: str
) -> None:
    name = unique(template)
    answer = await alice.request(name, template=template)
    if answer.status_code == 422:  # told before anything was made
        assert all(words in answer.text for words in CAUSES[template]), answer.text
    else:
        gone = await alice.until_phase(name, "gone")
        assert gone["outcome"] == "failed"
        cause = gone["problem"]["cause"]
        assert all(words in cause for words in CAUSES[template]), cause
        assert gone["certificate"]["nothing_left"] is True
    assert cluster.holds(f"mrg-{name}") == []
    assert stand_ins.holds(name) == {}


async def test_invalid_bootstrap(real: Stack, alice: Asking, cluster: Cluster, stand_ins: Systems) -> None:
    name, rafay = unique("bootstrap"), real.url(Part.CONTROL_PLANE)
    # Half of it: of the right kinds, and with a Deployment that no API server accepts.
    control(rafay, "PUT", SWITCHES_PATH, {"bootstrap_form": "yaml"})
    set_faults(rafay, Fault(operation="bootstrap.get", kind=FaultKind.TRUNCATE))
    try:
        await alice.request(name)
        gone = await alice.until_phase(name, "gone")
    finally:
        set_faults(rafay)
        control(rafay, "PUT", SWITCHES_PATH, {"bootstrap_form": "json"})
    assert (gone["outcome"], gone["problem"]["step"]) == ("failed", "import")
    assert "bootstrap" in gone["problem"]["cause"] + gone["problem"]["remedy"], gone["problem"]
    assert cluster.holds(f"mrg-{name}") == []
    assert stand_ins.holds(name) == {}


async def test_a_namespace_that_is_not_ours(alice: Asking, cluster: Cluster, stand_ins: Systems) -> None:
    name = unique("theirs")
    namespace = f"mrg-{name}"
    cluster.run("create", "namespace", namespace)
    try:
        before = cluster.get("namespace", namespace)
        await alice.request(name)
        gone = await alice.until_phase(name, "gone")
        assert (gone["outcome"], gone["problem"]["step"]) == ("failed", "namespace")
        assert "was not made by Moorage" in gone["problem"]["cause"]
        assert cluster.get("namespace", namespace) == before, "somebody else's namespace was touched"
        assert stand_ins.holds(name) == {}
    finally:
        cluster.run("delete", "namespace", namespace)


async def test_a_finalizer_that_blocks(alice: Asking, cluster: Cluster, stand_ins: Systems) -> None:
    name = unique("held")
    namespace, finalizer = f"mrg-{name}", "example.com/held"
    await alice.request(name)
    await alice.until_phase(name, "ready")
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": [finalizer]}}
    cluster.run("create", "-n", namespace, "-f", "-", text=json.dumps(held))
    await alice.delete(name)
    await alice.until(name, lambda shown: finalizer in json.dumps(shown), "naming the finalizer")
    assert cluster.holds(namespace) == [f"namespace {namespace}"]
    patch = '{"metadata": {"finalizers": null}}'
    cluster.run("patch", "configmap", "held", "-n", namespace, "--type=merge", "-p", patch)
    gone = await alice.until_phase(name, "gone")
    assert gone["outcome"] == "deleted"
    assert cluster.holds(namespace) == []
    assert stand_ins.holds(name) == {}


async def test_the_api_server_of_the_host_away_for_half_a_minute(
    alice: Asking, cluster: Cluster, stand_ins: Systems
) -> None:
    if not cluster.is_ours:
        pytest.skip("its API server is not ours to stop")
    name = unique("outage")
    await alice.request(name)
    await alice.until_step(name, "vcluster", "running")
    await asyncio.to_thread(cluster.node, "pause")
    await asyncio.sleep(30)
    await asyncio.to_thread(cluster.node, "resume")
    await alice.until_phase(name, "ready")
    await alice.delete(name)
    await alice.until_phase(name, "gone")
    assert cluster.holds(f"mrg-{name}") == []
    assert stand_ins.holds(name) == {}


async def test_worker_killed_in_the_helm_install(
    real: Stack, alice: Asking, cluster: Cluster, stand_ins: Systems
) -> None:
    name = unique("killed")
    namespace = f"mrg-{name}"
    await alice.request(name)
    await alice.until_step(name, "vcluster", "running")
    for _ in range(200):
        # As soon as Helm has begun: its record is the first thing that it makes.
        if "sh.helm.release" in cluster.attempt("get", "secrets", "-n", namespace, "-o", "name").stdout:
            break
        await asyncio.sleep(0.05)
    await real.kill(Part.WORKER)
    await real.start(Part.WORKER)
    await alice.until_phase(name, "ready")
    records = cluster.get("secrets", "-n", namespace, "-l", "owner=helm")["items"]
    assert [each["metadata"]["labels"]["status"] for each in records] == ["deployed"]
    await alice.delete(name)
    await alice.until_phase(name, "gone")
    assert cluster.holds(namespace) == []
    assert stand_ins.holds(name) == {}


async def test_a_release_left_pending_is_made_anew(
    real: Stack, alice: Asking, cluster: Cluster, stand_ins: Systems
) -> None:
    name = unique("pending")
    namespace = f"mrg-{name}"
    await alice.request(name)
    await alice.until_step(name, "vcluster", "running")
    for _ in range(200):
        if "sh.helm.release" in cluster.attempt("get", "secrets", "-n", namespace, "-o", "name").stdout:
            break
        await asyncio.sleep(0.05)
    await real.kill(Part.WORKER)
    # What a Helm leaves that was killed a moment earlier.
    record = cluster.get("secrets", "-n", namespace, "-l", "owner=helm")["items"][0]["metadata"]["name"]
    cluster.run("label", "secret", record, "-n", namespace, "--overwrite", "status=pending-install")
    await real.start(Part.WORKER)
    await alice.until_phase(name, "ready")
    records = cluster.get("secrets", "-n", namespace, "-l", "owner=helm")["items"]
    assert [each["metadata"]["labels"]["status"] for each in records] == ["deployed"]
    await alice.delete(name)
    await alice.until_phase(name, "gone")
    assert cluster.holds(namespace) == []
    assert stand_ins.holds(name) == {}


async def test_worker_killed_in_the_deletion_of_the_namespace(
    real: Stack, alice: Asking, cluster: Cluster, stand_ins: Systems
) -> None:
    name = unique("killed")
    await alice.request(name)
    await alice.until_phase(name, "ready")
    await alice.delete(name)
    await alice.until_step(name, "namespace", "undoing")
    await real.kill(Part.WORKER)
    await real.start(Part.WORKER)
    gone = await alice.until_phase(name, "gone")
    assert gone["outcome"] == "deleted"
    assert cluster.holds(f"mrg-{name}") == []
    assert stand_ins.holds(name) == {}
