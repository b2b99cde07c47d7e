"""The account with which Moorage calls a host, and the role bindings for it."""

from collections.abc import Mapping
from typing import Any

from clients.kubernetes.api.client import KubernetesApi

#: The role of our account in the namespace of an environment: see deploy/rbac.yaml.
ENVIRONMENT_ROLE = "moorage-environment"
_SELF_REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_RBAC_GROUP = "rbac.authorization.k8s.io"
RBAC_VERSION = f"{_RBAC_GROUP}/v1"

Object = dict[str, Any]


class Account:
    """Our account on one host, read once from its API server."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self._subject: Mapping[str, Any] | None = None

    async def subject(self) -> Mapping[str, Any]:
        """Return our account as the subject of a role binding."""
        if self._subject is None:
            body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
            answer = await self._api.call("POST", _SELF_REVIEWS, "read our account", body=body)
            user = str(((answer.get("status") or {}).get("userInfo") or {}).get("username", ""))
            parts = user.split(":")
            self._subject = (
                {"kind": "ServiceAccount", "namespace": parts[2], "name": parts[3]}
                if user.startswith("system:serviceaccount:") and len(parts) == 4
                else {"kind": "User", "name": user}
            )
        return self._subject


def environment_role_binding(subject: Mapping[str, Any]) -> Object:
    """Return the binding that gives our account, `subject`, its permissions in a namespace."""
    return role_binding(ENVIRONMENT_ROLE, "ClusterRole", ENVIRONMENT_ROLE, dict(subject))


def role_binding(name: str, kind: str, role: str, subject: Object) -> Object:
    """Return the binding of a Role or ClusterRole (`kind`) to the subject."""
    if subject.get("kind") in ("User", "Group"):
        subject["apiGroup"] = _RBAC_GROUP
    return {
        "apiVersion": RBAC_VERSION,
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _RBAC_GROUP, "kind": kind, "name": role},
        "subjects": [subject],
    }
