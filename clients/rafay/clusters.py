"""Records of imported clusters: creation, state, bootstrap manifest and deregistration."""

import base64
import binascii
import json
from types import MappingProxyType

from pydantic import AliasPath, Field

from clients.errors import MalformedAnswer, NotFound, NotYet, Rejected, ServerFailed
from clients.rafay.models import FAILED, Cluster, Condition
from clients.rafay.transport import RafayTransport, WireModel, fill_path

_EDGES = "/edge/v1/projects/{project_id}/edges/"
_EDGE = "/edge/v1/projects/{project_id}/edges/{cluster_id}/"
_BOOTSTRAP = "/v2/scheduler/project/{project_id}/cluster/{name}/download"

#: `health` of an edge whose agent reports that all is well; 2 is unhealthy, all other values unknown.
_HEALTHY = 1
#: Stages whose failure ends a registration, as in Rafay's Terraform provider.
_FATAL_STAGES = frozenset(
    {"ClusterRegister", "ClusterCheckIn", "ClusterNamespaceSync", "ClusterBlueprintSync"}
)
#: Statuses of an edge that will not become ready by itself.
_FATAL_STATUSES = frozenset({"PROVISION_FAILED", "PRETEST_FAILED"})


class _Condition(WireModel):
    type: str
    status: str
    reason: str | None = None


class _Provision(WireModel):
    comments: str | None = None


class _Edge(WireModel):
    id: str
    name: str
    project_id: str | None = None
    labels: dict[str, str | None] | None = None
    status: str | None = None
    health: int | None = None
    provision: _Provision | None = None
    conditions: list[_Condition] | None = Field(
        default=None, validation_alias=AliasPath("cluster", "status", "conditions")
    )

    def result(self, project_id: str) -> Cluster:
        conditions = tuple(Condition(c.type, c.status, c.reason or "") for c in self.conditions or [])
        return Cluster(
            id=self.id,
            name=self.name,
            project_id=self.project_id or project_id,
            labels=MappingProxyType({k: v or "" for k, v in (self.labels or {}).items()}),
            status=self.status or "",
            healthy=self.health == _HEALTHY,
            conditions=conditions,
            failure=self._failure(conditions),
        )

    def _failure(self, conditions: tuple[Condition, ...]) -> str | None:
        for condition in conditions:
            if condition.type in _FATAL_STAGES and condition.status == FAILED:
                return f"{condition.type} failed: {condition.reason or 'no reason given'}"
        if self.status in _FATAL_STATUSES:
            comments = self.provision.comments if self.provision else None
            return f"{self.status}: {comments or 'no reason given'}"
        return None


class Clusters:
    """The clusters of a project, which the API calls "edges"."""

    def __init__(self, wire: RafayTransport) -> None:
        self._wire = wire

    async def create(self, project_id: str, name: str, labels: dict[str, str], blueprint: str) -> Cluster:
        """Create the record of a cluster to import; raise AlreadyExists if any project has the name."""
        edge = await self._wire.create(
            fill_path(_EDGES, project_id=project_id),
            f"create cluster {name}",
            {
                "name": name,
                "cluster_type": "imported",
                "cluster_blueprint": blueprint,
                "cluster_blueprint_version": "latest",
                "labels": labels,
                "ha_enabled": False,
                "gpu_enabled": False,
                "gpu_vendor": "",
                "capacity": [],
                "edge_provider_params": {"params": "{}"},
                # No published client shows this key; its values are the defaults of Rafay's Terraform
                # provider.
                "cluster_provision_params": {
                    "kubernetes_provider": "OTHER",
                    "provision_environment": "CLOUD",
                },
            },
            _Edge,
        )
        return edge.result(project_id)

    async def find(self, project_id: str, name: str) -> Cluster | None:
        """Return the project's cluster with exactly this name, or None.

        Raises:
            NotFound: there is no such project.
        """
        path = fill_path(_EDGES, project_id=project_id)
        edges = await self._wire.entries(path, f"find cluster {name}", _Edge, q=name)
        return next((edge.result(project_id) for edge in edges if edge.name == name), None)

    async def get(self, project_id: str, cluster_id: str) -> Cluster:
        """Return the current state of the cluster; raise NotFound if it does not exist."""
        path = fill_path(_EDGE, project_id=project_id, cluster_id=cluster_id)
        return (await self._wire.get(path, f"read cluster {cluster_id}", _Edge)).result(project_id)

    async def bootstrap(self, project_id: str, name: str) -> str:
        """Return the manifest (YAML, several documents) to apply inside the cluster, a credential.

        Raises:
            NotYet: the manifest does not exist yet; a controller takes up to a minute after the create, and
                answers with any of 400, 404 and 500 in the meantime.
        """
        operation = f"read bootstrap of cluster {name}"
        path = fill_path(_BOOTSTRAP, project_id=project_id, name=name)
        try:
            answer = await self._wire.call("GET", path, operation)
        except (NotFound, Rejected) as early:
            raise NotYet(self._wire.system, operation, early.detail) from early
        except ServerFailed as early:
            # Such a failure is a gateway's, not the controller's.
            if early.status != 500:
                raise
            raise NotYet(self._wire.system, operation, early.detail) from early
        manifest = _manifest(answer.body)
        if manifest is None:
            raise MalformedAnswer(self._wire.system, operation, "the answer holds no manifest")
        if not manifest.strip():
            raise NotYet(self._wire.system, operation, "the manifest is still empty")
        return manifest

    async def delete(self, project_id: str, cluster_id: str, *, force: bool) -> None:
        """Request the deregistration of the cluster; it is complete when the cluster is not found.

        Without `force` the control plane waits for an answer of the cluster's agent.

        Raises:
            NotFound: it is deregistered already.
        """
        path = fill_path(_EDGE, project_id=project_id, cluster_id=cluster_id)
        query: dict[str, str | int] = {"force": "true" if force else "false"}
        await self._wire.delete(path, f"delete cluster {cluster_id}", query)


def _manifest(body: bytes) -> str | None:
    """Return the YAML of an answer, plain or as JSON with base64 under `data`; else None."""
    try:
        if body.lstrip().startswith(b"{"):
            text = base64.b64decode(json.loads(body)["data"] or "", validate=True).decode()
        else:
            text = body.decode()
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        return None
    looks_like_one = "kind:" in text and "apiVersion:" in text
    return text if looks_like_one or not text.strip() else None
