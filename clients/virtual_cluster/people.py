"""The rights of people inside a vCluster: one ClusterRoleBinding per person, which bears our labels.

Every certificate of a person has the person's address as its user name, but no rights itself, so the
removal of the rights ends the use of all of them at once.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from clients.errors import AlreadyExists, ClientError, MalformedAnswer, NotFound, NotYet
from clients.transport.http import HttpSystem

#: What a person may do inside: everything, because the vCluster is theirs. Charts that they install there
#: define kinds, roles and admission webhooks.
PERSON_ROLE = "cluster-admin"
_GROUP = "rbac.authorization.k8s.io"
_RBAC = f"/apis/{_GROUP}/v1"
_CLUSTER_BINDINGS = f"{_RBAC}/clusterrolebindings"
#: Objects in one page of a list: at some 2 kB each, far below the largest answer that we accept.
PAGE_SIZE = 500
#: More bindings fill an API server. Tenants can put a server of theirs in the place of this part of it.
MAX_PAGES = 1000
#: Attempts against other writers of the same binding: callers of the same person, and tenants.
ATTEMPTS = 5


#: Bindings with this prefix are Moorage's: one with other content is replaced.
NAME_PREFIX = "moorage-person-"


def binding_name(person: str) -> str:
    """Return the name of the person's binding; an address itself can have characters that no name may."""
    return f"{NAME_PREFIX}{hashlib.sha256(person.encode()).hexdigest()[:20]}"


