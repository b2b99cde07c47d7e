"""The values of the vCluster chart for one environment, composed in layers.

The functions are pure. The layers, from the lowest: Moorage's defaults, the template's overlay, the host's
overlay, and the values that no overlay may change. This is in `contracts` because the API also shows what
will be installed before anything is started.
"""

from collections.abc import Mapping
from typing import Any

from contracts.environment.models import Environment
from contracts.templates.template import PodSecurity

#: For the vCluster's control plane. The chart asks for 4 Gi and no CPU: 4 Gi would use a whole quota, and
#: without a CPU value a LimitRange throttles its start. It was measured to use 500 MB.
CONTROL_PLANE_REQUESTS = {"cpu": "200m", "memory": "512Mi", "ephemeral-storage": "400Mi"}
CONTROL_PLANE_LIMITS = {"cpu": "2", "memory": "2Gi", "ephemeral-storage": "8Gi"}
#: For the CoreDNS inside the virtual cluster, as in the chart. It becomes a pod of the host.
DNS_LIMITS = {"cpu": "1", "memory": "170Mi"}
#: For each etcd, where a template makes the chart deploy etcds (`controlPlane.backingStore.etcd.deploy`). By
#: default the chart sets no limits for them, and keeps the volumes.
ETCD_LIMITS = {"cpu": "500m", "memory": "512Mi"}
#: For the volume with the virtual cluster's state.
CONTROL_PLANE_STORAGE = "5Gi"
#: Where the vCluster keeps a file with the id of each of its processes. On its volume, one that it was killed
#: over stays empty, and with it the vCluster ends a few seconds after each start: "failed to parse PID file"
#: (seen with chart 0.36.1, after a pause that came during a start).
PROCESS_FILES = "/data/pids"
#: The path of the etcd that the chart deploys.
ETCD = ("controlPlane", "backingStore", "etcd", "deploy")
#: A larger number of replicas is a mistake.
MAX_REPLICAS = 9
#: The user id of the vCluster where nothing may run as root. Any id but 0 works, because the volume belongs
#: to the group.
UNPRIVILEGED = 12345


