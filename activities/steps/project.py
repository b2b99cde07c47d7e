"""Step 1: the environment's project in the control plane. Its description is the mark."""

from temporalio import activity

from activities.ownership import NOTHING_THERE, left_alone, require_ours
from activities.parts.control_plane_resource import own_project
from clients.errors import AlreadyExists, NotFound
from clients.rafay import Rafay
from contracts.activities import (
    EnsureInput,
    InspectInput,
    InspectResult,
    ProjectStep,
    RemoveInput,
    RemoveResult,
)
from contracts.environment import Receipt, System


class Project(ProjectStep):
    """Creates, removes and finds the project."""

    def __init__(self, rafay: Rafay) -> None:
        self._rafay = rafay

    @activity.defn(name="project.ensure")
    async def ensure(self, input: EnsureInput) -> Receipt:
        """Create the project of the derived name; raise Conflict if it exists and is not ours."""
        name, mark = input.environment.derived_name, input.environment.mark
        try:
            project = await self._rafay.create_project(name, mark.text)
            require_ours(System.CONTROL_PLANE, f"Project {name}", project.description, mark)
        except AlreadyExists:
            project = await own_project(self._rafay, input.environment)
        return Receipt(name=project.name, reference=project.id)

    @activity.defn(name="project.remove")
    async def remove(self, input: RemoveInput) -> RemoveResult:
        """Delete our project, so that none is left.

        Retried while a cluster record is still in it.
        """
        name, mark = input.environment.derived_name, input.environment.mark
        project = await self._rafay.find_project(name)
        if project is None:
            return RemoveResult(note=NOTHING_THERE)
        if not mark.is_text(project.description):
            return RemoveResult(note=left_alone(f"project {name}", project.description, mark))
        try:
            await self._rafay.delete_project(project.id)
        except NotFound:
            return RemoveResult(note=NOTHING_THERE)
        return RemoveResult(note=f"deleted project {name}")

    @activity.defn(name="project.inspect")
    async def inspect(self, input: InspectInput) -> InspectResult:
        """Return the project, if it exists and is ours."""
        name, mark = input.environment.derived_name, input.environment.mark
        project = await self._rafay.find_project(name)
        if project is None or not mark.is_text(project.description):
            return InspectResult()
        return InspectResult(left=(f"project {name}",))
