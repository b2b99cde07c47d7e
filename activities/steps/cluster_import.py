"""Step 8: the vCluster's record in the control plane, ready and healthy. Its labels are the mark.

Only the control plane decides that a cluster is ready, because an agent inside the vCluster has reported to
it.
"""

import contextlib
from datetime import timedelta

from temporalio import activity

from activities import activity_context
from activities.errors import Conflict, NeverReady, NotYet
from activities.ownership import NOTHING_THERE, mark_text, note_foreign, require_ours
from activities.parts.cluster_bootstrap import apply_bootstrap, call_until_done
from activities.parts.control_plane_resource import own_project
from activities.parts.host_lookup import Hosts, at_host, own_kubeconfig
from activities.parts.manifest_validation import BootstrapManifest
from activities.parts.sealed_bootstrap import seal
from clients import errors as client
from clients.rafay import Cluster, Project, Rafay
from contracts.activities.cluster_import import (
    IMPORT_REGISTER,
    RegisterActivities,
    RegisterInput,
    SealedBootstrap,
)
from contracts.activities.steps import (
    EnsureInput,
    InspectInput,
    InspectResult,
    RemoveInput,
    RemoveResult,
    StepActivities,
)
from contracts.environment.models import Environment, Receipt, System

#: How long the agent may take to confirm a deregistration: it is notified at once and has little to do. An
#: agent that has not answered after that time will not answer, and its record is deleted by force when its
#: vCluster is gone.
AGENT_TIMEOUT = timedelta(seconds=60)


class ImportStep(StepActivities, RegisterActivities):
    """Imports the vCluster, deregisters it, and finds its record."""

    def __init__(self, rafay: Rafay, hosts: Hosts) -> None:
        self._rafay = rafay
        self._hosts = hosts

    async def ensure(self, input: EnsureInput) -> Receipt:
        """Create the cluster record and wait until it is ready; raise NeverReady if it has failed.

        Afterwards exactly one record exists, it is ours, and the control plane reports it as ready and
        healthy.
        """
        environment = input.environment
        project = await own_project(self._rafay, environment)
        cluster = await self._record(project, environment)
        if not cluster.ready:
            if not input.is_bootstrapped:
                host, placed = await at_host(self._hosts, environment)
                text = await self._manifest(cluster)
                await apply_bootstrap(host, placed, await own_kubeconfig(host, placed), text)
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

    @activity.defn(name=IMPORT_REGISTER)
    async def register(self, input: RegisterInput) -> SealedBootstrap:
        """Ensure that the cluster record exists and is ours, and seal its bootstrap manifest."""
        environment = input.environment
        cluster = await self._record(await own_project(self._rafay, environment), environment)
        if cluster.ready:
            return SealedBootstrap()
        text = await self._manifest(cluster)
        return SealedBootstrap(sealed=seal(text, input.public_key, environment.mark.life))

    async def _manifest(self, cluster: Cluster) -> str:
        """Return the bootstrap manifest once the control plane has made it: checked, and a credential."""

        async def manifest() -> str:
            text = await self._rafay.bootstrap(cluster.project_id, cluster.name)
            await BootstrapManifest.read(text)
            return text

        return await call_until_done(manifest, "the control plane to make the bootstrap manifest")

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

        if waiting_for := await activity_context.wait_until(missing):
            raise NotYet(
                System.CONTROL_PLANE,
                f"Cluster {cluster.name} has not become ready in its time: waiting for {waiting_for}",
                f"See that the vCluster can reach the {System.CONTROL_PLANE}, then ask again",
            )

    async def remove(self, input: RemoveInput) -> RemoveResult:
        """Delete our cluster record: by force if the agent cannot answer, else after its confirmation.

        Without force, the agent has a minute to confirm.
        """
        cluster = await self._find(input.environment)
        if cluster is None:
            return RemoveResult(note=NOTHING_THERE)
        mark = input.environment.mark
        if not mark.matches_labels(cluster.labels):
            return RemoveResult(note=note_foreign(f"cluster {cluster.name}", mark_text(cluster.labels), mark))
        force = input.force or not cluster.agent_has_reported
        with contextlib.suppress(client.NotFound):
            await self._rafay.delete_cluster(cluster.project_id, cluster.id, force=force)

        async def still_there() -> str:
            try:
                await self._rafay.get_cluster(cluster.project_id, cluster.id)
            except client.NotFound:
                return ""
            return "the record to go" if force else "the agent's answer to the deregistration"

        if waiting_for := await activity_context.wait_until(
            still_there, timeout=None if force else AGENT_TIMEOUT
        ):
            raise NotYet(
                System.CONTROL_PLANE,
                f"Cluster {cluster.name} is not deregistered yet: waiting for {waiting_for}",
                "Nothing: it goes by force once its vCluster is gone",
                # Final for this pass: the following undo removes the vCluster, and then there is no agent to
                # wait for.
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

    async def inspect(self, input: InspectInput) -> InspectResult:
        """Return the record, if it exists and is ours."""
        cluster = await self._find(input.environment)
        if cluster is None or not input.environment.mark.matches_labels(cluster.labels):
            return InspectResult()
        return InspectResult(left=(f"cluster {cluster.name}",))
