"""The permissions that Moorage needs on a host, and the check for missing ones by the API server."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from clients.kubernetes.api.client import KubernetesApi

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True)
class Permission:
    """One verb on one resource, cluster-wide unless `name` or `namespace` restricts it."""

    verb: str
    resource: str
    group: str = ""
    name: str = ""
    namespace: str = ""

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {resource}{f' {self.name}' if self.name else ''}{where}"


_RBAC = "rbac.authorization.k8s.io"

#: All permissions of the cluster-wide role. For permissions within namespaces, the account binds a role to
#: itself in each namespace.
CLUSTER_WIDE = (
    *(Permission(verb, "namespaces") for verb in ("create", "get", "list", "delete")),
    Permission("create", "rolebindings", _RBAC),
    *(Permission(verb, "clusterroles", _RBAC, "moorage-environment") for verb in ("bind", "get")),
    *(Permission(verb, "nodes") for verb in ("get", "list")),
    *(Permission(verb, "storageclasses", "storage.k8s.io") for verb in ("get", "list")),
    *(Permission(verb, "persistentvolumes") for verb in ("get", "list")),
)

_DISCOVERY = "discovery.k8s.io"
#: Permissions with which network policies learn the address of the host's DNS.
DNS = (
    Permission("get", "services", name="kube-dns", namespace="kube-system"),
    Permission("list", "endpointslices", _DISCOVERY, namespace="kube-system"),
)
#: Permissions to read the address of its API server, unless the settings give it.
API_SERVER = (
    Permission("get", "services", name="kubernetes", namespace="default"),
    Permission("list", "endpointslices", _DISCOVERY, namespace="default"),
)
#: The permission of the role `moorage-volumes`, for templates whose retained volumes are deleted.
VOLUMES = Permission("patch", "persistentvolumes")


async def missing_permissions(api: KubernetesApi, required: Iterable[Permission] = CLUSTER_WIDE) -> list[str]:
    """Return the permissions that the account lacks, in words; raise what `KubernetesApi.call` raises."""
    permissions = list(required)
    allowed = await asyncio.gather(*(_is_granted(api, permission) for permission in permissions))
    return [str(permission) for permission, granted in zip(permissions, allowed, strict=True) if not granted]


async def _is_granted(api: KubernetesApi, permission: Permission) -> bool:
    attributes = {"verb": permission.verb, "resource": permission.resource, "group": permission.group}
    if permission.name:
        attributes["name"] = permission.name
    if permission.namespace:
        attributes["namespace"] = permission.namespace
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await api.call("POST", _REVIEWS, f"ask for the permission to {permission}", body=body)
    return bool((answer.get("status") or {}).get("allowed"))
