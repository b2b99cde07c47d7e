"""The blueprints, chart repositories and identity providers of a controller.

Each adapter keeps its paths in one value and its bodies in one place, so that they can be replaced when a
real controller shows others. Paths and bodies of blueprints and repositories are published by Rafay; how
much of a repository a read returns, and all of sign-in, are assumed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import AliasChoices, AliasPath, Field

from clients.errors import MalformedAnswer, NotFound
from clients.rafay.models import Blueprint, Repository, SignIn
from clients.rafay.transport import RafayTransport, WireModel, fill_path

#: The label with which a controller marks a blueprint as usable.
_PUBLISHED = "rafay.dev/published"


@dataclass(frozen=True)
class BlueprintPaths:
    """Paths of blueprints, in a v2 service with other names for the paging parameters."""

    collection: str = "/v2/config/project/{project_id}/blueprint"


@dataclass(frozen=True)
class RepositoryPaths:
    """Paths of a project's chart repositories, in v3 and with names."""

    collection: str = "/apis/integrations.k8smgmt.io/v3/projects/{project}/repositories"
    one: str = "/apis/integrations.k8smgmt.io/v3/projects/{project}/repositories/{name}"
    api_version: str = "integrations.k8smgmt.io/v3"


@dataclass(frozen=True)
class SignInPaths:
    """Paths of the identity providers; assumed, because Rafay publishes only links to them."""

    providers: str = "/auth/v1/sso/idp/"


class _Blueprint(WireModel):
    name: str = Field(validation_alias=AliasPath("metadata", "name"))
    labels: dict[str, str | None] | None = Field(
        default=None, validation_alias=AliasPath("metadata", "labels")
    )

    def result(self) -> Blueprint:
        # Count a blueprint without the label as published, because system blueprints need not be published.
        return Blueprint(self.name, (self.labels or {}).get(_PUBLISHED, "true") == "true")


class _Repository(WireModel):
    name: str = Field(validation_alias=AliasPath("metadata", "name"))
    description: str | None = Field(default=None, validation_alias=AliasPath("metadata", "description"))
    kind: str | None = Field(default=None, validation_alias=AliasPath("spec", "type"))
    endpoint: str | None = Field(default=None, validation_alias=AliasPath("spec", "endpoint"))

    def result(self) -> Repository:
        return Repository(self.name, self.kind or "", self.endpoint or "", self.description or "")


class _Provider(WireModel):
    id: str
    name: str = Field(default="", validation_alias=AliasChoices("name", "idp_name"))
    domain: str = ""
    group_attribute: str | None = Field(default=None, validation_alias="group_attribute_name")
    acs_url: str | None = None
    entity_id: str | None = Field(default=None, validation_alias="sp_entity_id")
    name_id_format: str | None = None
    metadata_url: str | None = None
    metadata_filename: str | None = None
    sso_url: str | None = None

    def result(self) -> SignIn:
        return SignIn(
            name=self.name,
            domain=self.domain,
            group_attribute=self.group_attribute or "",
            acs_url=self.acs_url or "",
            entity_id=self.entity_id or "",
            name_id_format=self.name_id_format or "",
            knows_provider=bool(self.metadata_url or self.metadata_filename or self.sso_url),
        )


class Blueprints:
    """Blueprints with which a cluster can be imported."""

    def __init__(self, wire: RafayTransport, paths: BlueprintPaths) -> None:
        self._wire = wire
        self._paths = paths

    async def list_system(self, project_id: str) -> list[Blueprint]:
        """Return the blueprints of all projects; `project_id` can be any project.

        Raises:
            NotFound: there is no such project.
        """
        return await self._list(project_id, "list system blueprints", {"globalScope": "true"})

    async def list_for_project(self, project_id: str) -> list[Blueprint]:
        """Return the project's own blueprints and those shared with it."""
        return await self._list(project_id, f"list blueprints of project {project_id}", {})

    async def _list(self, project_id: str, operation: str, scope: Mapping[str, str]) -> list[Blueprint]:
        path = fill_path(self._paths.collection, project_id=project_id)
        found = await self._wire.entries(path, operation, _Blueprint, query=scope, paging="options.")
        return [one.result() for one in found]


class Repositories:
    """Chart repositories of a controller's projects."""

    def __init__(self, wire: RafayTransport, paths: RepositoryPaths) -> None:
        self._wire = wire
        self._paths = paths

    async def find(self, project: str, name: str) -> Repository | None:
        """Return the project's repository with this name, or None; `project` is a name too."""
        path = fill_path(self._paths.one, project=project, name=name)
        try:
            return (await self._wire.get(path, f"read repository {name}", _Repository)).result()
        except NotFound:
            return None

    async def apply(self, project: str, repository: Repository) -> None:
        """Create the repository, or overwrite the one with its name; raise NotFound without project."""
        body = {
            "apiVersion": self._paths.api_version,
            "kind": "Repository",
            "metadata": {
                "name": repository.name,
                "project": project,
                "description": repository.description,
            },
            "spec": {"type": repository.kind, "endpoint": repository.endpoint},
        }
        path = fill_path(self._paths.collection, project=project)
        await self._wire.call("POST", path, f"apply repository {repository.name}", body=body)


class SignIns:
    """The identity providers to which a controller redirects users for sign-in."""

    def __init__(self, wire: RafayTransport, paths: SignInPaths) -> None:
        self._wire = wire
        self._paths = paths

    async def all(self) -> list[SignIn] | None:
        """Return all identity providers; None where the controller does not serve the assumed path."""
        operation = "list identity providers"
        try:
            found = await self._wire.entries(self._paths.providers, operation, _Provider)
        except (NotFound, MalformedAnswer):
            return None
        return [one.result() for one in found]


def same_repository(one: Repository, other: Repository) -> bool:
    """Return whether both give the same source of charts, with or without a trailing slash."""
    return _plain(one) == _plain(other)


def _plain(repository: Repository) -> Repository:
    return replace(
        repository,
        description="",
        kind=repository.kind.casefold(),
        endpoint=repository.endpoint.rstrip("/"),
    )
