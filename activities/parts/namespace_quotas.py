"""The policies that keep an environment within its namespace: quota and limits. Pure functions.

Network policies are in `activities.parts.network_policies`. Every object has the mark. Names start with
`moorage`, so that they never collide with the chart's own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from activities.parts.network_policies import network_policies
from activities.parts.policy_metadata import Manifest, policy_object
from activities.parts.quantities import largest, multiply, smallest, sum_bytes, sum_cpus
from clients.host.models import LABEL_POD_SECURITY, HostNetworks
from contracts.capacity.sizes import parts_of_size
from contracts.environment.chart_values import ETCD, control_plane_replicas, etcd_replicas, value_at
from contracts.environment.models import Environment
from contracts.templates.template import PodSecurity
from contracts.types.naming import OwnerMark

#: Pods of the vCluster itself: its control plane and its DNS, and the successor of each in an update.
OWN_PODS = 4
#: Defaults of a container that names no limits; a quota rejects a container without any.
DEFAULT_CPU = "500m"
DEFAULT_MEMORY = "512Mi"
DEFAULT_CPU_REQUEST = "50m"
DEFAULT_MEMORY_REQUEST = "64Mi"
#: Ephemeral storage on the node's disk: all that is written outside of volumes, with logs and emptyDir
#: included. Logs alone are rotated at 50 Mi. A pod that writes more than its limit is evicted.
DEFAULT_DISK = "1Gi"
DEFAULT_DISK_REQUEST = "16Mi"
#: The node's disk space for each pod of the template's size; the total may be shared in any way.
DISK_PER_POD = "1Gi"
#: The chart's own limit for its control plane, where neither Moorage nor a template sets it.
_CHART_DISK = "10Gi"
#: How many objects there may be on the host: a number for each pod, and a fixed number in addition. This is
#: enough for what users run in clusters of this size, and too few to slow down a host's API server or its
#: etcd.
_PER_POD = {
    "services": 2,
    "secrets": 5,
    "configmaps": 5,
    "persistentvolumeclaims": 2,
    "count/serviceaccounts": 2,
    "count/endpoints": 2,
    "count/endpointslices.discovery.k8s.io": 6,
    "count/poddisruptionbudgets.policy": 1,
}
_FIXED = {
    # The vCluster has a Service for each node that it shows inside.
    "services": 50,
    # These are ten revisions of the release, certificates, and the configuration.
    "secrets": 50,
    "configmaps": 50,
    "persistentvolumeclaims": 5,
    "count/serviceaccounts": 10,
    # The host itself makes these for Services: one of endpoints each, and several slices.
    "count/endpoints": 50,
    "count/endpointslices.discovery.k8s.io": 150,
    "count/poddisruptionbudgets.policy": 5,
}
#: Kinds that no tenant creates: the template's exposure, our own policies, leases of the vCluster's replicas.
_NOT_FOR_TENANTS = {
    "count/ingresses.networking.k8s.io": 5,
    "count/networkpolicies.networking.k8s.io": 20,
    "count/leases.coordination.k8s.io": 20,
    "replicationcontrollers": 0,
}


def namespace_policies(
    environment: Environment,
    values: Mapping[str, Any],
    networks: HostNetworks,
    host_manifests: Sequence[Mapping[str, Any]] = (),
) -> list[Manifest]:
    """Return all policy objects of the namespace.

    Args:
        environment: The environment of the namespace.
        values: The chart values of its vCluster.
        networks: The networks of its host.
        host_manifests: The host's own manifests for the namespace.
    """
    return [
        _resource_quota(environment, values, host_manifests),
        _limit_range(environment, values),
        *network_policies(environment, networks),
    ]


def pod_security(environment: Environment) -> dict[str, str]:
    """Return the namespace's pod security labels.

    The template's level is enforced; users get warnings for what the level "restricted" would reject.
    """
    return {
        LABEL_POD_SECURITY: environment.template.pod_security.value,
        "pod-security.kubernetes.io/warn": PodSecurity.RESTRICTED.value,
    }


def marked(manifest: Mapping[str, Any], mark: OwnerMark) -> Manifest:
    """Return the object with the mark among its labels."""
    metadata = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **mark.labels}}}


def _resource_quota(
    environment: Environment, values: Mapping[str, Any], host_manifests: Sequence[Mapping[str, Any]]
) -> Manifest:
    """Return the quota: the template's size for the developer, plus what the vCluster itself needs."""
    size = environment.template.size
    pods = size.pods + _own_pods(values)
    # These are the same sums that the capacity ledger reserves, so the environment gets exactly what it
    # reserved.
    parts = parts_of_size(size, values)
    cpu, memory = sum_cpus(*parts["cpu"]), sum_bytes(*parts["memory"])
    own_disk = value_at(values, "controlPlane", "statefulSet", "resources", "limits", "ephemeral-storage")
    own_disks = [str(own_disk or _CHART_DISK)] * control_plane_replicas(values)
    disk = sum_bytes(multiply(DISK_PER_POD, pods), *own_disks)
    counts = {what: number * size.pods + _FIXED[what] for what, number in _PER_POD.items()} | _NOT_FOR_TENANTS
    # An exposure that needs a port of the nodes or a load balancer gets exactly that; a tenant gets none.
    exposure = value_at(values, "controlPlane", "service", "spec", "type")
    hard = {
        "requests.cpu": cpu,
        "limits.cpu": cpu,
        "requests.memory": memory,
        "limits.memory": memory,
        "requests.ephemeral-storage": disk,
        "limits.ephemeral-storage": disk,
        "requests.storage": sum_bytes(size.storage, *_volumes(values)),
        "pods": str(pods),
        "services.loadbalancers": "1" if exposure == "LoadBalancer" else "0",
        "services.nodeports": str(_node_ports(exposure, host_manifests)),
        **{what: str(number) for what, number in counts.items()},
    }
    return policy_object(environment, "v1", "ResourceQuota", "moorage", {"hard": hard})


