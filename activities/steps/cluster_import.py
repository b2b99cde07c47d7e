"""Step 8: the vCluster's record in the control plane, reporting ready and healthy. Its labels are the mark.

"Ready" is only ever the control plane's word, said because something inside the vCluster has reported.
"""

import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from temporalio import activity

from activities import activity_context
from activities.errors import Conflict, NeverReady, NotAccepted, NotYet
from activities.ownership import NOTHING_THERE, left_alone, mark_text, require_ours
from activities.parts.bootstrap_manifest import Bootstrap
from activities.parts.control_plane_resource import own_project
from activities.parts.host_lookup import Hosts, host_of
from activities.steps.kubeconfig import own_kubeconfig
from clients import errors as client
from clients.rafay import Cluster, Project, Rafay
from contracts.activities import (
    EnsureInput,
    ImportStep,
    InspectInput,
    InspectResult,
    RemoveInput,
    RemoveResult,
)
from contracts.environment import Environment, Receipt, System

#: How long the agent may take to answer a deregistration: it is told at once and has little to do. One that
#: has not answered by then will not, and by force it goes when its vCluster is gone.
AGENT_LIMIT = timedelta(seconds=60)

_T = TypeVar("_T")


class ClusterImport(ImportStep):
    """Imports the vCluster, deregisters it, and finds its record."""

    def __init__(self, rafay: Rafay, hosts: Hosts) -> None:
        self._rafay = rafay
        self._hosts = hosts

    @activity.defn(name="import.ensure")
    async def ensure(self, input: EnsureInput) -> Receipt:
        """The record is there once, is ours, ready and healthy. NeverReady says why it will not be."""
        environment = input.environment
        project = await own_project(self._rafay, environment)
        cluster = await self._record(project, environment)
        if not cluster.ready:
            await self._bootstrap(cluster, environment)
            await self._wait_until_ready(cluster)
        return Receipt(name=cluster.name, reference=cluster.id)

    async def _record(self, project: Project, environment: Environment) -> Cluster:
        name, mark = environment.derived_name, environment.mark
        blueprint = environment.template.blueprint
        try:
            return await self._rafay.create_cluster(project.id, name, mark.labels, blueprint)
        except client.AlreadyExists:
            cluster = await self._rafay.find_cluster(project.id, name)
        if cluster is None:
            raise Conflict(
                System.CONTROL_PLANE,
                f"A cluster named {name} exists in another project of the {System.CONTROL_PLANE}",
                "Choose another name, or have its owner remove it",
            )
        require_ours(System.CONTROL_PLANE, f"Cluster {name}", mark_text(cluster.labels), mark)
        return cluster

    async def _bootstrap(self, cluster: Cluster, environment: Environment) -> None:
        """Apply inside the vCluster what makes its agent report."""

        async def manifest() -> Bootstrap:
            return await Bootstrap.read(await self._rafay.bootstrap(cluster.project_id, cluster.name))

        bootstrap = await _with_retries(manifest, "the control plane to make the bootstrap manifest")
        host = host_of(self._hosts, environment)
        kubeconfig = await own_kubeconfig(host, environment)
        async with host.virtual_cluster(kubeconfig) as virtual:

            async def applied() -> None:
                try:
                    await virtual.apply(bootstrap.manifests(), environment.mark.labels)
                except client.Rejected as error:
                    raise NotAccepted(
                        System.HOST_CLUSTER,
                        f"The vCluster could not {error.operation}: {bootstrap.hide(error.detail)}",
                        "Show it to the platform team: the bootstrap manifest does not fit the vCluster",
                    ) from None

            await _with_retries(applied, "the vCluster to take the bootstrap manifest")

    async def _wait_until_ready(self, cluster: Cluster) -> None:
        async def missing() -> str:
            now = await self._rafay.get_cluster(cluster.project_id, cluster.id)
            if now.failure is not None:
                raise NeverReady(
                    System.CONTROL_PLANE,
                    f"The import of cluster {cluster.name} has failed: {now.failure}",
                    f"See to the cause in the {System.CONTROL_PLANE}, then ask again",
                )
            if now.ready:
                return ""
            return now.pending or ("its agent to report that it is healthy" if now.status else "a status")

        if waiting_for := await activity_context.until(missing):
            raise NotYet(
                System.CONTROL_PLANE,
                f"Cluster {cluster.name} has not become ready in its time: waiting for {waiting_for}",
                f"See that the vCluster can reach the {System.CONTROL_PLANE}, then ask again",
            )

    @activity.defn(name="import.remove")
    async def remove(self, input: RemoveInput) -> RemoveResult:
        """No record of ours is there. By force if the agent cannot answer; otherwise it is given a minute."""
        cluster = await self._find(input.environment)
        if cluster is None:
            return RemoveResult(note=NOTHING_THERE)
        mark = input.environment.mark
        if not mark.is_in(cluster.labels):
            return RemoveResult(note=left_alone(f"cluster {cluster.name}", mark_text(cluster.labels), mark))
        force = input.force or not cluster.agent_has_answered
        with contextlib.suppress(client.NotFound):
            await self._rafay.delete_cluster(cluster.project_id, cluster.id, force=force)

        async def still_there() -> str:
            try:
                await self._rafay.get_cluster(cluster.project_id, cluster.id)
            except client.NotFound:
                return ""
            return "the record to go" if force else "the agent's answer to the deregistration"

        if waiting_for := await activity_context.until(still_there, limit=None if force else AGENT_LIMIT):
            raise NotYet(
                System.CONTROL_PLANE,
                f"Cluster {cluster.name} is not deregistered yet: waiting for {waiting_for}",
                "Nothing: it goes by force once its vCluster is gone",
                # For this pass: what follows in it takes the vCluster away, and with it the need to wait.
                final=not force,
            )
        return RemoveResult(note=f"deregistered cluster {cluster.name}{' by force' if force else ''}")

    async def _find(self, environment: Environment) -> Cluster | None:
        project = await self._rafay.find_project(environment.derived_name)
        if project is None:
            return None
        try:
            return await self._rafay.find_cluster(project.id, environment.derived_name)
        except client.NotFound:
            return None

    @activity.defn(name="import.inspect")
    async def inspect(self, input: InspectInput) -> InspectResult:
        """The record, if it is there and ours."""
        cluster = await self._find(input.environment)
        if cluster is None or not input.environment.mark.is_in(cluster.labels):
            return InspectResult()
        return InspectResult(left=(f"cluster {cluster.name}",))


async def _with_retries(call: Callable[[], Awaitable[_T]], waiting_for: str) -> _T:
    """Make the call again while that may help, until the activity's time is over.

    Here, and not by another try of the step: what a vCluster that has just started has taken of many objects
    need not be sent again because it did not answer for one of them.
    """
    results: list[_T] = []
    errors: list[client.ClientError] = []

    async def tried() -> str:
        try:
            results.append(await call())
        except client.ClientError as error:
            if not error.retryable:
                raise
            errors.append(error)
            why = "" if isinstance(error, client.NotYet) else f", which could not {error.operation} just now"
            return waiting_for + why
        return ""

    if await activity_context.until(tried):
        raise errors[-1]
    return results[0]
