"""Requests for snapshots as the vendor of vCluster reads them, as pure functions of Kubernetes objects.

A request is a Secret with the options, and a ConfigMap of the same name, on which a controller in the
vCluster's pod notes how far it is: https://github.com/loft-sh/vcluster, `pkg/snapshot`. The controller
deletes the Secret when the request is done, and the ConfigMap a day later.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

#: The label of all requests, and that of the vCluster which is asked.
REQUEST = "vcluster.loft.sh/snapshot-request"
RELEASE = "vcluster.loft.sh/vcluster-name"
_NAMESPACE = "vcluster.loft.sh/vcluster-namespace"
#: The controller holds the ConfigMap with it until the request is done.
FINALIZER = "vcluster.loft.sh/snapshot-controller"

REQUEST_KEY = "snapshotRequest"
OPTIONS_KEY = "snapshotOptions"
COMPLETED = "Completed"
#: The phases of a request that has failed; `Canceled` by a newer one for the same file.
_FAILED = frozenset({"Failed", "PartiallyFailed", "Canceled"})

Object = Mapping[str, Any]


@dataclass(frozen=True)
class SnapshotRequest:
    """A snapshot to take: the name of the request, and the file within the vCluster."""

    name: str
    path: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SnapshotProgress:
    """The progress of a request. `failed` is the cause; `labels` are those of the request on the host."""

    taken: bool = False
    waiting_for: str = ""
    failed: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def options_secret(namespace: str, release: str, request: SnapshotRequest) -> dict[str, Any]:
    """Return the Secret, which has no secret: the snapshot stays on the vCluster's volume."""
    options = options_of(request)
    metadata = _metadata(namespace, release, request)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "stringData": {OPTIONS_KEY: json.dumps(options)},
    }


def options_of(request: SnapshotRequest) -> dict[str, Any]:
    """Return where the snapshot is, as the vendor reads it."""
    return {"type": "container", "container": {"path": request.path}}


def request_map(namespace: str, release: str, request: SnapshotRequest, now: datetime) -> dict[str, Any]:
    """Return the ConfigMap, which has to be created after the Secret."""
    content = {
        "metadata": {"name": request.name, "creationTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ")},
        "spec": {"url": f"container://{request.path}"},
        "status": {},
    }
    metadata = _metadata(namespace, release, request)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {REQUEST_KEY: json.dumps(content)},
    }


def read_progress(found: Object) -> SnapshotProgress:
    """Return how far the request is, by its ConfigMap."""
    labels = (found.get("metadata") or {}).get("labels") or {}
    try:
        status = json.loads((found.get("data") or {})[REQUEST_KEY]).get("status") or {}
        phase, cause = str(status.get("phase") or ""), str((status.get("error") or {}).get("message") or "")
    except (KeyError, ValueError, AttributeError):
        return SnapshotProgress(failed="its request on the host cannot be read", labels=labels)
    if phase == COMPLETED:
        return SnapshotProgress(taken=True, labels=labels)
    if phase in _FAILED:
        return SnapshotProgress(failed=cause or f"the vCluster says {phase}", labels=labels)
    waiting_for = f"the vCluster to take it ({phase})" if phase else "the vCluster to begin with it"
    return SnapshotProgress(waiting_for=waiting_for, labels=labels)


def is_request(metadata: Object, release: str) -> bool:
    """Return whether an object belongs to a request to the vCluster of the release."""
    labels = metadata.get("labels") or {}
    return REQUEST in labels and labels.get(RELEASE) == release


def release_patch(metadata: Object) -> dict[str, Any] | None:
    """Return the merge patch that takes the controller's finalizer away; None without it."""
    finalizers = list(metadata.get("finalizers") or [])
    if FINALIZER not in finalizers:
        return None
    kept = [each for each in finalizers if each != FINALIZER]
    # With its version: the controller may have changed it since it was read.
    version = {key: metadata[key] for key in ("uid", "resourceVersion") if key in metadata}
    return {"metadata": {**version, "finalizers": kept}}


def _metadata(namespace: str, release: str, request: SnapshotRequest) -> dict[str, Any]:
    labels = {**request.labels, REQUEST: "", RELEASE: release, _NAMESPACE: namespace}
    return {"name": request.name, "namespace": namespace, "labels": labels}
