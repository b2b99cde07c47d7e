"""The rights that Moorage needs on a host, and the check for missing ones by the API server."""

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

#: All rights of the cluster-wide role. For rights within namespaces, the account binds a role to itself in
#: each namespace.
CLUSTER_WIDE = (
    *(Permission(verb, "namespaces") for verb in ("create", "get", "delete")),
    Permission("create", "rolebindings", _RBAC),
    *(Permission(verb, "clusterroles", _RBAC, "moorage-environment") for verb in ("bind", "get")),
    *(Permission(verb, "nodes") for verb in ("get", "list")),
    *(Permission(verb, "storageclasses", "storage.k8s.io") for verb in ("get", "list")),
    *(Permission(verb, "persistentvolumes") for verb in ("get", "list")),
)

_DISCOVERY = "discovery.k8s.io"
#: Rights with which network policies learn the address of the host's DNS.
DNS = (
    Permission("get", "services", name="kube-dns", namespace="kube-system"),
    Permission("list", "endpointslices", _DISCOVERY, namespace="kube-system"),
)
#: Rights to read the address of its API server, unless the settings give it.
API_SERVER = (
    Permission("get", "services", name="kubernetes", namespace="default"),
    Permission("list", "endpointslices", _DISCOVERY, namespace="default"),
)
#: The right of the role `moorage-volumes`, for templates whose retained volumes are deleted.
VOLUMES = Permission("patch", "persistentvolumes")


async def missing_permissions(api: KubernetesApi, rights: Iterable[Permission] = CLUSTER_WIDE) -> list[str]:
    """Return the rights that the account lacks, in words; raise the same errors as `KubernetesApi.call`."""
    wanted = list(rights)
    allowed = await asyncio.gather(*(_is_granted(api, right) for right in wanted))
    return [str(right) for right, granted in zip(wanted, allowed, strict=True) if not granted]


async def _is_granted(api: KubernetesApi, right: Permission) -> bool:
    attributes = {"verb": right.verb, "resource": right.resource, "group": right.group}
    if right.name:
        attributes["name"] = right.name
    if right.namespace:
        attributes["namespace"] = right.namespace
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await api.call("POST", _REVIEWS, f"ask for the right to {right}", body=body)
    return bool((answer.get("status") or {}).get("allowed"))
