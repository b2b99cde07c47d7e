"""How a host differs from another: how vClusters on it are reached, where their images and volumes come from.

Pure functions from the options of a host to objects in an environment's namespace and to chart values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from clients.host import Peer

#: The Service by which a vCluster is reached from outside: ours, so that Kubernetes gives it a free port
#: before the vCluster is made, whose kubeconfig then names it. A port of our own choice might be taken.
ACCESS_SERVICE = "moorage-access"
#: The role of our account in the namespace of an environment, and the one of the API's: see deploy/rbac.yaml.
ENVIRONMENT_ROLE = "moorage-environment"
KUBECONFIG_ROLE = "moorage-kubeconfig"
#: Port of the vCluster's API server in its pod.
API_SERVER_PORT = 8443

Object = dict[str, Any]


class Exposure(StrEnum):
    """How the API server of a vCluster is reached."""

    NODE_PORT = "node-port"  #: at a port of the nodes
    IN_CLUSTER = "in-cluster"  #: at its Service, from within the host cluster only


@dataclass(frozen=True)
class HostOptions:
    """What the settings say of one host. `address` is where its nodes' ports are reached from outside.

    `image_registry` is where all images of vClusters come from, and `image_repository` the name there of the
    vCluster's own; empty ones are the chart's. `chart_repository` is where charts come from whatever their
    template says. Without `storage_class` it is the host's default one.
    `api_account` is the service account (namespace/name) under which the API reads kubeconfigs. `reachable`
    are networks and ports beyond the internet that environments may reach, such as a control plane's.
    `dns` are servers beside the host's Service kube-dns, `api_server` is the host's own where it is not to be
    read from the cluster, and `node_networks` are where there are or will be nodes.
    """

    exposure: Exposure = Exposure.IN_CLUSTER
    address: str = ""
    image_registry: str = ""
    image_repository: str = ""
    storage_class: str = ""
    chart_repository: str = ""
    api_account: str = ""
    reachable: tuple[Peer, ...] = ()
    dns: tuple[Peer, ...] = ()
    api_server: tuple[Peer, ...] = ()
    node_networks: tuple[str, ...] = ()


def objects(options: HostOptions, release: str, account: Mapping[str, Any]) -> list[Object]:
    """What a host needs in an environment's namespace beside its guards; `account` is ours, as a subject.

    Our own binding comes first: the rest is made by the rights that it gives.
    """
    made = [own_binding(account)]
    if options.api_account:
        namespace, _, name = options.api_account.partition("/")
        rules = [
            # The API reads whose namespace it is before it hands anything out.
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
            {
                "apiGroups": [""],
                "resources": ["secrets"],
                "resourceNames": [f"vc-{release}"],
                "verbs": ["get"],
            },
            # It says whether the vCluster is well. By name, and nothing that holds a secret.
            {
                "apiGroups": ["apps"],
                "resources": ["statefulsets", "deployments"],
                "resourceNames": [release],
                "verbs": ["get"],
            },
            {
                "apiGroups": [""],
                "resources": ["persistentvolumeclaims"],
                "resourceNames": [f"data-{release}-0"],
                "verbs": ["get"],
            },
            {
                "apiGroups": [""],
                "resources": ["resourcequotas"],
                "resourceNames": ["moorage"],
                "verbs": ["get"],
            },
        ]
        role = {"apiVersion": _RBAC, "kind": "Role", "metadata": {"name": KUBECONFIG_ROLE}, "rules": rules}
        api = {"kind": "ServiceAccount", "namespace": namespace, "name": name}
        made += [role, _binding(KUBECONFIG_ROLE, "Role", KUBECONFIG_ROLE, api)]
    if options.reachable:
        opened: list[Object] = [
            {
                "to": [{"ipBlock": {"cidr": peer.cidr}}],
                "ports": [{"protocol": "TCP", "port": port} for port in peer.ports],
            }
            for peer in options.reachable
        ]
        spec: Object = {"podSelector": {}, "policyTypes": ["Egress"], "egress": opened}
        made.append(_object("networking.k8s.io/v1", "NetworkPolicy", "moorage-reachable", spec))
    if options.exposure is Exposure.NODE_PORT:
        # By number, not by the Service's own choice of two: the kubelets that a vCluster stands in for are
        # asked from within only.
        ports = [{"name": "https", "port": 443, "targetPort": API_SERVER_PORT, "protocol": "TCP"}]
        selector = {"app": "vcluster", "release": release}
        spec = {"type": "NodePort", "ports": ports, "selector": selector}
        made.append(_object("v1", "Service", ACCESS_SERVICE, spec))
    return made


def own_binding(account: Mapping[str, Any]) -> Object:
    """By which we hold our rights in a namespace; `account` is ours, as a subject."""
    return _binding(ENVIRONMENT_ROLE, "ClusterRole", ENVIRONMENT_ROLE, dict(account))


def overlay(options: HostOptions, namespace: str, release: str, port: int | str | None) -> Object:
    """What the host lays over the chart's values; `port` is the one that the access Service was given."""
    if port is not None:
        host, server = options.address, f"https://{_bracketed(options.address)}:{port}"
    else:
        host = f"{release}.{namespace}.svc"
        server = f"https://{host}"
    control_plane: Object = {"proxy": {"extraSANs": [host]}, "service": {"spec": {"type": "ClusterIP"}}}
    if options.image_registry:
        control_plane["advanced"] = {"defaultImageRegistry": options.image_registry}
    stateful: Object = {}
    if options.image_repository:
        stateful["image"] = {"repository": options.image_repository}
    if options.storage_class:
        stateful["persistence"] = {"volumeClaim": {"storageClass": options.storage_class}}
    if stateful:
        control_plane["statefulSet"] = stateful
    return {"controlPlane": control_plane, "exportKubeConfig": {"server": server}}


def _binding(name: str, kind: str, role: str, subject: Object) -> Object:
    if subject.get("kind") in ("User", "Group"):
        subject["apiGroup"] = "rbac.authorization.k8s.io"
    return {
        "apiVersion": _RBAC,
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [subject],
    }


def _object(version: str, kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


_RBAC = "rbac.authorization.k8s.io/v1"