def compose_values(environment: Environment, host_overlay: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the values to install with. The same environment always gives the same values."""
    template = environment.template
    wanted: dict[str, Any] = {
        "controlPlane": {
            "distro": {"k8s": {"version": f"v{template.kubernetes.removeprefix('v')}"}},
            "coredns": {"deployment": {"resources": {"limits": dict(DNS_LIMITS)}}},
            "statefulSet": {
                "resources": {
                    "requests": dict(CONTROL_PLANE_REQUESTS),
                    "limits": dict(CONTROL_PLANE_LIMITS),
                },
                "persistence": {"volumeClaim": {"size": CONTROL_PLANE_STORAGE, "retentionPolicy": "Delete"}},
            },
        },
        # Clusters of developers often have no access to the internet, and would then wait for the telemetry.
        "telemetry": {"enabled": False},
    }
    if etcd_replicas(template.values):
        wanted["controlPlane"]["backingStore"] = _etcd(_ETCD)
    unprivileged = _UNPRIVILEGED if template.pod_security is PodSecurity.RESTRICTED else {}
    if unprivileged and etcd_replicas(template.values):
        unprivileged = merge_values(
            unprivileged, {"controlPlane": {"backingStore": _etcd(_ETCD_UNPRIVILEGED)}}
        )
    settled: dict[str, Any] = {
        # The namespace step creates all of these, with our owner mark. Those of the chart would come in
        # addition, and its quota forbids some kinds of access from outside.
        "policies": {
            "resourceQuota": {"enabled": False},
            "limitRange": {"enabled": False},
            "networkPolicy": {"enabled": False},
        },
    }
    values: dict[str, Any] = {}
    for layer in (wanted, unprivileged, template.values, host_overlay or {}, settled):
        values = merge_values(values, layer)
    return _with_fresh_process_files(values)


def _with_fresh_process_files(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with a folder for process files that is empty in each new pod.

    Unless the template has another one, or values that the chart refuses.
    """
    persistence = value_at(values, *_PERSISTENCE)
    if not isinstance(persistence, Mapping):
        return values
    volumes, mounts = (persistence.get(key) or [] for key in ("addVolumes", "addVolumeMounts"))
    if not (isinstance(volumes, list) and isinstance(mounts, list)):
        return values
    if any(isinstance(each, Mapping) and each.get("mountPath") == PROCESS_FILES for each in mounts):
        return values
    name = "moorage-process-files"
    added = {
        "addVolumes": [*volumes, {"name": name, "emptyDir": {}}],
        "addVolumeMounts": [*mounts, {"name": name, "mountPath": PROCESS_FILES}],
    }
    return merge_values(values, {"controlPlane": {"statefulSet": {"persistence": added}}})


_PERSISTENCE = ("controlPlane", "statefulSet", "persistence")
_NO_PRIVILEGE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_NO_ROOT = {
    "runAsNonRoot": True,
    "runAsUser": UNPRIVILEGED,
    "runAsGroup": UNPRIVILEGED,
    "seccompProfile": {"type": "RuntimeDefault"},
}
#: What `restricted` requires of every pod, set for the pods of the vCluster itself: the chart runs it as
#: root.
_UNPRIVILEGED: dict[str, Any] = {
    "controlPlane": {
        "statefulSet": {
            "security": {
                "podSecurityContext": {**_NO_ROOT, "fsGroup": UNPRIVILEGED},
                "containerSecurityContext": {
                    **_NO_PRIVILEGE,
                    "runAsUser": UNPRIVILEGED,
                    "runAsGroup": UNPRIVILEGED,
                },
            }
        },
        # The first container of the same pod, which contains the binaries of Kubernetes.
        "distro": {"k8s": {"securityContext": _NO_PRIVILEGE}},
        "coredns": {"security": {"podSecurityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}},
    }
}


def exported_account_problem(values: Mapping[str, Any]) -> str:
    """Return what is wrong with the account of the exported kubeconfig; "" if nothing is known.

    The control plane's agent is installed with that kubeconfig, and it needs cluster-scoped objects.
    """
    account = value_at(values, "exportKubeConfig", "serviceAccount")
    if not isinstance(account, Mapping) or not account.get("name"):
        return ""
    role = str(account.get("clusterRole") or "")
    if role and role not in _FEW_RIGHTS:
        return ""
    has = f"has the cluster role {role}" if role else "has no cluster role"
    return (
        f"the account {account['name']} {has} inside, and the import into the control plane makes objects of "
        "the whole cluster: give it the clusterRole cluster-admin, or leave serviceAccount out"
    )


#: Cluster roles that every Kubernetes has, and that are not enough for an import. Other roles are unknown
#: here.
_FEW_RIGHTS = frozenset({"view", "edit", "admin"})


_VOLUME = {"size": CONTROL_PLANE_STORAGE, "retentionPolicy": "Delete"}
_ETCD = {"resources": {"limits": dict(ETCD_LIMITS)}, "persistence": {"volumeClaim": _VOLUME}}
_ETCD_UNPRIVILEGED = {
    "security": {
        "podSecurityContext": {**_NO_ROOT, "fsGroup": UNPRIVILEGED},
        "containerSecurityContext": _NO_PRIVILEGE,
    }
}


def _etcd(stateful_set: Mapping[str, Any]) -> dict[str, Any]:
    return {"etcd": {"deploy": {"statefulSet": stateful_set}}}


def control_plane_replicas(values: Mapping[str, Any]) -> int:
    """Return the number of control planes that the chart creates; several for high availability."""
    return _count(value_at(values, "controlPlane", "statefulSet", "highAvailability", "replicas"))


def etcd_replicas(values: Mapping[str, Any]) -> int:
    """Return the number of etcds that the chart deploys beside its control plane; usually 0."""
    if value_at(values, *ETCD, "enabled") is not True:
        return 0
    return _count(value_at(values, *ETCD, "statefulSet", "highAvailability", "replicas"))


def _count(replicas: object) -> int:
    """Return a number of replicas; 1 if it is invalid.

    For an invalid number, the chart creates one replica or reports the error itself.
    """
    return replicas if isinstance(replicas, int) and 0 < replicas <= MAX_REPLICAS else 1


def merge_values(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `above` over `below`, key by key as Helm does it.

    Mappings merge, other values replace.
    """
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = (
            merge_values(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def value_at(values: Mapping[str, Any], *path: str) -> Any:
    """Return the value at `path`, or None."""
    found: Any = values
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
