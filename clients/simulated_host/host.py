"""The simulated host cluster of the embedded stack, over its own small HTTP API.

Its virtual API servers implement the Kubernetes API, so the client of real ones calls them too.
"""

import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter

from clients.errors import AlreadyExists, Denied, MalformedAnswer, NotFound
from clients.host.kubeconfig import Kubeconfig
from clients.host.models import (
    LABEL_POD_SECURITY,
    Chart,
    ForcedDeletion,
    Health,
    HostNetworks,
    Manifest,
    Namespace,
    NodeCapacity,
    Peer,
    PeerPods,
    PersistentVolume,
    Release,
    Startup,
)
from clients.host.snapshots import SnapshotProgress, SnapshotRequest
from clients.simulated_host import pause, snapshots
from clients.simulated_host.api import OBJECTS, SimulatedHostApi, path_of
from clients.virtual_cluster import VirtualClusterApi

#: Values of pod security that the policy of real hosts accepts.
_POD_SECURITY = frozenset({"baseline", "restricted"})

#: Nothing enforces policies here, but they are generated from these networks as on any host.
SIMULATED_NETWORKS = HostNetworks(
    dns=(Peer("192.0.2.10/32", (53,)),),
    dns_pods=(PeerPods("kube-system", {"k8s-app": "kube-dns"}, (53,)),),
    api_server=(Peer("192.0.2.1/32", (443,)), Peer("192.0.2.2/32", (6443,))),
    nodes=("192.0.2.2/32",),
)

_NAMESPACE = TypeAdapter(Namespace)
_NAMESPACES = TypeAdapter(list[Namespace])
_ENDING = TypeAdapter(ForcedDeletion)
_NODES = TypeAdapter(list[NodeCapacity])
_RELEASE = TypeAdapter(Release)
_STARTUP = TypeAdapter(Startup)
_TEXT = TypeAdapter(str)
_TEXTS = TypeAdapter(list[str])


