"""The stand-in's projects and groups."""

import sqlite3
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from embedded.rafay.collections import check_name, existing, insert, page, window
from embedded.rafay.database import Database, new_id, now
from embedded.rafay.error_responses import Family, Reason, Refusal
from embedded.rafay.requests import Call, read
from embedded.rafay_behaviour import Behaviour


class _Named(BaseModel):
    name: str
    description: str = ""


class Projects:
    """Handlers of projects and groups. `behaviour` returns the present behaviour."""

    def __init__(self, database: Database, behaviour: Callable[[], Behaviour]) -> None:
        self._database = database
        self._behaviour = behaviour

    def calls(self) -> list[Call]:
        """Return the calls that are handled here."""
        v1, v3 = Family.V1, Family.V3
        projects, groups = "/auth/v1/projects/", "/auth/v1/groups/"
        hub = "/apis/system.k8smgmt.io/v3/projects"
        return [
            Call("POST", projects, "project.create", self._create_project, v1),
            Call("GET", projects, "project.list", self._list_projects, v1),
            Call("GET", projects + "{id}/", "project.get", self._get_project, v1),
            Call("DELETE", projects + "{id}/", "project.delete", self._delete_project, v1),
            Call("GET", hub, "project.list", self._list_projects_v3, v3),
            Call("GET", hub + "/{name}", "project.get", self._get_project_v3, v3),
            Call("POST", groups, "group.create", self._create_group, v1),
            Call("GET", groups, "group.list", self._list_groups, v1),
            Call("GET", groups + "{id}/", "group.get", self._get_group, v1),
            Call("DELETE", groups + "{id}/", "group.delete", self._delete_group, v1),
        ]

    # Projects

    async def _create_project(self, request: Request) -> Response:
        new = await read(request, _Named)
        check_name("project", new.name)
        row = (new_id(), new.name, new.description, 0, now())
        insert(self._database, "project", new.name, "INSERT INTO projects VALUES (?, ?, ?, ?, ?)", *row)
        return JSONResponse(self._project(existing(self._database, "projects", row[0])), 201)

    async def _list_projects(self, request: Request) -> Response:
        return page(self._database, self._behaviour().page_limit, request, "projects", self._project)

    async def _get_project(self, request: Request) -> Response:
        return JSONResponse(self._project(existing(self._database, "projects", request.path_params["id"])))

    async def _delete_project(self, request: Request) -> Response:
        project = existing(self._database, "projects", request.path_params["id"])
        if project["builtin"]:
            raise Refusal(Reason.INVALID, "the built-in project cannot be deleted")
        clusters = self._database.count("SELECT count(*) FROM clusters WHERE project_id = ?", project["id"])
        if clusters:
            raise Refusal(
                Reason.NOT_EMPTY, f"project {project['name']} has {clusters} clusters: delete them first"
            )
        self._database.run_all(
            [
                ("DELETE FROM repositories WHERE project_id = ?", (project["id"],)),
                ("DELETE FROM projects WHERE id = ?", (project["id"],)),
            ]
        )
        return JSONResponse({})

    async def _list_projects_v3(self, request: Request) -> Response:
        limit, offset = window(request, self._behaviour().page_limit)
        rows = self._database.all("SELECT * FROM projects ORDER BY rowid LIMIT ? OFFSET ?", limit, offset)
        count = self._database.count("SELECT count(*) FROM projects")
        return JSONResponse(
            {
                "apiVersion": "system.k8smgmt.io/v3",
                "kind": "ProjectList",
                "metadata": {"count": count, "limit": limit, "offset": offset},
                "items": [_project_v3(row) for row in rows],
            }
        )

    async def _get_project_v3(self, request: Request) -> Response:
        row = self._database.one("SELECT * FROM projects WHERE name = ?", request.path_params["name"])
        if row is None:
            raise Refusal(Reason.MISSING, f"project {request.path_params['name']} not found")
        return JSONResponse(_project_v3(row))

    def _project(self, row: sqlite3.Row) -> dict[str, Any]:
        return {
            "id": row["id"],
            "name": row["name"],
            "description": row["description"],
            "default": bool(row["builtin"]),
            "created_at": row["created_at"],
            "modified_at": row["created_at"],
            "organization_id": self._database.organization_id,
            "enable_drift_webhook": False,
            "cluster_resource_quota": None,
            "default_cluster_namespace_quota": None,
        }

    # Groups

    async def _create_group(self, request: Request) -> Response:
        new = await read(request, _Named)
        check_name("group", new.name)
        row = (new_id(), new.name, new.description, now())
        insert(self._database, "group", new.name, "INSERT INTO groups VALUES (?, ?, ?, ?)", *row)
        return JSONResponse(_group(existing(self._database, "groups", row[0])), 201)

    async def _list_groups(self, request: Request) -> Response:
        return page(self._database, self._behaviour().page_limit, request, "groups", _group)

    async def _get_group(self, request: Request) -> Response:
        return JSONResponse(_group(existing(self._database, "groups", request.path_params["id"])))

    async def _delete_group(self, request: Request) -> Response:
        group = existing(self._database, "groups", request.path_params["id"])
        self._database.run("DELETE FROM groups WHERE id = ?", group["id"])
        return JSONResponse({})


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
