"""The client of the control plane: projects, groups, and the resources that belong to them.

Every method makes its calls once; every failure is a `clients.errors.ClientError`. No return value holds a
secret, except the text of `bootstrap`.
"""

import ssl
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from pydantic import AliasPath, Field, model_validator

from clients.errors import MalformedAnswer
from clients.rafay.clusters import Clusters
from clients.rafay.iam import AssociationPaths, Associations, LocalUsers, UserPaths
from clients.rafay.models import (
    Account,
    Binding,
    Blueprint,
    Cluster,
    Group,
    Project,
    Repository,
    Role,
    SignIn,
    User,
)
from clients.rafay.organization_resources import (
    BlueprintPaths,
    Blueprints,
    Repositories,
    RepositoryPaths,
    SignInPaths,
    SignIns,
)
from clients.rafay.transport import IdentifiedModel, RafayTransport, WireModel, fill_path

_PROJECTS = "/auth/v1/projects/"
_PROJECT = "/auth/v1/projects/{project_id}/"
_GROUPS = "/auth/v1/groups/"
_GROUP = "/auth/v1/groups/{group_id}/"
_PROFILE = "/auth/v1/users/-/profile"


class _Named(IdentifiedModel):
    """A project or a group, as an entry of a list."""

    name: str
    description: str | None = None
    organization_id: str | None = None


class _Created(WireModel):
    """The answer to the creation of a project or a group, which may lack the id or be empty."""

    id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _nothing(cls, answer: Any) -> Any:
        return {} if answer is None else answer


class _HeldRole(WireModel):
    name: str = Field(default="", validation_alias=AliasPath("role", "name"))


class _Profile(WireModel):
    """The owner of the key.

    One published client decodes `roles` as one object; a list is more likely.
    """

    username: str = Field(validation_alias=AliasPath("account", "username"))
    roles: list[_HeldRole] | _HeldRole | None = None


