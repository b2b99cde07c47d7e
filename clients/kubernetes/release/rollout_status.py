"""The progress of a change of a release, in words: a pure function of Kubernetes objects."""

from collections.abc import Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]

_REVISION = "controller-revision-hash"


def waiting_for_rollout(controllers: Sequence[Object]) -> str:
    """Return what the controllers still have to do, "" once every pod is new and ready."""
    for each in controllers:
        name = _part(each, "metadata").get("name", "")
        status, wanted = _part(each, "status"), _number(_part(each, "spec").get("replicas"), 1)
        if _number(status.get("observedGeneration")) < _number(_part(each, "metadata").get("generation")):
            return f"the change of {name} to be taken up"
        updated, ready = (_number(status.get(field)) for field in ("updatedReplicas", "readyReplicas"))
        if updated < wanted or ready < wanted or _number(status.get("replicas")) > wanted:
            return f"{name} to have {wanted} new pods, has {updated} of which {ready} are ready"
    return ""


def blocking_pods(stateful_sets: Sequence[Object], pods: Sequence[Object]) -> list[str]:
    """Return the pods of an older revision that are not ready.

    A StatefulSet waits for such a pod to become ready before it replaces it, which may be for ever.
    https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback
    """
    newest = {
        _part(each, "metadata").get("name"): _part(each, "status").get("updateRevision")
        for each in stateful_sets
        if _number(_part(each, "status").get("observedGeneration"))
        >= _number(_part(each, "metadata").get("generation"))
    }
    found = []
    for pod in pods:
        metadata = _part(pod, "metadata")
        owners = {owner.get("name") for owner in metadata.get("ownerReferences") or ()}
        revisions = {newest[owner] for owner in owners if newest.get(owner)}
        is_old = bool(revisions) and _part(metadata, "labels").get(_REVISION) not in revisions
        if is_old and not _is_ready(pod) and not metadata.get("deletionTimestamp"):
            found.append(str(metadata.get("name", "")))
    return found


def _is_ready(pod: Object) -> bool:
    conditions = _part(pod, "status").get("conditions") or ()
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def _part(node: Object, key: str) -> Mapping[str, Any]:
    found = node.get(key)
    return found if isinstance(found, Mapping) else {}


def _number(value: object, default: int = 0) -> int:
    return value if isinstance(value, int) else default
