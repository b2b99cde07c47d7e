"""Step 2: the environment's group in the control plane. Its description is the mark."""

from temporalio import activity

from activities.ownership import NOTHING_THERE, left_alone, require_ours
from activities.parts.control_plane_resource import own_group
from clients.errors import AlreadyExists, NotFound
from clients.rafay import Rafay
from contracts.activities import (
    EnsureInput,
    GroupStep,
    InspectInput,
    InspectResult,
    RemoveInput,
    RemoveResult,
)
from contracts.environment import Receipt, System


class Group(GroupStep):
    """Creates, removes and finds the group."""

    def __init__(self, rafay: Rafay) -> None:
        self._rafay = rafay

    @activity.defn(name="group.ensure")
    async def ensure(self, input: EnsureInput) -> Receipt:
        """Create the group of the derived name; raise Conflict if it exists and is not ours."""
        name, mark = input.environment.derived_name, input.environment.mark
        try:
            group = await self._rafay.create_group(name, mark.text)
            require_ours(System.CONTROL_PLANE, f"Group {name}", group.description, mark)
        except AlreadyExists:
            group = await own_group(self._rafay, input.environment)
        return Receipt(name=group.name, reference=group.id)

    @activity.defn(name="group.remove")
    async def remove(self, input: RemoveInput) -> RemoveResult:
        """Delete our group, and with it all permissions that it grants."""
        name, mark = input.environment.derived_name, input.environment.mark
        group = await self._rafay.find_group(name)
        if group is None:
            return RemoveResult(note=NOTHING_THERE)
        if not mark.is_text(group.description):
            return RemoveResult(note=left_alone(f"group {name}", group.description, mark))
        try:
            await self._rafay.delete_group(group.id)
        except NotFound:
            return RemoveResult(note=NOTHING_THERE)
        return RemoveResult(note=f"deleted group {name}")

    @activity.defn(name="group.inspect")
    async def inspect(self, input: InspectInput) -> InspectResult:
        """Return the group, if it exists and is ours."""
        name, mark = input.environment.derived_name, input.environment.mark
        group = await self._rafay.find_group(name)
        if group is None or not mark.is_text(group.description):
            return InspectResult()
        return InspectResult(left=(f"group {name}",))