class SimulatedHost:
    """A simulated `clients.host.protocol.Host`: it stores objects, takes some time, and runs nothing."""

    def __init__(
        self,
        name: str,
        base_url: str,
        token: str,
        *,
        timeout: timedelta,
        verify: ssl.SSLContext | bool = True,
        reread: Callable[[], str] | None = None,
    ) -> None:
        self._name = name
        self._timeout = timeout
        self._api = SimulatedHostApi(
            f"simulated host {name}", base_url, token, timeout=timeout, verify=verify, reread=reread
        )

    @property
    def name(self) -> str:
        """Return the name of the host in the settings."""
        return self._name

    async def close(self) -> None:
        """Close all connections; the host cannot be called afterwards."""
        await self._api.close()

    async def check(self) -> str:
        """Return the Kubernetes version, which proves that host and token work."""
        return await self._api.ask(_TEXT, "GET", "/version", "read version")

    async def missing_permissions(self) -> list[str]:
        """Return an empty list: the simulation has no rights."""
        return []

    async def dry_run_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """Check for an owner mark and pod security, which a policy requires on real hosts."""
        operation = f"create namespace {name} (dry run)"
        if not labels.keys() - {LABEL_POD_SECURITY}:
            raise Denied(self._api.system, operation, "it has no owner label")
        if labels.get(LABEL_POD_SECURITY) not in _POD_SECURITY:
            raise Denied(self._api.system, operation, "it has no pod security")

    async def find_policy_gaps(self) -> list[str]:
        """Return an empty list: nothing runs here."""
        return []

    async def find_refused_policies(self) -> list[str]:
        """Return an empty list: every object is accepted here."""
        return []

    async def networks(self) -> HostNetworks:
        """Return networks as of a small real host, with addresses reserved for documentation."""
        return SIMULATED_NETWORKS

    async def allocatable(self) -> Sequence[NodeCapacity]:
        """Return the configured capacity."""
        return await self._api.ask(_NODES, "GET", "/nodes", "list nodes")

    async def create_namespace(
        self, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]
    ) -> Namespace:
        """Create the namespace; raise AlreadyExists if the name is in use."""
        body = {"name": name, "labels": dict(labels), "annotations": dict(annotations)}
        return await self._api.ask(_NAMESPACE, "POST", "/namespaces", f"create namespace {name}", body=body)

    async def get_namespace(self, name: str) -> Namespace | None:
        """Return the namespace, or None if it does not exist."""
        try:
            return await self._api.ask(_NAMESPACE, "GET", path_of(name), f"read namespace {name}")
        except NotFound:
            return None

    async def list_namespaces(self, label: str, value: str) -> Sequence[Namespace]:
        """Return all namespaces whose label has this value."""
        operation = f"list namespaces with {label}={value}"
        query = {"label": label, "value": value}
        return await self._api.ask(_NAMESPACES, "GET", "/namespaces", operation, query=query)

    async def swap_namespace(
        self, seen: Namespace, labels: Mapping[str, str], annotations: Mapping[str, str | None]
    ) -> bool:
        """Set labels and annotations of the namespace; return False if it has changed since it was seen."""
        metadata = {
            "uid": seen.uid,
            "resourceVersion": seen.version,
            "labels": dict(labels),
            "annotations": dict(annotations),
        }
        operation = f"take over namespace {seen.name}"
        try:
            await self._api.call("PATCH", path_of(seen.name), operation, body={"metadata": metadata})
        except (AlreadyExists, NotFound):  # how a conflict is read here
            return False
        return True

    async def require_swap_permission(self, namespace: str) -> None:
        """Do nothing: the simulation has no rights."""

    async def list_guards(self, namespace: str) -> Sequence[Manifest]:
        """Return all quotas, limit ranges and network policies in the namespace, also those of others."""
        path, operation = path_of(namespace, "objects"), f"list the guards in namespace {namespace}"
        return await self._api.ask(OBJECTS, "GET", path, operation)

    async def delete_namespace(self, name: str, uid: str) -> None:
        """Request deletion of the namespace with exactly this UID."""
        await self._api.call("DELETE", path_of(name), f"delete namespace {name}", query={"uid": uid})

    async def namespace_blockers(self, name: str) -> list[str]:
        """Return what blocks a terminating namespace, in words."""
        operation = f"read what holds namespace {name}"
        try:
            return await self._api.ask(_TEXTS, "GET", path_of(name, "blockers"), operation)
        except NotFound:
            return []

    async def host_manifests(self, namespace: str, release: str) -> Sequence[Manifest]:  # noqa: ARG002
        """Return an empty list: the simulation has no rights, and gives access to vClusters itself."""
        return ()

    def planned_overlay(self, namespace: str, release: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Return no values: none makes a difference here."""
        return {}

    async def overlay(self, namespace: str, release: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Return no values: none makes a difference here."""
        return {}

    async def apply(self, namespace: str, objects: Sequence[Manifest]) -> None:
        """Apply the objects in the namespace."""
        operation = f"apply {len(objects)} objects in namespace {namespace}"
        await self._api.call(
            "POST", path_of(namespace, "objects"), operation, body=[dict(each) for each in objects]
        )

    async def quota_usage(self, namespace: str) -> Mapping[str, tuple[str, str]]:  # noqa: ARG002
        """Return nothing: nothing runs here."""
        return {}

    async def get_release(self, namespace: str, name: str) -> Release | None:
        """Return the release, or None if it does not exist."""
        try:
            return await self._api.ask(
                _RELEASE, "GET", path_of(namespace, "releases", name), f"read release {name}"
            )
        except NotFound:
            return None

    async def check_release(self, chart: Chart, values: Mapping[str, Any]) -> None:
        """Accept every chart and values: no chart here could reject them."""

    async def install_release(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Install the release without waiting for its start."""
        body = {
            "chart": {"repository": chart.repository, "name": chart.name, "version": chart.version},
            "values": dict(values),
            "labels": dict(labels),
        }
        await self._api.call(
            "POST", path_of(namespace, "releases", name), f"install release {name}", body=body
        )

    async def upgrade_release(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Upgrade the release without waiting for its pods."""
        body = {
            "chart": {"repository": chart.repository, "name": chart.name, "version": chart.version},
            "values": dict(values),
            "labels": dict(labels),
        }
        await self._api.call(
            "PUT", path_of(namespace, "releases", name), f"upgrade release {name}", body=body
        )

    async def rollout(self, namespace: str, release: str) -> Startup:
        """Return the progress of the start: a pod here is always of the newest revision."""
        return await self.startup(namespace, release)

    async def stop_release(self, namespace: str, name: str) -> str:  # noqa: ARG002
        """Return "": nothing runs here that could create objects."""
        return ""

    async def pause_release(self, namespace: str, name: str) -> str:
        """Scale the StatefulSet to zero and delete the tenant's pods; return which pods still run."""
        return await pause.pause_release(self._api, namespace, name)

    async def resume_release(self, namespace: str, name: str) -> str:
        """Scale the StatefulSet to the size before the pause."""
        return await pause.resume_release(self._api, namespace, name)

    async def is_paused(self, namespace: str, name: str) -> bool:
        """Return whether the StatefulSet is paused."""
        return await pause.is_paused(self._api, namespace, name)

    async def request_snapshot(
        self, namespace: str, release: str, request: SnapshotRequest
    ) -> SnapshotProgress:
        """Create Secret and ConfigMap of the request unless they exist; return how far it is."""
        return await snapshots.request_snapshot(self._api, namespace, release, request)

    async def restore_snapshot(
        self, namespace: str, release: str, request: SnapshotRequest
    ) -> SnapshotProgress:
        """Create the pod that restores the snapshot, unless there is one of that name."""
        return await snapshots.restore_snapshot(self._api, namespace, release, request)

    async def remove_restore_pods(self, namespace: str, release: str, keep: str) -> list[str]:
        """Delete all pods that restore snapshots, except `keep`; return which ones still exist."""
        return await snapshots.remove_restore_pods(self._api, namespace, release, keep)

    async def remove_snapshot_requests(self, namespace: str, release: str) -> list[str]:
        """Delete all requests of the release, and take the finalizer of the vCluster away."""
        return await snapshots.remove_snapshot_requests(self._api, namespace, release)

    async def uninstall_release(self, namespace: str, name: str) -> None:
        """Uninstall the release, in any status."""
        await self._api.call("DELETE", path_of(namespace, "releases", name), f"uninstall release {name}")

    async def startup(self, namespace: str, release: str) -> Startup:
        """Return the progress of the start; raise NotFound if there is no such release."""
        path = path_of(namespace, "releases", release, "startup")
        return await self._api.ask(_STARTUP, "GET", path, f"read the start of release {release}")

    async def health(self, namespace: str, release: str) -> Health:
        """Return the state of the start, and whether the Secret exists."""
        if await self.get_namespace(namespace) is None:
            return Health("its namespace is gone")
        try:
            startup = await self.startup(namespace, release)
        except NotFound:
            return Health("its Helm release is gone")
        if not startup.ready:
            return Health(f"its vCluster does not run: waiting for {startup.waiting_for}")
        if await self.kubeconfig(namespace, release) is None:
            return Health(f"the Secret vc-{release} with its kubeconfig is gone")
        return Health()

    async def volumes(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:  # noqa: ARG002
        """Return all volume claims: a namespace here has no others."""
        path = path_of(namespace, "releases", release, "volumes")
        return await self._api.ask(_TEXTS, "GET", path, f"list volumes of release {release}")

    async def delete_volume(self, namespace: str, name: str) -> None:
        """Delete the volume claim; raise NotFound if it does not exist."""
        await self._api.call("DELETE", path_of(namespace, "volumes", name), f"delete volume {name}")

    async def persistent_volumes(self, namespace: str) -> list[PersistentVolume]:  # noqa: ARG002
        """Return an empty list: data here is deleted with its claim."""
        return []

    async def delete_retained_volume(self, volume: PersistentVolume) -> None:
        """Do nothing: there are no PersistentVolumes."""
        raise NotFound(self._api.system, f"give up volume {volume.name}", "there are none")

    async def require_volume_permission(self) -> None:
        """Do nothing: there are no PersistentVolumes."""

    async def ensure_role_binding(self, namespace: str, labels: Mapping[str, str]) -> None:
        """Do nothing: the simulation has no rights."""

    async def force_delete(self, namespace: str, uninstalled: str = "") -> ForcedDeletion:  # noqa: ARG002
        """Force objects that were requested to end in an earlier call: no minutes pass here."""
        path = path_of(namespace, "ends")
        try:
            return await self._api.ask(_ENDING, "POST", path, f"end by force in namespace {namespace}")
        except NotFound:
            return ForcedDeletion()

    async def leftovers(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:  # noqa: ARG002
        """Return all that exists: a namespace here has no claims of others."""
        path = path_of(namespace, "releases", release, "leftovers")
        return await self._api.ask(_TEXTS, "GET", path, f"list what is left of release {release}")

    async def kubeconfig(self, namespace: str, release: str) -> Kubeconfig | None:
        """Return the kubeconfig of the vCluster; None until its Secret exists."""
        operation = f"read the kubeconfig of release {release}"
        try:
            secret = await self._api.call_json(
                "GET", path_of(namespace, "releases", release, "kubeconfig"), operation
            )
        except NotFound:
            return None
        try:
            return Kubeconfig(secret["config"], secret_name=secret["name"])
        except (KeyError, TypeError, ValueError):
            raise MalformedAnswer(self._api.system, operation, "the answer holds no kubeconfig") from None

    def virtual_cluster(self, kubeconfig: Kubeconfig) -> VirtualClusterApi:
        """Return a client for the API server of the kubeconfig; leaving the context closes it."""
        return VirtualClusterApi(kubeconfig, timeout=self._timeout)
