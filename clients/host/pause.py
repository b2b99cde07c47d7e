"""The pause of a vCluster as its vendor does it, as pure functions of Kubernetes objects.

The controller (a StatefulSet, or a Deployment without a volume) is scaled to zero, and its annotations keep
the size that it had. So `vcluster resume` wakes what Moorage has put to sleep, and the other way round:
https://github.com/loft-sh/vcluster, `pkg/lifecycle`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

PAUSED = "loft.sh/paused"
PAUSED_REPLICAS = "loft.sh/paused-replicas"
PAUSED_DATE = "loft.sh/paused-date"

Object = Mapping[str, Any]


def pause_patch(controller: Object, now: datetime) -> dict[str, Any] | None:
    """Return the merge patch that pauses the controller; None if it is paused."""
    replicas = _replicas(controller)
    if _annotations(controller).get(PAUSED) == "true" and replicas == 0:
        return None
    kept = _annotations(controller).get(PAUSED_REPLICAS)
    # A controller that is at zero already has had some size before that: one, unless it says so itself.
    size = str(replicas) if replicas else kept or "1"
    date = now.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return _patch(controller, 0, {PAUSED: "true", PAUSED_REPLICAS: size, PAUSED_DATE: date})


def resume_patch(controller: Object) -> dict[str, Any] | None:
    """Return the merge patch that gives the controller its size again; None if it is not paused."""
    annotations = _annotations(controller)
    if annotations.get(PAUSED) != "true" and _replicas(controller):
        return None
    kept = annotations.get(PAUSED_REPLICAS, "")
    size = int(kept) if kept.isdecimal() and int(kept) else 1
    return _patch(controller, size, dict.fromkeys((PAUSED, PAUSED_REPLICAS, PAUSED_DATE)))


def is_paused(controller: Object) -> bool:
    """Return whether the controller is paused."""
    return _annotations(controller).get(PAUSED) == "true"


def _patch(controller: Object, replicas: int, annotations: Mapping[str, str | None]) -> dict[str, Any]:
    # With its version: a patch that was sent before a later one and arrives after it changes nothing.
    version = {"resourceVersion": (controller.get("metadata") or {}).get("resourceVersion")}
    return {"metadata": {**version, "annotations": dict(annotations)}, "spec": {"replicas": replicas}}


def _replicas(controller: Object) -> int:
    replicas = (controller.get("spec") or {}).get("replicas")
    # Kubernetes' default.
    return 1 if replicas is None else int(replicas)


def _annotations(controller: Object) -> Mapping[str, str]:
    return (controller.get("metadata") or {}).get("annotations") or {}
