"""Projects and groups of the control plane: resources whose description is the owner mark."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from activities.errors import NotYet
from activities.ownership import NOTHING_THERE, note_foreign, require_ours
from clients.errors import AlreadyExists, NotFound
from clients.rafay import Group, Project, Rafay
from contracts.activities.steps import (
    EnsureInput,
    InspectInput,
    InspectResult,
    RemoveInput,
    RemoveResult,
    StepActivities,
)
from contracts.environment.models import Environment, Receipt, System


class Resource(Protocol):
    """A project or a group."""

    @property
    def id(self) -> str:
        """The control plane's id of the resource."""

    @property
    def name(self) -> str:
        """The name, unique among the resources of its kind."""

    @property
    def description(self) -> str:
        """The owner mark, if the resource is ours."""


_Resource = TypeVar("_Resource", bound=Resource)


class ControlPlaneResourceStep(StepActivities):
    """Creates, removes and finds the resource of one kind that has the environment's derived name."""

    def __init__(
        self,
        kind: str,
        *,
        create: Callable[[str, str], Awaitable[Resource]],
        find: Callable[[str], Awaitable[Resource | None]],
        delete: Callable[[str], Awaitable[None]],
    ) -> None:
        self._kind = kind
        self._create = create
        self._find = find
        self._delete = delete

    async def ensure(self, input: EnsureInput) -> Receipt:
        """Create the resource; raise Conflict if it exists and is not ours."""
        name, mark = input.environment.derived_name, input.environment.mark
        try:
            resource = await self._create(name, mark.text)
            require_ours(
                System.CONTROL_PLANE, f"{self._kind.capitalize()} {name}", resource.description, mark
            )
        except AlreadyExists:
            found = await self._find(name)
            resource = _require_own(self._kind, found, input.environment)
        return Receipt(name=resource.name, reference=resource.id)

    async def remove(self, input: RemoveInput) -> RemoveResult:
        """Delete our resource. Retried while something else in the control plane still needs it."""
        name, mark = input.environment.derived_name, input.environment.mark
        resource = await self._find(name)
        if resource is None:
            return RemoveResult(note=NOTHING_THERE)
        if not mark.matches_text(resource.description):
            return RemoveResult(note=note_foreign(f"{self._kind} {name}", resource.description, mark))
        try:
            await self._delete(resource.id)
        except NotFound:
            return RemoveResult(note=NOTHING_THERE)
        return RemoveResult(note=f"deleted {self._kind} {name}")

    async def inspect(self, input: InspectInput) -> InspectResult:
        """Return the resource, if it exists and is ours."""
        name, mark = input.environment.derived_name, input.environment.mark
        resource = await self._find(name)
        if resource is None or not mark.matches_text(resource.description):
            return InspectResult()
        return InspectResult(left=(f"{self._kind} {name}",))


async def own_project(rafay: Rafay, environment: Environment) -> Project:
    """Return the environment's project; raise NotYet if there is none, and Conflict if it is not ours."""
    return _require_own("project", await rafay.find_project(environment.derived_name), environment)


async def own_group(rafay: Rafay, environment: Environment) -> Group:
    """Return the environment's group; raise NotYet if there is none, and Conflict if it is not ours."""
    return _require_own("group", await rafay.find_group(environment.derived_name), environment)


def _require_own(kind: str, resource: _Resource | None, environment: Environment) -> _Resource:
    thing = f"{kind.capitalize()} {environment.derived_name}"
    if resource is None:
        raise NotYet(
            System.CONTROL_PLANE,
            f"{thing} is not to be found in the {System.CONTROL_PLANE}",
            "See who has deleted it",
        )
    require_ours(System.CONTROL_PLANE, thing, resource.description, environment.mark)
    return resource
