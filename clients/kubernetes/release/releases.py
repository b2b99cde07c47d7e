"""Helm releases on a host cluster: Helm changes them, this module reads their state.

State is read without Helm, because it is read often: labels take milliseconds to read, a Helm call takes a
second.
"""

import asyncio
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from clients.errors import Denied, NotFound, NotYet, Rejected
from clients.helm.client import Helm
from clients.host.models import Chart, Release, ReleaseStatus, Startup
from clients.kubernetes.api.client import MERGE, KubernetesApi
from clients.kubernetes.namespace import inventory
from clients.kubernetes.namespace.inventory import CLAIM, DEPLOYMENT, EVENT, POD, SECRET, STATEFUL_SET, Kind
from clients.kubernetes.release.chart_permissions import missing_chart_permissions
from clients.kubernetes.release.exposure import ENVIRONMENT_ROLE, HostOptions
from clients.kubernetes.release.startup_status import Observation, startup_of

#: The namespace and release name with which a chart is rendered to find the rights that it needs; nothing
#: is created.
RENDER_NAME = "moorage-check"
#: Maximum number of cached results, one for each chart with its values.
MAX_CACHED_CHECKS = 64
#: Labels that Helm itself sets on a release record; all others were set at the install.
_HELM_LABELS = frozenset({"createdAt", "modifiedAt", "name", "owner", "status", "version"})


