"""Step 3: the group's role on the project and, without an identity provider, the group's members.

Role bindings and memberships cannot carry a mark: they are ours if their group and project are ours. Missing
members are added. Unknown members whom an administrator has added to our group stay until the group is
deleted, or until the reconcile sweep has them taken out.
"""

import contextlib

from temporalio import activity

from activities.ownership import NOTHING_THERE, note_foreign
from activities.parts.concurrent_reads import read_together
from activities.parts.control_plane_resource import own_group, own_project
from activities.people_check import user_ids_of
from clients.errors import AlreadyExists, NotFound, Rejected
from clients.rafay import Group, Rafay
from contracts.activities.steps import (
    EnsureInput,
    InspectInput,
    InspectResult,
    MemberRepair,
    RemoveInput,
    RemoveResult,
    StepActivities,
)
from contracts.environment.models import Environment, Receipt, System


class RoleBindingStep(StepActivities):
    """Binds the role and maintains local members."""

    def __init__(self, rafay: Rafay) -> None:
        self._rafay = rafay

    async def ensure(self, input: EnsureInput) -> Receipt:
        """Bind the template's role to our group on our project, and add local members.

        Without an identity provider, all people of the environment are local members.
        """
        environment = input.environment
        if input.members:
            return await self._repair_members(environment, input.members)
        local = () if environment.has_identity_provider else environment.people
        user_ids = await user_ids_of(self._rafay, local, System.CONTROL_PLANE)
        group_id = await self._bind_made(input) or await self._bind_found(environment)
        for user_id in user_ids:
            await self._rafay.add_member(group_id, user_id)
        return Receipt(name=environment.derived_name, reference=environment.template.role)

    async def _bind_made(self, input: EnsureInput) -> str:
        """Bind what the steps before have made; return the group's id, or "" if it has to be looked at first.

        This only adds a binding where there is none, right after both were made: later they may have another
        owner.
        """
        if not (input.project_id and input.group_id) or activity.info().attempt > 1:
            return ""
        try:
            await self._rafay.bind_role(input.group_id, input.project_id, input.environment.template.role)
        except (AlreadyExists, NotFound, Rejected):
            return ""
        return input.group_id

    async def _bind_found(self, environment: Environment) -> str:
        """Bind our group on our project, which are looked for; return the group's id."""
        project, group = await read_together(
            own_project(self._rafay, environment), own_group(self._rafay, environment)
        )
        await self._bind(group, project.id, project.name, environment.template.role)
        return group.id

    async def _repair_members(self, environment: Environment, repair: MemberRepair) -> Receipt:
        """Take the named members out, unless they have become its people, and add who is missing."""
        group = await own_group(self._rafay, environment)
        local = () if environment.has_identity_provider else environment.people
        keeps = {person.casefold() for person in local}
        for member in await self._rafay.group_members(group.id) if repair.extra else ():
            if member.id in repair.extra and member.email.casefold() not in keeps:
                await self._rafay.remove_member(group.id, member.id)
        for person in local if repair.adds else ():
            user = await self._rafay.find_user(person)
            if user is not None:
                await self._rafay.add_member(group.id, user.id)
        return Receipt(name=group.name, reference=environment.template.role)

    async def _bind(self, group: Group, project_id: str, project_name: str, role: str) -> None:
        try:
            await self._rafay.bind_role(group.id, project_id, role)
        except AlreadyExists:
            held = {each.project_name: each.role_names for each in await self._rafay.bindings(group.id)}
            if held.get(project_name) == (role,):
                return
            # The binding has another role, or more roles: an administrator has changed our binding.
            await self._rafay.unbind(group.id, project_id)
            await self._rafay.bind_role(group.id, project_id, role)

    async def remove(self, input: RemoveInput) -> RemoveResult:
        """Remove all members from our group, and its role on our project."""
        name, mark = input.environment.derived_name, input.environment.mark
        group = await self._rafay.find_group(name)
        if group is None:
            return RemoveResult(note=NOTHING_THERE)
        if not mark.matches_text(group.description):
            return RemoveResult(note=note_foreign(f"group {name}", group.description, mark))
        try:
            members = await self._rafay.group_members(group.id)
        except NotFound:
            return RemoveResult(note=NOTHING_THERE)
        for member in members:
            await self._rafay.remove_member(group.id, member.id)
        project = await self._rafay.find_project(name)
        if project is not None and mark.matches_text(project.description):
            with contextlib.suppress(NotFound):
                await self._rafay.unbind(group.id, project.id)
        return RemoveResult(note=f"unbound group {name}, and took {len(members)} local members out of it")

    async def inspect(self, input: InspectInput) -> InspectResult:
        """Return the members of our group, and the roles that it has."""
        name, mark = input.environment.derived_name, input.environment.mark
        group = await self._rafay.find_group(name)
        if group is None or not mark.matches_text(group.description):
            return InspectResult()
        try:
            members = await self._rafay.group_members(group.id)
            bindings = await self._rafay.bindings(group.id)
        except NotFound:
            return InspectResult()
        return InspectResult(
            left=(
                *(f"member {member.email} of group {name}" for member in members),
                *(
                    f"role {role} of group {name} on project {binding.project_name}"
                    for binding in bindings
                    for role in binding.role_names
                ),
            )
        )
