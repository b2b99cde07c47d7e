"""Which objects belong to a release, and what blocks a namespace: pure functions over metadata."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from clients.host.snapshots import is_request
from clients.kubernetes.api.kinds import CLAIM, SECRET, Kind

Object = Mapping[str, Any]

#: Label of all objects that a vCluster's syncer creates on the host; its value is the vCluster's name.
SYNCED_BY = "vcluster.loft.sh/managed-by"
#: Conditions of a terminating namespace that report a blocker, with our words for them.
_BLOCKING_CONDITIONS = {
    "NamespaceDeletionDiscoveryFailure": "kinds that cannot be listed",
    "NamespaceDeletionGroupVersionParsingFailure": "kinds that cannot be read",
    "NamespaceDeletionContentFailure": "content that cannot be deleted",
    "NamespaceFinalizersRemaining": "",
    "NamespaceContentRemaining": "",
}
#: The finalizer that every namespace has for its own deletion.
_OWN_FINALIZER = "kubernetes"


def belongs_to_release(kind: Kind, metadata: Object, release: str) -> bool:
    """Return whether an object belongs to the release: made by the chart, Helm or the syncer, or for it."""
    labels = metadata.get("labels") or {}
    name = str(metadata.get("name", ""))
    if labels.get(SYNCED_BY) == release or is_request(metadata, release):
        return True
    # The label is "vcluster", or "vcluster-etcd" if the chart deploys its own etcd.
    is_of_chart = str(labels.get("app", "")).startswith("vcluster")
    if is_of_chart and release in (labels.get("release"), labels.get("vcluster-name")):
        return True
    if labels.get("owner") == "helm" and labels.get("name") == release:
        return True
    if kind is SECRET:
        return name in (f"vc-{release}", f"{release}-certs", f"vc-config-{release}")
    return kind is CLAIM and re.fullmatch(rf"data-{re.escape(release)}(-etcd)?-\d+", name) is not None


def display_name(kind: Kind, name: str) -> str:
    """Return the name of an object in messages; Helm's own record gets a description."""
    return "Helm release record" if name.startswith("sh.helm.release.") else f"{kind.name} {name}"


def describe_blockers(namespace: Object, objects: Iterable[str]) -> list[str]:
    """Return what blocks a terminating namespace: conditions, finalizers, objects with them."""
    metadata, status = namespace.get("metadata") or {}, namespace.get("status") or {}
    if not metadata.get("deletionTimestamp"):
        return []
    blockers = []
    for condition in status.get("conditions") or []:
        if condition.get("status") == "True" and condition.get("type") in _BLOCKING_CONDITIONS:
            cause = _BLOCKING_CONDITIONS[condition["type"]]
            message = " ".join(str(condition.get("message", "")).split()).rstrip(".")
            blockers.append(": ".join(part for part in (cause, message) if part))
    finalizers = [
        *(metadata.get("finalizers") or []),
        *((namespace.get("spec") or {}).get("finalizers") or []),
    ]
    blockers += [f"finalizer {each}" for each in finalizers if each != _OWN_FINALIZER]
    return [*blockers, *objects]
