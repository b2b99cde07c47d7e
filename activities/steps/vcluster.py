"""Step 6: the vCluster, a started Helm release in its namespace. Its labels are the mark.

Helm never waits here: the step watches the start itself, so that it can report what the start waits for.
Volumes are deleted with the release: on an old volume, a new vCluster would start with the old state and the
old credentials. Volumes whose storage class retains them are deleted or kept as the template says; see
`activities/parts/retained_volumes.py`.
"""

import contextlib
from datetime import datetime, timedelta

from activities import activity_context
from activities.errors import NeverReady, NotYet
from activities.ownership import NOTHING_THERE, mark_text, note_foreign
from activities.parts.forced_deletion import ForcedDeletion
from activities.parts.host_lookup import (
    Hosts,
    at_host,
    chart_of,
    ensure_role_binding,
    has_own_mark,
    is_own_namespace,
    require_own_namespace,
    require_own_release,
)
from activities.parts.release_change import change_release, release_labels
from activities.parts.retained_volumes import delete_retained, volumes_of
from activities.parts.standby_claim import withdraw
from clients import errors as client
from clients.host.models import Release, ReleaseStatus
from clients.host.protocol import Host
from contracts.activities.steps import (
    EnsureInput,
    InspectInput,
    InspectResult,
    RemoveInput,
    RemoveResult,
    StepActivities,
)
from contracts.environment.chart_values import compose_values
from contracts.environment.models import Environment, Receipt, System

#: How long a pending release may be the work of a Helm call that still runs, in a worker that was considered
#: dead: an install without waiting takes a second or two. After that no process works on it.
PENDING_RELEASE_TIMEOUT = timedelta(seconds=10)
#: How long the vCluster itself may take to stop; its pods have ten seconds.
STOP_TIMEOUT = timedelta(seconds=45)
#: Most objects that one message names as left over from a release.
MAX_NAMED = 5


