"""Permissions: roles of groups on projects, and local users in groups.

Rafay publishes neither path nor body of most of these calls, so each adapter keeps its paths in one value
and its bodies in one place, to be replaced when a real controller shows them.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import AliasPath, Field, model_validator

from clients.errors import AlreadyExists, NotFound, Rejected
from clients.rafay.models import Binding, Role, User
from clients.rafay.transport import RafayTransport, WireModel, fill_path


@dataclass(frozen=True)
class AssociationPaths:
    """Paths of roles and of the associations of groups with projects; all assumed."""

    roles: str = "/auth/v1/roles/"
    collection: str = "/auth/v1/groups/{group_id}/projects/"
    one: str = "/auth/v1/groups/{group_id}/projects/{project_id}/"


@dataclass(frozen=True)
class UserPaths:
    """Paths of local users (published) and of the members of a group (assumed)."""

    users: str = "/auth/v1/users/"
    collection: str = "/auth/v1/groups/{group_id}/users/"
    one: str = "/auth/v1/groups/{group_id}/users/{user_id}/"


class _Role(WireModel):
    id: str
    name: str
    scope: str | None = None


class _HeldRole(WireModel):
    name: str = Field(validation_alias=AliasPath("role", "name"))


class _Association(WireModel):
    project_name: str = Field(validation_alias=AliasPath("project", "name"))
    roles: list[_HeldRole] | None = None


class _Account(WireModel):
    id: str
    username: str


class _Person(WireModel):
    """An entry of a list of users.

    The published form has the account under its own key; a flat form is accepted as well.
    """

    account: _Account

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, entry: Any) -> Any:
        return {"account": entry} if isinstance(entry, dict) and "account" not in entry else entry


class Associations:
    """Roles of groups on projects."""

    def __init__(self, wire: RafayTransport, paths: AssociationPaths) -> None:
        self._wire = wire
        self._paths = paths
        self._role_ids: dict[str, str] = {}

    async def role_id(self, role_name: str) -> str:
        """Return the id of the role with exactly this name; raise Rejected without one.

        Ids differ between installations and stay the same during the life of one, so they are read once.
        """
        operation = f"find role {role_name}"
        if role_name not in self._role_ids:
            self._role_ids = {role.name: role.id for role in await self.roles(operation)}
        if role_name not in self._role_ids:
            raise Rejected(self._wire.system, operation, f"there is no role named {role_name}")
        return self._role_ids[role_name]

    async def roles(self, operation: str = "list roles") -> list[Role]:
        """Return all roles."""
        roles = await self._wire.entries(self._paths.roles, operation, _Role)
        return [Role(role.id, role.name, role.scope or "") for role in roles]

    async def bind(self, group_id: str, project_id: str, role_name: str) -> None:
        """Grant the group the role on the project; raise AlreadyExists if it has any role there."""
        role = {"role_id": await self.role_id(role_name), "namespace_ids": []}
        path = fill_path(self._paths.collection, group_id=group_id)
        operation = f"bind role {role_name} to group {group_id} on project {project_id}"
        try:
            await self._wire.call("POST", path, operation, body={"project_id": project_id, "roles": [role]})
        except (NotFound, Rejected):
            # Read the ids again, because they differ if the controller was reinstalled.
            self._role_ids = {}
            raise

    async def list_for_group(self, group_id: str) -> list[Binding]:
        """Return the group's roles by project."""
        path = fill_path(self._paths.collection, group_id=group_id)
        held = await self._wire.entries(path, f"list role bindings of group {group_id}", _Association)
        return [Binding(one.project_name, tuple(role.name for role in one.roles or [])) for one in held]

    async def unbind(self, group_id: str, project_id: str) -> None:
        """Remove all roles of the group on the project; raise NotFound if it has none."""
        path = fill_path(self._paths.one, group_id=group_id, project_id=project_id)
        await self._wire.delete(path, f"unbind group {group_id} from project {project_id}")


class LocalUsers:
    """Users that the control plane itself manages, and their group memberships."""

    def __init__(self, wire: RafayTransport, paths: UserPaths) -> None:
        self._wire = wire
        self._paths = paths

    async def find(self, email: str) -> User | None:
        """Return the user with this e-mail address, ignoring case, or None."""
        people = await self._wire.entries(self._paths.users, f"find user {email}", _Person, q=email)
        users = (User(person.account.id, person.account.username) for person in people)
        return next((user for user in users if user.email.casefold() == email.casefold()), None)

    async def list_for_group(self, group_id: str) -> list[User]:
        """Return all members of the group."""
        path = fill_path(self._paths.collection, group_id=group_id)
        people = await self._wire.entries(path, f"list members of group {group_id}", _Person)
        return [User(person.account.id, person.account.username) for person in people]

    async def add(self, group_id: str, user_id: str) -> None:
        """Make the user a member of the group; idempotent.

        Raises:
            NotFound: there is no such group or user.
        """
        path = fill_path(self._paths.collection, group_id=group_id)
        try:
            await self._wire.call(
                "POST", path, f"add user {user_id} to group {group_id}", body={"account_id": user_id}
            )
        except AlreadyExists:
            return

    async def remove(self, group_id: str, user_id: str) -> None:
        """Remove the user from the group; idempotent, also if the group never existed."""
        path = fill_path(self._paths.one, group_id=group_id, user_id=user_id)
        try:
            await self._wire.delete(path, f"remove user {user_id} from group {group_id}")
        except NotFound:
            return
