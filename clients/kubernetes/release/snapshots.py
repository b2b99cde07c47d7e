"""Requests snapshots of a vCluster, and removes the requests before the vCluster is uninstalled."""

import contextlib
from collections.abc import Mapping

from clients.errors import AlreadyExists, NotFound, ServerFailed
from clients.host.pause import is_paused
from clients.host.restore import APP, read_restore, restore_pod
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
from clients.kubernetes.api.kinds import CONFIG_MAP, POD, SECRET, STATEFUL_SET
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

    async def restore(self, namespace: str, release: str, request: SnapshotRequest) -> SnapshotProgress:
        """Run the pod that restores the snapshot, unless there is one of its name; return how far it is."""
        operation = f"run {request.name}"
        path = POD.path(namespace, request.name)
        found = await self._api.get(path, operation)
        if found is None:
            controller = await self._api.get(STATEFUL_SET.path(namespace, release), operation)
            if controller is None:
                raise NotFound(self._api.system, operation, "there is no such vCluster")
            if not is_paused(controller):
                return SnapshotProgress(failed="the vCluster is not paused")
            try:
                pod = restore_pod(controller, namespace, release, request)
            except ValueError as error:
                return SnapshotProgress(failed=str(error))
            with contextlib.suppress(AlreadyExists):
                await self._api.call("POST", POD.path(namespace), operation, body=pod)
            found = await self._api.get(path, operation) or {}
        return read_restore(found)

    async def remove_restore_pods(self, namespace: str, release: str, keep: str) -> list[str]:
        """Delete all pods that restore snapshots, except `keep`; return which ones still exist."""
        operation = f"remove the pods that restore snapshots of {release}"
        left = []
        selector = f"app={APP},release={release}"
        for each in await self._namespaces.list_metadata(POD, namespace, operation, labels=selector):
            name = str(each["metadata"]["name"])
            if name != keep:
                left.append(f"Pod {name}")
                if not each["metadata"].get("deletionTimestamp"):
                    body = {
                        "apiVersion": "v1",
                        "kind": "DeleteOptions",
                        "preconditions": {"uid": each["metadata"]["uid"]},
                    }
                    await self._change("DELETE", POD.path(namespace, name), operation, body)
        return left

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
                        await self._change("PATCH", path, operation, patch, content=MERGE)
        return left

    async def _change(
        self,
        method: str,
        path: str,
        operation: str,
        body: Mapping[str, object],
        content: str = "application/json",
    ) -> None:
        """Change the object, unless it is gone or another than the one that was read."""
        try:
            await self._api.call(method, path, operation, body=body, content=content)
        except NotFound:
            return
        except ServerFailed as error:
            if error.status != _CONFLICT:
                raise
