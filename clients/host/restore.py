"""The pod that restores a snapshot as the vendor of vCluster runs it: a pure function of its controller.

It runs the binary of the vCluster on the vCluster's volume, while that is paused:
https://github.com/loft-sh/vcluster, `pkg/snapshot/pod`.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from clients.host.snapshots import SnapshotProgress, SnapshotRequest, options_of

#: The label by which the network policies of the chart know such a pod.
APP = "vcluster-snapshot"
_CONTAINER = "snapshot"
_OPTIONS = "VCLUSTER_STORAGE_OPTIONS"
_POD_NAME = "POD_NAME"
_COMMAND = ("/vcluster", "restore")
#: What the pod has of the vCluster's own pod.
_OF_POD = (
    "affinity", "imagePullSecrets", "initContainers", "nodeSelector", "securityContext", "serviceAccountName",
    "tolerations",
)  # fmt: skip
_OF_CONTAINER = ("env", "envFrom", "image", "imagePullPolicy", "resources", "securityContext", "volumeMounts")
#: The colours of the levels in its log.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

Object = Mapping[str, Any]


def restore_pod(controller: Object, namespace: str, release: str, request: SnapshotRequest) -> dict[str, Any]:
    """Return the pod; raise ValueError if the controller is none of a vCluster."""
    spec = ((controller.get("spec") or {}).get("template") or {}).get("spec") or {}
    syncer = next((each for each in spec.get("containers") or [] if each.get("name") == "syncer"), None)
    if syncer is None:
        raise ValueError("its controller has no container of a vCluster")
    options = base64.b64encode(json.dumps(options_of(request)).encode()).decode()
    env = [each for each in syncer.get("env") or [] if each.get("name") != _POD_NAME]
    container = {
        **{key: syncer[key] for key in _OF_CONTAINER if key in syncer},
        "name": _CONTAINER,
        "command": list(_COMMAND),
        "env": [
            *env,
            {"name": _OPTIONS, "value": options},
            {"name": _POD_NAME, "value": f"{release}-0"},
        ],
        # The last lines of its log say why it has failed.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": request.name,
            "namespace": namespace,
            "labels": {**request.labels, "app": APP, "release": release},
        },
        "spec": {
            **{key: spec[key] for key in _OF_POD if key in spec},
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "volumes": _volumes(spec, syncer.get("volumeMounts") or [], release),
            "containers": [container],
        },
    }


def read_restore(pod: Object) -> SnapshotProgress:
    """Return how far the pod is."""
    labels = (pod.get("metadata") or {}).get("labels") or {}
    status = pod.get("status") or {}
    phase = status.get("phase")
    if phase == "Succeeded":
        return SnapshotProgress(taken=True, labels=labels)
    containers = status.get("containerStatuses") or []
    if phase == "Failed":
        return SnapshotProgress(failed=_cause(status, containers), labels=labels)
    waiting = [each.get("state", {}).get("waiting", {}).get("reason", "") for each in containers]
    reason = ", ".join(filter(None, waiting)) or str(phase or "Pending")
    return SnapshotProgress(waiting_for=f"the pod that restores it ({reason})", labels=labels)


def _cause(status: Object, containers: Sequence[Object]) -> str:
    for each in containers:
        ended = each.get("state", {}).get("terminated") or {}
        if ended.get("exitCode"):
            reason = _reason(str(ended.get("message") or ""))[:300]
            return f"its pod ended with code {ended['exitCode']}" + (f": {reason}" if reason else "")
    return str(status.get("message") or status.get("reason") or "its pod has failed")


def _reason(log: str) -> str:
    """Return the last error in a log of vCluster, or its last line if no line is marked as an error."""
    lines = _COLOUR.sub("", log).strip().splitlines()
    for line in reversed(lines):
        # A time, a level, a place in the source, a text, and fields in JSON.
        columns = line.split("\t")
        if columns[1:2] in (["ERROR"], ["FATAL"]):
            try:
                return str(json.loads(columns[-1])["error"])
            except (ValueError, KeyError, TypeError):
                return " ".join(columns[3:4] or columns[2:])
    return lines[-1] if lines else ""


def _volumes(spec: Object, mounts: Sequence[Object], release: str) -> list[Object]:
    volumes = list(spec.get("volumes") or [])
    names = {each.get("name") for each in volumes}
    if "data" not in names and any(each.get("name") == "data" for each in mounts):
        claim = {"claimName": f"data-{release}-0"}
        volumes.append({"name": "data", "persistentVolumeClaim": claim})
    return volumes
