"""The control plane's client: projects, groups, and what hangs on them.

Every method makes its calls once; every failure is a `clients.errors.ClientError`. What comes back holds no
secret, except the text of `bootstrap`.
"""

import ssl
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from pydantic import AliasPath, Field, model_validator

from clients.errors import Unintelligible
from clients.rafay.catalog import (
    BlueprintPaths,
    Blueprints,
    Repositories,
    RepositoryPaths,
    SignInPaths,
    SignIns,
)
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
from clients.rafay.transport import RafayTransport, WireModel, filled

_PROJECTS = "/auth/v1/projects/"
_PROJECT = "/auth/v1/projects/{project_id}/"
_GROUPS = "/auth/v1/groups/"
_GROUP = "/auth/v1/groups/{group_id}/"
_PROFILE = "/auth/v1/users/-/profile"


class _Named(WireModel):
    """A project or a group, as lists have it."""

    id: str
    name: str
    description: str | None = None
    organization_id: str | None = None


class _Created(WireModel):
    """A project or a group, as the answer to its create has it: perhaps without its id, or nothing."""

    id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _nothing(cls, answer: Any) -> Any:
        return {} if answer is None else answer


class _HeldRole(WireModel):
    name: str = Field(default="", validation_alias=AliasPath("role", "name"))


class _Profile(WireModel):
    """Whose key it is. One published client decodes its roles as one object; a list is more likely."""

    username: str = Field(validation_alias=AliasPath("account", "username"))
    roles: list[_HeldRole] | _HeldRole | None = None


