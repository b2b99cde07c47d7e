"""Objects inside the simulated vClusters: kept with the volume of each, and never run."""

import json
import secrets
import sqlite3
import time
import uuid
from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from embedded.host.virtual.built_in import built_in_objects
from embedded.host.virtual.errors import already_exists, bad_request, conflict, not_found
from embedded.host.virtual.resources import NAMESPACES, RESOURCES, Resource
from embedded.rafay.bootstrap_manifest import NAMESPACE, AgentIdentity, agent_identity

#: Length of what is added to `generateName`, as in Kubernetes.
_SUFFIX_LENGTH = 5
#: The alphabet of such suffixes: no vowels and no digits that look like one.
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
#: Metadata that only the API server sets.
_SERVER_FIELDS = frozenset({"uid", "creationTimestamp", "resourceVersion", "managedFields", "generation"})

#: Address of a vCluster: its namespace and release on the host.
Where = tuple[str, str]


class VirtualObjects:
    """The objects inside of all vClusters. Each call commits what it does before it returns."""

    def __init__(self, rows: sqlite3.Connection) -> None:
        self._rows = rows

    def create(
        self, where: Where, resource: Resource, namespace: str, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Create the object; its name is `metadata.name`, or made of `metadata.generateName`.

        Raises:
            ApiError: it exists, or its namespace does not.
        """
        self._require_namespace(where, resource, namespace)
        if given["metadata"].get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        prefix = given["metadata"].get("generateName", "")
        name = given["metadata"].get("name") or prefix + "".join(
            secrets.choice(_SUFFIX_LETTERS) for _ in range(_SUFFIX_LENGTH)
        )
        if self.get(where, resource, namespace, name):
            raise already_exists(resource.qualified, name)
        return self._write(where, resource, namespace, {**_settable(given), "name": name}, given)

    def replace(
        self, where: Where, resource: Resource, namespace: str, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Replace the object; a `metadata.resourceVersion` must be the current one.

        Raises:
            ApiError: there is none, it is another object, or it has changed since.
        """
        name = given["metadata"]["name"]
        before = self.require(where, resource, namespace, name)["metadata"]
        version = given["metadata"].get("resourceVersion")
        if version and version != before.get("resourceVersion"):
            changed = "the object has been modified; please apply your changes to the latest version"
            raise conflict(resource.qualified, name, f"{changed} and try again")
        _require_uid(resource, name, before, given["metadata"].get("uid"))
        kept = {key: before[key] for key in ("uid", "creationTimestamp") if key in before}
        return self._write(where, resource, namespace, {**_settable(given), **kept}, given)

    def apply(
        self, where: Where, resource: Resource, namespace: str, name: str, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Make the object be there as given and return it.

        Raises:
            ApiError: its namespace is not there.
        """
        self._require_namespace(where, resource, namespace)
        before = self.get(where, resource, namespace, name) or {"metadata": {}}
        metadata = {**before["metadata"], **_settable(given), "name": name}
        return self._write(where, resource, namespace, metadata, given)

    def delete(
        self, where: Where, resource: Resource, namespace: str, name: str, uid: str | None = None
    ) -> dict[str, Any]:
        """Delete the object and return it; with `uid` only if it has this one.

        Raises:
            ApiError: there is none, or it has another UID.
        """
        found = self.require(where, resource, namespace, name)
        _require_uid(resource, name, found["metadata"], uid)
        with self._rows:
            self._rows.execute(
                "DELETE FROM virtual_objects WHERE namespace = ? AND release = ? AND resource = ?"
                " AND inner_namespace = ? AND name = ?",
                (*where, _key(resource), namespace, name),
            )
        return found

    def require(self, where: Where, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
        """Return the object, or raise ApiError."""
        found = self.get(where, resource, namespace, name)
        if found is None:
            raise not_found(resource.qualified, name)
        return found

    def get(self, where: Where, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """Return the object, or None."""
        row = self._rows.execute(
            "SELECT document FROM virtual_objects WHERE namespace = ? AND release = ? AND resource = ?"
            " AND inner_namespace = ? AND name = ?",
            (*where, _key(resource), namespace, name),
        ).fetchone()
        return _document(row) if row else deepcopy(built_in_objects(resource).get(name))

    def list(self, where: Where, resource: Resource, namespace: str | None = None) -> list[dict[str, Any]]:
        """Return all objects of the kind, of one namespace or of all."""
        rows = self._rows.execute(
            "SELECT document FROM virtual_objects WHERE namespace = ? AND release = ? AND resource = ?"
            " AND (? IS NULL OR inner_namespace = ?) ORDER BY inner_namespace, name",
            (*where, _key(resource), namespace, namespace),
        )
        found = [_document(row) for row in rows]
        if built_in := built_in_objects(resource):
            names = {each["metadata"]["name"] for each in found}
            found += [deepcopy(each) for name, each in built_in.items() if name not in names]
            found.sort(key=lambda each: str(each["metadata"]["name"]))
        return found

    def agent(self, where: Where) -> AgentIdentity | None:
        """Return the agent of a bootstrap manifest, once its Secret and Deployment are there."""
        try:
            identity = agent_identity(self.list(where, RESOURCES["v1"]["secrets"]))
        except (KeyError, ValueError):
            return None  # a Secret of that name which is none of the manifest's
        deployed = self.list(where, RESOURCES["apps/v1"]["deployments"], NAMESPACE)
        return identity if deployed else None

    def _require_namespace(self, where: Where, resource: Resource, namespace: str) -> None:
        if resource.namespaced:
            self.require(where, NAMESPACES, "", namespace)

    def _write(
        self,
        where: Where,
        resource: Resource,
        namespace: str,
        metadata: Mapping[str, Any],
        given: Mapping[str, Any],
    ) -> dict[str, Any]:
        full = {
            "uid": str(uuid.uuid4()),
            "creationTimestamp": utc_now(),
            **metadata,
            # Nanoseconds, so that each write has its own and later ones have larger ones.
            "resourceVersion": str(time.time_ns()),
            **({"namespace": namespace} if resource.namespaced else {}),
        }
        document = {**given, "apiVersion": resource.version, "kind": resource.kind, "metadata": full}
        with self._rows:
            self._rows.execute(
                "INSERT OR REPLACE INTO virtual_objects VALUES (?, ?, ?, ?, ?, ?)",
                (*where, _key(resource), namespace, full["name"], json.dumps(document)),
            )
        return document


def utc_now() -> str:
    """Return the current time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _settable(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata without what the API server alone sets."""
    return {key: value for key, value in given["metadata"].items() if key not in _SERVER_FIELDS}


def _require_uid(resource: Resource, name: str, before: Mapping[str, Any], uid: str | None) -> None:
    if uid and uid != before["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {before['uid']}"
        raise conflict(resource.qualified, name, why)


def _key(resource: Resource) -> str:
    return f"{resource.version}/{resource.plural}"


def _document(row: sqlite3.Row) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(row["document"])
    return document