def _own_pods(values: Mapping[str, Any]) -> int:
    """Return the number of the vCluster's own pods, with the successor of each in an update."""
    return OWN_PODS + 2 * (control_plane_replicas(values) - 1 + etcd_replicas(values))


def _volumes(values: Mapping[str, Any]) -> list[str]:
    """Return the sizes of the volumes with the vCluster's state: of each control plane and each etcd."""
    claim = ("statefulSet", "persistence", "volumeClaim", "size")
    planes = [str(value_at(values, "controlPlane", *claim))] * control_plane_replicas(values)
    return planes + [str(value_at(values, *ETCD, *claim))] * etcd_replicas(values)


def _node_ports(exposure: Any, host_manifests: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of node ports of the exposure: by the host's own Service, or by the chart's."""
    specs = [each["spec"] for each in host_manifests if each.get("kind") == "Service"]
    own = sum(len(spec["ports"]) for spec in specs if spec.get("type") == "NodePort")
    # The chart's Service has two: the API server's, and the one for the kubelets that it stands in for.
    return own or (2 if exposure in ("NodePort", "LoadBalancer") else 0)


def _limit_range(environment: Environment, values: Mapping[str, Any]) -> Manifest:
    size = environment.template.size
    container = {
        "type": "Container",
        "default": {
            "cpu": smallest(DEFAULT_CPU, size.cpu),
            "memory": smallest(DEFAULT_MEMORY, size.memory),
            "ephemeral-storage": DEFAULT_DISK,
        },
        "defaultRequest": {
            "cpu": smallest(DEFAULT_CPU_REQUEST, size.cpu),
            "memory": smallest(DEFAULT_MEMORY_REQUEST, size.memory),
            "ephemeral-storage": DEFAULT_DISK_REQUEST,
        },
    }
    # No claim may be larger than all claims of a tenant together, or than the vCluster's own.
    claim = {"type": "PersistentVolumeClaim", "max": {"storage": largest(size.storage, *_volumes(values))}}
    return policy_object(environment, "v1", "LimitRange", "moorage", {"limits": [container, claim]})
