"""What belongs to a release, and what holds a namespace."""

from typing import Any

import pytest

from clients.kubernetes.api.kinds import CLAIM, CONFIG_MAP, POD, SECRET, Kind
from clients.kubernetes.namespace.inventory import belongs_to_release, describe_blockers, display_name

#: Labels of a request for a snapshot.
REQUEST, RELEASE = {"vcluster.loft.sh/snapshot-request": ""}, "vcluster.loft.sh/vcluster-name"


@pytest.mark.parametrize(
    ("kind", "metadata", "ours"),
    [
        (POD, {"name": "mrg-a-0", "labels": {"app": "vcluster", "release": "mrg-a"}}, True),
        (POD, {"name": "x-x-default-x-mrg-a", "labels": {"vcluster.loft.sh/managed-by": "mrg-a"}}, True),
        (POD, {"name": "x", "labels": {"vcluster.loft.sh/managed-by": "mrg-b"}}, False),
        (POD, {"name": "mrg-a-debug"}, False),
        (SECRET, {"name": "sh.helm.release.v1.mrg-a.v1", "labels": {"owner": "helm", "name": "mrg-a"}}, True),
        (SECRET, {"name": "vc-mrg-a", "labels": {"app": "vcluster", "vcluster-name": "mrg-a"}}, True),
        (SECRET, {"name": "mrg-a-certs"}, True),
        (SECRET, {"name": "default-token"}, False),
        (CLAIM, {"name": "data-mrg-a-0"}, True),
        (CLAIM, {"name": "data-mrg-a-2"}, True),
        (CLAIM, {"name": "data-mrg-a-etcd-0"}, True),
        (CLAIM, {"name": "state-0", "labels": {"app": "vcluster-etcd", "release": "mrg-a"}}, True),
        (POD, {"name": "mrg-a-etcd-0", "labels": {"app": "vcluster-etcd", "release": "mrg-a"}}, True),
        (POD, {"name": "mrg-b-etcd-0", "labels": {"app": "vcluster-etcd", "release": "mrg-b"}}, False),
        (CONFIG_MAP, {"name": "mrg-a-snapshot-1", "labels": {**REQUEST, RELEASE: "mrg-a"}}, True),
        (SECRET, {"name": "mrg-b-snapshot-1", "labels": {**REQUEST, RELEASE: "mrg-b"}}, False),
        (CONFIG_MAP, {"name": "mine", "labels": {RELEASE: "mrg-a"}}, False),
        (CLAIM, {"name": "data-mrg-ab-0"}, False),
        (CLAIM, {"name": "data-mrg-a-0-copy"}, False),
    ],
)
def test_belongs(kind: Kind, metadata: dict[str, Any], ours: bool) -> None:
    """Ensures that all of a release is recognised, and nothing of its neighbours."""
    assert belongs_to_release(kind, metadata, "mrg-a") is ours


def test_names() -> None:
    """Ensures that Helm's Secret is named as a release record."""
    assert display_name(SECRET, "sh.helm.release.v1.mrg-a.v1") == "Helm release record"
    assert display_name(POD, "mrg-a-0") == "Pod mrg-a-0"


def test_what_holds() -> None:
    """Ensures that true conditions and finalizers of a terminating namespace are reported."""
    namespace = {
        "metadata": {"deletionTimestamp": "2026-11-22T12:00:00Z"},
        "spec": {"finalizers": ["kubernetes", "example.com/hold"]},
        "status": {
            "conditions": [
                {"type": "NamespaceDeletionContentFailure", "status": "False", "message": "all deleted"},
                {
                    "type": "NamespaceFinalizersRemaining",
                    "status": "True",
                    "message": "Some content in the namespace has finalizers remaining: example.com/x in 1 "
                    "resource instances",
                },
            ]
        },
    }
    assert describe_blockers(namespace, ["ConfigMap held with finalizer example.com/x"]) == [
        "Some content in the namespace has finalizers remaining: example.com/x in 1 resource instances",
        "finalizer example.com/hold",
        "ConfigMap held with finalizer example.com/x",
    ]


def test_a_namespace_that_stays_is_not_held() -> None:
    """Ensures that a namespace that is not being deleted has no blockers."""
    assert describe_blockers({"metadata": {}, "spec": {"finalizers": ["kubernetes"]}}, []) == []
