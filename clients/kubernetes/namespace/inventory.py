"""The objects of a release, and what blocks a namespace: pure functions over metadata."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]

#: Label of all objects that a vCluster's syncer creates on the host; its value is the vCluster's name.
SYNCED_BY = "vcluster.loft.sh/managed-by"
#: Conditions of a terminating namespace that report a blocker, with our words for them.
_BLOCKING_CONDITIONS = {
    "NamespaceDeletionDiscoveryFailure": "kinds that cannot be listed",
    "NamespaceDeletionGroupVersionParsingFailure": "kinds that cannot be read",
    "NamespaceDeletionContentFailure": "content that cannot be deleted",
    "NamespaceFinalizersRemaining": "",
    "NamespaceContentRemaining": "",
}
#: The finalizer that every namespace has for its own deletion.
_OWN_FINALIZER = "kubernetes"


@dataclass(frozen=True)
class Kind:
    """A kind of objects: its name in messages, and its path on the API server."""

    name: str
    api: str
    plural: str

    def path(self, namespace: str, name: str = "") -> str:
        """Return the path of all objects in a namespace, or of one object."""
        return f"{self.api}/namespaces/{namespace}/{self.plural}{f'/{name}' if name else ''}"


_CORE, _APPS, _RBAC, _NETWORK = (
    "/api/v1",
    "/apis/apps/v1",
    "/apis/rbac.authorization.k8s.io/v1",
    "/apis/networking.k8s.io/v1",
)

POD = Kind("Pod", _CORE, "pods")
SECRET = Kind("Secret", _CORE, "secrets")
SERVICE = Kind("Service", _CORE, "services")
CLAIM = Kind("PersistentVolumeClaim", _CORE, "persistentvolumeclaims")
EVENT = Kind("Event", _CORE, "events")
STATEFUL_SET = Kind("StatefulSet", _APPS, "statefulsets")
DEPLOYMENT = Kind("Deployment", _APPS, "deployments")
ROLE = Kind("Role", _RBAC, "roles")
ROLE_BINDING = Kind("RoleBinding", _RBAC, "rolebindings")
RESOURCE_QUOTA = Kind("ResourceQuota", _CORE, "resourcequotas")
LIMIT_RANGE = Kind("LimitRange", _CORE, "limitranges")
NETWORK_POLICY = Kind("NetworkPolicy", _NETWORK, "networkpolicies")

#: Kinds that the chart and its syncer create.
OF_A_RELEASE = (
    STATEFUL_SET,
    DEPLOYMENT,
    POD,
    SERVICE,
    SECRET,
    CLAIM,
    Kind("ConfigMap", _CORE, "configmaps"),
    Kind("ServiceAccount", _CORE, "serviceaccounts"),
    ROLE,
    ROLE_BINDING,
)
#: These kinds, and the others that can block the deletion of the namespace.
IN_A_NAMESPACE = (
    *OF_A_RELEASE,
    Kind("Endpoints", _CORE, "endpoints"),
    Kind("EndpointSlice", "/apis/discovery.k8s.io/v1", "endpointslices"),
    Kind("Lease", "/apis/coordination.k8s.io/v1", "leases"),
)
#: Kinds that may be applied in a namespace: the guards, and the objects of `exposure`.
APPLIED = {
    each.name: each for each in (RESOURCE_QUOTA, LIMIT_RANGE, NETWORK_POLICY, SERVICE, ROLE, ROLE_BINDING)
}


def belongs_to_release(kind: Kind, metadata: Object, release: str) -> bool:
    """Return whether an object belongs to the release: created by the chart, Helm or the syncer."""
    labels = metadata.get("labels") or {}
    name = str(metadata.get("name", ""))
    if labels.get(SYNCED_BY) == release:
        return True
    # The label is "vcluster", or "vcluster-etcd" if the chart deploys its own etcd.
    is_of_chart = str(labels.get("app", "")).startswith("vcluster")
    if is_of_chart and release in (labels.get("release"), labels.get("vcluster-name")):
        return True
    if labels.get("owner") == "helm" and labels.get("name") == release:
        return True
    if kind is SECRET:
        return name in (f"vc-{release}", f"{release}-certs", f"vc-config-{release}")
    return kind is CLAIM and re.fullmatch(rf"data-{re.escape(release)}(-etcd)?-\d+", name) is not None


def is_bound_from(volume: Object, namespace: str) -> bool:
    """Return whether a claim in a namespace of this name has bound the PersistentVolume."""
    return bool(((volume.get("spec") or {}).get("claimRef") or {}).get("namespace") == namespace)


def display_name(kind: Kind, name: str) -> str:
    """Return the name of an object in messages; Helm's own record gets a description."""
    return "Helm release record" if name.startswith("sh.helm.release.") else f"{kind.name} {name}"


def describe_blockers(namespace: Object, objects: Iterable[str]) -> list[str]:
    """Return what blocks a terminating namespace: conditions, finalizers, objects with them."""
    metadata, status = namespace.get("metadata") or {}, namespace.get("status") or {}
    if not metadata.get("deletionTimestamp"):
        return []
    words = []
    for condition in status.get("conditions") or []:
        if condition.get("status") == "True" and condition.get("type") in _BLOCKING_CONDITIONS:
            what = _BLOCKING_CONDITIONS[condition["type"]]
            message = " ".join(str(condition.get("message", "")).split()).rstrip(".")
            words.append(": ".join(part for part in (what, message) if part))
    finalizers = [
        *(metadata.get("finalizers") or []),
        *((namespace.get("spec") or {}).get("finalizers") or []),
    ]
    words += [f"finalizer {each}" for each in finalizers if each != _OWN_FINALIZER]
    return [*words, *objects]
