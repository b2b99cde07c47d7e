"""Rights inside the simulated vClusters: role-based access control as an API server evaluates it.

Source: "Using RBAC Authorization" in the reference of Kubernetes, with its rules on privilege escalation.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from embedded.host.virtual.built_in import RBAC_GROUP
from embedded.host.virtual.errors import forbidden, invalid, not_found
from embedded.host.virtual.objects import VirtualObjects, Where
from embedded.host.virtual.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    ROLES,
    Resource,
)

#: Members of it may do everything, whatever the roles say.
MASTERS = "system:masters"
_BINDINGS = (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS)
_SUBJECT_KINDS = ("User", "Group", "ServiceAccount")

Rule = Mapping[str, Any]


@dataclass(frozen=True)
class User:
    """A caller of an API server, as its credentials name them."""

    name: str
    groups: tuple[str, ...]
    extra: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Access:
    """What a caller wants to do. `resource` has its subresource, as in `pods/log`."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


class Rights:
    """Answers who may do what, from the roles and bindings of a vCluster at that moment."""

    def __init__(self, objects: VirtualObjects) -> None:
        self._objects = objects

    def allows(self, where: Where, user: User, access: Access) -> bool:
        """Return whether the user may."""
        if MASTERS in user.groups:
            return True
        return any(_covers(rule, access) for rule in self._rules(where, user, access.namespace))

    def require(self, where: Where, user: User, access: Access) -> None:
        """Raise ApiError 403 with the words of an API server if the user may not."""
        if self.allows(where, user, access):
            return
        scope = f'in the namespace "{access.namespace}"' if access.namespace else "at the cluster scope"
        resource = access.resource.partition("/")[0]
        raise forbidden(
            f"{resource}.{access.group}" if access.group else resource,
            access.name,
            f'User "{user.name}" cannot {access.verb} resource "{access.resource}" in API group'
            f' "{access.group}" {scope}',
        )

    def check_write(
        self,
        where: Where,
        user: User,
        resource: Resource,
        namespace: str,
        given: Mapping[str, Any],
        before: Mapping[str, Any] | None,
    ) -> None:
        """Refuse roles and bindings that break a rule or give more than the user has.

        `before` is the object that is changed; None for a new one.

        Raises:
            ApiError: as an API server refuses them.
        """
        name = given["metadata"].get("name", "")
        if resource in (ROLES, CLUSTER_ROLES):
            rules, verb, owner = given.get("rules") or [], "escalate", resource
        elif resource in _BINDINGS:
            self._check_binding(resource, given, before)
            if MASTERS in user.groups:
                return
            reference = given["roleRef"]
            owner = CLUSTER_ROLES if reference["kind"] == "ClusterRole" else ROLES
            role = self._role(where, reference, namespace)
            if role is None:
                raise not_found(owner.qualified, reference["name"])
            rules, verb, name = role.get("rules") or [], "bind", reference["name"]
        else:
            return
        if self.allows(where, user, Access(verb, RBAC_GROUP, owner.plural, namespace, name)):
            return
        if not all(self.allows(where, user, each) for rule in rules for each in _accesses(rule, namespace)):
            why = f'user "{user.name}" is attempting to grant RBAC permissions not currently held'
            raise forbidden(resource.qualified, str(given["metadata"].get("name", "")), why)

    @staticmethod
    def _check_binding(
        resource: Resource, given: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> None:
        name = given["metadata"].get("name", "")
        reference = given.get("roleRef") or {}
        kinds = ("ClusterRole",) if resource == CLUSTER_ROLE_BINDINGS else ("Role", "ClusterRole")
        if reference.get("apiGroup", RBAC_GROUP) != RBAC_GROUP:
            raise invalid(resource.qualified_kind, name, "roleRef.apiGroup: Unsupported value")
        if reference.get("kind") not in kinds:
            raise invalid(resource.qualified_kind, name, "roleRef.kind: Unsupported value")
        if not reference.get("name"):
            raise invalid(resource.qualified_kind, name, "roleRef.name: Required value")
        for index, subject in enumerate(given.get("subjects") or []):
            at = f"subjects[{index}]"
            if subject.get("kind") not in _SUBJECT_KINDS:
                raise invalid(resource.qualified_kind, name, f"{at}.kind: Unsupported value")
            if not subject.get("name"):
                raise invalid(resource.qualified_kind, name, f"{at}.name: Required value")
            is_account = subject["kind"] == "ServiceAccount"
            if is_account and not subject.get("namespace"):
                raise invalid(resource.qualified_kind, name, f"{at}.namespace: Required value")
            if subject.get("apiGroup", "") not in ("", "" if is_account else RBAC_GROUP):
                raise invalid(resource.qualified_kind, name, f"{at}.apiGroup: Unsupported value")
        if before and _reference(before["roleRef"]) != _reference(reference):
            why = f"roleRef: Invalid value: {_reference(reference)}: cannot change roleRef"
            raise invalid(resource.qualified_kind, name, why)

    def _rules(self, where: Where, user: User, namespace: str) -> Iterator[Rule]:
        bindings = self._objects.list(where, CLUSTER_ROLE_BINDINGS)
        if namespace:
            bindings = bindings + self._objects.list(where, ROLE_BINDINGS, namespace)
        for binding in bindings:
            inside = binding["metadata"].get("namespace", "")
            if any(_is_subject(subject, user, inside) for subject in binding.get("subjects") or []):
                role = self._role(where, binding["roleRef"], inside)
                yield from (role or {}).get("rules") or []

    def _role(self, where: Where, reference: Mapping[str, Any], namespace: str) -> dict[str, Any] | None:
        if reference["kind"] == "ClusterRole":
            return self._objects.get(where, CLUSTER_ROLES, "", reference["name"])
        return self._objects.get(where, ROLES, namespace, reference["name"])


def with_defaults(resource: Resource, given: dict[str, Any]) -> dict[str, Any]:
    """Return a binding with the API groups that an API server fills in; other objects unchanged."""
    if resource not in _BINDINGS:
        return given
    subjects = [
        subject if subject.get("kind") == "ServiceAccount" else {"apiGroup": RBAC_GROUP, **subject}
        for subject in given.get("subjects") or []
    ]
    return {
        **given,
        "roleRef": {"apiGroup": RBAC_GROUP, **(given.get("roleRef") or {})},
        "subjects": subjects,
    }


def _reference(role: Mapping[str, Any]) -> tuple[str, str, str]:
    return (role.get("apiGroup", RBAC_GROUP), role.get("kind", ""), role.get("name", ""))


def _is_subject(subject: Mapping[str, Any], user: User, namespace: str) -> bool:
    match subject.get("kind"):
        case "User":
            return subject.get("name") == user.name
        case "Group":
            return subject.get("name") in user.groups
        case "ServiceAccount":
            inside = subject.get("namespace") or namespace
            return user.name == f"system:serviceaccount:{inside}:{subject.get('name')}"
    return False


def _covers(rule: Rule, access: Access) -> bool:
    subresource = access.resource.partition("/")[2]
    wanted = ["*", access.resource, *([f"*/{subresource}"] if subresource else [])]
    names = rule.get("resourceNames") or []
    return (
        _any(rule.get("verbs"), ["*", access.verb])
        and _any(rule.get("apiGroups"), ["*", access.group])
        and _any(rule.get("resources"), wanted)
        and (not names or access.name in names)
    )


def _any(listed: Iterable[str] | None, wanted: Iterable[str]) -> bool:
    return not set(listed or []).isdisjoint(wanted)


def _accesses(rule: Rule, namespace: str) -> Iterator[Access]:
    """Split a rule into all accesses that it allows; a wildcard stays one."""
    names = rule.get("resourceNames") or [""]
    for group, resource, verb, name in product(
        rule.get("apiGroups") or [], rule.get("resources") or [], rule.get("verbs") or [], names
    ):
        yield Access(verb, group, resource, namespace, name)