class VClusterStep(StepActivities):
    """Installs, starts, removes and finds the vCluster."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    async def ensure(self, input: EnsureInput) -> Receipt:
        """Install the release and wait until it has started; raise NeverReady if it cannot start.

        Raises Conflict if a release of that name exists and is not ours.
        """
        host, environment = await at_host(self._hosts, input.environment)
        name = environment.host_name
        await require_own_namespace(host, environment)
        if input.in_place:
            await change_release(host, environment)
            return Receipt(name=name, reference=f"{host.name}/{name}")
        release = await _usable_release(host, environment)
        if release is None:
            await _install(host, environment)
        if waiting_for := await activity_context.wait_until(lambda: pending_startup(host, name)):
            raise NotYet(
                System.HOST_CLUSTER,
                f"The vCluster on host {host.name} has not started in its time: {waiting_for}",
                "See to what it waits for, then ask again",
            )
        return Receipt(name=name, reference=f"{host.name}/{name}")

    async def remove(self, input: RemoveInput) -> RemoveResult:
        """Delete our release, its volumes and everything that it ran."""
        host, environment = await at_host(self._hosts, input.environment)
        name, mark = environment.host_name, environment.mark
        if environment.is_standby and await withdraw(host, environment):
            return RemoveResult(note=f"left alone: Helm release {name} was taken over")
        await ensure_role_binding(host, environment)
        release = await _release_found(host, environment)
        if release is not None and not has_own_mark(release, environment):
            return RemoveResult(note=note_foreign(f"Helm release {name}", mark_text(release.labels), mark))
        if release is None and not await _left_without_release(host, environment, input.life_started_at):
            return RemoveResult(note=NOTHING_THERE)
        forced = await _uninstall(
            host, environment, installed=release is not None, life_started_at=input.life_started_at
        )
        kept = (await volumes_of(host, environment, input.life_started_at)).names_to_keep
        more = f"; kept, as the template says: {', '.join(kept)}" if kept else ""
        return RemoveResult(note=f"uninstalled {name} and deleted its volumes{more}", forced=forced)

    async def inspect(self, input: InspectInput) -> InspectResult:
        """Return what is left of our release, and which volumes are kept as the template says."""
        host, environment = await at_host(self._hosts, input.environment)
        name = environment.host_name
        if environment.is_standby and not await _is_ours(host, environment):
            # The release of one that was taken over keeps its labels, and belongs to the namespace's owner.
            return InspectResult()
        release = await _release_found(host, environment)
        if release is None:
            left = await _left_without_release(host, environment, input.life_started_at)
        elif has_own_mark(release, environment):
            left = await host.leftovers(name, name, every_claim=await _is_ours(host, environment))
        else:
            return InspectResult()
        kept = (await volumes_of(host, environment, input.life_started_at)).names_to_keep
        if environment != input.environment:
            # The namespace of its standby is gone, or of another: volumes that it had may still be there.
            kept += (await volumes_of(host, input.environment, input.life_started_at)).names_to_keep
        return InspectResult(left=tuple(left), kept=kept)


async def _release_found(host: Host, environment: Environment) -> Release | None:
    """Return the release of our name, of any owner; None if there is none.

    Returns None as well if the worker has no access to the namespace and it is not ours. Our permissions are
    deleted with our namespace, and another owner may have created a namespace of that name since then. All
    that was ours was deleted with our namespace, so what we cannot see in the other one is not ours.
    """
    name = environment.host_name
    try:
        return await host.get_release(name, name)
    except (client.Denied, client.NotYet):
        # NotYet belongs here too: a namespace that the worker cannot access terminates as well.
        if is_own_namespace(await host.get_namespace(name), environment.mark):
            raise
        return None


async def _is_ours(host: Host, environment: Environment) -> bool:
    """Return whether the namespace is of this life.

    If it is, every claim in it is deleted, whatever name its chart gives it.
    """
    return is_own_namespace(await host.get_namespace(environment.host_name), environment.mark)


async def _left_without_release(
    host: Host, environment: Environment, life_started_at: datetime | None
) -> list[str]:
    """Return what an uninstalled release has left.

    Without the release's labels, it is ours if its namespace is.
    """
    name = environment.host_name
    left = []
    if await _is_ours(host, environment):
        left = await host.leftovers(name, name, every_claim=True)
    return left or (await volumes_of(host, environment, life_started_at)).names_to_delete


async def _usable_release(host: Host, environment: Environment) -> Release | None:
    """Return our release, completely installed; None if there is none (any more).

    Raises Conflict if it is not ours.
    """
    name = environment.host_name

    async def pending() -> str:
        release = await host.get_release(name, name)
        if release is None or release.status in (ReleaseStatus.DEPLOYED, ReleaseStatus.FAILED):
            return ""
        return f"an earlier Helm call on {name} to end ({release.status})"

    release = await host.get_release(name, name)
    if release is None:
        return None
    require_own_release(release, environment)
    if release.status is ReleaseStatus.DEPLOYED:
        return release
    await activity_context.wait_until(pending, timeout=PENDING_RELEASE_TIMEOUT)
    release = await host.get_release(name, name)
    if release is not None and release.status is ReleaseStatus.DEPLOYED:
        return release
    # A pending release that a killed Helm process left blocks every later install, so it is removed.
    await _uninstall(host, environment, installed=release is not None)
    return None


async def _install(host: Host, environment: Environment) -> None:
    name = environment.host_name
    values = compose_values(environment, await host.overlay(name, name))
    try:
        await activity_context.run_cancellable(
            host.install_release(
                name,
                name,
                chart_of(environment),
                values,
                release_labels(environment, values),
            )
        )
    except client.AlreadyExists:
        # Another call installed it first: perhaps an earlier attempt of ours whose response was lost.
        release = await host.get_release(name, name)
        if release is not None:
            require_own_release(release, environment)
        raise NotYet(
            System.HOST_CLUSTER,
            f"Helm release {name} appeared on host {host.name} while it was being installed",
            "Nothing: the next try takes it over",
        ) from None


async def pending_startup(host: Host, name: str) -> str:
    """Return what the start waits for, "" once it is done; raise NeverReady if it has failed."""
    startup = await host.startup(name, name)
    if startup.failed is not None:
        raise NeverReady(
            System.HOST_CLUSTER,
            f"The vCluster on host {host.name} will not start: {startup.failed}",
            "See to the cause on the host or in the template, then ask again",
        )
    return "" if startup.ready else startup.waiting_for or "the vCluster to start"


async def _uninstall(
    host: Host, environment: Environment, *, installed: bool, life_started_at: datetime | None = None
) -> tuple[str, ...]:
    """Uninstall, delete the volumes, and wait until nothing is left; return what was forced.

    Raises NotYet with the names of what remains.
    """
    name, forced = environment.host_name, ForcedDeletion(host, environment)
    # Stop the release first: a node gives a pod the grace period of its first deletion, and does not accept a
    # shorter one later. So the worker deletes the tenant's pods itself, when no controller creates or deletes
    # pods any more, and not together with the release.
    await activity_context.wait_until(lambda: host.stop_release(name, name), timeout=STOP_TIMEOUT)
    await forced.advance()

    async def requested() -> str:
        return ", ".join(await host.remove_snapshot_requests(name, name))

    if await _is_ours(host, environment):
        # The vCluster, which has ended, does not take its finalizer of a request away any more.
        await activity_context.wait_until(requested, timeout=STOP_TIMEOUT)
    if installed:
        with contextlib.suppress(client.NotFound):
            await host.uninstall_release(name, name)

    async def left() -> str:
        is_ours = await _is_ours(host, environment)
        things = await host.leftovers(name, name, every_claim=is_ours)
        if things:
            await forced.advance(uninstalled=True)
            for volume in await host.volumes(name, name, every_claim=is_ours):
                with contextlib.suppress(client.NotFound):
                    await host.delete_volume(name, volume)
        else:
            volumes = await volumes_of(host, environment, life_started_at)
            await delete_retained(host, volumes)
            things = volumes.names_to_delete
        more = f" and {len(things) - MAX_NAMED} more" if len(things) > MAX_NAMED else ""
        return f"{', '.join(things[:MAX_NAMED])}{more} to go" if things else ""

    if waiting_for := await activity_context.wait_until(left):
        raise NotYet(
            System.HOST_CLUSTER,
            f"Of release {name} on host {host.name} something stays: waiting for {waiting_for}",
            "See what holds it, as finalizers or pods that do not end",
        )
    return forced.lines
