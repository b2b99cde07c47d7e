"""Whether a vCluster that was ready is well, as its host shows it: a few objects by name, and its API server.

Made for whoever has few rights: each object is read by its name, and what may not be read is not told.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

from clients.errors import ClientError, Denied
from clients.host import Health, Kubeconfig, VirtualCluster
from clients.kubernetes.api import Api
from clients.kubernetes.exposure import Exposure, HostOptions
from clients.kubernetes.inventory import CLAIM, DEPLOYMENT, RESOURCE_QUOTA, STATEFUL_SET, Kind
from clients.kubernetes.timestamps import time_of
from clients.virtual_cluster import FIELD_MANAGER

#: How long a virtual API server has to say that it is ready; it answers in milliseconds.
READYZ_PATIENCE = timedelta(seconds=2)
#: The quota that we have applied.
_QUOTA = "moorage"

Object = Mapping[str, Any]


class HealthOf:
    """The part of `clients.host.Host` that is about vClusters which were ready."""

    _system: str
    _api: Api
    _options: HostOptions

    async def health(self, namespace: str, release: str) -> Health:
        operation = f"look at the vCluster {release}"
        found = await self._api.get(f"/api/v1/namespaces/{namespace}", operation)
        if found is None:
            return Health("its namespace is gone")
        if ended_at := found["metadata"].get("deletionTimestamp"):
            return Health("its namespace is being deleted", time_of(ended_at))
        controller, kind = await self._controller(namespace, release, operation)
        if kind is not None and (health := of_controller(controller, kind)).wrong:
            return health
        if kind is STATEFUL_SET and (health := await self._of_claim(namespace, release, controller)).wrong:
            return health
        kubeconfig = await self.kubeconfig(namespace, release)
        if kubeconfig is None:
            return Health(f"the Secret vc-{release} with its kubeconfig is gone")
        if not await self._answers(kubeconfig):
            return Health("its API server does not answer")
        return await self._of_quota(namespace, operation)

    async def _controller(
        self, namespace: str, release: str, operation: str
    ) -> tuple[Object | None, Kind | None]:
        """The set that runs it, or the Deployment of one without a volume; no kind if we may not look."""
        try:
            for kind in (STATEFUL_SET, DEPLOYMENT):
                if found := await self._api.get(kind.path(namespace, release), operation):
                    return found, kind
        except Denied:
            return None, None
        return None, STATEFUL_SET

    async def _of_claim(self, namespace: str, release: str, controller: Object | None) -> Health:
        templates = ((controller or {}).get("spec") or {}).get("volumeClaimTemplates") or []
        for template in templates:
            name = f"{template['metadata']['name']}-{release}-0"
            try:
                claim = await self._api.get(CLAIM.path(namespace, name), f"read claim {name}")
            except Denied:
                continue
            if claim is None:
                return Health(f"the claim {name} of its volume is gone")
            if ended_at := claim["metadata"].get("deletionTimestamp"):
                words = f"the claim {name} of its volume is being deleted: all goes when its pod starts anew"
                return Health(words, time_of(ended_at))
        return Health()

    async def _of_quota(self, namespace: str, operation: str) -> Health:
        try:
            quota = await self._api.get(RESOURCE_QUOTA.path(namespace, _QUOTA), operation)
        except Denied:
            return Health()
        return of_quota(quota)

    async def _answers(self, kubeconfig: Kubeconfig) -> bool:
        if self._options.exposure is Exposure.IN_CLUSTER:
            return True  # nobody can tell who does not stand in the cluster
        try:
            async with (
                asyncio.timeout(READYZ_PATIENCE.total_seconds()),
                self.virtual_cluster(kubeconfig) as virtual,
            ):
                return await virtual.ready()
        except (TimeoutError, ClientError):
            return False

    async def kubeconfig(self, namespace: str, release: str) -> Kubeconfig | None:
        raise NotImplementedError

    def virtual_cluster(self, kubeconfig: Kubeconfig) -> AbstractAsyncContextManager[VirtualCluster]:
        raise NotImplementedError


def of_controller(controller: Object | None, kind: Kind) -> Health:
    """Whether the set or Deployment is there and has a pod that is ready."""
    if controller is None:
        return Health(f"its {kind.name} is gone")
    if ended_at := controller["metadata"].get("deletionTimestamp"):
        return Health(f"its {kind.name} is being deleted", time_of(ended_at))
    wanted = (controller.get("spec") or {}).get("replicas")
    if wanted == 0:
        return Health(f"its {kind.name} is scaled to zero")
    ready = (controller.get("status") or {}).get("readyReplicas") or 0
    return Health() if ready else Health(f"no pod of its {kind.name} is ready")


def of_quota(quota: Object | None) -> Health:
    """Whether the quota is as we have applied it: Kubernetes notes who has changed it, and when."""
    if quota is None:
        return Health("its quota is gone")
    for entry in quota["metadata"].get("managedFields") or []:
        fields = entry.get("fieldsV1") or {}
        if entry.get("manager") != FIELD_MANAGER and "f:spec" in fields:
            return Health(f"its quota was changed by {entry.get('manager')}", time_of(entry.get("time")))
    return Health()
