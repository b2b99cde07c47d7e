"""The stand-in's projects and groups."""

import sqlite3
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from embedded.rafay.behaviour import Behaviour
from embedded.rafay.database import Store, new_id, now
from embedded.rafay.error_responses import Family, Refusal, Reply, Trouble, reply
from embedded.rafay.pagination import check_name, existing, insert, page, window
from embedded.rafay.requests import Request, Route


class _Named(BaseModel):
    name: str
    description: str = ""


class Projects:
    """Handlers of projects and groups. `switches` gives the switches as they stand."""

    def __init__(self, store: Store, switches: Callable[[], Behaviour]) -> None:
        self._store = store
        self._switches = switches

    def routes(self) -> list[Route]:
        """All paths that are handled here."""
        v1, v3 = Family.V1, Family.V3
        projects, groups = "/auth/v1/projects/", "/auth/v1/groups/"
        hub = "/apis/system.k8smgmt.io/v3/projects"
        return [
            Route("POST", projects, "project.create", self._create_project, v1),
            Route("GET", projects, "project.list", self._list_projects, v1),
            Route("GET", projects + "{id}/", "project.get", self._get_project, v1),
            Route("DELETE", projects + "{id}/", "project.delete", self._delete_project, v1),
            Route("GET", hub, "project.list", self._list_projects_v3, v3),
            Route("GET", hub + "/{name}", "project.get", self._get_project_v3, v3),
            Route("POST", groups, "group.create", self._create_group, v1),
            Route("GET", groups, "group.list", self._list_groups, v1),
            Route("GET", groups + "{id}/", "group.get", self._get_group, v1),
            Route("DELETE", groups + "{id}/", "group.delete", self._delete_group, v1),
        ]

    # Projects

    async def _create_project(self, request: Request) -> Reply:
        new = request.read(_Named)
        check_name("project", new.name)
        row = (new_id(), new.name, new.description, 0, now())
        insert(self._store, "project", new.name, "INSERT INTO projects VALUES (?, ?, ?, ?, ?)", *row)
        return reply(self._project(existing(self._store, "projects", row[0])), 201)

    async def _list_projects(self, request: Request) -> Reply:
        return page(self._store, self._switches().page_limit, request, "projects", self._project)

    async def _get_project(self, request: Request) -> Reply:
        return reply(self._project(existing(self._store, "projects", request.parts["id"])))

    async def _delete_project(self, request: Request) -> Reply:
        project = existing(self._store, "projects", request.parts["id"])
        if project["builtin"]:
            raise Refusal(Trouble.INVALID, "the built-in project cannot be deleted")
        clusters = self._store.count("SELECT count(*) FROM clusters WHERE project_id = ?", project["id"])
        if clusters:
            raise Refusal(
                Trouble.NOT_EMPTY, f"project {project['name']} has {clusters} clusters: delete them first"
            )
        self._store.run_all(
            [
                ("DELETE FROM repositories WHERE project_id = ?", (project["id"],)),
                ("DELETE FROM projects WHERE id = ?", (project["id"],)),
            ]
        )
        return reply({})

    async def _list_projects_v3(self, request: Request) -> Reply:
        limit, offset = window(request, self._switches().page_limit)
        rows = self._store.all("SELECT * FROM projects ORDER BY rowid LIMIT ? OFFSET ?", limit, offset)
        count = self._store.count("SELECT count(*) FROM projects")
        return reply(
            {
                "apiVersion": "system.k8smgmt.io/v3",
                "kind": "ProjectList",
                "metadata": {"count": count, "limit": limit, "offset": offset},
                "items": [_project_v3(row) for row in rows],
            }
        )

    async def _get_project_v3(self, request: Request) -> Reply:
        row = self._store.one("SELECT * FROM projects WHERE name = ?", request.parts["name"])
        if row is None:
            raise Refusal(Trouble.MISSING, f"project {request.parts['name']} not found")
        return reply(_project_v3(row))

    def _project(self, row: sqlite3.Row) -> dict[str, Any]:
        return {
            "id": row["id"],
            "name": row["name"],
            "description": row["description"],
            "default": bool(row["builtin"]),
            "created_at": row["created_at"],
            "modified_at": row["created_at"],
            "organization_id": self._store.organization_id,
            "enable_drift_webhook": False,
            "cluster_resource_quota": None,
            "default_cluster_namespace_quota": None,
        }

    # Groups

    async def _create_group(self, request: Request) -> Reply:
        new = request.read(_Named)
        check_name("group", new.name)
        row = (new_id(), new.name, new.description, now())
        insert(self._store, "group", new.name, "INSERT INTO groups VALUES (?, ?, ?, ?)", *row)
        return reply(_group(existing(self._store, "groups", row[0])), 201)

    async def _list_groups(self, request: Request) -> Reply:
        return page(self._store, self._switches().page_limit, request, "groups", _group)

    async def _get_group(self, request: Request) -> Reply:
        return reply(_group(existing(self._store, "groups", request.parts["id"])))

    async def _delete_group(self, request: Request) -> Reply:
        group = existing(self._store, "groups", request.parts["id"])
        self._store.run("DELETE FROM groups WHERE id = ?", group["id"])
        return reply({})


def _project_v3(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "apiVersion": "system.k8smgmt.io/v3",
        "kind": "Project",
        "metadata": {"name": row["name"], "description": row["description"], "labels": {}, "annotations": {}},
        "spec": {"default": bool(row["builtin"])},
    }


def _group(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "type": "SYSTEM",
        "created_at": row["created_at"],
        "modified_at": row["created_at"],
    }
