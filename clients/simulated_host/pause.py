"""The pause of vClusters on the simulated host, and their resumption."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from clients.errors import AlreadyExists, NotFound
from clients.host import pause
from clients.host.restore import APP
from clients.simulated_host.api import OBJECT, OBJECTS, SimulatedHostApi, path_of

#: Label of the pods that a vCluster has made on its host.
_SYNCED_BY = "vcluster.loft.sh/managed-by"


async def pause_release(api: SimulatedHostApi, namespace: str, name: str) -> str:
    """Scale the StatefulSet to zero and delete the tenant's pods; return which pods still run."""
    operation = f"pause release {name}"
    now = datetime.now(UTC)
    if not await _scale(api, namespace, name, operation, lambda each: pause.pause_patch(each, now)):
        return f"StatefulSet {name} to settle"
    found = await api.ask(OBJECTS, "GET", path_of(namespace, "pods"), operation)
    pods = [pod for pod in found if pod["metadata"]["labels"].get("app") != APP]
    synced = [pod for pod in pods if pod["metadata"]["labels"].get(_SYNCED_BY) == name]
    if len(synced) == len(pods):
        # Not before: the vCluster would create them again.
        for pod in synced:
            with suppress(NotFound):
                path = path_of(namespace, "pods", pod["metadata"]["name"])
                await api.call("DELETE", path, operation)
    names = sorted(pod["metadata"]["name"] for pod in pods)
    return f"Pod {', '.join(names)} to end" if names else ""


async def resume_release(api: SimulatedHostApi, namespace: str, name: str) -> str:
    """Scale the StatefulSet to the size before the pause."""
    done = await _scale(api, namespace, name, f"resume release {name}", pause.resume_patch)
    return "" if done else f"StatefulSet {name} to settle"


async def is_paused(api: SimulatedHostApi, namespace: str, name: str) -> bool:
    """Return whether the StatefulSet is paused."""
    path = path_of(namespace, "statefulsets", name)
    operation = f"read whether release {name} is paused"
    controller: dict[str, Any] = await api.ask(OBJECT, "GET", path, operation)
    return pause.is_paused(controller)


async def _scale(
    api: SimulatedHostApi,
    namespace: str,
    name: str,
    operation: str,
    patch_of: Callable[[dict[str, Any]], dict[str, Any] | None],
) -> bool:
    """Patch the StatefulSet if needed; return False if it has changed since it was read."""
    path = path_of(namespace, "statefulsets", name)
    if patch := patch_of(await api.ask(OBJECT, "GET", path, operation)):
        try:
            await api.call("PATCH", path, operation, body=patch)
        except AlreadyExists:  # how a conflict is read here
            return False
    return True
