"""What a chart needs on a host, and which of it a role does not hold: pure functions.

To give a vCluster its Role, one must hold every right in it; to install its chart, one must be able to make,
read and delete its objects. Helm finds out one by one, in the middle of an install.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

Object = Mapping[str, Any]

#: What Helm does with each object of a release.
_OF_HELM = ("create", "get", "delete")
_RBAC = "rbac.authorization.k8s.io"
#: Kinds that belong to the whole cluster. Our account makes none: no policy would keep it to our own.
_CLUSTER_WIDE = frozenset(
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
#: Which values of the vCluster chart ask for what, for people who write templates.
_ASKED_BY = {
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


#: Resources of a ClusterRole that are named in one sentence.
_MAX_NAMED = 4


@dataclass(frozen=True)
class Need:
    """Verbs on a resource in the namespace of the release."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """The resource, as kubectl takes it."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


def lacking(rendered: Mapping[str, str], held: Sequence[Object], namespace: str) -> list[str]:
    """What a rendered chart needs and these rules do not give, a few words each; empty if nothing."""
    objects = list(_objects(rendered))
    words = {}
    for each in objects:
        kind, name = str(each.get("kind")), str(each["metadata"].get("name"))
        elsewhere = each["metadata"].get("namespace") not in (None, "", namespace)
        if kind == "ClusterRoleBinding":
            continue  # to a ClusterRole, which is told
        if kind in _CLUSTER_WIDE or elsewhere:
            where = "in another namespace" if elsewhere else "for the whole cluster"
            words[f"{kind} {where}"] = f"make {kind} {name} {where}{_for(each)}"
    for need in needs(each for each in objects if str(each.get("kind")) not in _CLUSTER_WIDE):
        if missing := [verb for verb in need.verbs if not _is_held(need, verb, held)]:
            asked = _ASKED_BY.get((need.group, need.resource))
            words[need.what] = f"{', '.join(missing)} {need.what}{f' ({asked})' if asked else ''}"
    return list(words.values())


def needs(objects: Iterable[Object]) -> Iterator[Need]:
    """What is needed to make these objects of a namespace, the rights in their Roles included."""
    for each in objects:
        group, _, _ = str(each.get("apiVersion", "")).rpartition("/")
        yield Need(group, _plural(str(each["kind"])), _OF_HELM)
        if each["kind"] == "Role":
            yield from _of_rules(each.get("rules") or [])


def _of_rules(rules: Iterable[Object]) -> Iterator[Need]:
    for rule in rules:
        for group in rule.get("apiGroups") or []:
            for resource in rule.get("resources") or []:
                verbs, names = tuple(rule.get("verbs") or ()), tuple(rule.get("resourceNames") or ())
                yield Need(group, resource, verbs, names)


def _is_held(need: Need, verb: str, held: Iterable[Object]) -> bool:
    """Whether one rule gives the verb on the resource, as Kubernetes' check of escalations sees it."""
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


def _for(each: Object) -> str:
    """For which resources a ClusterRole is, and which values ask for that."""
    found = list(
        {
            _ASKED_BY.get((need.group, need.resource), need.what): None
            for need in _of_rules(each.get("rules") or [])
            # Seen together with the nodes that they run on.
            if (need.group, need.resource) not in (("", "pods"), ("", "nodes/status"))
        }
    )
    more = ["…"] if len(found) > _MAX_NAMED else []
    return f" ({', '.join([*found[:_MAX_NAMED], *more])})" if found else ""


def _objects(rendered: Mapping[str, str]) -> Iterator[Object]:
    for text in rendered.values():
        for document in yaml.safe_load_all(text):
            if isinstance(document, dict) and document.get("kind") and document.get("metadata"):
                yield document


def _plural(kind: str) -> str:
    """The resource of a kind, by the rule that all kinds of Kubernetes' own follow."""
    word = kind.lower()
    if word.endswith("y"):
        return f"{word[:-1]}ies"
    return word if word.endswith("endpoints") else f"{word}es" if word.endswith("s") else f"{word}s"
