"""What keeps an environment within its namespace: quota, limits, network policies. Pure functions.

Every object bears the mark. Names start with `moorage`, so that they never meet the chart's own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from activities.quantities import cpus, least, octets
from activities.values import value_at
from clients.host import LABEL_POD_SECURITY
from contracts.capacity import parts_of_size
from contracts.environment import Environment
from contracts.naming import OwnerMark
from contracts.template import PodSecurity

#: Pods of the vCluster itself: its control plane and its DNS, and the successor of each in an update.
OWN_PODS = 4
#: What a container gets that names no limits; it cannot be admitted under a quota without any.
DEFAULT_CPU = "500m"
DEFAULT_MEMORY = "512Mi"
DEFAULT_CPU_REQUEST = "50m"
DEFAULT_MEMORY_REQUEST = "64Mi"

#: Port of the vCluster's API server in its pod, and of its kubelet stand-in.
_API_SERVER_PORT = 8443
#: Ports at which the API servers of hosts are found, behind their Service.
_HOST_API_SERVER_PORTS = (443, 6443)
_DNS_PORTS = (53, 1053)
#: What is not the internet: other environments, nodes, and the metadata services of clouds.
_PRIVATE_V4 = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
_PRIVATE_V6 = ("fc00::/7", "fe80::/10")

Object = dict[str, Any]


def guards(
    environment: Environment, values: Mapping[str, Any], fittings: Sequence[Mapping[str, Any]] = ()
) -> list[Object]:
    """All objects that guard the namespace, given the values of its vCluster and the fittings of its host."""
    return [
        _resource_quota(environment, values, fittings),
        _limit_range(environment),
        *_network_policies(environment),
    ]


def pod_security(environment: Environment) -> dict[str, str]:
    """Labels of the namespace: what its template says is enforced, and people hear what would be better."""
    return {
        LABEL_POD_SECURITY: environment.template.pod_security.value,
        "pod-security.kubernetes.io/warn": PodSecurity.RESTRICTED.value,
    }


def marked(manifest: Mapping[str, Any], mark: OwnerMark) -> Object:
    """The object with the mark among its labels."""
    metadata = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **mark.labels}}}


def _object(environment: Environment, version: str, kind: str, name: str, spec: Object) -> Object:
    metadata = {
        "name": name,
        "namespace": environment.derived_name,
        "labels": dict(environment.mark.labels),
    }
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _resource_quota(
    environment: Environment, values: Mapping[str, Any], fittings: Sequence[Mapping[str, Any]]
) -> Object:
    """The template's size for what the developer runs, and on top what the vCluster itself needs."""
    size = environment.template.size
    volume = str(value_at(values, "controlPlane", "statefulSet", "persistence", "volumeClaim", "size"))
    # The very sums that are reserved for it: it was promised no more, and gets no less.
    parts = parts_of_size(size, values)
    cpu, memory = cpus(*parts["cpu"]), octets(*parts["memory"])
    # A way in that needs a port of the nodes or a load balancer gets just that; a tenant gets none.
    exposure = value_at(values, "controlPlane", "service", "spec", "type")
    hard = {
        "requests.cpu": cpu,
        "limits.cpu": cpu,
        "requests.memory": memory,
        "limits.memory": memory,
        "requests.storage": octets(size.storage, volume),
        "pods": str(size.pods + OWN_PODS),
        "services.loadbalancers": "1" if exposure == "LoadBalancer" else "0",
        "services.nodeports": str(_node_ports(exposure, fittings)),
    }
    return _object(environment, "v1", "ResourceQuota", "moorage", {"hard": hard})


def _node_ports(exposure: Any, fittings: Sequence[Mapping[str, Any]]) -> int:
    """The ports of the nodes that the way in takes: by the host's own Service, or by the chart's."""
    specs = [each["spec"] for each in fittings if each.get("kind") == "Service"]
    own = sum(len(spec["ports"]) for spec in specs if spec.get("type") == "NodePort")
    # The chart's has two: the API server's, and the one of the kubelets that it stands in for.
    return own or (2 if exposure in ("NodePort", "LoadBalancer") else 0)


def _limit_range(environment: Environment) -> Object:
    size = environment.template.size
    limits = {
        "type": "Container",
        "default": {"cpu": least(DEFAULT_CPU, size.cpu), "memory": least(DEFAULT_MEMORY, size.memory)},
        "defaultRequest": {
            "cpu": least(DEFAULT_CPU_REQUEST, size.cpu),
            "memory": least(DEFAULT_MEMORY_REQUEST, size.memory),
        },
    }
    return _object(environment, "v1", "LimitRange", "moorage", {"limits": [limits]})


def _network_policies(environment: Environment) -> list[Object]:
    """Nothing in or out, but for what a vCluster cannot do without, and the internet if its template says so.

    Environments are kept apart by what may go out: nothing leaves for a private address but DNS, and the
    vCluster's own way to the host's API server.
    """
    everybody: Object = {}
    control_plane: Object = {"matchLabels": {"app": "vcluster", "release": environment.derived_name}}

    def policy(name: str, pods: Object, **rules: list[Object]) -> Object:
        types = [direction.capitalize() for direction in rules]
        spec = {"podSelector": pods, "policyTypes": types, **rules}
        return _object(environment, "networking.k8s.io/v1", "NetworkPolicy", f"moorage-{name}", spec)

    neighbours: list[Object] = [{"podSelector": {}}]
    internet: list[Object] = [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(_PRIVATE_V4)}},
        {"ipBlock": {"cidr": "::/0", "except": list(_PRIVATE_V6)}},
    ]
    policies = [
        policy("deny", everybody, ingress=[], egress=[]),
        policy("within", everybody, ingress=[{"from": neighbours}], egress=[{"to": neighbours}]),
        # Wherever the host's DNS is: a node-local cache has an address of the node.
        policy("dns", everybody, egress=[{"ports": _ports(_DNS_PORTS, "UDP", "TCP")}]),
        policy("host-api", control_plane, egress=[{"ports": _ports(_HOST_API_SERVER_PORTS, "TCP")}]),
        policy("exposure", control_plane, ingress=[{"ports": _ports((_API_SERVER_PORT,), "TCP")}]),
    ]
    if environment.template.network.internet:
        # The control plane's agent reports over it, and images' registries and packages are there.
        policies.append(
            policy("internet", everybody, egress=[{"to": internet, "ports": _ports((443,), "TCP")}])
        )
    return policies


def _ports(ports: tuple[int, ...], *protocols: str) -> list[Object]:
    return [{"protocol": protocol, "port": port} for protocol in protocols for port in ports]
