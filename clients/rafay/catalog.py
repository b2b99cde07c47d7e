"""What a controller offers beside projects and clusters: blueprints, chart repositories, sign-in.

Each adapter keeps its paths in one value and its bodies in one place, to be replaced when a real controller
has shown others. Published are the paths and bodies of blueprints and repositories; assumed are how much of
a repository a read gives back, and all of sign-in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import AliasChoices, AliasPath, Field

from clients.errors import NotFound, Unintelligible
from clients.rafay.models import Blueprint, Repository, SignIn
from clients.rafay.transport import RafayTransport, WireModel, filled

#: The label by which a controller says that a blueprint may be used.
_PUBLISHED = "rafay.dev/published"


@dataclass(frozen=True)
class BlueprintPaths:
    """Where blueprints are: a v2 service, whose pages are asked for by other names."""

    of_project: str = "/v2/config/project/{project_id}/blueprint"


@dataclass(frozen=True)
class RepositoryPaths:
    """Where the chart repositories of a project are: v3, by names."""

    of_project: str = "/apis/integrations.k8smgmt.io/v3/projects/{project}/repositories"
    one: str = "/apis/integrations.k8smgmt.io/v3/projects/{project}/repositories/{name}"
    api_version: str = "integrations.k8smgmt.io/v3"


@dataclass(frozen=True)
class SignInPaths:
    """Where the integrated identity providers are. Assumed: only links to it are published."""

    providers: str = "/auth/v1/sso/idp/"


class _Blueprint(WireModel):
    name: str = Field(validation_alias=AliasPath("metadata", "name"))
    labels: dict[str, str | None] | None = Field(
        default=None, validation_alias=AliasPath("metadata", "labels")
    )

    def result(self) -> Blueprint:
        # One that does not say is believed: system blueprints need not be published by anybody.
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
    """Blueprints that a cluster can be imported with."""

    def __init__(self, wire: RafayTransport, paths: BlueprintPaths) -> None:
        self._wire = wire
        self._paths = paths

    async def of_system(self, project_id: str) -> list[Blueprint]:
        """Those that every project has; any project will do to ask in. NotFound if there is none such."""
        return await self._list(project_id, "list system blueprints", {"globalScope": "true"})

    async def of_project(self, project_id: str) -> list[Blueprint]:
        """Those that the project has of its own, or shared with it."""
        return await self._list(project_id, f"list blueprints of project {project_id}", {})

    async def _list(self, project_id: str, operation: str, scope: Mapping[str, str]) -> list[Blueprint]:
        path = filled(self._paths.of_project, project_id=project_id)
        found = await self._wire.entries(path, operation, _Blueprint, query=scope, paging="options.")
        return [one.result() for one in found]


class Repositories:
    """Chart repositories that a controller's projects know."""

    def __init__(self, wire: RafayTransport, paths: RepositoryPaths) -> None:
        self._wire = wire
        self._paths = paths

    async def find(self, project: str, name: str) -> Repository | None:
        """The repository of this name in the project, both by name."""
        path = filled(self._paths.one, project=project, name=name)
        try:
            return (await self._wire.get(path, f"read repository {name}", _Repository)).result()
        except NotFound:
            return None

    async def apply(self, project: str, repository: Repository) -> None:
        """Make it, or make it so: whatever is there under its name is overwritten.

        NotFound if there is no such project.
        """
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
        path = filled(self._paths.of_project, project=project)
        await self._wire.call("POST", path, f"apply repository {repository.name}", body=body)


class SignIns:
    """Identity providers that a controller sends people to."""

    def __init__(self, wire: RafayTransport, paths: SignInPaths) -> None:
        self._wire = wire
        self._paths = paths

    async def all(self) -> list[SignIn] | None:
        """All of them; None where the controller does not tell: the path is assumed."""
        operation = "list identity providers"
        try:
            found = await self._wire.entries(self._paths.providers, operation, _Provider)
        except (NotFound, Unintelligible):
            return None
        return [one.result() for one in found]


def same_repository(one: Repository, other: Repository) -> bool:
    """Whether charts come from the same place by both: a last slash makes no difference."""
    return _plain(one) == _plain(other)


def _plain(repository: Repository) -> Repository:
    return replace(
        repository,
        description="",
        kind=repository.kind.casefold(),
        endpoint=repository.endpoint.rstrip("/"),
    )
