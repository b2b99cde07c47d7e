"""Helm releases on a host cluster: Helm changes them, this module reads their state.

State is read without Helm, because it is read often: labels take milliseconds to read, a Helm call takes a
second.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from clients.errors import Denied, NotFound, Rejected
from clients.host.models import Chart, Release, ReleaseStatus, Startup
from clients.kubernetes.api.client import MERGE, KubernetesApi
from clients.kubernetes.api.kinds import CLAIM, DEPLOYMENT, EVENT, POD, SECRET, STATEFUL_SET
from clients.kubernetes.namespace import inventory
from clients.kubernetes.namespace.namespaces import Namespaces
from clients.kubernetes.release.helm import Helm
from clients.kubernetes.release.rollout_status import blocking_pods, waiting_for_rollout
from clients.kubernetes.release.startup_status import Observation, startup_of

#: Labels that Helm itself sets on a release record; all others were set at the install.
_HELM_LABELS = frozenset({"createdAt", "modifiedAt", "name", "owner", "status", "version"})


class Releases:
    """The Helm releases of a host, and the start of their vClusters."""

    def __init__(self, api: KubernetesApi, helm: Helm, namespaces: Namespaces) -> None:
        self._api = api
        self._helm = helm
        self._namespaces = namespaces

    async def get(self, namespace: str, name: str) -> Release | None:
        """Return the release with the labels set at its install, or None if it does not exist."""
        operation = f"read release {name}"
        selector = f"owner=helm,name={name}"
        records = await self._namespaces.list_metadata(SECRET, namespace, operation, labels=selector)
        labelled = [each["metadata"].get("labels") or {} for each in records]
        if not labelled:
            return None
        labels = max(labelled, key=lambda each: int(each.get("version", "0")))
        own_labels = {key: value for key, value in labels.items() if key not in _HELM_LABELS}
        return Release(name, namespace, _status(str(labels.get("status"))), labels=own_labels)

    async def install(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Install the release without waiting for its start."""
        try:
            await self._helm.install(namespace, name, chart, values, labels)
        except Denied as error:
            await self._api.require_started(error.operation)
            raise

    async def upgrade(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Upgrade the release; of one that is pending, restore the last deployed revision first."""
        release = await self.get(namespace, name)
        if release is None:
            raise NotFound(self._api.system, f"upgrade release {name}", "there is no such release")
        try:
            if release.status is ReleaseStatus.PENDING:
                await self._helm.roll_back(namespace, name)
            await self._helm.upgrade(namespace, name, chart, values, labels)
        except Denied as error:
            await self._api.require_started(error.operation)
            raise

    async def rollout(self, namespace: str, release: str) -> Startup:
        """Return whether all pods are of the newest revision and ready; delete old ones that are not."""
        operation = f"read the rollout of release {release}"
        selector = f"app in (vcluster,vcluster-etcd),release={release}"
        kinds = (STATEFUL_SET, DEPLOYMENT, POD)
        sets, deployments, pods = await asyncio.gather(
            *(self._api.list(kind.path(namespace), operation, labels=selector) for kind in kinds)
        )
        if waiting_for := waiting_for_rollout([*sets, *deployments]):
            for pod in blocking_pods(sets, pods):
                with suppress(NotFound):
                    await self._api.call("DELETE", POD.path(namespace, pod), operation)
            startup = await self.startup(namespace, release)
            waiting_for = startup.waiting_for if not startup.ready else waiting_for
            return Startup(ready=False, waiting_for=waiting_for, failed=startup.failed)
        return await self.startup(namespace, release)

    async def stop(self, namespace: str, name: str) -> str:
        """Scale the vCluster to zero and return which pods still run; "" once none does."""
        operation = f"stop release {name}"
        selector = f"app=vcluster,release={name}"
        try:
            for kind in (STATEFUL_SET, DEPLOYMENT):
                for each in await self._api.list(kind.path(namespace), operation, labels=selector):
                    if (each.get("spec") or {}).get("replicas") != 0:
                        path = kind.path(namespace, str(each["metadata"]["name"]))
                        body = {"spec": {"replicas": 0}}
                        await self._api.call("PATCH", path, operation, body=body, content=MERGE)
            pods = await self._api.list(POD.path(namespace), operation, labels=selector, metadata_only=True)
        except (Denied, NotFound, Rejected):
            # The release is deleted, or its namespace is terminating: nothing is left to stop.
            return ""
        names = [str(each["metadata"]["name"]) for each in pods]
        return f"Pod {', '.join(names)} to end" if names else ""

    async def uninstall(self, namespace: str, name: str) -> None:
        """Uninstall the release, in any status."""
        try:
            await self._helm.uninstall(namespace, name)
        except Denied as error:
            await self._api.require_started(error.operation)
            raise

    async def startup(self, namespace: str, release: str) -> Startup:
        """Return the progress of the start; raise NotFound if there is no such release."""
        operation = f"read the start of release {release}"
        selector = f"app in (vcluster,vcluster-etcd),release={release}"
        kinds = (STATEFUL_SET, DEPLOYMENT, POD)
        sets, deployments, pods = await asyncio.gather(
            *(self._api.list(kind.path(namespace), operation, labels=selector) for kind in kinds)
        )
        controllers = [*sets, *deployments]
        if not controllers and await self.get(namespace, release) is None:
            raise NotFound(self._api.system, operation, "there is no such release")
        now = self._api.now()
        if (first := startup_of(Observation(now, controllers, pods))).ready:
            return first
        # Claims and events explain why it is not ready, so read them only in that case.
        claims, events = await asyncio.gather(
            self._api.list(CLAIM.path(namespace), operation), self._api.list(EVENT.path(namespace), operation)
        )
        own = [each for each in claims if inventory.belongs_to_release(CLAIM, each["metadata"], release)]
        return startup_of(Observation(now, controllers, pods, own, events))


def _status(helm: str) -> ReleaseStatus:
    """Map Helm's status to ours.

    Interrupted calls leave `unknown`, and `superseded` without a successor.
    """
    if helm.startswith("pending-"):
        return ReleaseStatus.PENDING
    try:
        return ReleaseStatus(helm)
    except ValueError:
        return ReleaseStatus.FAILED