class Rafay:
    """A Rafay controller, spoken to as the user whose API key it is.

    Ids are the control plane's; names are compared exactly. `timeout` bounds each call.
    `reread` gives the API key as it is by now, which is asked for when the one that is known is refused.
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
        """The organisation that the key opens, or its user where no project says; Denied for a bad key."""
        operation = "check the API key"
        project = await self._wire.first(_PROJECTS, operation, _Named)
        if project and project.organization_id:
            return project.organization_id
        return (await self._wire.get(_PROFILE, operation, _Profile)).username

    async def account(self) -> Account:
        """Whose key it is, and which roles that user has, so far as the control plane tells."""
        found = await self._wire.get(_PROFILE, "read whose API key it is", _Profile)
        held = found.roles if isinstance(found.roles, list) else [found.roles] if found.roles else []
        return Account(found.username, tuple(dict.fromkeys(role.name for role in held if role.name)))

    # Projects. By the v1 API: its create refuses a duplicate, which v3's would update.

    async def create_project(self, name: str, description: str) -> Project:
        """Make the project; AlreadyExists if there is one of this name, whoever's."""
        return Project(*await self._create(_PROJECTS, "project", name, description))

    async def find_project(self, name: str) -> Project | None:
        """The project of exactly this name."""
        found = await self._find(_PROJECTS, "project", name)
        return Project(found.id, found.name, found.description or "") if found else None

    async def delete_project(self, project_id: str) -> None:
        """Delete it. NotFound if it is gone; InUse while it has clusters, or for any other refusal."""
        await self._wire.delete(filled(_PROJECT, project_id=project_id), f"delete project {project_id}")

    # Groups

    async def create_group(self, name: str, description: str) -> Group:
        """Make the group; AlreadyExists if there is one of this name, whoever's."""
        return Group(*await self._create(_GROUPS, "group", name, description))

    async def find_group(self, name: str) -> Group | None:
        """The group of exactly this name."""
        found = await self._find(_GROUPS, "group", name)
        return Group(found.id, found.name, found.description or "") if found else None

    async def delete_group(self, group_id: str) -> None:
        """Delete it, and with it its bindings and memberships. NotFound if it is gone."""
        await self._wire.delete(filled(_GROUP, group_id=group_id), f"delete group {group_id}")

    async def _create(self, path: str, kind: str, name: str, description: str) -> tuple[str, str, str]:
        operation = f"create {kind} {name}"
        body = {"name": name, "description": description}
        # Rafay's own provider looks a new group up by its name: the answer may be without its id, or empty.
        created = await self._wire.create(path, operation, body, _Created)
        if created.id:
            return created.id, name, description
        found = await self._find(path, kind, name)
        if found is None:
            raise Unintelligible(
                self._wire.system, operation, "created by its answer, and not to be found", ambiguous=True
            )
        return found.id, found.name, found.description or ""

    async def _find(self, path: str, kind: str, name: str) -> _Named | None:
        entries = await self._wire.entries(path, f"find {kind} {name}", _Named, q=name)
        return next((entry for entry in entries if entry.name == name), None)

    # Roles of groups on projects

    async def roles(self) -> list[Role]:
        """All roles that there are."""
        return await self._associations.roles()

    async def role_id(self, role_name: str) -> str:
        """The id of the role of exactly this name; Rejected, naming it, if there is none."""
        return await self._associations.role_id(role_name)

    async def bind_role(self, group_id: str, project_id: str, role_name: str) -> None:
        """Give the group the role on the project; AlreadyExists if it has any role there."""
        await self._associations.bind(group_id, project_id, role_name)

    async def bindings(self, group_id: str) -> list[Binding]:
        """The roles that the group has, project by project. NotFound if there is no such group."""
        return await self._associations.of_group(group_id)

    async def unbind(self, group_id: str, project_id: str) -> None:
        """Take all roles on the project from the group. NotFound if it has none, or is none."""
        await self._associations.unbind(group_id, project_id)

    # Local users. Accounts are read, never written.

    async def find_user(self, email: str) -> User | None:
        """The local user with this e-mail address, upper or lower case regardless."""
        return await self._users.find(email)

    async def group_members(self, group_id: str) -> list[User]:
        """The local users in the group. NotFound if there is no such group."""
        return await self._users.of_group(group_id)

    async def add_member(self, group_id: str, user_id: str) -> None:
        """Afterwards the user is a member, whether or not before. NotFound for no such group or user."""
        await self._users.add(group_id, user_id)

    async def remove_member(self, group_id: str, user_id: str) -> None:
        """Afterwards the user is no member, whether or not before, or whether there was such a group."""
        await self._users.remove(group_id, user_id)

    # Clusters

    async def create_cluster(
        self, project_id: str, name: str, labels: Mapping[str, str], blueprint: str
    ) -> Cluster:
        """Make the record of a cluster to import; AlreadyExists if the name is taken, in any project."""
        return await self._clusters.create(project_id, name, dict(labels), blueprint)

    async def find_cluster(self, project_id: str, name: str) -> Cluster | None:
        """The cluster of exactly this name in the project. NotFound if there is no such project."""
        return await self._clusters.find(project_id, name)

    async def get_cluster(self, project_id: str, cluster_id: str) -> Cluster:
        """The cluster as it stands. NotFound once it is gone."""
        return await self._clusters.get(project_id, cluster_id)

    async def bootstrap(self, project_id: str, name: str) -> str:
        """The manifest (YAML, several documents) to apply inside the cluster: it holds a credential.

        NotYet, to be tried again, while there is none.
        """
        return await self._clusters.bootstrap(project_id, name)

    async def delete_cluster(self, project_id: str, cluster_id: str, force: bool) -> None:
        """Ask for deregistration: done when it is not found any more. NotFound if it is gone already.

        Without `force` the control plane waits for the agent inside to answer.
        """
        await self._clusters.delete(project_id, cluster_id, force=force)

    # What is offered beside

    async def system_blueprints(self, project_id: str) -> list[Blueprint]:
        """Blueprints that every project has; asked in any project. NotFound if there is none such."""
        return await self._blueprints.of_system(project_id)

    async def project_blueprints(self, project_id: str) -> list[Blueprint]:
        """Blueprints that the project has of its own, or shared with it."""
        return await self._blueprints.of_project(project_id)

    async def find_repository(self, project_name: str, name: str) -> Repository | None:
        """The chart repository of this name in the project."""
        return await self._repositories.find(project_name, name)

    async def apply_repository(self, project_name: str, repository: Repository) -> None:
        """Make the chart repository so, whatever is there under its name: read before whose it is."""
        await self._repositories.apply(project_name, repository)

    async def sign_ins(self) -> list[SignIn] | None:
        """The integrated identity providers; None where the control plane does not tell."""
        return await self._sign_ins.all()
