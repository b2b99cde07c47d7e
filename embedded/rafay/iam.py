"""The stand-in's roles, their bindings to groups and projects, local users and their membership.

The calls on bindings and members are not published: these are the ones that the client assumes.
"""

import sqlite3
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from embedded.rafay.collections import existing, page
from embedded.rafay.database import Database
from embedded.rafay.error_responses import Family, Reason, Refusal
from embedded.rafay.requests import Call, query, read
from embedded.rafay_behaviour import Behaviour


class _RoleRef(BaseModel):
    role_id: str
    namespace_ids: list[str] = []


class _NewBinding(BaseModel):
    project_id: str
    roles: list[_RoleRef]


class _NewMember(BaseModel):
    account_id: str


class Iam:
    """Handlers of roles, bindings, users and members. `behaviour` returns the present behaviour."""

    def __init__(self, database: Database, behaviour: Callable[[], Behaviour]) -> None:
        self._database = database
        self._behaviour = behaviour

    def calls(self) -> list[Call]:
        """Return the calls that are handled here."""
        v1 = Family.V1
        bindings, members = "/auth/v1/groups/{id}/projects/", "/auth/v1/groups/{id}/users/"
        return [
            Call("GET", "/auth/v1/roles/", "role.list", self._list_roles, v1),
            Call("POST", bindings, "binding.create", self._create_binding, v1),
            Call("PUT", bindings, "binding.replace", self._replace_binding, v1),
            Call("GET", bindings, "binding.list", self._list_bindings, v1),
            Call("DELETE", bindings + "{project_id}/", "binding.delete", self._delete_binding, v1),
            Call("POST", members, "member.add", self._add_member, v1),
            Call("GET", members, "member.list", self._list_members, v1),
            Call("DELETE", members + "{user_id}/", "member.remove", self._remove_member, v1),
            Call("GET", "/auth/v1/users/-/profile", "user.profile", self._profile, v1),
            Call("GET", "/auth/v1/users/", "user.find", self._list_users, v1),
            Call("GET", "/auth/v2/users", "user.find", self._find_account, Family.V2),
        ]

    # Roles and bindings

    async def _list_roles(self, request: Request) -> Response:
        return page(self._database, self._behaviour().page_limit, request, "roles", _role)

    async def _create_binding(self, request: Request) -> Response:
        group, project, statements = await self._binding(request)
        bound = "SELECT 1 FROM bindings WHERE group_id = ? AND project_id = ?"
        if self._database.one(bound, group["id"], project["id"]):
            raise Refusal(
                Reason.ASSIGNED, f"group {group['name']} is already assigned to project {project['name']}"
            )
        self._database.run_all(statements)
        return JSONResponse({}, 201)

    async def _replace_binding(self, request: Request) -> Response:
        group, project, statements = await self._binding(request)
        unbind = "DELETE FROM bindings WHERE group_id = ? AND project_id = ?"
        self._database.run_all([(unbind, (group["id"], project["id"])), *statements])
        return JSONResponse({})

    async def _binding(self, request: Request) -> tuple[Any, Any, list[tuple[str, tuple[Any, ...]]]]:
        new = await read(request, _NewBinding)
        group = existing(self._database, "groups", request.path_params["id"])
        project = existing(self._database, "projects", new.project_id)
        known = {row["id"] for row in self._database.all("SELECT id FROM roles")}
        if not new.roles or any(role.role_id not in known for role in new.roles):
            raise Refusal(Reason.INVALID, "roles: at least one, and each by the id of a role")
        insert = "INSERT INTO bindings VALUES (?, ?, ?)"
        return group, project, [(insert, (group["id"], project["id"], role.role_id)) for role in new.roles]

    async def _list_bindings(self, request: Request) -> Response:
        group = existing(self._database, "groups", request.path_params["id"])
        rows = self._database.all(
            "SELECT p.id AS project_id, p.name AS project, r.id, r.name, r.is_global, r.scope FROM bindings b"
            " JOIN projects p ON p.id = b.project_id JOIN roles r ON r.id = b.role_id"
            " WHERE b.group_id = ? ORDER BY p.name, r.name",
            group["id"],
        )
        by_project: dict[str, dict[str, Any]] = {}
        for row in rows:
            project = {"id": row["project_id"], "name": row["project"]}
            entry = by_project.setdefault(
                row["project_id"], {"project": project, "roles": [], "custom_roles": []}
            )
            entry["roles"].append({"role": _role(row), "namespace_id": None})
        return JSONResponse(list(by_project.values()))

    async def _delete_binding(self, request: Request) -> Response:
        group = existing(self._database, "groups", request.path_params["id"])
        unbind = "DELETE FROM bindings WHERE group_id = ? AND project_id = ?"
        if not self._database.run(unbind, group["id"], request.path_params["project_id"]):
            raise Refusal(Reason.MISSING, "association not found")
        return JSONResponse({})

    # Users and members

    async def _profile(self, request: Request) -> Response:
        account = {"id": "-", "username": request.state.username, "user_type": "CONSOLE", "is_sso": False}
        roles = [{"name": name, "is_global": True, "scope": "ORGANIZATION"} for name in request.state.roles]
        bound = [{"role": role} for role in roles]
        organization = {"id": self._database.organization_id}
        return JSONResponse({"account": account, "roles": bound, "organization": organization})

    async def _list_users(self, request: Request) -> Response:
        return page(
            self._database,
            self._behaviour().page_limit,
            request,
            "users",
            _user,
            name_column="username",
            key="users",
        )

    async def _find_account(self, request: Request) -> Response:
        found = self._database.all("SELECT * FROM users WHERE username = ?", query(request, "options.name"))
        return JSONResponse({"accounts": [_user(row)["account"] for row in found]})

    async def _add_member(self, request: Request) -> Response:
        group = existing(self._database, "groups", request.path_params["id"])
        user = existing(self._database, "users", (await read(request, _NewMember)).account_id)
        add = "INSERT OR IGNORE INTO members VALUES (?, ?)"
        if not self._database.run(add, group["id"], user["id"]):
            raise Refusal(
                Reason.ASSIGNED, f"user {user['username']} is already assigned to group {group['name']}"
            )
        return JSONResponse({}, 201)

    async def _list_members(self, request: Request) -> Response:
        group = existing(self._database, "groups", request.path_params["id"])
        rows = self._database.all(
            "SELECT u.* FROM members m JOIN users u ON u.id = m.user_id WHERE m.group_id = ?"
            " ORDER BY u.username",
            group["id"],
        )
        return JSONResponse({"count": len(rows), "users": [_user(row) for row in rows]})

    async def _remove_member(self, request: Request) -> Response:
        group = existing(self._database, "groups", request.path_params["id"])
        remove = "DELETE FROM members WHERE group_id = ? AND user_id = ?"
        if not self._database.run(remove, group["id"], request.path_params["user_id"]):
            raise Refusal(Reason.MISSING, "user not found in group")
        return JSONResponse({})


def _role(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "is_global": bool(row["is_global"]),
        "scope": row["scope"],
    }


def _user(row: sqlite3.Row) -> dict[str, Any]:
    first_name = row["username"].partition("@")[0].capitalize()
    account = {
        "id": row["id"],
        "username": row["username"],
        "first_name": first_name,
        "last_name": "Example",
        "user_type": "CONSOLE",
        "is_sso": False,
        "createdAt": row["created_at"],
    }
    return {"account": account}