class Rafay:
    """A Rafay controller, called as the user who owns the API key.

    Ids are assigned by the control plane; names are compared exactly. `timeout` limits each call. `reread`
    returns the current API key; it is called when the control plane refuses the known one.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeout: timedelta,
        verify: ssl.SSLContext | bool = True,
        system: str = "Rafay",
        association_paths: AssociationPaths = AssociationPaths(),  # noqa: B008 - frozen
        user_paths: UserPaths = UserPaths(),  # noqa: B008 - frozen
        blueprint_paths: BlueprintPaths = BlueprintPaths(),  # noqa: B008 - frozen
        repository_paths: RepositoryPaths = RepositoryPaths(),  # noqa: B008 - frozen
        sign_in_paths: SignInPaths = SignInPaths(),  # noqa: B008 - frozen
        reread: Callable[[], str] | None = None,
    ) -> None:
        self._wire = RafayTransport(system, base_url, api_key, timeout=timeout, verify=verify, reread=reread)
        self._associations = Associations(self._wire, association_paths)
        self._users = LocalUsers(self._wire, user_paths)
        self._clusters = Clusters(self._wire)
        self._blueprints = Blueprints(self._wire, blueprint_paths)
        self._repositories = Repositories(self._wire, repository_paths)
        self._sign_ins = SignIns(self._wire, sign_in_paths)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; the client cannot be used afterwards."""
        await self._wire.close()

    async def check(self) -> str:
        """Return the organisation of the key, or its user where no project shows the organisation.

        Raises:
            Denied: the key is not valid.
        """
        operation = "check the API key"
        project = await self._wire.first(_PROJECTS, operation, _Named)
        if project and project.organization_id:
            return project.organization_id
        return (await self._wire.get(_PROFILE, operation, _Profile)).username

    async def account(self) -> Account:
        """Return the owner of the key and the owner's roles, as far as the control plane shows them."""
        found = await self._wire.get(_PROFILE, "read whose API key it is", _Profile)
        held = found.roles if isinstance(found.roles, list) else [found.roles] if found.roles else []
        return Account(found.username, tuple(dict.fromkeys(role.name for role in held if role.name)))

    # Projects use the v1 API, because its create refuses a duplicate, which v3 would update.

    async def create_project(self, name: str, description: str) -> Project:
        """Create the project; raise AlreadyExists if any project has this name."""
        return Project(*await self._create(_PROJECTS, "project", name, description))

    async def find_project(self, name: str) -> Project | None:
        """Return the project with exactly this name, or None."""
        found = await self._find(_PROJECTS, "project", name)
        return Project(found.id, found.name, found.description or "") if found else None

    async def projects(self) -> list[Project]:
        """Return all projects; raise MalformedAnswer for a list that contradicts itself."""
        found = await self._wire.whole_list(_PROJECTS, "list projects", _Named)
        return [Project(one.id, one.name, one.description or "") for one in found]

    async def delete_project(self, project_id: str) -> None:
        """Delete the project.

        Raises:
            NotFound: it does not exist any more.
            InUse: it has clusters, or the control plane refuses for any other reason.
        """
        await self._wire.delete(fill_path(_PROJECT, project_id=project_id), f"delete project {project_id}")

    # Groups

    async def create_group(self, name: str, description: str) -> Group:
        """Create the group; raise AlreadyExists if any group has this name."""
        return Group(*await self._create(_GROUPS, "group", name, description))

    async def find_group(self, name: str) -> Group | None:
        """Return the group with exactly this name, or None."""
        found = await self._find(_GROUPS, "group", name)
        return Group(found.id, found.name, found.description or "") if found else None

    async def groups(self) -> list[Group]:
        """Return all groups; raise MalformedAnswer for a list that contradicts itself."""
        found = await self._wire.whole_list(_GROUPS, "list groups", _Named)
        return [Group(one.id, one.name, one.description or "") for one in found]

    async def delete_group(self, group_id: str) -> None:
        """Delete the group with its bindings and memberships; raise NotFound if it does not exist."""
        await self._wire.delete(fill_path(_GROUP, group_id=group_id), f"delete group {group_id}")

    async def _create(self, path: str, kind: str, name: str, description: str) -> tuple[str, str, str]:
        operation = f"create {kind} {name}"
        body = {"name": name, "description": description}
        # Look the new group up by its name, as Rafay's own provider does: the answer may lack the id or be
        # empty.
        created = await self._wire.create(path, operation, body, _Created)
        if created.id:
            return created.id, name, description
        found = await self._find(path, kind, name)
        if found is None:
            raise MalformedAnswer(
                self._wire.system, operation, "its answer says created, but it is not found", ambiguous=True
            )
        return found.id, found.name, found.description or ""

    async def _find(self, path: str, kind: str, name: str) -> _Named | None:
        entries = await self._wire.entries(path, f"find {kind} {name}", _Named, q=name)
        return next((entry for entry in entries if entry.name == name), None)

    # Roles of groups on projects

    async def roles(self) -> list[Role]:
        """Return all roles."""
        return await self._associations.roles()

    async def role_id(self, role_name: str) -> str:
        """Return the id of the role with exactly this name; raise Rejected, naming it, without one."""
        return await self._associations.role_id(role_name)

    async def bind_role(self, group_id: str, project_id: str, role_name: str) -> None:
        """Grant the group the role on the project; raise AlreadyExists if it has any role there."""
        await self._associations.bind(group_id, project_id, role_name)

    async def bindings(self, group_id: str) -> list[Binding]:
        """Return the group's roles by project; raise NotFound if there is no such group."""
        return await self._associations.list_for_group(group_id)

    async def unbind(self, group_id: str, project_id: str) -> None:
        """Remove all roles of the group on the project; raise NotFound without role or group."""
        await self._associations.unbind(group_id, project_id)

    # Local users. Their accounts are read and never written.

    async def find_user(self, email: str) -> User | None:
        """Return the local user with this e-mail address, ignoring case, or None."""
        return await self._users.find(email)

    async def group_members(self, group_id: str) -> list[User]:
        """Return the local users in the group; raise NotFound if there is no such group."""
        return await self._users.list_for_group(group_id)

    async def add_member(self, group_id: str, user_id: str) -> None:
        """Make the user a member of the group; idempotent.

        Raises:
            NotFound: there is no such group or user.
        """
        await self._users.add(group_id, user_id)

    async def remove_member(self, group_id: str, user_id: str) -> None:
        """Remove the user from the group; idempotent, also if the group does not exist."""
        await self._users.remove(group_id, user_id)

    # Clusters

    async def create_cluster(
        self, project_id: str, name: str, labels: Mapping[str, str], blueprint: str
    ) -> Cluster:
        """Create the record of a cluster to import; raise AlreadyExists if any project has the name."""
        return await self._clusters.create(project_id, name, dict(labels), blueprint)

    async def find_cluster(self, project_id: str, name: str) -> Cluster | None:
        """Return the project's cluster with exactly this name, or None.

        Raises:
            NotFound: there is no such project.
        """
        return await self._clusters.find(project_id, name)

    async def get_cluster(self, project_id: str, cluster_id: str) -> Cluster:
        """Return the current state of the cluster; raise NotFound if it does not exist."""
        return await self._clusters.get(project_id, cluster_id)

    async def bootstrap(self, project_id: str, name: str) -> str:
        """Return the manifest (YAML, several documents) to apply inside the cluster, a credential.

        Raises:
            NotYet: the manifest does not exist yet; the caller has to retry.
        """
        return await self._clusters.bootstrap(project_id, name)

    async def delete_cluster(self, project_id: str, cluster_id: str, force: bool) -> None:
        """Request the deregistration of the cluster; it is complete when the cluster is not found.

        Without `force` the control plane waits for an answer of the agent inside.

        Raises:
            NotFound: it is deregistered already.
        """
        await self._clusters.delete(project_id, cluster_id, force=force)

    # Blueprints, repositories and sign-in

    async def system_blueprints(self, project_id: str) -> list[Blueprint]:
        """Return the blueprints of all projects; `project_id` can be any project.

        Raises:
            NotFound: there is no such project.
        """
        return await self._blueprints.list_system(project_id)

    async def project_blueprints(self, project_id: str) -> list[Blueprint]:
        """Return the project's own blueprints and those shared with it."""
        return await self._blueprints.list_for_project(project_id)

    async def find_repository(self, project_name: str, name: str) -> Repository | None:
        """Return the project's chart repository with this name, or None."""
        return await self._repositories.find(project_name, name)

    async def apply_repository(self, project_name: str, repository: Repository) -> None:
        """Create the chart repository, or overwrite the one with its name.

        The caller has to read first who owns it.
        """
        await self._repositories.apply(project_name, repository)

    async def sign_ins(self) -> list[SignIn] | None:
        """Return the integrated identity providers; None where the control plane does not show them."""
        return await self._sign_ins.all()
