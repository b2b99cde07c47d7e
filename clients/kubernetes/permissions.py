"""Which rights Moorage needs on a host, and which of them an account lacks, as the API server itself says."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from clients.kubernetes.api import Api

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True)
class Right:
    """One verb on one resource, in the whole cluster unless a `name` or a `namespace` narrows it."""

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

#: Of the cluster-wide role, all of it. What is needed within namespaces the account binds to itself, in each.
CLUSTER_WIDE = (
    *(Right(verb, "namespaces") for verb in ("create", "get", "delete")),
    Right("create", "rolebindings", _RBAC),
    *(Right(verb, "clusterroles", _RBAC, "moorage-environment") for verb in ("bind", "get")),
    *(Right(verb, "nodes") for verb in ("get", "list")),
    *(Right(verb, "storageclasses", "storage.k8s.io") for verb in ("get", "list")),
    *(Right(verb, "persistentvolumes") for verb in ("get", "list")),
)

_DISCOVERY = "discovery.k8s.io"
#: By which network policies learn where the host's DNS is.
DNS = (
    Right("get", "services", name="kube-dns", namespace="kube-system"),
    Right("list", "endpointslices", _DISCOVERY, namespace="kube-system"),
)
#: And where its API server is, unless the settings say so.
API_SERVER = (
    Right("get", "services", name="kubernetes", namespace="default"),
    Right("list", "endpointslices", _DISCOVERY, namespace="default"),
)
#: Of the role `moorage-volumes`, which is for templates that have retained volumes deleted.
VOLUMES = Right("patch", "persistentvolumes")


async def missing(api: Api, rights: Iterable[Right] = CLUSTER_WIDE) -> list[str]:
    """Those that the account lacks, in words; empty when it has all. Raises what any call raises."""
    wanted = list(rights)
    allowed = await asyncio.gather(*(_has(api, right) for right in wanted))
    return [str(right) for right, granted in zip(wanted, allowed, strict=True) if not granted]


async def _has(api: Api, right: Right) -> bool:
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
