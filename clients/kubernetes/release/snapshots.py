"""Requests snapshots of a vCluster, and removes the requests before the vCluster is uninstalled."""

import contextlib

from clients.errors import AlreadyExists, NotFound, ServerFailed
from clients.host.snapshots import (
    RELEASE,
    REQUEST,
    SnapshotProgress,
    SnapshotRequest,
    options_secret,
    read_progress,
    release_patch,
    request_map,
)
from clients.kubernetes.api.client import MERGE, KubernetesApi
from clients.kubernetes.api.kinds import CONFIG_MAP, SECRET
from clients.kubernetes.namespace.namespaces import Namespaces

_CONFLICT = 409


class ReleaseSnapshots:
    """The requests for snapshots in the namespaces of vClusters."""

    def __init__(self, api: KubernetesApi, namespaces: Namespaces) -> None:
        self._api = api
        self._namespaces = namespaces

    async def request(self, namespace: str, release: str, request: SnapshotRequest) -> SnapshotProgress:
        """Request the snapshot if it is not requested yet; return how far it is."""
        operation = f"request {request.name}"
        path = CONFIG_MAP.path(namespace, request.name)
        found = await self._api.get(path, operation)
        if found is None:
            # The Secret first: without it the vCluster lets a request fail.
            for kind, body in (
                (SECRET, options_secret(namespace, release, request)),
                (CONFIG_MAP, request_map(namespace, release, request, self._api.now())),
            ):
                with contextlib.suppress(AlreadyExists):
                    await self._api.call("POST", kind.path(namespace), operation, body=body)
            found = await self._api.get(path, operation) or {}
        return read_progress(found) if found else SnapshotProgress(waiting_for="the host to show its request")

    async def remove_requests(self, namespace: str, release: str) -> list[str]:
        """Delete all requests to the vCluster, which must have ended; return which ones still exist."""
        operation = f"remove the requests for snapshots of {release}"
        left: list[str] = []
        selector = f"{REQUEST},{RELEASE}={release}"
        for kind in (CONFIG_MAP, SECRET):
            for each in await self._namespaces.list_metadata(kind, namespace, operation, labels=selector):
                metadata = each["metadata"]
                left.append(f"{kind.name} {metadata['name']}")
                path = kind.path(namespace, str(metadata["name"]))
                with contextlib.suppress(NotFound):
                    if not metadata.get("deletionTimestamp"):
                        await self._api.call("DELETE", path, operation)
                    elif patch := release_patch(metadata):
                        await self._patch(path, patch, operation)
        return left

    async def _patch(self, path: str, patch: dict[str, object], operation: str) -> None:
        try:
            await self._api.call("PATCH", path, operation, body=patch, content=MERGE)
        except ServerFailed as error:
            if error.status != _CONFLICT:
                raise
