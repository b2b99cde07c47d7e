"""Namespaces of environments: create, read, delete, and what blocks their deletion."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from clients.errors import Denied, NotFound, NotYet, Rejected, ServerFailed
from clients.host.models import Namespace
from clients.kubernetes.api.client import MERGE, KubernetesApi
from clients.kubernetes.api.kinds import OF_A_RELEASE, Kind
from clients.kubernetes.api.timestamps import parse_timestamp
from clients.kubernetes.cluster.permissions import Permission, missing_permissions
from clients.kubernetes.namespace import inventory

_PATH = "/api/v1/namespaces"
_CONFLICT = 409


class Namespaces:
    """The namespaces of a host, and the metadata of the objects in them."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    async def create(self, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> Namespace:
        """Create the namespace; raise AlreadyExists if the name is in use."""
        metadata = {"name": name, "labels": dict(labels), "annotations": dict(annotations)}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        return _namespace(await self._api.call("POST", _PATH, f"create namespace {name}", body=body))

    async def get(self, name: str) -> Namespace | None:
        """Return the namespace, or None if it does not exist."""
        found = await self._read(name, f"read namespace {name}")
        return None if found is None else _namespace(found)

    async def list_labelled(self, label: str, value: str) -> Sequence[Namespace]:
        """Return all namespaces whose label has this value."""
        operation = f"list namespaces with {label}={value}"
        found = await self._api.list(_PATH, operation, labels=f"{label}={value}", metadata_only=True)
        return [_namespace(each) for each in found]

    async def swap(
        self, seen: Namespace, labels: Mapping[str, str], annotations: Mapping[str, str | None]
    ) -> bool:
        """Set labels and annotations; return False if the namespace has changed since it was seen.

        The UID and the resource version in a patch are its preconditions.
        """
        metadata = {
            "uid": seen.uid,
            "resourceVersion": seen.version,
            "labels": dict(labels),
            "annotations": dict(annotations),
        }
        operation = f"take over namespace {seen.name}"
        try:
            await self._api.call(
                "PATCH", _path(seen.name), operation, body={"metadata": metadata}, content=MERGE
            )
        except NotFound:
            return False
        except ServerFailed as error:
            if error.status != _CONFLICT:
                raise
            return False
        return True

    async def require_swap_permission(self, name: str) -> None:
        """Check that `swap` is allowed to our account; raise Denied otherwise."""
        required = Permission("patch", "namespaces", name=name, namespace=name)
        if await missing_permissions(self._api, [required]):
            detail = (
                f"our account lacks the right to patch namespaces in the namespace {name}: "
                "deploy/rbac.yaml has it as an optional one"
            )
            raise Denied(self._api.system, "have standbys taken over, as the template asks", detail)

    async def delete(self, name: str, uid: str) -> None:
        """Request deletion of the namespace with exactly this UID; idempotent while it terminates.

        Raises:
            NotFound: there is no namespace with this name.
            Rejected: the namespace with this name has another UID.
        """
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            await self._api.call("DELETE", _path(name), f"delete namespace {name}", body=body)
        except Rejected:
            # Kubernetes answers with a conflict if the namespace is already terminating.
            found = await self.get(name)
            if found is None or found.uid != uid or not found.terminating:
                raise

    async def blockers(self, name: str) -> list[str]:
        """Return what blocks a terminating namespace, in words; empty if nothing does."""
        operation = f"read what blocks namespace {name}"
        namespace = await self._read(name, operation)
        if namespace is None:
            return []
        objects: list[str] = []
        # Our permission to list is deleted with the namespace's own role bindings, unless our account has
        # wider permissions.
        with contextlib.suppress(Denied):
            for kind in OF_A_RELEASE:
                for each in await self._api.list(kind.path(name), operation, metadata_only=True):
                    objects += [
                        f"{kind.name} {each['metadata']['name']} with finalizer {finalizer}"
                        for finalizer in each["metadata"].get("finalizers") or []
                    ]
        return inventory.describe_blockers(namespace, objects)

    async def list_metadata(
        self, kind: Kind, namespace: str, operation: str, *, labels: str = ""
    ) -> Sequence[Mapping[str, Any]]:
        """Return the metadata of all objects in the namespace; empty when there is no namespace.

        Our permissions exist only as long as the namespace, so for a deleted one the API server refuses the
        list.

        Raises:
            NotYet: the namespace is terminating, because Kubernetes may delete our permissions before the
                last objects.
        """
        try:
            return await self._api.list(kind.path(namespace), operation, labels=labels, metadata_only=True)
        except Denied:
            found = await self._read(namespace, operation)
            if found is None:
                return ()
            if not found["metadata"].get("deletionTimestamp"):
                raise
        detail = f"namespace {namespace} is being deleted, and our permissions in it were deleted first"
        raise NotYet(self._api.system, operation, detail)

    async def _read(self, name: str, operation: str) -> dict[str, Any] | None:
        return await self._api.get(_path(name), operation)


def _namespace(body: Mapping[str, Any]) -> Namespace:
    metadata = body["metadata"]
    return Namespace(
        name=metadata["name"],
        uid=metadata["uid"],
        made_at=parse_timestamp(metadata.get("creationTimestamp")),
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        terminating=bool(metadata.get("deletionTimestamp")),
        version=metadata.get("resourceVersion") or "",
    )


def _path(name: str) -> str:
    return f"{_PATH}/{quote(name, safe='')}"
