"""Ensures that a thief of the worker's account can change nothing but environments."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clients.host.models import LABEL_POD_SECURITY
from contracts.types.naming import LABEL_INSTALLATION
from embedded.stack.stack import Stack
from tests.e2e.cluster import Cluster
from tests.e2e.using import unclaimed_volume
from tests.support.stack import unique


@pytest.mark.parametrize("level", ["", "privileged", "baseline", "restricted"])
def test_a_namespace_has_pod_security(real: Stack, cluster: Cluster, tmp_path: Path, level: str) -> None:
    worker = cluster.kubeconfig_of("moorage-worker", tmp_path)
    labels = {LABEL_INSTALLATION: real.installation, **({LABEL_POD_SECURITY: level} if level else {})}
    metadata = {"name": f"mrg-{unique('open')}", "labels": labels}
    body = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    made = cluster.attempt("create", "--dry-run=server", "-f", "-", kubeconfig=worker, text=body)
    if level in ("baseline", "restricted"):
        assert made.returncode == 0, made.stderr
    else:
        assert made.returncode != 0, "a namespace in which pods may be anything is let in"
        assert "needs pod security, baseline or restricted" in made.stderr


@pytest.fixture
def may_give_up_volumes(cluster: Cluster) -> Iterator[None]:
    """The worker's account has the optional role."""
    binding = ("clusterrolebinding", "moorage-e2e-volumes")
    account = ("--clusterrole=moorage-volumes", "--serviceaccount=moorage:moorage-worker")
    cluster.run("create", *binding, *account)
    yield
    cluster.run("delete", *binding)


#: The one change of a volume, and others beside it.
DELETE = {"persistentVolumeReclaimPolicy": "Delete"}
MORE: list[dict[str, Any]] = [
    {"spec": {**DELETE, "capacity": {"storage": "2Mi"}}},
    {"spec": {**DELETE, "accessModes": ["ReadWriteMany"]}},
    {"spec": {**DELETE, "mountOptions": ["x"]}},
    {"spec": {**DELETE, "storageClassName": "x"}},
    {"spec": {**DELETE, "claimRef": {"name": "other"}}},
    {"spec": DELETE, "metadata": {"labels": {"a": "b"}}},
    {"spec": DELETE, "metadata": {"annotations": {"a": "b"}}},
    {"spec": DELETE, "metadata": {"finalizers": ["example.com/held"]}},
    {"spec": {"persistentVolumeReclaimPolicy": "Recycle"}},
]


@pytest.mark.parametrize(
    ("namespace", "may"),
    [("mrg-one", True), ("production", False), ("mrgx-one", False), ("not-mrg-one", False)],
)
def test_a_volume_of_others_is_kept(
    real: Stack, cluster: Cluster, tmp_path: Path, may_give_up_volumes: None, namespace: str, may: bool
) -> None:
    worker, name = cluster.kubeconfig_of("moorage-worker", tmp_path), unique("volume")
    unclaimed_volume(cluster, name, namespace, policy="Retain", until="Released")
    try:
        patch = ("patch", "persistentvolume", name, "--dry-run=server", "--type=merge", "-p")
        done = cluster.attempt(*patch, json.dumps({"spec": DELETE}), kubeconfig=worker)
        # In other namespaces it is refused whatever else it changes.
        changes = MORE if may else []
        more = [cluster.attempt(*patch, json.dumps(change), kubeconfig=worker) for change in changes]
    finally:
        cluster.run("delete", "persistentvolume", name)
    for change, tried in zip(changes, more, strict=True):
        assert tried.returncode != 0, f"of a volume {change} could be changed"
    if may:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode != 0, f"the volume of another owner in {namespace} could be deleted"
        assert "whose claim was in a namespace mrg-" in done.stderr
