"""Objects inside the simulated vClusters: kept with the volume of each, and never run."""

import json
import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from embedded.rafay.bootstrap_manifest import NAMESPACE, AgentIdentity, agent_identity

#: Namespaces that every Kubernetes cluster starts with.
BUILT_IN_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")

#: Kinds that are served, by group version; a star marks those without a namespace. They are what bootstrap
#: manifests and people with kubectl commonly need.
_KINDS = {
    "v1": "ConfigMap Endpoints Event LimitRange Namespace* Node* PersistentVolume* PersistentVolumeClaim Pod"
    " ResourceQuota Secret Service ServiceAccount",
    "apps/v1": "DaemonSet Deployment ReplicaSet StatefulSet",
    "batch/v1": "CronJob Job",
    "rbac.authorization.k8s.io/v1": "ClusterRole* ClusterRoleBinding* Role RoleBinding",
    "networking.k8s.io/v1": "Ingress IngressClass* NetworkPolicy",
    "policy/v1": "PodDisruptionBudget",
    "scheduling.k8s.io/v1": "PriorityClass*",
    "storage.k8s.io/v1": "StorageClass*",
    "coordination.k8s.io/v1": "Lease",
    "apiextensions.k8s.io/v1": "CustomResourceDefinition*",
    "admissionregistration.k8s.io/v1": "MutatingWebhookConfiguration* ValidatingWebhookConfiguration*",
}


@dataclass(frozen=True)
class Resource:
    """A kind of objects as the API server serves it."""

    version: str
    kind: str
    plural: str
    namespaced: bool


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


class VirtualObjects:
    """The objects inside of all vClusters, each addressed by namespace and release on the host."""

    def __init__(self, rows: sqlite3.Connection) -> None:
        self._rows = rows

    def apply(
        self, where: tuple[str, str], resource: Resource, namespace: str, name: str, given: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Make the object be there as given and return it; None if its namespace is not there."""
        if resource.namespaced and not self._has_namespace(where, namespace):
            return None
        before = self.get(where, resource, namespace, name) or {"metadata": {}}
        metadata = {
            "uid": str(uuid.uuid4()),
            "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            **before["metadata"],
            **given["metadata"],
            "name": name,
            **({"namespace": namespace} if resource.namespaced else {}),
        }
        document = {**given, "apiVersion": resource.version, "kind": resource.kind, "metadata": metadata}
        with self._rows:
            self._rows.execute(
                "INSERT OR REPLACE INTO virtual_objects VALUES (?, ?, ?, ?, ?, ?)",
                (*where, _key(resource), namespace, name, json.dumps(document)),
            )
        return document

    def get(
        self, where: tuple[str, str], resource: Resource, namespace: str, name: str
    ) -> dict[str, Any] | None:
        """The object, or None."""
        row = self._rows.execute(
            "SELECT document FROM virtual_objects WHERE namespace = ? AND release = ? AND resource = ?"
            " AND inner_namespace = ? AND name = ?",
            (*where, _key(resource), namespace, name),
        ).fetchone()
        if row:
            return _document(row)
        if resource.kind == "Namespace" and name in BUILT_IN_NAMESPACES:
            return _built_in_namespace(name)
        return None

    def list(
        self, where: tuple[str, str], resource: Resource, namespace: str | None = None
    ) -> list[dict[str, Any]]:
        """All objects of the kind, of one namespace or of all."""
        rows = self._rows.execute(
            "SELECT document FROM virtual_objects WHERE namespace = ? AND release = ? AND resource = ?"
            " AND (? IS NULL OR inner_namespace = ?) ORDER BY inner_namespace, name",
            (*where, _key(resource), namespace, namespace),
        )
        found = [_document(row) for row in rows]
        if resource.kind == "Namespace":
            names = {each["metadata"]["name"] for each in found}
            found += [_built_in_namespace(name) for name in BUILT_IN_NAMESPACES if name not in names]
            found.sort(key=lambda each: str(each["metadata"]["name"]))
        return found

    def agent(self, where: tuple[str, str]) -> AgentIdentity | None:
        """The agent that a bootstrap manifest brought, once its Secret and what would run it are there."""
        try:
            identity = agent_identity(self.list(where, RESOURCES["v1"]["secrets"]))
        except (KeyError, ValueError):
            return None  # a Secret of that name which is none of the manifest's
        deployed = self.list(where, RESOURCES["apps/v1"]["deployments"], NAMESPACE)
        return identity if deployed else None

    def _has_namespace(self, where: tuple[str, str], namespace: str) -> bool:
        return self.get(where, RESOURCES["v1"]["namespaces"], "", namespace) is not None


def _key(resource: Resource) -> str:
    return f"{resource.version}/{resource.plural}"


def _document(row: sqlite3.Row) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(row["document"])
    return document


def _built_in_namespace(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "uid": str(uuid.uuid5(uuid.NAMESPACE_DNS, name))},
        "status": {"phase": "Active"},
    }
