"""Pauses and resumes the vCluster of a release: its pods end, and its volumes, Secrets and Services stay."""

import contextlib
from collections.abc import Sequence

from clients.errors import NotFound, ServerFailed
from clients.host.pause import Object, is_paused, pause_patch, resume_patch
from clients.kubernetes.api.client import MERGE, KubernetesApi
from clients.kubernetes.api.kinds import DEPLOYMENT, POD, STATEFUL_SET, Kind
from clients.kubernetes.namespace.inventory import SYNCED_BY

#: The vCluster, and the etcd that some charts deploy beside it.
_SELECTOR = "app in (vcluster,vcluster-etcd),release={name}"
_CONFLICT = 409


class ReleasePause:
    """Scales vClusters to zero, and back to the size that they had."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    async def pause(self, namespace: str, name: str) -> str:
        """Scale to zero and delete the tenant's pods; return what still runs, "" once nothing does."""
        operation = f"pause release {name}"
        for kind, each in await self._controllers(namespace, name, operation):
            patch = pause_patch(each, self._api.now())
            if patch and not await self._patched(kind, namespace, each, patch, operation):
                return f"{kind.name} {each['metadata']['name']} to settle"
        pods = await self._pods(namespace, _SELECTOR.format(name=name), operation)
        if not pods:
            # Not before: the vCluster would create them again.
            pods = await self._pods(namespace, f"{SYNCED_BY}={name}", operation)
            for pod in pods:
                if not pod["metadata"].get("deletionTimestamp"):
                    with contextlib.suppress(NotFound):
                        path = POD.path(namespace, str(pod["metadata"]["name"]))
                        await self._api.call("DELETE", path, operation)
        names = sorted(str(pod["metadata"]["name"]) for pod in pods)
        return f"Pod {', '.join(names)} to end" if names else ""

    async def resume(self, namespace: str, name: str) -> str:
        """Scale to the size before the pause; return what that waits for, "" once it is done."""
        operation = f"resume release {name}"
        for kind, each in await self._controllers(namespace, name, operation):
            patch = resume_patch(each)
            if patch and not await self._patched(kind, namespace, each, patch, operation):
                return f"{kind.name} {each['metadata']['name']} to settle"
        return ""

    async def is_paused(self, namespace: str, name: str) -> bool:
        """Return whether the vCluster is paused."""
        found = await self._controllers(namespace, name, f"read whether release {name} is paused")
        return any(is_paused(each) for _, each in found)

    async def _controllers(self, namespace: str, name: str, operation: str) -> list[tuple[Kind, Object]]:
        found = [
            (kind, each)
            for kind in (STATEFUL_SET, DEPLOYMENT)
            for each in await self._api.list(
                kind.path(namespace), operation, labels=_SELECTOR.format(name=name)
            )
        ]
        if not found:
            raise NotFound(self._api.system, operation, "there is no such vCluster")
        return found

    async def _patched(
        self, kind: Kind, namespace: str, controller: Object, patch: Object, operation: str
    ) -> bool:
        """Patch the controller; return False if another client has changed it since it was read."""
        path = kind.path(namespace, str(controller["metadata"]["name"]))
        try:
            await self._api.call("PATCH", path, operation, body=patch, content=MERGE)
        except ServerFailed as error:
            if error.status != _CONFLICT:
                raise
            return False
        return True

    async def _pods(self, namespace: str, selector: str, operation: str) -> Sequence[Object]:
        return await self._api.list(POD.path(namespace), operation, labels=selector, metadata_only=True)
