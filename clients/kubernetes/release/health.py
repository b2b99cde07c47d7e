"""The health of a vCluster that was ready, from a few host objects and its API server.

It works for callers with few rights: each object is read by its name, and an object that may not be read is
not reported.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from clients.errors import ClientError, Denied
from clients.host.kubeconfig import Kubeconfig
from clients.host.models import Health
from clients.kubernetes.api.client import KubernetesApi
from clients.kubernetes.api.kinds import CLAIM, DEPLOYMENT, RESOURCE_QUOTA, STATEFUL_SET, Kind
from clients.kubernetes.api.timestamps import parse_timestamp
from clients.kubernetes.cluster import nodes
from clients.kubernetes.release.access import VirtualClusterAccess
from clients.kubernetes.vcluster_options import Exposure, HostOptions
from clients.virtual_cluster import FIELD_MANAGER

#: Timeout for `/readyz` of a virtual API server, which normally answers in milliseconds.
READYZ_TIMEOUT = timedelta(seconds=2)
#: Name of the quota that Moorage applies.
_QUOTA = "moorage"

Object = Mapping[str, Any]


class HealthCheck:
    """Checks vClusters that were ready."""

    def __init__(self, api: KubernetesApi, access: VirtualClusterAccess, options: HostOptions) -> None:
        self._api = api
        self._access = access
        self._options = options

    async def check(self, namespace: str, release: str) -> Health:
        """Check whether a vCluster that was ready still runs, answers and has all its objects."""
        operation = f"check the vCluster {release}"
        found = await self._api.get(f"/api/v1/namespaces/{namespace}", operation)
        if found is None:
            return Health("its namespace is gone")
        if ended_at := found["metadata"].get("deletionTimestamp"):
            return Health("its namespace is being deleted", parse_timestamp(ended_at))
        controller, kind = await self._controller(namespace, release, operation)
        if kind is not None and (health := check_controller(controller, kind)).problem:
            return await self._with_nodes(health) if health == _no_pod_ready(kind) else health
        if kind is STATEFUL_SET:
            health = await self._check_claims(namespace, release, controller)
            if health.problem:
                return health
        kubeconfig = await self._access.kubeconfig(namespace, release)
        if kubeconfig is None:
            return Health(f"the Secret vc-{release} with its kubeconfig is gone")
        if not await self._answers(kubeconfig):
            return Health("its API server does not answer")
        return await self._check_quota(namespace, operation)

    async def _controller(
        self, namespace: str, release: str, operation: str
    ) -> tuple[Object | None, Kind | None]:
        """Return the vCluster's StatefulSet or Deployment and its kind; no kind if forbidden.

        A vCluster without volume has a Deployment.
        """
        try:
            for kind in (STATEFUL_SET, DEPLOYMENT):
                if found := await self._api.get(kind.path(namespace, release), operation):
                    return found, kind
        except Denied:
            return None, None
        return None, STATEFUL_SET

    async def _with_nodes(self, health: Health) -> Health:
        """Return the health with the problems of the host's nodes, which can be its reason."""
        try:
            problems = nodes.node_problems(await self._api.list(nodes.PATH, nodes.LIST))
        except ClientError:
            return health
        return Health("; ".join([health.problem, *problems]), health.since)

    async def _check_claims(self, namespace: str, release: str, controller: Object | None) -> Health:
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
                effect = "its data is lost when its pod restarts"
                problem = f"the claim {name} of its volume is being deleted: {effect}"
                return Health(problem, parse_timestamp(ended_at))
        return Health()

    async def _check_quota(self, namespace: str, operation: str) -> Health:
        try:
            quota = await self._api.get(RESOURCE_QUOTA.path(namespace, _QUOTA), operation)
        except Denied:
            return Health()
        return check_quota(quota)

    async def quota_usage(self, namespace: str) -> dict[str, tuple[str, str]]:
        """Return what is used and what is allowed of each resource in the namespace's quota."""
        operation = f"read the quota of namespace {namespace}"
        quota = await self._api.get(RESOURCE_QUOTA.path(namespace, _QUOTA), operation) or {}
        # What is allowed in the status follows a change a little later.
        hard = (quota.get("spec") or {}).get("hard") or {}
        used = (quota.get("status") or {}).get("used") or {}
        return {name: (str(used[name]), str(hard[name])) for name in hard if name in used}

    async def _answers(self, kubeconfig: Kubeconfig) -> bool:
        if self._options.exposure is Exposure.IN_CLUSTER:
            # This cannot be determined from outside of the host cluster.
            return True
        try:
            async with (
                asyncio.timeout(READYZ_TIMEOUT.total_seconds()),
                self._access.connect(kubeconfig) as virtual,
            ):
                return await virtual.ready()
        except (TimeoutError, ClientError):
            return False


def check_controller(controller: Object | None, kind: Kind) -> Health:
    """Check that the StatefulSet or Deployment exists and has a ready pod."""
    if controller is None:
        return Health(f"its {kind.name} is gone")
    if ended_at := controller["metadata"].get("deletionTimestamp"):
        return Health(f"its {kind.name} is being deleted", parse_timestamp(ended_at))
    replicas = (controller.get("spec") or {}).get("replicas")
    if replicas == 0:
        return Health(f"its {kind.name} is scaled to zero")
    ready = (controller.get("status") or {}).get("readyReplicas") or 0
    return Health() if ready else _no_pod_ready(kind)


def _no_pod_ready(kind: Kind) -> Health:
    return Health(f"no pod of its {kind.name} is ready")


def check_quota(quota: Object | None) -> Health:
    """Check that the quota is as Moorage applied it.

    Kubernetes records in managedFields which client has changed it, and when.
    """
    if quota is None:
        return Health("its quota is gone")
    for entry in quota["metadata"].get("managedFields") or []:
        fields = entry.get("fieldsV1") or {}
        if entry.get("manager") != FIELD_MANAGER and "f:spec" in fields:
            return Health(
                f"its quota was changed by {entry.get('manager')}", parse_timestamp(entry.get("time"))
            )
    return Health()
