"""The stand-in's blueprints, chart repositories and integrated identity providers.

A repository is read as it was applied, as v3 objects are; the form of the sign-in list is assumed. A person
integrates an identity provider in the console, so here it has a path beside the API: see `SIGN_INS_PATH`.
"""

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from embedded.rafay.collections import check_name, existing, page
from embedded.rafay.database import Database, new_id, now
from embedded.rafay.error_responses import Family, Reason, Refusal
from embedded.rafay.requests import Call, number, query, read
from embedded.rafay_behaviour import Behaviour

_API_VERSION = "integrations.k8smgmt.io/v3"
_REPOSITORIES = f"/apis/{_API_VERSION}/projects/{{project}}/repositories"
_BLUEPRINTS = "/v2/config/project/{project_id}/blueprint"
_SIGN_INS = "/auth/v1/sso/idp/"


class _Metadata(BaseModel):
    name: str
    description: str = ""


class _Spec(BaseModel):
    type: str
    endpoint: str


class _Repository(BaseModel):
    metadata: _Metadata
    spec: _Spec


class _SignIn(BaseModel):
    """One identity provider, as a person enters it in the console."""

    name: str
    domain: str
    group_attribute_name: str
    metadata_url: str = ""


_SIGN_IN_LIST = TypeAdapter(list[_SignIn])


class Catalog:
    """Handlers of the catalog. `behaviour` returns the present behaviour."""

    def __init__(self, database: Database, behaviour: Callable[[], Behaviour]) -> None:
        self._database = database
        self._behaviour = behaviour

    def calls(self) -> list[Call]:
        """Return the calls that are handled here."""
        v1, v2, v3 = Family.V1, Family.V2, Family.V3
        return [
            Call("GET", _BLUEPRINTS, "blueprint.list", self._list_blueprints, v2),
            Call("POST", _REPOSITORIES, "repository.apply", self._apply, v3),
            Call("GET", _REPOSITORIES, "repository.list", self._list, v3),
            Call("GET", _REPOSITORIES + "/{name}", "repository.get", self._get, v3),
            Call("DELETE", _REPOSITORIES + "/{name}", "repository.delete", self._delete, v3),
            Call("GET", _SIGN_INS, "sign_in.list", self._list_sign_ins, v1),
        ]

    async def _list_blueprints(self, request: Request) -> Response:
        project = existing(self._database, "projects", request.path_params["project_id"])
        limit, offset = number(request, "options.limit", 25), number(request, "options.offset", 0)
        of_system = query(request, "globalScope") == "true"
        where = "project_id IS NULL" if of_system else "project_id = ?"
        values = () if of_system else (project["id"],)
        count = self._database.count(f"SELECT count(*) FROM blueprints WHERE {where}", *values)  # noqa: S608
        rows = self._database.all(
            f"SELECT * FROM blueprints WHERE {where} ORDER BY name LIMIT ? OFFSET ?",  # noqa: S608
            *(*values, min(limit, self._behaviour().page_limit), offset),
        )
        items = [
            {"metadata": {"name": row["name"], "labels": {"rafay.dev/published": _word(row["published"])}}}
            for row in rows
        ]
        return JSONResponse({"metadata": {"count": count, "offset": offset, "limit": limit}, "items": items})

    # Repositories

    async def _apply(self, request: Request) -> Response:
        project = self._project(request)
        new = await read(request, _Repository)
        check_name("repository", new.metadata.name)
        self._database.run(
            "INSERT INTO repositories VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (project_id, name) DO UPDATE"
            " SET description = excluded.description, type = excluded.type, endpoint = excluded.endpoint",
            *(project["id"], new.metadata.name, new.metadata.description),
            *(new.spec.type, new.spec.endpoint, now()),
        )
        return JSONResponse(_repository(project["name"], self._repository(project, new.metadata.name)))

    async def _list(self, request: Request) -> Response:
        project = self._project(request)
        rows = self._database.all(
            "SELECT * FROM repositories WHERE project_id = ? ORDER BY name", project["id"]
        )
        return JSONResponse(
            {
                "apiVersion": _API_VERSION,
                "kind": "RepositoryList",
                "metadata": {"count": len(rows)},
                "items": [_repository(project["name"], row) for row in rows],
            }
        )

    async def _get(self, request: Request) -> Response:
        project = self._project(request)
        return JSONResponse(
            _repository(project["name"], self._repository(project, request.path_params["name"]))
        )

    async def _delete(self, request: Request) -> Response:
        project = self._project(request)
        repository = self._repository(project, request.path_params["name"])
        gone = "DELETE FROM repositories WHERE project_id = ? AND name = ?"
        self._database.run(gone, project["id"], repository["name"])
        return JSONResponse({})

    def _project(self, request: Request) -> sqlite3.Row:
        name = request.path_params["project"]
        row: sqlite3.Row | None = self._database.one("SELECT * FROM projects WHERE name = ?", name)
        if row is None:
            raise Refusal(Reason.MISSING, f"project {name} not found")
        return row

    def _repository(self, project: sqlite3.Row, name: str) -> sqlite3.Row:
        wanted = "SELECT * FROM repositories WHERE project_id = ? AND name = ?"
        row: sqlite3.Row | None = self._database.one(wanted, project["id"], name)
        if row is None:
            raise Refusal(Reason.MISSING, f"repository {name} not found")
        return row

    # Sign-in

    async def _list_sign_ins(self, request: Request) -> Response:
        if self._behaviour().sign_ins == "not_served":
            raise Refusal(Reason.NO_SUCH_PATH)
        return page(self._database, self._behaviour().page_limit, request, "sign_ins", _sign_in)

    def integrate(self, body: bytes) -> list[dict[str, Any]]:
        """Replace all identity providers by those of the JSON list, as people do in the console.

        Raises:
            ValidationError: it is something else.
        """
        wanted = _SIGN_IN_LIST.validate_python(json.loads(body))
        statements: list[tuple[str, tuple[Any, ...]]] = [("DELETE FROM sign_ins", ())]
        for one in wanted:
            row = (new_id(), one.name, one.domain, one.group_attribute_name, one.metadata_url)
            statements.append(("INSERT INTO sign_ins VALUES (?, ?, ?, ?, ?)", row))
        self._database.run_all(statements)
        return [_sign_in(row) for row in self._database.all("SELECT * FROM sign_ins ORDER BY rowid")]


def _word(flag: int) -> str:
    return "true" if flag else "false"


def _repository(project: str, row: sqlite3.Row) -> dict[str, Any]:
    return {
        "apiVersion": _API_VERSION,
        "kind": "Repository",
        "metadata": {"name": row["name"], "project": project, "description": row["description"]},
        "spec": {"type": row["type"], "endpoint": row["endpoint"]},
    }


def _sign_in(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "domain": row["domain"],
        "group_attribute_name": row["group_attribute"],
        "acs_url": f"https://console.example.com/auth/v1/sso/acs/{row['id']}/",
        "sp_entity_id": f"https://console.example.com/auth/v1/sso/{row['id']}/",
        "name_id_format": "Email Address",
        "metadata_url": row["metadata_url"],
    }
