"""Snapshots of vClusters on the simulated host, and their restores."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from clients.errors import AlreadyExists, NotFound, Rejected
from clients.host.pause import is_paused
from clients.host.restore import APP, read_restore, restore_pod
from clients.host.snapshots import (
    SnapshotProgress,
    SnapshotRequest,
    is_request,
    options_secret,
    read_progress,
    release_patch,
    request_map,
)
from clients.simulated_host.api import OBJECT, OBJECTS, SimulatedHostApi, path_of


async def request_snapshot(
    api: SimulatedHostApi, namespace: str, release: str, request: SnapshotRequest
) -> SnapshotProgress:
    """Create Secret and ConfigMap of the request unless they exist; return how far it is."""
    operation, path = f"request {request.name}", path_of(namespace, "configmaps", request.name)
    found: dict[str, Any]
    with suppress(NotFound):
        found = await api.ask(OBJECT, "GET", path, operation)
        return read_progress(found)
    for plural, body in (
        ("secrets", options_secret(namespace, release, request)),
        ("configmaps", request_map(namespace, release, request, datetime.now(UTC))),
    ):
        with suppress(AlreadyExists):
            await api.call("POST", path_of(namespace, plural), operation, body=body)
    found = await api.ask(OBJECT, "GET", path, operation)
    return read_progress(found)


async def restore_snapshot(
    api: SimulatedHostApi, namespace: str, release: str, request: SnapshotRequest
) -> SnapshotProgress:
    """Create the pod that restores the snapshot, unless there is one of that name."""
    operation = f"run {request.name}"
    path = path_of(namespace, "statefulsets", release)
    for pod in await api.ask(OBJECTS, "GET", path_of(namespace, "pods"), operation):
        if pod["metadata"]["name"] == request.name:
            return read_restore(pod)
    controller = await api.ask(OBJECT, "GET", path, operation)
    if not is_paused(controller):
        return SnapshotProgress(failed="the vCluster is not paused")
    with suppress(AlreadyExists):
        pod = restore_pod(controller, namespace, release, request)
        await api.call("POST", path_of(namespace, "pods"), operation, body=pod)
    return SnapshotProgress(waiting_for="the pod that restores it")


async def remove_restore_pods(api: SimulatedHostApi, namespace: str, release: str, keep: str) -> list[str]:
    """Delete all pods that restore snapshots, except `keep`; return which ones still exist."""
    operation, left = f"remove the pods that restore snapshots of {release}", []
    for pod in await api.ask(OBJECTS, "GET", path_of(namespace, "pods"), operation):
        name, labels = pod["metadata"]["name"], pod["metadata"]["labels"]
        if (labels.get("app"), labels.get("release")) == (APP, release) and name != keep:
            left.append(f"Pod {name}")
            query = {"uid": pod["metadata"]["uid"]}
            with suppress(NotFound, Rejected):
                await api.call("DELETE", path_of(namespace, "pods", name), operation, query=query)
    return left


async def remove_snapshot_requests(api: SimulatedHostApi, namespace: str, release: str) -> list[str]:
    """Delete all requests of the release, and take the finalizer of the vCluster away."""
    operation, left = f"remove the requests for snapshots of {release}", []
    for kind, plural in (("ConfigMap", "configmaps"), ("Secret", "secrets")):
        for each in await api.ask(OBJECTS, "GET", path_of(namespace, plural), operation):
            metadata = each["metadata"]
            if not is_request(metadata, release):
                continue
            left.append(f"{kind} {metadata['name']}")
            path = path_of(namespace, plural, metadata["name"])
            with suppress(NotFound, AlreadyExists):  # the latter is how a conflict is read here
                if not metadata.get("deletionTimestamp"):
                    await api.call("DELETE", path, operation)
                elif patch := release_patch(metadata):
                    await api.call("PATCH", path, operation, body=patch)
    return left
