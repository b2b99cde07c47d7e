"""The bootstrap manifest: the owner of a cluster applies it inside, so that its agent registers.

The stand-in writes it, the simulated host reads it.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from clients.safe_yaml import write_yaml

NAMESPACE = "rafay-system"
AGENT = "rafay-agent"
#: The Secret with the `endpoint`, `cluster_id` and `token` of the agent.
SECRET = "moorage-agent"  # noqa: S105 - a name
_IDENTITY_KEYS = ("endpoint", "cluster_id", "token")


@dataclass(frozen=True)
class AgentIdentity:
    """The endpoint to which an agent reports, its cluster, and its token."""

    endpoint: str
    cluster_id: str
    token: str = field(repr=False)


def bootstrap_manifest(identity: AgentIdentity, image: str) -> str:
    """Return the manifest as YAML, several documents; its Secret has the token."""
    text = _template(image)
    for key in _IDENTITY_KEYS:
        # JSON's way to write a string is one of YAML's.
        text = text.replace(_placeholder(key), json.dumps(getattr(identity, key)))
    return text


def _placeholder(key: str) -> str:
    return f"<the {key}>"


@cache
def _template(image: str) -> str:
    # Dumping takes most of the time of a call, and only the Secret differs from cluster to cluster.
    return "".join(f"---\n{write_yaml(document)}" for document in _documents(image))


def agent_identity(documents: Iterable[Mapping[str, Any] | None]) -> AgentIdentity | None:
    """Return the identity in the documents of an applied manifest; None without an agent's Secret.

    Raises:
        KeyError: the Secret of an agent lacks one of its keys.
    """
    for document in documents:
        if not document or document.get("kind") != "Secret":
            continue
        if document.get("metadata", {}).get("name") != SECRET:
            continue
        data = {name: base64.b64decode(value).decode() for name, value in document.get("data", {}).items()}
        data |= document.get("stringData", {})
        return AgentIdentity(data["endpoint"], data["cluster_id"], data["token"])
    return None


def _documents(image: str) -> list[dict[str, Any]]:
    labels = {"app": AGENT}
    in_namespace = {"name": AGENT, "namespace": NAMESPACE, "labels": labels}
    environment = [
        {
            "name": f"RAFAY_{key.upper()}",
            "valueFrom": {"secretKeyRef": {"name": SECRET, "key": key}},
        }
        for key in _IDENTITY_KEYS
    ]
    container = {
        "name": "agent",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": environment,
        "resources": {
            "requests": {"cpu": "10m", "memory": "64Mi"},
            "limits": {"cpu": "200m", "memory": "128Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": in_namespace},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": AGENT, "labels": labels},
            # The agent only reads the version of its cluster.
            "rules": [{"nonResourceURLs": ["/version"], "verbs": ["get"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": AGENT, "labels": labels},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": AGENT},
            "subjects": [{"kind": "ServiceAccount", "name": AGENT, "namespace": NAMESPACE}],
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": NAMESPACE, "labels": labels},
            "type": "Opaque",
            "stringData": {key: _placeholder(key) for key in _IDENTITY_KEYS},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": in_namespace,
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"serviceAccountName": AGENT, "containers": [container]},
                },
            },
        },
    ]
