"""What there still is of a release, and what holds a namespace: pure functions over lists of metadata."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]

#: Label of all that the syncer of a vCluster makes on the host; its value is the vCluster's name.
SYNCED_BY = "vcluster.loft.sh/managed-by"
#: Conditions of a namespace that ends, which say that something is in its way.
_HOLDING = {
    "NamespaceDeletionDiscoveryFailure": "kinds that cannot be listed",
    "NamespaceDeletionGroupVersionParsingFailure": "kinds that cannot be read",
    "NamespaceDeletionContentFailure": "content that cannot be deleted",
    "NamespaceFinalizersRemaining": "",
    "NamespaceContentRemaining": "",
}
#: The finalizer that every namespace has: the one of its own end.
_OWN_FINALIZER = "kubernetes"


@dataclass(frozen=True)
class Kind:
    """A kind of objects: its name for people, and where the API server has it in a namespace."""

    name: str
    api: str
    plural: str

    def path(self, namespace: str, name: str = "") -> str:
        """The path of all of them in a namespace, or of one."""
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

#: What the chart makes, and what its syncer makes.
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
#: Beside these, what there can be in the namespace that holds it when it has to go.
IN_A_NAMESPACE = (
    *OF_A_RELEASE,
    Kind("Endpoints", _CORE, "endpoints"),
    Kind("EndpointSlice", "/apis/discovery.k8s.io/v1", "endpointslices"),
    Kind("Lease", "/apis/coordination.k8s.io/v1", "leases"),
)
#: What may be applied in a namespace: the guards, and what `wayin` makes.
APPLIED = {
    each.name: each for each in (RESOURCE_QUOTA, LIMIT_RANGE, NETWORK_POLICY, SERVICE, ROLE, ROLE_BINDING)
}


def belongs(kind: Kind, metadata: Object, release: str) -> bool:
    """Whether an object in the namespace is the release's: made by the chart, by Helm, or by the syncer."""
    labels = metadata.get("labels") or {}
    name = str(metadata.get("name", ""))
    if labels.get(SYNCED_BY) == release:
        return True
    # "vcluster", and "vcluster-etcd" of a chart that deploys its own.
    is_of_chart = str(labels.get("app", "")).startswith("vcluster")
    if is_of_chart and release in (labels.get("release"), labels.get("vcluster-name")):
        return True
    if labels.get("owner") == "helm" and labels.get("name") == release:
        return True
    if kind is SECRET:
        return name in (f"vc-{release}", f"{release}-certs", f"vc-config-{release}")
    return kind is CLAIM and re.fullmatch(rf"data-{re.escape(release)}(-etcd)?-\d+", name) is not None


def bound_from(volume: Object, namespace: str) -> bool:
    """Whether a claim in a namespace of this name has bound the PersistentVolume."""
    return bool(((volume.get("spec") or {}).get("claimRef") or {}).get("namespace") == namespace)


def named(kind: Kind, name: str) -> str:
    """An object for people; Helm's own record by what it is."""
    return "Helm release record" if name.startswith("sh.helm.release.") else f"{kind.name} {name}"


def what_holds(namespace: Object, objects: Iterable[str]) -> list[str]:
    """Why a terminating namespace is still there: its conditions, its finalizers, objects with finalizers."""
    metadata, status = namespace.get("metadata") or {}, namespace.get("status") or {}
    if not metadata.get("deletionTimestamp"):
        return []
    words = []
    for condition in status.get("conditions") or []:
        if condition.get("status") == "True" and condition.get("type") in _HOLDING:
            what = _HOLDING[condition["type"]]
            message = " ".join(str(condition.get("message", "")).split()).rstrip(".")
            words.append(": ".join(part for part in (what, message) if part))
    finalizers = [
        *(metadata.get("finalizers") or []),
        *((namespace.get("spec") or {}).get("finalizers") or []),
    ]
    words += [f"finalizer {each}" for each in finalizers if each != _OWN_FINALIZER]
    return [*words, *objects]
