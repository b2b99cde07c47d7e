"""Takes snapshots of virtual clusters and restores them, in the ways of the vCluster's vendor.

The request for a snapshot stays until the vCluster or the teardown removes it, and the pod of a restore until
the next restore or the teardown. So a repeat finds the first one, and a late call makes no second one.
"""

from temporalio import activity

from activities import activity_context
from activities.errors import NeverReady, NotYet
from activities.ownership import mark_text, require_ours
from activities.parts.host_lookup import Hosts, at_host, own_kubeconfig, require_installed
from activities.task_queues import ensure_right_queue
from clients.host.snapshots import SnapshotProgress, SnapshotRequest
from contracts.activities.vcluster import (
    RestoreSnapshotInput,
    SettlePeopleInput,
    SnapshotActivities,
    SnapshotInput,
)
from contracts.environment.models import System
from contracts.environment.snapshot_support import request_name, restore_name, snapshot_path
from contracts.temporal.task_queues import NO_OWN_QUEUES, OwnQueues
from contracts.types.naming import OwnerMark


class Snapshots(SnapshotActivities):
    """Takes snapshots of the vClusters on their hosts."""

    def __init__(self, hosts: Hosts, own_queues: OwnQueues = NO_OWN_QUEUES) -> None:
        self._hosts = hosts
        self._own_queues = own_queues

    @activity.defn(name="snapshot.take")
    async def take(self, input: SnapshotInput) -> None:
        """Request the snapshot, and wait until it is taken.

        Raises NeverReady if the vCluster says that it has failed, and Conflict if the vCluster, or a request
        of that name, is not ours.
        """
        ensure_right_queue(self._own_queues, input.environment, [System.HOST_CLUSTER])
        host, environment = await at_host(self._hosts, input.environment)
        await require_installed(host, environment)
        name, mark = environment.host_name, environment.mark
        wanted = request_name(name, input.number, input.asked_at)
        request = SnapshotRequest(wanted, snapshot_path(input.number), mark.labels)

        async def pending() -> str:
            progress = await host.request_snapshot(name, name, request)
            _require_own_success(
                progress, f"ConfigMap {request.name}", mark,
                f"The vCluster on host {host.name} could not take the snapshot",
                "See the log of the vCluster's pod, then ask again",
            )  # fmt: skip
            return "" if progress.taken else progress.waiting_for

        if waiting_for := await activity_context.wait_until(pending):
            raise NotYet(
                System.HOST_CLUSTER,
                f"The snapshot on host {host.name} is not taken in its time: waiting for {waiting_for}",
                "See the log of the vCluster's pod, then ask again",
            )

    @activity.defn(name="snapshot.restore")
    async def restore(self, input: RestoreSnapshotInput) -> None:
        """Run the pod that restores the snapshot, and wait until it has succeeded.

        Raises NeverReady if it has failed, and Conflict if the vCluster, or a pod of that name, is not ours.
        """
        ensure_right_queue(self._own_queues, input.environment, [System.HOST_CLUSTER])
        host, environment = await at_host(self._hosts, input.environment)
        await require_installed(host, environment)
        name, mark = environment.host_name, environment.mark
        request = SnapshotRequest(restore_name(name, input.attempt), snapshot_path(input.number), mark.labels)

        async def pending() -> str:
            # Two pods must never write to the volume.
            if left := await host.remove_restore_pods(name, name, request.name):
                return f"{', '.join(left)} of an earlier restore to end"
            progress = await host.restore_snapshot(name, name, request)
            _require_own_success(
                progress, f"Pod {request.name}", mark,
                f"The snapshot could not be restored on host {host.name}",
                "See the log of its pod, then ask again",
            )  # fmt: skip
            return "" if progress.taken else progress.waiting_for

        if waiting_for := await activity_context.wait_until(pending):
            raise NotYet(
                System.HOST_CLUSTER,
                f"The snapshot on host {host.name} is not restored in its time: waiting for {waiting_for}",
                "See what the pod waits for, then ask again",
            )

    @activity.defn(name="snapshot.settle")
    async def settle(self, input: SettlePeopleInput) -> None:
        """Take all out of the virtual cluster who have rights by the snapshot, and may not use it now."""
        ensure_right_queue(self._own_queues, input.environment, [System.HOST_CLUSTER])
        host, environment = await at_host(self._hosts, input.environment)
        kubeconfig = await own_kubeconfig(host, environment)
        async with host.virtual_cluster(kubeconfig) as virtual:
            for person in await virtual.list_people(environment.mark.labels):
                if person not in input.people:
                    await virtual.remove_person(person)


def _require_own_success(
    progress: SnapshotProgress, thing: str, mark: OwnerMark, failure: str, remedy: str
) -> None:
    """Raise Conflict if the thing is not ours, and NeverReady if it has failed."""
    if progress.labels:
        require_ours(System.HOST_CLUSTER, thing, mark_text(progress.labels), mark)
    if progress.failed is not None:
        raise NeverReady(System.HOST_CLUSTER, f"{failure}: {progress.failed}", remedy)
