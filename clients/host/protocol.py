"""The interface of a host cluster: what Moorage needs from a Kubernetes cluster with Helm.

The simulated host and a real one implement `Host` and `VirtualCluster`. Every failure is a
`clients.errors.ClientError`. No method waits until a state is reached: the caller polls, and can be
cancelled between two calls.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, Protocol

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


class VirtualCluster(Protocol):
    """The API server inside a vCluster, called with the credentials of its kubeconfig."""

    async def ready(self) -> bool:
        """Return whether `/readyz` succeeds; False also while the API server does not answer.

        Raises:
            Denied: the API server refuses the credentials.
        """

    async def version(self) -> str:
        """Return the Kubernetes version that the API server reports, such as `v1.36.0`."""

    async def apply(self, manifests: Sequence[Manifest], labels: Mapping[str, str]) -> None:
        """Apply all manifests, with `labels` added to each; idempotent.

        Namespaces and CustomResourceDefinitions come first, the others in the given order.

        Raises:
            Rejected: a manifest is not a Kubernetes object, or the API server does not know its kind.
        """

    async def find_existing(self, manifests: Sequence[Manifest]) -> list[str]:
        """Return which manifests exist, as `Kind name` or `Kind namespace/name`."""

    async def ensure_person(self, person: str, labels: Mapping[str, str]) -> bool:
        """Give the person all rights inside, by a binding with these labels; return whether it was missing.

        A binding of the person's name with other content is replaced.
        """

    async def remove_person(self, person: str) -> list[str]:
        """Take the person out of every binding; return these bindings as `Kind name`; idempotent.

        From then on, no certificate of the person has a right. Bindings that the person has made for their
        own user name end as well; service accounts that they have made stay.
        """

    async def list_people(self, labels: Mapping[str, str]) -> list[str]:
        """Return the people who have rights by a binding with these labels, sorted."""

    async def issue_certificate(
        self, request: bytes, person: str, validity: timedelta, labels: Mapping[str, str]
    ) -> str:
        """Return a client certificate (PEM) for the person's PKCS#10 request (PEM).

        The caller checks whom the request names, and what the certificate says.

        Raises:
            NotYet: the vCluster has not signed it in time.
            Rejected: the vCluster has refused it.
        """


class Host(Protocol):
    """A host cluster.

    For an object that does not exist, get methods return None and delete methods raise NotFound. Create
    methods raise AlreadyExists if the object exists.
    """

    @property
    def name(self) -> str:
        """Return the name of the host in the settings."""

    async def close(self) -> None:
        """Close all connections; the host cannot be called afterwards."""

    async def check(self) -> str:
        """Return the Kubernetes version, which proves that host and credentials work.

        Raises:
            Denied: the credentials lack rights; the message names them.
        """

    async def missing_permissions(self) -> list[str]:
        """Return the cluster-wide rights that our account lacks, in words, one entry for each."""

    async def dry_run_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """Check with a dry run that a namespace with these labels could be created.

        Raises:
            Denied: it could not; the message gives the reason.
        """

    async def find_policy_gaps(self) -> list[str]:
        """Return what the host's policies wrongly allow tenants, in words, from dry runs only.

        Raises:
            Denied: the dry run is not allowed.
        """

    async def find_refused_policies(self) -> list[str]:
        """Return which of an environment's quota and limit range the host refuses, and why, from dry runs."""

    async def networks(self) -> HostNetworks:
        """Return the addresses of the host's DNS, API server, nodes and pods.

        Raises:
            Rejected: the host does not show them.
        """

    async def allocatable(self) -> Sequence[NodeCapacity] | None:
        """Return the allocatable resources of each schedulable node; None if the host does not know."""

    async def create_namespace(
        self, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]
    ) -> Namespace:
        """Create the namespace and never adopt an existing one.

        Raises:
            AlreadyExists: the name is in use, also by a namespace that is terminating.
        """

    async def get_namespace(self, name: str) -> Namespace | None:
        """Return the namespace, or None if it does not exist."""

    async def list_namespaces(self, label: str, value: str) -> Sequence[Namespace]:
        """Return all namespaces whose label has this value."""

    async def swap_namespace(
        self, seen: Namespace, labels: Mapping[str, str], annotations: Mapping[str, str | None]
    ) -> bool:
        """Set labels and annotations of the namespace, if nothing of it has changed since it was `seen`.

        An annotation that is None is removed. Returns False, and changes nothing, if the namespace is another
        one now or has changed.

        Raises:
            Denied: our account may not change namespaces.
        """

    async def require_swap_permission(self, namespace: str) -> None:
        """Check that `swap_namespace` is allowed to our account there; raise Denied otherwise."""

    async def list_guards(self, namespace: str) -> Sequence[Manifest]:
        """Return all quotas, limit ranges and network policies in the namespace, also those of others."""

    async def delete_namespace(self, name: str, uid: str) -> None:
        """Request deletion of the namespace with exactly this UID; idempotent while it terminates.

        The namespace is deleted only when `get_namespace` no longer returns it.

        Raises:
            NotFound: there is no namespace with this name.
            Rejected: the namespace with this name has another UID.
        """

    async def namespace_blockers(self, name: str) -> list[str]:
        """Return what blocks a terminating namespace, in words; empty also once it is deleted."""

    async def host_manifests(self, namespace: str, release: str) -> Sequence[Manifest]:
        """Return the manifests that this host itself needs in the namespace, without labels.

        They are our rights there and the access to the vCluster, and have to be applied before all other
        objects.
        """

    def planned_overlay(self, namespace: str, release: str) -> Mapping[str, Any]:
        """Return the `overlay` as known before anything exists, with text for undecided values."""

    async def overlay(self, namespace: str, release: str) -> Mapping[str, Any]:
        """Return the chart values that this host overrides.

        They say how the vCluster is reached, once the host's manifests are applied, and where images and
        volumes come from.

        Raises:
            NotYet: the address of the vCluster is not assigned yet.
        """

    async def apply(self, namespace: str, objects: Sequence[Manifest]) -> None:
        """Apply the objects in the namespace; the caller has checked that the namespace is its own.

        Raises:
            NotFound: the namespace does not exist.
            Rejected: the namespace is terminating.
        """

    async def quota_usage(self, namespace: str) -> Mapping[str, tuple[str, str]]:
        """Return what is used and what is allowed of each resource in the namespace's quota."""

    async def get_release(self, namespace: str, name: str) -> Release | None:
        """Return the release, or None if it does not exist."""

    async def check_release(self, chart: Chart, values: Mapping[str, Any]) -> None:
        """Check that the chart is available and accepts the values; create nothing.

        Raises:
            Rejected: it is not, or does not; the message gives the reason.
        """

    async def install_release(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Install the release without waiting for its start.

        Raises:
            AlreadyExists: the release exists, in any status.
            NotFound: the namespace does not exist.
            Rejected: the namespace is terminating, or the chart or its values are invalid.
        """

    async def upgrade_release(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Upgrade the release to chart and values without waiting for its pods; its volumes stay.

        A call that was interrupted leaves it pending; then the last deployed revision is restored first.

        Raises:
            NotFound: the release does not exist.
            Rejected: the chart or its values are invalid, or change what cannot be changed.
        """

    async def rollout(self, namespace: str, release: str) -> Startup:
        """Return whether all pods of the release are of its newest revision, and ready.

        Pods of an older revision that are not ready are deleted, because they block the newer ones.

        Raises:
            NotFound: there is no such release.
        """

    async def stop_release(self, namespace: str, name: str) -> str:
        """Stop the vCluster and return what still runs of it, in words; "" once nothing does.

        The caller repeats the call until then. Without this step, objects that the vCluster deletes take as
        long to end as its tenants have requested.
        """

    async def pause_release(self, namespace: str, name: str) -> str:
        """Pause the vCluster and return what still runs of it and its tenant, in words; "" once nothing does.

        Its volumes, Secrets and Services stay, and pods without a controller are lost. The caller repeats the
        call until then.

        Raises:
            NotFound: there is no such vCluster.
        """

    async def resume_release(self, namespace: str, name: str) -> str:
        """Start a paused vCluster again, without waiting for its start; idempotent.

        Returns what this waits for, in words, and "" once it is done; the caller repeats the call until then.

        Raises:
            NotFound: there is no such vCluster.
        """

    async def is_paused(self, namespace: str, name: str) -> bool:
        """Return whether the vCluster is paused.

        Raises:
            NotFound: there is no such vCluster.
        """

    async def request_snapshot(
        self, namespace: str, release: str, request: SnapshotRequest
    ) -> SnapshotProgress:
        """Request a snapshot from the vCluster unless it is requested already; return how far it is.

        The caller repeats the call until it is taken or has failed.
        """

    async def restore_snapshot(
        self, namespace: str, release: str, request: SnapshotRequest
    ) -> SnapshotProgress:
        """Run a pod that restores the snapshot, unless there is one of that name; return how far it is.

        The vCluster must be paused. The pod stays when it has ended, so that a call which comes late starts
        no second one. The caller repeats the call until it is `taken` or has failed.

        Raises:
            NotFound: there is no such vCluster.
        """

    async def remove_restore_pods(self, namespace: str, release: str, keep: str) -> list[str]:
        """Delete all pods that restore snapshots, except `keep`; return which ones still exist.

        Each is deleted with the UID that it was listed with.
        """

    async def remove_snapshot_requests(self, namespace: str, release: str) -> list[str]:
        """Delete all requests for snapshots of a vCluster that has ended; return which ones still exist.

        Their finalizer is that of a controller in the vCluster, so no other program removes it then. The
        caller repeats the call until nothing is left.
        """

    async def uninstall_release(self, namespace: str, name: str) -> None:
        """Uninstall the release, in any status; its pods may end a little later, its volumes stay."""

    async def startup(self, namespace: str, release: str) -> Startup:
        """Return the progress of the start.

        Raises:
            NotFound: there is no such release.
        """

    async def health(self, namespace: str, release: str) -> Health:
        """Check whether a vCluster that was ready still runs, answers and has all its objects."""

    async def volumes(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:
        """Return the names of volume claims that the release left or uses, also after its uninstall.

        `every_claim`: include claims of any origin; the caller has checked that the namespace is its own.
        """

    async def delete_volume(self, namespace: str, name: str) -> None:
        """Delete the volume claim; raise NotFound if it does not exist."""

    async def persistent_volumes(self, namespace: str) -> list[PersistentVolume]:
        """Return volumes bound by claims in this namespace or an earlier one with its name."""

    async def delete_retained_volume(self, volume: PersistentVolume) -> None:
        """Request deletion of a released PersistentVolume and of the data on it.

        Its reclaim policy becomes Delete, so that its provisioner removes both.

        Raises:
            NotFound: it does not exist any more.
        """

    async def require_volume_permission(self) -> None:
        """Check that `delete_retained_volume` is allowed to our account; raise Denied otherwise."""

    async def ensure_role_binding(self, namespace: str, labels: Mapping[str, str]) -> None:
        """Restore our role binding in a namespace of ours if it was removed."""

    async def force_delete(self, namespace: str, uninstalled: str = "") -> ForcedDeletion:
        """Delete everything in a namespace of ours, by force where it does not end by itself.

        Pods, objects that a vCluster has created there, and objects with finalizers are deleted; no pod gets
        more than half a minute. Objects that have been terminating for a minute are forced: pods are killed,
        and finalizers are removed unless they belong to the host's own controllers.

        Objects left by the release `uninstalled` are deleted as well.

        The caller repeats the call until `waiting_for` is empty. It does nothing if there is no namespace.
        """

    async def leftovers(self, namespace: str, release: str, *, every_claim: bool = False) -> list[str]:
        """Return all that still exists of the release, with its record and volumes, as `Kind name`.

        `every_claim`: as in `volumes`.
        """

    async def kubeconfig(self, namespace: str, release: str) -> Kubeconfig | None:
        """Return the exported kubeconfig of the vCluster; None until its Secret exists.

        The Secret may appear later than the pod.
        """

    def virtual_cluster(self, kubeconfig: Kubeconfig) -> AbstractAsyncContextManager[VirtualCluster]:
        """Return a client for the API server of the kubeconfig; leaving the context closes it."""