class Releases:
    """The part of `clients.host.protocol.Host` for releases, their volumes and their leftovers."""

    _system: str
    _api: KubernetesApi
    _helm: Helm
    _options: HostOptions
    #: Rights that checked charts need and we lack, cached by everything that the result depends on.
    _needed: dict[str, tuple[str, ...]]

    async def get_release(self, namespace: str, name: str) -> Release | None:
        """Return the release with the labels set at its install, or None if it does not exist."""
        operation = f"read release {name}"
        selector = f"owner=helm,name={name}"
        records = await self._list_if_there(SECRET, namespace, operation, labels=selector)
        labelled = [each["metadata"].get("labels") or {} for each in records]
        if not labelled:
            return None
        labels = max(labelled, key=lambda each: int(each.get("version", "0")))
        given = {key: value for key, value in labels.items() if key not in _HELM_LABELS}
        return Release(name, namespace, _status(str(labels.get("status"))), labels=given)

    async def check_release(self, chart: Chart, values: Mapping[str, Any]) -> None:
        """Check that the chart is available, accepts the values, and needs no rights that we lack.

        Raises:
            Rejected: it is not, or does not; the message gives the reason.
        """
        await self._helm.check(self._chart(chart), values)
        held = await self._own_rules()
        if held is None:
            return
        # Ignore the names as well: they differ from one environment to the next and do not change the
        # needed rights.
        wanted = {key: value for key, value in values.items() if key != "exportKubeConfig"}
        key = json.dumps([dataclasses.astuple(chart), held, _without_names(wanted)], sort_keys=True)
        if key not in self._needed:
            operation = f"compare what chart {chart.name} {chart.version} needs with what we may"
            rendered = await self._helm.render(RENDER_NAME, RENDER_NAME, self._chart(chart), values)
            try:
                found = missing_chart_permissions(rendered, held, RENDER_NAME)
            except yaml.YAMLError:
                raise Rejected(self._system, operation, "what the chart makes is not YAML") from None
            self._needed = {**dict(list(self._needed.items())[-MAX_CACHED_CHECKS:]), key: tuple(found)}
        if self._needed[key]:
            detail = (
                f"its chart needs more than the role {ENVIRONMENT_ROLE} has on the host: "
                f"{'; '.join(self._needed[key])}. deploy/rbac.yaml says what can be allowed"
            )
            raise Rejected(self._system, f"check chart {chart.name}", detail)

    async def _own_rules(self) -> Sequence[Mapping[str, Any]] | None:
        """Return the rules of our role in environments' namespaces; None if we may not read it."""
        path = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{ENVIRONMENT_ROLE}"
        try:
            role = await self._api.get(path, f"read the role {ENVIRONMENT_ROLE}")
        except Denied:
            return None
        return None if role is None else role.get("rules") or []

    async def install_release(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Install the release without waiting for its start."""
        try:
            await self._helm.install(namespace, name, self._chart(chart), values, labels)
        except Denied as error:
            await self._api.require_started(error.operation)
            raise

    async def stop_release(self, namespace: str, name: str) -> str:
        """Scale the vCluster to zero and return which pods still run; "" once none does."""
        operation = f"stop release {name}"
        selector = f"app=vcluster,release={name}"
        try:
            for kind in (STATEFUL_SET, DEPLOYMENT):
                for each in await self._list(kind, namespace, operation, labels=selector):
                    if (each.get("spec") or {}).get("replicas") != 0:
                        path = kind.path(namespace, str(each["metadata"]["name"]))
                        body = {"spec": {"replicas": 0}}
                        await self._api.call("PATCH", path, operation, body=body, content=MERGE)
            pods = await self._list(POD, namespace, operation, labels=selector, metadata_only=True)
        except (Denied, NotFound, Rejected):
            # The release is deleted, or its namespace is terminating: nothing is left to stop.
            return ""
        names = [str(each["metadata"]["name"]) for each in pods]
        return f"Pod {', '.join(names)} to end" if names else ""

    async def uninstall_release(self, namespace: str, name: str) -> None:
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
            *(self._list(kind, namespace, operation, labels=selector) for kind in kinds)
        )
        controllers = [*sets, *deployments]
        if not controllers and await self.get_release(namespace, release) is None:
            raise NotFound(self._system, operation, "there is no such release")
        now = self._api.now()
        if (first := startup_of(Observation(now, controllers, pods))).ready:
            return first
        # Claims and events explain why it is not ready, so read them only in that case.
        claims, events = await asyncio.gather(
            self._list(CLAIM, namespace, operation), self._list(EVENT, namespace, operation)
        )
        own = [each for each in claims if inventory.belongs_to_release(CLAIM, each["metadata"], release)]
        return startup_of(Observation(now, controllers, pods, own, events))

    async def volumes(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:
        """Return the names of the release's volume claims, or of all claims with `every_claim`."""
        operation = f"list volumes of release {release}"
        claims = await self._list_if_there(CLAIM, namespace, operation)
        return sorted(
            str(each["metadata"]["name"])
            for each in claims
            if every_claim or inventory.belongs_to_release(CLAIM, each["metadata"], release)
        )

    async def delete_volume(self, namespace: str, name: str) -> None:
        """Delete the volume claim; raise NotFound if it does not exist."""
        await self._api.call("DELETE", CLAIM.path(namespace, name), f"delete volume {name}")

    async def leftovers(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:
        """Return all that still exists of the release, as `Kind name`."""
        operation = f"list what is left of release {release}"
        lists = await asyncio.gather(
            *(self._list_if_there(kind, namespace, operation) for kind in inventory.OF_A_RELEASE)
        )
        return [
            inventory.display_name(kind, str(each["metadata"]["name"]))
            for kind, found in zip(inventory.OF_A_RELEASE, lists, strict=True)
            for each in found
            if (every_claim and kind is CLAIM)
            or inventory.belongs_to_release(kind, each["metadata"], release)
        ]

    def _chart(self, chart: Chart) -> Chart:
        repository = self._options.chart_repository
        return dataclasses.replace(chart, repository=repository) if repository else chart

    async def _list_if_there(
        self, kind: Kind, namespace: str, operation: str, *, labels: str = ""
    ) -> Sequence[Mapping[str, Any]]:
        """Return the metadata of all objects in the namespace; empty when there is no namespace.

        Our rights exist only as long as the namespace, so for a deleted one the API server refuses the list.

        Raises:
            NotYet: the namespace is terminating, because Kubernetes may delete our rights before the last
                objects.
        """
        try:
            return await self._list(kind, namespace, operation, labels=labels, metadata_only=True)
        except Denied:
            found = await self._api.get(f"/api/v1/namespaces/{namespace}", operation)
            if found is None:
                return ()
            if not found["metadata"].get("deletionTimestamp"):
                raise
        detail = f"namespace {namespace} is being deleted, and our rights in it went first"
        raise NotYet(self._system, operation, detail)

    async def _list(
        self, kind: Kind, namespace: str, operation: str, *, labels: str = "", metadata_only: bool = False
    ) -> Sequence[Mapping[str, Any]]:
        return await self._api.list(
            kind.path(namespace), operation, labels=labels, metadata_only=metadata_only
        )


def _without_names(values: Mapping[str, Any]) -> Mapping[str, Any]:
    control_plane = {key: each for key, each in (values.get("controlPlane") or {}).items() if key != "proxy"}
    return {**values, "controlPlane": control_plane}


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
