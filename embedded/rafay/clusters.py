"""The stand-in's clusters: their records and bootstrap manifests, and the protocol of their agents.

That protocol is not Rafay's. The check-in of an agent is a long poll, which returns when there is news; the
first one makes the cluster ready.
"""

import asyncio
import base64
import hmac
import json
import secrets
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from embedded.rafay.agent_connections import AgentConnections
from embedded.rafay.bootstrap_manifest import AgentIdentity, bootstrap_manifest
from embedded.rafay.collections import check_name, existing, page
from embedded.rafay.database import Database, new_id, now
from embedded.rafay.error_responses import Family, Reason, Refusal
from embedded.rafay.requests import Call, disconnected, query, read
from embedded.rafay_behaviour import Behaviour

#: Longest wait of a check-in, for any wait that an agent asks for.
MAX_WAIT_SECONDS = 60.0

#: `health` of an edge.
_UNKNOWN, _HEALTHY, _UNHEALTHY = 0, 1, 2
#: The stages of a registration, in order.
_STAGES = (
    "ClusterRegister",
    "ClusterApprove",
    "ClusterCheckIn",
    "ClusterNodeSync",
    "ClusterBlueprintSync",
    "ClusterNamespaceSync",
    "ClusterReady",
)


class _NewCluster(BaseModel):
    name: str
    cluster_type: str
    cluster_blueprint: str = "default"
    cluster_blueprint_version: str = "latest"
    labels: dict[str, str] = {}


class _CheckIn(BaseModel):
    kubernetes_version: str
    wait: float = Field(default=0, ge=0)


class _Failure(BaseModel):
    """For tests: the stage at which the registration of a cluster fails; None for no stage."""

    stage: str | None = None
    reason: str = "failed on purpose"


