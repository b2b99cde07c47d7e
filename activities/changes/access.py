"""Gives people access to an environment that is ready, and takes it away.

Two systems let people in: the group in the identity provider (without one, that of the control plane), and
the virtual cluster. Only groups with our owner mark are changed.
"""

from collections.abc import Sequence

from temporalio import activity

from activities.errors import NotYet
from activities.parts.control_plane_resource import own_group
from activities.parts.host_lookup import Hosts, at_host, own_kubeconfig
from activities.people_check import require_directory
from activities.steps.identity_group import IdentityStep
from activities.task_queues import ensure_right_queue
from clients.errors import NotFound
from clients.identity.protocol import Group, IdentityProvider
from clients.rafay import Rafay
from contracts.activities.people import (
    AccessInput,
    AccessResult,
    GroupAccessActivities,
    VirtualAccessActivities,
)
from contracts.environment.models import Environment, System
from contracts.temporal.task_queues import NO_OWN_QUEUES, OwnQueues


class GroupAccess(GroupAccessActivities):
    """Changes the members of groups."""

    def __init__(
        self, rafay: Rafay, directory: IdentityProvider | None, own_queues: OwnQueues = NO_OWN_QUEUES
    ) -> None:
        self._rafay = rafay
        self._directory = directory
        self._own_queues = own_queues

    @activity.defn(name="access.group")
    async def change_group(self, input: AccessInput) -> AccessResult:
        """Take out and put in; what takes access away comes first."""
        ensure_right_queue(self._own_queues, input.environment, [input.environment.people_system])
        if input.environment.has_identity_provider:
            unknown = await self._change_directory(require_directory(self._directory), input)
        else:
            unknown = await self._change_local(input)
        return AccessResult(unknown=tuple(unknown), in_doubt=activity.info().attempt > 1)

    async def _change_directory(self, directory: IdentityProvider, input: AccessInput) -> list[str]:
        environment = input.environment
        groups = await IdentityStep(directory).own_groups(environment)
        await _take_out(directory, groups, environment, input.revoking)
        users = {person: await directory.find_user(person) for person in input.granting}
        known = [user.id for user in users.values() if user is not None]
        if known and not groups:
            raise NotYet(
                System.IDENTITY_PROVIDER,
                f"Group {environment.derived_name} is not to be found in the {System.IDENTITY_PROVIDER}",
                "See whether another program has deleted it",
            )
        for group in groups:
            if known:
                await directory.add_members(group.id, known)
        return [person for person, user in users.items() if user is None]

    async def _change_local(self, input: AccessInput) -> list[str]:
        if not input.granting and await self._rafay.find_group(input.environment.derived_name) is None:
            return []
        group = await own_group(self._rafay, input.environment)
        revoking = {person.casefold() for person in input.revoking}
        for member in await self._rafay.group_members(group.id) if revoking else ():
            if member.email.casefold() in revoking:
                await self._rafay.remove_member(group.id, member.id)
        users = {person: await self._rafay.find_user(person) for person in input.granting}
        for user in users.values():
            if user is not None:
                await self._rafay.add_member(group.id, user.id)
        return [person for person, user in users.items() if user is None]


class VirtualAccess(VirtualAccessActivities):
    """Changes the rights in virtual clusters."""

    def __init__(self, hosts: Hosts, own_queues: OwnQueues = NO_OWN_QUEUES) -> None:
        self._hosts = hosts
        self._own_queues = own_queues

    @activity.defn(name="access.virtual-cluster")
    async def change_virtual_cluster(self, input: AccessInput) -> AccessResult:
        """End the rights of those who lose access, and with them every certificate that they hold.

        The API gives people their rights when they ask for a credential. It checks their access again after
        that, so it gives none back that this takes away.
        """
        ensure_right_queue(self._own_queues, input.environment, [System.HOST_CLUSTER])
        if input.revoking:
            host, environment = await at_host(self._hosts, input.environment)
            kubeconfig = await own_kubeconfig(host, environment)
            async with host.virtual_cluster(kubeconfig) as virtual:
                for person in input.revoking:
                    await virtual.remove_person(person)
        return AccessResult(in_doubt=activity.info().attempt > 1)


async def _take_out(
    directory: IdentityProvider, groups: Sequence[Group], environment: Environment, people: Sequence[str]
) -> None:
    """Take the people out of the groups, also those who are disabled in the directory.

    An account of a person who keeps access stays, if it has a removed address as well. An owner who has left
    is still the owner, and keeps none.
    """
    leaving = {user.id for person in people for user in await directory.users_by_address(person)}
    if not groups or not leaving:
        return
    keepers = [person for person in environment.people if person not in people]
    staying = {user.id for person in keepers for user in await directory.users_by_address(person)}
    for group in groups:
        for user_id in sorted(leaving - staying):
            try:
                await directory.remove_member(group.id, user_id)
            except NotFound:
                break  # the group is gone meanwhile, with all its members
