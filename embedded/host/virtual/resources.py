"""The kinds of objects that the simulated API servers serve, and their discovery documents."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Kinds that are served, by group version; a star marks those without a namespace. They are what bootstrap
#: manifests and people with kubectl commonly need.
_KINDS = {
    "v1": "ConfigMap Endpoints Event LimitRange Namespace* Node* PersistentVolume* PersistentVolumeClaim Pod"
    " ResourceQuota Secret Service ServiceAccount",
    "apps/v1": "DaemonSet Deployment ReplicaSet StatefulSet",
    "batch/v1": "CronJob Job",
    "rbac.authorization.k8s.io/v1": "ClusterRole* ClusterRoleBinding* Role RoleBinding",
    "certificates.k8s.io/v1": "CertificateSigningRequest*",
    "networking.k8s.io/v1": "Ingress IngressClass* NetworkPolicy",
    "policy/v1": "PodDisruptionBudget",
    "scheduling.k8s.io/v1": "PriorityClass*",
    "storage.k8s.io/v1": "StorageClass*",
    "coordination.k8s.io/v1": "Lease",
    "apiextensions.k8s.io/v1": "CustomResourceDefinition*",
    "admissionregistration.k8s.io/v1": "MutatingWebhookConfiguration* ValidatingWebhookConfiguration*",
}
#: Questions about the caller, which are answered and not kept.
REVIEWS = {
    "authentication.k8s.io/v1": {"selfsubjectreviews": "SelfSubjectReview"},
    "authorization.k8s.io/v1": {"selfsubjectaccessreviews": "SelfSubjectAccessReview"},
}
#: Short names that people type; not all that Kubernetes has.
_SHORT_NAMES = {
    "certificatesigningrequests": ["csr"],
    "configmaps": ["cm"],
    "deployments": ["deploy"],
    "namespaces": ["ns"],
    "pods": ["po"],
    "serviceaccounts": ["sa"],
    "services": ["svc"],
}
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update"]


@dataclass(frozen=True)
class Resource:
    """A kind of objects as the API server serves it."""

    version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.version.rpartition("/")[0]

    @property
    def qualified(self) -> str:
        """The plural with its group, as in messages of an API server."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """The kind with its group, as in messages of an API server."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


def _resource(version: str, marked_kind: str) -> Resource:
    kind = marked_kind.rstrip("*")
    lower = kind.lower()
    if lower.endswith("y"):
        plural = f"{lower[:-1]}ies"
    elif lower == "endpoints":
        plural = lower
    else:
        plural = f"{lower}es" if lower.endswith("s") else f"{lower}s"
    return Resource(version, kind, plural, namespaced=not marked_kind.endswith("*"))


RESOURCES: Mapping[str, Mapping[str, Resource]] = {
    version: {resource.plural: resource for resource in (_resource(version, kind) for kind in kinds.split())}
    for version, kinds in _KINDS.items()
}
_RBAC = RESOURCES["rbac.authorization.k8s.io/v1"]
NAMESPACES = RESOURCES["v1"]["namespaces"]
CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS = _RBAC["clusterroles"], _RBAC["clusterrolebindings"]
ROLES, ROLE_BINDINGS = _RBAC["roles"], _RBAC["rolebindings"]
CERTIFICATE_REQUESTS = RESOURCES["certificates.k8s.io/v1"]["certificatesigningrequests"]


def api_groups() -> dict[str, Any]:
    """Return the answer of `/apis`."""
    groups = []
    for version in (*RESOURCES, *REVIEWS):
        group, slash, number = version.partition("/")
        if slash:
            entry = {"groupVersion": version, "version": number}
            groups.append({"name": group, "versions": [entry], "preferredVersion": entry})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def api_resources(group_version: str) -> dict[str, Any] | None:
    """Return the kinds of a group version; None if it is not served."""
    if group_version not in RESOURCES and group_version not in REVIEWS:
        return None
    listed = [
        {
            "name": resource.plural,
            "singularName": resource.kind.lower(),
            "shortNames": _SHORT_NAMES.get(resource.plural, []),
            "kind": resource.kind,
            "namespaced": resource.namespaced,
            "verbs": _VERBS,
        }
        for resource in RESOURCES.get(group_version, {}).values()
    ]
    for plural, kind in REVIEWS.get(group_version, {}).items():
        listed.append(
            {
                "name": plural,
                "singularName": kind.lower(),
                "kind": kind,
                "namespaced": False,
                "verbs": ["create"],
            }
        )
    if group_version == CERTIFICATE_REQUESTS.version:
        listed.append(
            {
                "name": "certificatesigningrequests/approval",
                "singularName": "",
                "kind": CERTIFICATE_REQUESTS.kind,
                "namespaced": False,
                "verbs": ["get", "update"],
            }
        )
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": listed,
    }