class PeopleRights:
    """Gives people their rights and takes them away."""

    def __init__(self, http: HttpSystem) -> None:
        self._http = http

    async def ensure(self, person: str, labels: Mapping[str, str]) -> bool:
        """Give the person `PERSON_ROLE`, by a binding with these labels; return whether that was missing.

        A tenant can make or change a binding of that name, which can be computed from the person's address.
        It is replaced, whatever it is, so that a tenant can lock no collaborator out.

        Raises:
            NotYet: other writers are always faster.
        """
        name, operation = binding_name(person), f"give {person} access"
        wanted = _binding(name, person, labels)
        for _ in range(ATTEMPTS):
            try:
                found = await self._read(f"{_CLUSTER_BINDINGS}/{name}", operation)
            except NotFound:
                with suppress(AlreadyExists):
                    await self._http.call("POST", _CLUSTER_BINDINGS, operation, body=wanted)
                    return True
                continue
            if _has_labels(found, labels) and _gives_role(found, person):
                return False
            # The role of a binding is immutable, so make a new one.
            with suppress(AlreadyExists):
                await self._delete(found, operation)
        raise self._contended(operation)

    async def remove(self, person: str) -> list[str]:
        """Take the person out of every binding in the vCluster; return these bindings as `Kind name`.

        Bindings that the person has made for themselves end as well: of a binding that also names others,
        only the person's subject is removed. Finalizers do not delay it, because a binding gives its role
        until it has really gone. Until then the person can make more, so it looks until it finds none.

        Raises:
            NotYet: there are always new ones.
            ClientError: a binding cannot be changed, as a webhook in the vCluster can arrange it; all others
                were changed before.
        """
        operation, changed = f"take access from {person}", list[str]()
        for _ in range(ATTEMPTS):
            found, refused = await self._remove_once(person, operation)
            changed += [binding for binding in found if binding not in changed]
            if refused:
                raise refused
            if not found:
                return changed
        raise self._contended(operation)

    async def _remove_once(self, person: str, operation: str) -> tuple[list[str], ClientError | None]:
        changed, refused = list[str](), None
        for plural, kind in (("clusterrolebindings", "ClusterRoleBinding"), ("rolebindings", "RoleBinding")):
            async for each in self._list(f"{_RBAC}/{plural}", operation):
                if _names(each, person):
                    try:
                        await self._take_out(each, person, operation)
                    except ClientError as error:
                        refused = refused or error
                    else:
                        changed.append(f"{kind} {_full_name(each)}")
        return changed, refused

    async def list_people(self, labels: Mapping[str, str]) -> list[str]:
        """Return the people who have a binding with these labels, sorted."""
        operation, found = "list the people with access", set[str]()
        async for each in self._list(_CLUSTER_BINDINGS, operation):
            if _has_labels(each, labels):
                found.update(subject["name"] for subject in _subjects(each) if subject.get("kind") == "User")
        return sorted(found)

    async def _take_out(self, binding: Mapping[str, Any], person: str, operation: str) -> None:
        for _ in range(ATTEMPTS):
            others = [subject for subject in _subjects(binding) if not _is_person(subject, person)]
            try:
                if not others:
                    await self._delete(binding, operation)
                    return
                await self._http.call("PUT", _path(binding), operation, body={**binding, "subjects": others})
                return
            except NotFound:
                return
            except AlreadyExists:  # The status of a write to an object that has changed since it was read.
                try:
                    binding = await self._read(_path(binding), operation)
                except NotFound:
                    return
                if not _names(binding, person):
                    return
        raise self._contended(operation)

    async def _delete(self, binding: Mapping[str, Any], operation: str) -> None:
        """Delete exactly this binding, without waiting for its finalizers: until then it is in force."""
        metadata = binding["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": metadata.get("uid")},
        }
        with suppress(NotFound):
            if metadata.get("finalizers"):
                bare = {
                    **binding,
                    "subjects": [],
                    "metadata": {key: value for key, value in metadata.items() if key != "finalizers"},
                }
                await self._http.call("PUT", _path(binding), operation, body=bare)
            await self._http.call("DELETE", _path(binding), operation, body=body)

    async def _read(self, path: str, operation: str) -> dict[str, Any]:
        return self._checked(await self._http.call_json("GET", path, operation), operation)

    def _checked(self, binding: Any, operation: str) -> dict[str, Any]:
        """Return the binding; raise MalformedAnswer for other answers: tenants administer the server."""
        try:
            well_formed = isinstance(binding["metadata"]["name"], str) and isinstance(binding["kind"], str)
            well_formed &= all(isinstance(each["name"], str) for each in _subjects(binding))
            for part in (binding["metadata"].get("labels"), binding.get("roleRef")):
                well_formed &= isinstance(part or {}, Mapping)
        except (KeyError, TypeError, AttributeError):
            well_formed = False
        if not well_formed:
            raise MalformedAnswer(self._http.system, operation, "the answer is no binding")
        found: dict[str, Any] = binding
        return found

    async def _list(self, path: str, operation: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the objects of all pages; their kind and version are complete, which lists leave out."""
        kind = "ClusterRoleBinding" if path == _CLUSTER_BINDINGS else "RoleBinding"
        more = ""
        for _ in range(MAX_PAGES):
            query: dict[str, str | int] = {"limit": PAGE_SIZE} | ({"continue": more} if more else {})
            page = await self._http.call_json("GET", path, operation, query=query)
            try:
                # A Go server writes an empty list as null.
                items = [{**each, "apiVersion": f"{_GROUP}/v1", "kind": kind} for each in page["items"] or ()]
                more = str(page["metadata"].get("continue") or "")
            except (KeyError, TypeError, AttributeError):
                raise MalformedAnswer(self._http.system, operation, "the answer is no list") from None
            for each in items:
                yield self._checked(each, operation)
            if not more:
                return
        raise MalformedAnswer(self._http.system, operation, f"the list has more than {MAX_PAGES} pages")

    def _contended(self, operation: str) -> NotYet:
        return NotYet(self._http.system, operation, "its bindings change faster than they can be written")


def _binding(name: str, person: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": dict(labels)},
        "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": PERSON_ROLE},
        "subjects": [{"apiGroup": _GROUP, "kind": "User", "name": person}],
    }


def _gives_role(binding: Mapping[str, Any], person: str) -> bool:
    """Return whether the binding gives the role to this person alone, and is not being deleted."""
    role, subjects = binding.get("roleRef") or {}, _subjects(binding)
    return (
        (role.get("kind"), role.get("name")) == ("ClusterRole", PERSON_ROLE)
        and len(subjects) == 1
        and _is_person(subjects[0], person)
        and not binding["metadata"].get("deletionTimestamp")
    )


def _has_labels(binding: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    held = binding["metadata"].get("labels") or {}
    return all(held.get(key) == value for key, value in labels.items())


def _subjects(binding: Mapping[str, Any]) -> list[dict[str, Any]]:
    return binding.get("subjects") or []


def _is_person(subject: Mapping[str, Any], person: str) -> bool:
    return subject.get("kind") == "User" and subject.get("name") == person


def _names(binding: Mapping[str, Any], person: str) -> bool:
    return any(_is_person(subject, person) for subject in _subjects(binding))


def _full_name(binding: Mapping[str, Any]) -> str:
    metadata = binding["metadata"]
    return "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))


def _path(binding: Mapping[str, Any]) -> str:
    metadata = binding["metadata"]
    name = quote(metadata["name"], safe="")
    if namespace := metadata.get("namespace"):
        return f"{_RBAC}/namespaces/{quote(str(namespace), safe='')}/rolebindings/{name}"
    return f"{_CLUSTER_BINDINGS}/{name}"
