"""The differences between hosts: access to vClusters, and the source of images and volumes.

Pure functions map the options of a host to objects in an environment's namespace and to chart values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from clients.host.models import Peer

#: The Service that gives access to a vCluster from outside. Moorage creates it, so that Kubernetes assigns
#: a free port before the vCluster exists and its kubeconfig can name that port. A port that we choose might
#: be in use.
ACCESS_SERVICE = "moorage-access"
#: The role of our account in the namespace of an environment, and the role of the API's account: see
#: deploy/rbac.yaml.
ENVIRONMENT_ROLE = "moorage-environment"
KUBECONFIG_ROLE = "moorage-kubeconfig"
#: Port of the vCluster's API server in its pod.
API_SERVER_PORT = 8443

Object = dict[str, Any]


class Exposure(StrEnum):
    """How the API server of a vCluster is reached."""

    NODE_PORT = "node-port"  #: at a port of the nodes
    IN_CLUSTER = "in-cluster"  #: at its Service, only from within the host cluster


@dataclass(frozen=True)
class HostOptions:
    """The settings of one host.

    `address`: where the ports of its nodes are reached from outside.
    `image_registry`: the source of all images of vClusters; empty means the chart's.
    `image_repository`: the name of the vCluster's own image there; empty means the chart's.
    `chart_repository`: the source of charts; it overrides the template's.
    `storage_class`: without it, the host's default class is used.
    `api_account`: the service account (namespace/name) with which the API reads kubeconfigs.
    `reachable`: networks and ports beyond the internet that environments may reach, such as a
    control plane's.
    `dns`: name servers in addition to the host's Service kube-dns.
    `api_server`: the host's API server, where it cannot be read from the cluster.
    `node_networks`: networks in which nodes exist or will exist.
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


def host_manifests(options: HostOptions, release: str, account: Mapping[str, Any]) -> list[Object]:
    """Return the objects that a host needs in an environment's namespace besides its guards.

    `account` is our account, as the subject of a binding. Our own binding comes first, because it gives the
    rights to create the others.
    """
    made = [environment_role_binding(account)]
    if options.api_account:
        namespace, _, name = options.api_account.partition("/")
        rules = [
            # The API checks the owner of the namespace before it hands out a kubeconfig.
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
            {
                "apiGroups": [""],
                "resources": ["secrets"],
                "resourceNames": [f"vc-{release}"],
                "verbs": ["get"],
            },
            # The API reports the health of the vCluster; it reads objects by name, and none that holds a
            # secret.
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
        # Expose this port by its number, and not both ports of the chart's own Service: the kubelet port that
        # a vCluster serves for its nodes is called from within only.
        ports = [{"name": "https", "port": 443, "targetPort": API_SERVER_PORT, "protocol": "TCP"}]
        selector = {"app": "vcluster", "release": release}
        spec = {"type": "NodePort", "ports": ports, "selector": selector}
        made.append(_object("v1", "Service", ACCESS_SERVICE, spec))
    return made


def environment_role_binding(account: Mapping[str, Any]) -> Object:
    """Return the binding that gives us our rights in a namespace; `account` is its subject."""
    return _binding(ENVIRONMENT_ROLE, "ClusterRole", ENVIRONMENT_ROLE, dict(account))


def overlay(options: HostOptions, namespace: str, release: str, port: int | str | None) -> Object:
    """Return the chart values that the host overrides; `port` is the access Service's node port."""
    if port is not None:
        host, server = options.address, f"https://{_url_host(options.address)}:{port}"
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


def _url_host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


_RBAC = "rbac.authorization.k8s.io/v1"
