"""The objects that every Kubernetes cluster starts with: namespaces, and the default roles.

Source of the roles: "Default roles and role bindings" in the RBAC reference of Kubernetes. Of the roles for
people only what the simulated API servers serve is listed.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from embedded.host.virtual.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, NAMESPACES, Resource

RBAC_GROUP = "rbac.authorization.k8s.io"
#: Namespaces that every Kubernetes cluster starts with.
BUILT_IN_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")

_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]
_WORKLOADS: list[tuple[str, list[str]]] = [
    ("", ["configmaps", "endpoints", "persistentvolumeclaims", "pods", "serviceaccounts", "services"]),
    ("apps", ["daemonsets", "deployments", "replicasets", "statefulsets"]),
    ("batch", ["cronjobs", "jobs"]),
    ("networking.k8s.io", ["ingresses", "networkpolicies"]),
    ("policy", ["poddisruptionbudgets"]),
]


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}


_VIEW = [
    *(_rule(group, resources, _READ) for group, resources in _WORKLOADS),
    _rule("", ["events", "limitranges", "namespaces", "pods/log", "resourcequotas"], _READ),
]
_EDIT = [
    *_VIEW,
    *(_rule(group, resources, _WRITE) for group, resources in _WORKLOADS),
    _rule("", ["secrets"], [*_READ, *_WRITE]),
    _rule("", ["pods/attach", "pods/exec", "pods/portforward", "pods/proxy"], [*_READ, *_WRITE]),
]
_ADMIN = [*_EDIT, _rule(RBAC_GROUP, ["rolebindings", "roles"], [*_READ, *_WRITE])]
_EVERYTHING = [
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
]
_BASIC_USER = [
    _rule("authorization.k8s.io", ["selfsubjectaccessreviews"], ["create"]),
    _rule("authentication.k8s.io", ["selfsubjectreviews"], ["create"]),
]
_CLUSTER_ROLES = {
    "admin": _ADMIN,
    "cluster-admin": _EVERYTHING,
    "edit": _EDIT,
    "system:basic-user": _BASIC_USER,
    "view": _VIEW,
}
_BINDINGS = {"cluster-admin": "system:masters", "system:basic-user": "system:authenticated"}


def _object(resource: Resource, name: str, **content: Any) -> dict[str, Any]:
    return {
        "apiVersion": resource.version,
        "kind": resource.kind,
        "metadata": {"name": name, "uid": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), "resourceVersion": "1"},
        **content,
    }


_OBJECTS: dict[Resource, dict[str, dict[str, Any]]] = {
    NAMESPACES: {name: _object(NAMESPACES, name, status={"phase": "Active"}) for name in BUILT_IN_NAMESPACES},
    CLUSTER_ROLES: {
        name: _object(CLUSTER_ROLES, name, rules=rules) for name, rules in _CLUSTER_ROLES.items()
    },
    CLUSTER_ROLE_BINDINGS: {
        name: _object(
            CLUSTER_ROLE_BINDINGS,
            name,
            roleRef={"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": name},
            subjects=[{"apiGroup": RBAC_GROUP, "kind": "Group", "name": group}],
        )
        for name, group in _BINDINGS.items()
    },
}


def built_in_objects(resource: Resource) -> dict[str, dict[str, Any]]:
    """Return the built-in objects of the kind by name."""
    return _OBJECTS.get(resource, {})
