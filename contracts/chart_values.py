"""The values of the vCluster chart for one environment, composed in layers: pure functions.

First what Moorage wants, over it the template's overlay, then the host's, and over that what none may change.
Here, because what will be installed is shown before anything is started as well.
"""

from collections.abc import Mapping
from typing import Any

from contracts.environment import Environment
from contracts.template import PodSecurity

#: Of the vCluster's control plane. The chart asks for 4 Gi and no CPU: the one would eat a quota whole, and
#: the other leaves it to a LimitRange to throttle its start. It was seen to use 500 MB.
CONTROL_PLANE_REQUESTS = {"cpu": "200m", "memory": "512Mi", "ephemeral-storage": "400Mi"}
CONTROL_PLANE_LIMITS = {"cpu": "2", "memory": "2Gi", "ephemeral-storage": "8Gi"}
#: Of the CoreDNS that runs inside, as the chart has it; it becomes a pod of the host.
DNS_LIMITS = {"cpu": "1", "memory": "170Mi"}
#: Of each etcd, where a template has the chart deploy some (`controlPlane.backingStore.etcd.deploy`): by
#: itself the chart says no limits, and keeps the volumes.
ETCD_LIMITS = {"cpu": "500m", "memory": "512Mi"}
#: Of the volume with the virtual cluster's state.
CONTROL_PLANE_STORAGE = "5Gi"
#: Where the etcd is described that the chart deploys.
ETCD = ("controlPlane", "backingStore", "etcd", "deploy")
#: Larger numbers of replicas are a slip.
MOST_REPLICAS = 9
#: Whom the vCluster runs as where nothing may run as root. Any but 0 will do: its volume is the group's.
UNPRIVILEGED = 12345


def compose(environment: Environment, host_overlay: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The values to install with. The same environment always gives the same."""
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
        # Clusters of developers often reach nothing outside, and then wait for it.
        "telemetry": {"enabled": False},
    }
    if etcds(template.values):
        wanted["controlPlane"]["backingStore"] = _etcd(_ETCD)
    unprivileged = _UNPRIVILEGED if template.pod_security is PodSecurity.RESTRICTED else {}
    if unprivileged and etcds(template.values):
        unprivileged = overlay(unprivileged, {"controlPlane": {"backingStore": _etcd(_ETCD_UNPRIVILEGED)}})
    settled: dict[str, Any] = {
        # The namespace step makes all of these, with our mark: the chart's own would come on top, and its
        # quota forbids some of the ways in.
        "policies": {
            "resourceQuota": {"enabled": False},
            "limitRange": {"enabled": False},
            "networkPolicy": {"enabled": False},
        },
    }
    values: dict[str, Any] = {}
    for layer in (wanted, unprivileged, template.values, host_overlay or {}, settled):
        values = overlay(values, layer)
    return values


_NO_PRIVILEGE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_NO_ROOT = {
    "runAsNonRoot": True,
    "runAsUser": UNPRIVILEGED,
    "runAsGroup": UNPRIVILEGED,
    "seccompProfile": {"type": "RuntimeDefault"},
}
#: What `restricted` wants of every pod, said for those of the vCluster itself: the chart runs it as root.
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
        # The first container of the same pod, which brings Kubernetes' own binaries.
        "distro": {"k8s": {"securityContext": _NO_PRIVILEGE}},
        "coredns": {"security": {"podSecurityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}},
    }
}


def few_rights_inside(values: Mapping[str, Any]) -> str:
    """What is wrong with the account of the exported kubeconfig; "" if nothing is, or nobody can tell.

    By that kubeconfig the control plane's agent is installed, which takes objects of the whole cluster.
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


#: Cluster roles that every Kubernetes has, and with which no import can be made. Of others nobody can tell.
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


def control_planes(values: Mapping[str, Any]) -> int:
    """Count the control planes that the chart makes: several for high availability."""
    return _count(value_at(values, "controlPlane", "statefulSet", "highAvailability", "replicas"))


def etcds(values: Mapping[str, Any]) -> int:
    """Count the etcds that the chart deploys beside its control plane; usually none."""
    if value_at(values, *ETCD, "enabled") is not True:
        return 0
    return _count(value_at(values, *ETCD, "statefulSet", "highAvailability", "replicas"))


def _count(replicas: object) -> int:
    """Read a number of replicas: where it is none, the chart makes one, or says itself what is wrong."""
    return replicas if isinstance(replicas, int) and 0 < replicas <= MOST_REPLICAS else 1


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`, key by key as Helm does it: mappings merge, all else replaces."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = (
            overlay(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def value_at(values: Mapping[str, Any], *path: str) -> Any:
    """What stands at `path`, or None."""
    found: Any = values
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
