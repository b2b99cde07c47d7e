"""A real Kubernetes cluster as a host: one object, whose parts do the work.

Each part is a separate class in `cluster`, `namespace` or `release`; this module puts them together and
says which part answers which method of the protocol.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from clients.host.kubeconfig import Kubeconfig
from clients.host.models import (
    Chart,
    ForcedDeletion,
    Health,
    HostNetworks,
    Manifest,
    Namespace,
    NodeCapacity,
    PersistentVolume,
    Release,
    Startup,
)
from clients.host.snapshots import SnapshotProgress, SnapshotRequest
from clients.kubernetes.api.client import KubernetesApi
from clients.kubernetes.auth.credentials import CredentialSource
from clients.kubernetes.cluster.account import Account
from clients.kubernetes.cluster.dry_run import DryRuns
from clients.kubernetes.cluster.host_check import HostCheck
from clients.kubernetes.cluster.networks import NetworkReader
from clients.kubernetes.namespace.apply import ObjectApplier
from clients.kubernetes.namespace.forced_deletion import ForcedDeleter
from clients.kubernetes.namespace.namespaces import Namespaces
from clients.kubernetes.namespace.persistent_volumes import PersistentVolumes
from clients.kubernetes.release.access import VirtualClusterAccess
from clients.kubernetes.release.chart_check import ChartCheck
from clients.kubernetes.release.health import HealthCheck
from clients.kubernetes.release.helm import Helm
from clients.kubernetes.release.leftovers import Leftovers
from clients.kubernetes.release.pause import ReleasePause
from clients.kubernetes.release.releases import Releases
from clients.kubernetes.release.snapshots import ReleaseSnapshots
from clients.kubernetes.vcluster_options import HostOptions
from clients.virtual_cluster import VirtualClusterApi


class KubernetesHost:
    """A `clients.host.protocol.Host` for a real Kubernetes cluster; it connects at the first call."""

    def __init__(
        self,
        name: str,
        credentials: CredentialSource,
        helm: Helm,
        options: HostOptions,
        *,
        timeout: timedelta,
    ) -> None:
        self._name = name
        self._chart_repository = options.chart_repository
        self._api = api = KubernetesApi(f"host cluster {name}", credentials, timeout=timeout)
        account = Account(api)
        self._host_check = HostCheck(api, credentials, account, options)
        self._dry_runs = DryRuns(api)
        self._networks = NetworkReader(api, options)
        self._namespaces = Namespaces(api)
        self._applier = ObjectApplier(api, account)
        self._forced_deleter = ForcedDeleter(api)
        self._persistent_volumes = PersistentVolumes(api)
        self._releases = Releases(api, helm, self._namespaces)
        self._pause = ReleasePause(api)
        self._snapshots = ReleaseSnapshots(api, self._namespaces)
        self._chart_check = ChartCheck(api, helm)
        self._leftovers = Leftovers(api, self._namespaces)
        self._access = VirtualClusterAccess(api, account, options, timeout=timeout)
        self._health_check = HealthCheck(api, self._access, options)

    @property
    def name(self) -> str:
        """Return the name of the host in the settings."""
        return self._name

    async def close(self) -> None:
        """Close all connections; the host cannot be called afterwards."""
        await self._api.close()

    # The host as a whole

    async def check(self) -> str:
        """Return the Kubernetes version, which proves that host and credentials work."""
        return await self._host_check.check()

    async def missing_permissions(self) -> list[str]:
        """Return the cluster-wide permissions that our account lacks, in words."""
        return await self._host_check.missing_permissions()

    async def allocatable(self) -> Sequence[NodeCapacity]:
        """Return the allocatable resources of each schedulable node."""
        return await self._host_check.allocatable()

    async def networks(self) -> HostNetworks:
        """Return the host's addresses; raise Rejected if the cluster does not show them."""
        return await self._networks.read()

    async def dry_run_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """Check that a namespace with these labels could be created; raise Denied if not."""
        await self._dry_runs.create_namespace(name, labels)

    async def find_policy_gaps(self) -> list[str]:
        """Return what the host's policies wrongly allow tenants, in words."""
        return await self._dry_runs.find_policy_gaps()

    async def find_refused_policies(self) -> list[str]:
        """Return which policies of an environment the host refuses, and why, in words."""
        return await self._dry_runs.find_refused_policies()

    # Namespaces and the objects in them

    async def create_namespace(
        self, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]
    ) -> Namespace:
        """Create the namespace; raise AlreadyExists if the name is in use."""
        return await self._namespaces.create(name, labels, annotations)

    async def get_namespace(self, name: str) -> Namespace | None:
        """Return the namespace, or None if it does not exist."""
        return await self._namespaces.get(name)

    async def list_namespaces(self, label: str, value: str) -> Sequence[Namespace]:
        """Return all namespaces whose label has this value."""
        return await self._namespaces.list_labelled(label, value)

    async def swap_namespace(
        self, seen: Namespace, labels: Mapping[str, str], annotations: Mapping[str, str | None]
    ) -> bool:
        """Set labels and annotations of the namespace; return False if it has changed since it was seen."""
        return await self._namespaces.swap(seen, labels, annotations)

    async def require_swap_permission(self, namespace: str) -> None:
        """Check that `swap_namespace` is allowed to our account there; raise Denied otherwise."""
        await self._namespaces.require_swap_permission(namespace)

    async def list_guards(self, namespace: str) -> Sequence[Manifest]:
        """Return all quotas, limit ranges and network policies in the namespace, also those of others."""
        return await self._applier.list_guards(namespace)

    async def delete_namespace(self, name: str, uid: str) -> None:
        """Request deletion of the namespace with exactly this UID; idempotent while it terminates."""
        await self._namespaces.delete(name, uid)

    async def namespace_blockers(self, name: str) -> list[str]:
        """Return what blocks a terminating namespace, in words; empty if nothing does."""
        return await self._namespaces.blockers(name)

    async def apply(self, namespace: str, objects: Sequence[Manifest]) -> None:
        """Apply the objects in the namespace, with our own role binding first."""
        await self._applier.apply(namespace, objects)

    async def ensure_role_binding(self, namespace: str, labels: Mapping[str, str]) -> None:
        """Restore our role binding in a namespace of ours if it was removed."""
        await self._applier.ensure_role_binding(namespace, labels)

    async def force_delete(self, namespace: str, uninstalled: str = "") -> ForcedDeletion:
        """Take the next step for each object to delete; return what remains and what was forced."""
        return await self._forced_deleter.force_delete(namespace, uninstalled)

    async def persistent_volumes(self, namespace: str) -> list[PersistentVolume]:
        """Return volumes bound by claims in this namespace or an earlier one with its name."""
        return await self._persistent_volumes.list_bound_from(namespace)

    async def delete_retained_volume(self, volume: PersistentVolume) -> None:
        """Set the reclaim policy of a released volume to Delete, so that its data is deleted too."""
        await self._persistent_volumes.delete_retained(volume)

    async def require_volume_permission(self) -> None:
        """Check that `delete_retained_volume` is allowed to our account; raise Denied otherwise."""
        await self._persistent_volumes.require_permission()

    # Releases

    async def check_release(self, chart: Chart, values: Mapping[str, Any]) -> None:
        """Check that the chart is available, accepts the values, and needs no permission that we lack."""
        await self._chart_check.check(self._from_repository(chart), values)

    async def install_release(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Install the release without waiting for its start."""
        await self._releases.install(namespace, name, self._from_repository(chart), values, labels)

    async def upgrade_release(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Upgrade the release without waiting for its pods."""
        await self._releases.upgrade(namespace, name, self._from_repository(chart), values, labels)

    async def rollout(self, namespace: str, release: str) -> Startup:
        """Return whether all pods of the release are of its newest revision, and ready."""
        return await self._releases.rollout(namespace, release)

    async def get_release(self, namespace: str, name: str) -> Release | None:
        """Return the release with the labels set at its install, or None if it does not exist."""
        return await self._releases.get(namespace, name)

    async def stop_release(self, namespace: str, name: str) -> str:
        """Scale the vCluster to zero and return which pods still run; "" once none does."""
        return await self._releases.stop(namespace, name)

    async def pause_release(self, namespace: str, name: str) -> str:
        """Pause the vCluster and return which pods still run; "" once none does."""
        return await self._pause.pause(namespace, name)

    async def resume_release(self, namespace: str, name: str) -> str:
        """Start a paused vCluster again; return what this waits for, "" once it is done."""
        return await self._pause.resume(namespace, name)

    async def is_paused(self, namespace: str, name: str) -> bool:
        """Return whether the vCluster is paused."""
        return await self._pause.is_paused(namespace, name)

    async def request_snapshot(
        self, namespace: str, release: str, request: SnapshotRequest
    ) -> SnapshotProgress:
        """Request a snapshot from the vCluster unless it is requested already; return how far it is."""
        return await self._snapshots.request(namespace, release, request)

    async def restore_snapshot(
        self, namespace: str, release: str, request: SnapshotRequest
    ) -> SnapshotProgress:
        """Run a pod that restores the snapshot, unless there is one of that name; return how far it is."""
        return await self._snapshots.restore(namespace, release, request)

    async def remove_restore_pods(self, namespace: str, release: str, keep: str) -> list[str]:
        """Delete all pods that restore snapshots, except `keep`; return which ones still exist."""
        return await self._snapshots.remove_restore_pods(namespace, release, keep)

    async def remove_snapshot_requests(self, namespace: str, release: str) -> list[str]:
        """Delete all requests for snapshots of a vCluster that has ended; return which ones still exist."""
        return await self._snapshots.remove_requests(namespace, release)

    async def uninstall_release(self, namespace: str, name: str) -> None:
        """Uninstall the release, in any status."""
        await self._releases.uninstall(namespace, name)

    async def startup(self, namespace: str, release: str) -> Startup:
        """Return the progress of the start; raise NotFound if there is no such release."""
        return await self._releases.startup(namespace, release)

    async def quota_usage(self, namespace: str) -> Mapping[str, tuple[str, str]]:
        """Return what is used and what is allowed of each resource in the namespace's quota."""
        return await self._health_check.quota_usage(namespace)

    async def health(self, namespace: str, release: str) -> Health:
        """Check whether a vCluster that was ready still runs, answers and has all its objects."""
        return await self._health_check.check(namespace, release)

    async def volumes(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:
        """Return the names of the release's volume claims, or of all claims with `every_claim`."""
        return await self._leftovers.volumes(namespace, release, every_claim=every_claim)

    async def delete_volume(self, namespace: str, name: str) -> None:
        """Delete the volume claim; raise NotFound if it does not exist."""
        await self._leftovers.delete_volume(namespace, name)

    async def leftovers(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:
        """Return all that still exists of the release, as `Kind name`."""
        return await self._leftovers.names(namespace, release, every_claim=every_claim)

    # Access to vClusters

    async def host_manifests(self, namespace: str, release: str) -> Sequence[Manifest]:  # noqa: ARG002
        """Return the manifests that this host needs in the namespace, without labels."""
        return await self._access.manifests(release)

    def planned_overlay(self, namespace: str, release: str) -> Mapping[str, Any]:
        """Return the overlay with a placeholder for a port that is not assigned yet."""
        return self._access.planned_overlay(namespace, release)

    async def overlay(self, namespace: str, release: str) -> Mapping[str, Any]:
        """Return the chart values that this host overrides; raise NotYet before the port is assigned."""
        return await self._access.overlay(namespace, release)

    async def kubeconfig(self, namespace: str, release: str) -> Kubeconfig | None:
        """Return the kubeconfig in the vCluster's Secret; None until the Secret exists."""
        return await self._access.kubeconfig(namespace, release)

    def virtual_cluster(self, kubeconfig: Kubeconfig) -> VirtualClusterApi:
        """Return a client for the API server of the kubeconfig; leaving the context closes it."""
        return self._access.connect(kubeconfig)

    def _from_repository(self, chart: Chart) -> Chart:
        """Return the chart from the host's own chart repository, if it has one."""
        return replace(chart, repository=self._chart_repository) if self._chart_repository else chart