class Clusters:
    """Handlers of clusters and of their agents, which find the stand-in at `endpoint`.

    `behaviour` returns the present behaviour.
    """

    def __init__(
        self, database: Database, behaviour: Callable[[], Behaviour], *, endpoint: str, agent_image: str
    ) -> None:
        self._database = database
        self._behaviour = behaviour
        self._endpoint = endpoint
        self._agent_image = agent_image
        self._connections = AgentConnections()

    def calls(self) -> list[Call]:
        """Return the calls that are handled here."""
        v1, agent = Family.V1, Family.AGENT
        edges = "/edge/v1/projects/{project_id}/edges/"
        bootstrap = "/v2/scheduler/project/{project_id}/cluster/{name}/download"
        agents = "/agent/v1/clusters/{id}/"
        return [
            Call("POST", edges, "cluster.create", self._create, v1),
            Call("GET", edges, "cluster.list", self._list, v1),
            Call("GET", edges + "{id}/", "cluster.get", self._get, v1),
            Call("DELETE", edges + "{id}/", "cluster.delete", self._delete, v1),
            Call("GET", bootstrap, "bootstrap.get", self._bootstrap, Family.V2),
            Call("POST", agents + "checkin", "agent.checkin", self._check_in, agent),
            Call("POST", agents + "gone", "agent.gone", self._gone, agent),
        ]

    def start(self) -> None:
        """Resume forced deletions that a restart interrupted."""
        for row in self._database.all("SELECT id FROM clusters WHERE deleting = 'forced'"):
            self._forget_soon(row["id"])

    def stop(self) -> None:
        """Answer all check-ins that wait."""
        self._connections.release_all()

    def fail(self, name: str, body: bytes) -> None:
        """Let the registration of the named cluster fail at a stage, or no longer.

        Raises:
            Refusal: there is no such cluster.
            ValidationError: the body is something else.
        """
        failure = _Failure.model_validate_json(body)
        changed = "UPDATE clusters SET failed_stage = ?, failed_reason = ? WHERE name = ?"
        if not self._database.run(changed, failure.stage, failure.reason, name):
            raise Refusal(Reason.MISSING, f"cluster {name} not found")

    # The record

    async def _create(self, request: Request) -> Response:
        project = existing(self._database, "projects", request.path_params["project_id"])
        new = await read(request, _NewCluster)
        check_name("cluster", new.name)
        if new.cluster_type != "imported":
            raise Refusal(Reason.INVALID, "cluster_type: this stand-in only imports clusters")
        id, token = new_id(), secrets.token_urlsafe(32)
        try:
            self._database.run(
                "INSERT INTO clusters (id, name, project_id, labels, blueprint, blueprint_version, token,"
                " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                *(id, new.name, project["id"], json.dumps(new.labels)),
                *(new.cluster_blueprint, new.cluster_blueprint_version, token, now()),
            )
        except sqlite3.IntegrityError as error:
            raise Refusal(Reason.NAME_TAKEN) from error
        return JSONResponse(self._edge(existing(self._database, "clusters", id)), 201)

    async def _list(self, request: Request) -> Response:
        project = existing(self._database, "projects", request.path_params["project_id"])
        limit = self._behaviour().page_limit
        mine: dict[str, Any] = {"where": "project_id = ?", "values": (project["id"],)}
        return page(self._database, limit, request, "clusters", self._edge, **mine)

    async def _get(self, request: Request) -> Response:
        return JSONResponse(self._edge(self._of_project(request)))

    async def _delete(self, request: Request) -> Response:
        cluster = self._of_project(request)
        forced = query(request, "force") == "true"
        if cluster["deleting"] != "forced":
            how = "forced" if forced else "asked"
            self._database.run("UPDATE clusters SET deleting = ? WHERE id = ?", how, cluster["id"])
            self._connections.notify(cluster["id"])
            if forced:
                self._forget_soon(cluster["id"])
        return JSONResponse({})

    async def _bootstrap(self, request: Request) -> Response:
        project_id, name = request.path_params["project_id"], request.path_params["name"]
        cluster = self._database.one(
            "SELECT * FROM clusters WHERE project_id = ? AND name = ? AND deleting IS NULL", project_id, name
        )
        if cluster is None:
            raise Refusal(Reason.MISSING, f"cluster {name} not found")
        if cluster["bootstrap_reads"] <= self._behaviour().bootstrap_misses:
            count = "UPDATE clusters SET bootstrap_reads = bootstrap_reads + 1 WHERE id = ?"
            self._database.run(count, cluster["id"])
        if cluster["bootstrap_reads"] < self._behaviour().bootstrap_misses:
            raise Refusal(Reason.MISSING, f"bootstrap of cluster {name} not found")
        identity = AgentIdentity(self._endpoint, cluster["id"], cluster["token"])
        text = bootstrap_manifest(identity, self._agent_image).encode()
        if self._behaviour().bootstrap_form == "yaml":
            return Response(text, media_type="application/x-rafay-yaml")
        return JSONResponse({"data": base64.b64encode(text).decode()})

    # Its agent

    async def _check_in(self, request: Request) -> Response:
        cluster = self._of_agent(request)
        checked = await read(request, _CheckIn)
        id = cluster["id"]
        if cluster["kubernetes_version"] != checked.kubernetes_version:
            version = "UPDATE clusters SET kubernetes_version = ? WHERE id = ?"
            self._database.run(version, checked.kubernetes_version, id)
        if not cluster["deleting"]:
            await self._connections.wait_for_news(
                id, min(checked.wait, MAX_WAIT_SECONDS), partial(disconnected, request)
            )
            cluster = self._of_agent(request)
        return JSONResponse({"action": "deregister" if cluster["deleting"] else "none"})

    async def _gone(self, request: Request) -> Response:
        cluster = self._of_agent(request)
        if not cluster["deleting"]:
            raise Refusal(Reason.WRONG_STATE, f"cluster {cluster['name']} is not being deleted")
        self._forget(cluster["id"])
        return JSONResponse({})

    def _forget_soon(self, id: str) -> None:
        asyncio.get_running_loop().call_later(self._behaviour().forced_delete, self._forget, id)

    def _forget(self, id: str) -> None:
        self._database.run("DELETE FROM clusters WHERE id = ?", id)
        self._connections.forget(id)

    # Rows

    def _of_project(self, request: Request) -> sqlite3.Row:
        cluster = existing(self._database, "clusters", request.path_params["id"])
        if cluster["project_id"] != request.path_params["project_id"]:
            raise Refusal(Reason.MISSING, f"cluster {cluster['id']} not found")
        return cluster

    def _of_agent(self, request: Request) -> sqlite3.Row:
        """Return the cluster whose token the caller has; a forced deletion makes the token void."""
        cluster: sqlite3.Row | None = self._database.one(
            "SELECT * FROM clusters WHERE id = ? AND deleting IS NOT 'forced'", request.path_params["id"]
        )
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
        if cluster is None or not hmac.compare_digest(given, cluster["token"].encode()):
            raise Refusal(Reason.UNAUTHENTICATED)
        return cluster

    def _edge(self, row: sqlite3.Row) -> dict[str, Any]:
        registered = row["kubernetes_version"] is not None
        ready = registered and not row["failed_stage"]
        status = "DELETING" if row["deleting"] else "READY" if ready else "NOT_READY"
        return {
            "id": row["id"],
            "edge_id": f"edge-{row['id']}",
            "name": row["name"],
            "project_id": row["project_id"],
            "organization_id": self._database.organization_id,
            "cluster_type": "imported",
            "cluster_blueprint": row["blueprint"],
            "cluster_blueprint_version": row["blueprint_version"],
            "status": status,
            "health": self._health(row["id"]) if ready else _UNKNOWN,
            "provision": {"status": "", "comments": ""},
            "nodes": [],
            "labels": json.loads(row["labels"]),
            "kubernetes_version": row["kubernetes_version"],
            "created_at": row["created_at"],
            "cluster": {"status": {"conditions": _conditions(row, registered)}},
        }

    def _health(self, id: str) -> int:
        heard = self._connections.seconds_silent(id) < self._behaviour().agent_silence
        return _HEALTHY if heard else _UNHEALTHY


def _conditions(row: sqlite3.Row, registered: bool) -> list[dict[str, str]]:
    failed = _STAGES.index(row["failed_stage"]) if row["failed_stage"] in _STAGES else None
    conditions = []
    for index, stage in enumerate(_STAGES):
        if failed is not None and index >= failed:
            status, reason = ("Failed", row["failed_reason"]) if index == failed else ("Pending", "")
        elif registered:
            status, reason = "Success", ""
        else:
            # The bootstrap has been fetched: the controller expects the agent any moment.
            expected = index == 0 and row["bootstrap_reads"] > 0
            status, reason = "InProgress" if expected else "Pending", ""
        conditions.append({"type": stage, "status": status, "reason": reason})
    return conditions
