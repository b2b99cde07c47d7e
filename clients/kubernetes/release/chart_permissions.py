"""The permissions that a chart needs on a host, and those that a role lacks: pure functions.

To grant a vCluster its Role, our account must have every right in it; to install its chart, it must be able
to create, read and delete its objects. Helm would find the missing permissions one after the other, in the
middle of an install.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clients.safe_yaml import read_all_yaml

Object = Mapping[str, Any]

#: Verbs that Helm uses on each object of a release.
_HELM_VERBS = ("create", "get", "delete")
_RBAC = "rbac.authorization.k8s.io"
#: Cluster-scoped kinds. Our account creates none, because no policy could restrict it to our own objects.
_CLUSTER_SCOPED = frozenset(
    {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "MutatingWebhookConfiguration",
        "Namespace",
        "PersistentVolume",
        "PriorityClass",
        "StorageClass",
        "ValidatingWebhookConfiguration",
    }
)
#: Which values of the vCluster chart need which resources, for authors of templates.
_REQUESTED_BY = {
    ("networking.k8s.io", "ingresses"): "sync.toHost.ingresses or controlPlane.ingress",
    ("networking.k8s.io", "networkpolicies"): "sync.toHost.networkPolicies",
    ("policy", "poddisruptionbudgets"): "sync.toHost.podDisruptionBudgets",
    ("", "serviceaccounts"): "sync.toHost.serviceAccounts",
    ("metrics.k8s.io", "pods"): "integrations.metricsServer",
    ("metrics.k8s.io", "nodes"): "integrations.metricsServer with nodes",
    ("scheduling.k8s.io", "priorityclasses"): "sync.toHost.priorityClasses",
    ("storage.k8s.io", "storageclasses"): "sync.toHost.storageClasses",
    ("", "persistentvolumes"): "sync.toHost.persistentVolumes",
    ("", "nodes"): "sync.fromHost.nodes",
    ("", "namespaces"): "sync.toHost.namespaces",
}


#: Maximum number of a ClusterRole's resources that are named in one sentence.
_MAX_NAMED = 4


@dataclass(frozen=True)
class RequiredPermission:
    """Verbs on a resource in the namespace of the release."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the resource in kubectl's notation."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


def missing_chart_permissions(
    rendered: Mapping[str, str], held: Sequence[Object], namespace: str
) -> list[str]:
    """Return the permissions that a rendered chart needs and these rules lack, in words."""
    objects = list(_objects(rendered))
    missing_by_name = {}
    for each in objects:
        kind, name = str(each.get("kind")), str(each["metadata"].get("name"))
        elsewhere = each["metadata"].get("namespace") not in (None, "", namespace)
        if kind == "ClusterRoleBinding":
            # Skip the binding, because its ClusterRole is reported.
            continue
        if kind in _CLUSTER_SCOPED or elsewhere:
            where = "in another namespace" if elsewhere else "for the whole cluster"
            missing_by_name[f"{kind} {where}"] = f"make {kind} {name} {where}{_purpose(each)}"
    for need in required_permissions(
        each for each in objects if str(each.get("kind")) not in _CLUSTER_SCOPED
    ):
        if missing := [verb for verb in need.verbs if not _is_held(need, verb, held)]:
            values = _REQUESTED_BY.get((need.group, need.resource))
            missing_by_name[need.name] = f"{', '.join(missing)} {need.name}{f' ({values})' if values else ''}"
    return list(missing_by_name.values())


def required_permissions(objects: Iterable[Object]) -> Iterator[RequiredPermission]:
    """Return the permissions needed to create these objects, including the permissions in their Roles."""
    for each in objects:
        group, _, _ = str(each.get("apiVersion", "")).rpartition("/")
        yield RequiredPermission(group, _plural(str(each["kind"])), _HELM_VERBS)
        if each["kind"] == "Role":
            yield from _rule_permissions(each.get("rules") or [])


def _rule_permissions(rules: Iterable[Object]) -> Iterator[RequiredPermission]:
    for rule in rules:
        for group in rule.get("apiGroups") or []:
            for resource in rule.get("resources") or []:
                verbs, names = tuple(rule.get("verbs") or ()), tuple(rule.get("resourceNames") or ())
                yield RequiredPermission(group, resource, verbs, names)


def _is_held(need: RequiredPermission, verb: str, held: Iterable[Object]) -> bool:
    """Return whether one rule grants the verb, as in Kubernetes' check for privilege escalation."""
    return any(
        {verb, "*"} & set(rule.get("verbs") or [])
        and {need.group, "*"} & set(rule.get("apiGroups") or [])
        and {need.resource, "*"} & set(rule.get("resources") or [])
        and (
            not rule.get("resourceNames")
            or (need.names and set(need.names) <= set(rule.get("resourceNames") or []))
        )
        for rule in held
    )


def _purpose(each: Object) -> str:
    """Return which resources a ClusterRole is for, and which values need it."""
    found = list(
        {
            _REQUESTED_BY.get((need.group, need.resource), need.name): None
            for need in _rule_permissions(each.get("rules") or [])
            # Skip these resources, because the chart needs them together with the nodes that they belong
            # to.
            if (need.group, need.resource) not in (("", "pods"), ("", "nodes/status"))
        }
    )
    more = ["…"] if len(found) > _MAX_NAMED else []
    return f" ({', '.join([*found[:_MAX_NAMED], *more])})" if found else ""


def _objects(rendered: Mapping[str, str]) -> Iterator[Object]:
    for text in rendered.values():
        for document in read_all_yaml(text):
            if isinstance(document, dict) and document.get("kind") and document.get("metadata"):
                yield document


def _plural(kind: str) -> str:
    """Return the resource name of a kind, by the rule that all of Kubernetes' own kinds follow."""
    word = kind.lower()
    if word.endswith("y"):
        return f"{word[:-1]}ies"
    return word if word.endswith("endpoints") else f"{word}es" if word.endswith("s") else f"{word}s"
