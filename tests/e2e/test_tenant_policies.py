"""Ensures that our namespaces refuse what tenants must not make, and that no other namespace changes."""

import json
import re
from collections.abc import Iterator

import pytest

from clients.host.models import LABEL_POD_SECURITY
from contracts.types.naming import ANNOTATION_HOST_NETWORKS, LABEL_INSTALLATION
from embedded.stack.stack import Stack
from tests.e2e.cluster import Cluster
from tests.e2e.tenants import CASES, HOST_NETWORKS, pod, service
from tests.support.stack import unique


@pytest.fixture(scope="module")
def namespaces(real: Stack, cluster: Cluster) -> Iterator[tuple[str, str]]:
    """A namespace that bears the mark, and one that does not."""
    marked, other = unique("marked"), unique("other")
    # Of a version that leaves to the policies what newer ones refuse as well.
    level = {LABEL_POD_SECURITY: "baseline", f"{LABEL_POD_SECURITY}-version": "v1.30"}
    labels = {LABEL_INSTALLATION: real.installation, **level}
    annotations = {ANNOTATION_HOST_NETWORKS: HOST_NETWORKS}
    for name, metadata in ((marked, {"labels": labels, "annotations": annotations}), (other, {})):
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}
        cluster.run("create", "-f", "-", text=json.dumps(body))
    yield marked, other
    cluster.run("delete", "namespace", marked, other, "--wait=false")


def _refusals(cluster: Cluster, namespace: str) -> dict[int, str]:
    """What is said of each object of the table that is refused there, by its number; nothing is made."""
    bodies = [
        {**case.body, "metadata": {**case.body["metadata"], "name": f"tried-{number}"}}
        for number, case in enumerate(CASES)
    ]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies})
    done = cluster.attempt("create", "--dry-run=server", "-n", namespace, "-f", "-", text=text, seconds=300)
    errors = re.split(r"^(?=Error from server|The )", done.stderr, flags=re.MULTILINE)
    return {int(found[1]): error for error in errors if (found := re.search(r'"tried-(\d+)"', error))}


def test_what_tenants_must_not_make(namespaces: tuple[str, str], cluster: Cluster) -> None:
    marked, other = namespaces
    refusals, elsewhere = _refusals(cluster, marked), _refusals(cluster, other)
    wrong = [
        f"{case.what}: {refusals.get(number, 'let in')}"
        for number, case in enumerate(CASES)
        if (number in refusals) is not bool(case.refused) or case.refused not in refusals.get(number, "")
    ]
    wrong += [f"{CASES[number].what}: refused in a namespace of others" for number in elsewhere]
    assert not wrong, "\n".join(wrong)


def test_what_is_there_is_changed_no_further_than_it_could_have_been_made(
    namespaces: tuple[str, str], cluster: Cluster
) -> None:
    marked, _ = namespaces
    cluster.run("create", "-n", marked, "-f", "-", text=json.dumps(service()))
    for patch, refused in (
        ({"spec": {"externalIPs": ["198.51.100.7"]}}, "no externalIPs"),
        ({"spec": {"type": "NodePort"}}, "takes no ports of the nodes"),
        ({"metadata": {"annotations": {"tailscale.com/expose": "true"}}}, "not published"),
        ({"metadata": {"annotations": {"example.com/fine": "x"}}}, ""),
    ):
        done = cluster.attempt(
            "patch", "service", "tried", "-n", marked, "--type=merge", "-p", json.dumps(patch)
        )
        assert (done.returncode == 0) is not bool(refused), done.stderr
        assert refused in done.stderr


def test_the_hosts_own_controllers_note_on_pods_what_is_theirs(
    namespaces: tuple[str, str], cluster: Cluster
) -> None:
    marked, _ = namespaces
    cluster.run("create", "-n", marked, "-f", "-", text=json.dumps(pod(nodeName="none-such")))
    note = ("annotate", "pod", "tried", "-n", marked, "--dry-run=server")
    network = "k8s.v1.cni.cncf.io/network-status=x"
    assert cluster.attempt(*note, network).returncode == 0
    longer = ("delete", "pod", "tried", "-n", marked, "--dry-run=server", "--wait=false", "--grace-period")
    assert "at most 600 seconds" in cluster.attempt(*longer, "86400").stderr
    assert cluster.attempt(*longer, "600").returncode == 0
    tenant = (f"--as=system:serviceaccount:{marked}:vc-x", f"--as-group=system:serviceaccounts:{marked}")
    groups = ("--as-group=system:masters",)
    refused = cluster.attempt(*note, network, *tenant, *groups)
    assert "choose no networks" in refused.stderr, refused.stderr
