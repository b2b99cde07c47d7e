"""The options of a host as objects in an environment's namespace and as chart values: pure functions."""

from collections.abc import Mapping
from typing import Any

from clients.kubernetes.cluster.account import RBAC_VERSION, environment_role_binding, role_binding
from clients.kubernetes.vcluster_options import Exposure, HostOptions

#: The Service that gives access to a vCluster from outside. Moorage creates it, so that Kubernetes assigns
#: a free port before the vCluster exists and its kubeconfig can name that port. A port that we choose might
#: be in use.
ACCESS_SERVICE = "moorage-access"
#: The role of the API's account in the namespace of an environment.
KUBECONFIG_ROLE = "moorage-kubeconfig"
#: Port of the vCluster's API server in its pod.
API_SERVER_PORT = 8443

Object = dict[str, Any]


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
        role = {
            "apiVersion": RBAC_VERSION,
            "kind": "Role",
            "metadata": {"name": KUBECONFIG_ROLE},
            "rules": rules,
        }
        api = {"kind": "ServiceAccount", "namespace": namespace, "name": name}
        made += [role, role_binding(KUBECONFIG_ROLE, "Role", KUBECONFIG_ROLE, api)]
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


def _object(version: str, kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _url_host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
