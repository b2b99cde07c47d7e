"""Step 4: the group in the identity provider and its members; it has the control plane group's name.

Its externalId is the mark. Directories may allow several groups of one name, and the control plane accepts a
user who is in any of them. So a group of our name that is not ours is a conflict, even if ours exists too,
and a duplicate that a lost response has caused is removed. Unknown members in our group stay until the group
is deleted, or until the reconcile sweep has them taken out.
"""

from collections.abc import Sequence
from datetime import timedelta

from activities import activity_context
from activities.errors import Interrupted, NotYet
from activities.ownership import NOTHING_THERE, require_ours
from activities.parts.concurrent_reads import read_together
from activities.people_check import require_directory, user_ids_of
from clients.errors import AlreadyExists, NotFound
from clients.identity.protocol import Group, IdentityProvider
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
from contracts.types.naming import OwnerMark

#: How long a directory's search may lag behind a write; cloud directories lag by seconds. It is shorter than
#: the pause before the last inspection, so that this inspection finds a group whose creation was interrupted.
SEARCH_TIMEOUT = timedelta(seconds=30)


class IdentityStep(StepActivities):
    """Creates, removes and finds the group in the directory."""

    def __init__(self, directory: IdentityProvider | None) -> None:
        self._maybe_directory = directory

    @property
    def _directory(self) -> IdentityProvider:
        return require_directory(self._maybe_directory)

    async def ensure(self, input: EnsureInput) -> Receipt:
        """Create the group of the derived name, and add the owner and the collaborators.

        Afterwards exactly one group of that name exists and it is ours.
        """
        environment = input.environment
        if input.members:
            return await self._repair_members(environment, input.members)
        # Neither changes anything, and each call may take a while.
        user_ids, found = await read_together(
            user_ids_of(self._directory, environment.people, System.IDENTITY_PROVIDER),
            self._search(environment),
        )
        group = await self._only_one(environment, *found)
        if group is None:
            group = await self._create(environment)
        await self._directory.add_members(group.id, user_ids)
        return Receipt(name=group.display_name, reference=group.id)

    async def _repair_members(self, environment: Environment, repair: MemberRepair) -> Receipt:
        """Take the named members out, unless they have become its people, and add who is missing."""
        groups = await self.own_groups(environment)
        if not groups:
            raise NotYet(
                System.IDENTITY_PROVIDER,
                f"Group {environment.derived_name} is not to be found in the {System.IDENTITY_PROVIDER}",
                "See whether another program has deleted it",
            )
        people = environment.people
        keeps: set[str] = set()
        for person in people if repair.extra else ():
            keeps.update(user.id.casefold() for user in await self._directory.users_by_address(person))
        users = [await self._directory.find_user(person) for person in people] if repair.adds else []
        known = [user.id for user in users if user is not None]
        for group in groups:
            for user_id in repair.extra:
                if user_id.casefold() not in keeps:
                    await self._directory.remove_member(group.id, user_id)
            if known:
                await self._directory.add_members(group.id, known)
        return Receipt(name=groups[0].display_name, reference=groups[0].id)

    async def _create(self, environment: Environment) -> Group:
        name, mark = environment.derived_name, environment.mark
        try:
            group = await self._directory.create_group(name, mark.text)
            if group.external_id is not None:
                # Some directories return a group that existed before.
                require_ours(System.IDENTITY_PROVIDER, f"Group {name}", group.external_id, mark)
            await self._wait_until_found(group, environment)
            return group
        except AlreadyExists:
            existing = await self._find(environment)
            if existing is None:
                raise NotYet(
                    System.IDENTITY_PROVIDER,
                    f"The {System.IDENTITY_PROVIDER} says that group {name} exists, and does not find it",
                    "Wait; if it stays so, look for a deleted or hidden group of that name",
                ) from None
            return existing

    async def _wait_until_found(self, group: Group, environment: Environment) -> None:
        """Wait until the search that the undo relies on finds the group, before any member is added."""

        async def missing() -> str:
            ours = await self._directory.groups_by_external_id(environment.mark.text)
            return "" if group.id in {each.id for each in ours} else "its search to find the new group"

        try:
            if not await activity_context.wait_until(missing, timeout=SEARCH_TIMEOUT):
                return
        except Interrupted as stop:
            stop.ambiguous = True
            raise
        await self._delete_if_ours(group, environment)
        raise NotYet(
            System.IDENTITY_PROVIDER,
            f"The {System.IDENTITY_PROVIDER} has made group {group.display_name}, and does not find it by "
            "its externalId",
            "See that it keeps the externalId of groups, and that its filter finds them by it",
            ambiguous=True,
        )

    async def _delete_if_ours(self, group: Group, environment: Environment) -> None:
        """Delete the group that was just created, unless it belongs to another owner.

        The response to the creation may have been about another group, so this reads the group's mark first.
        """
        try:
            there = await self._directory.group(group.id)
        except NotFound:
            return
        is_as_made = there.display_name == environment.derived_name and not await self._directory.members(
            group.id
        )
        if there.external_id is not None or not is_as_made:
            thing = f"Group {there.display_name}"
            require_ours(System.IDENTITY_PROVIDER, thing, there.external_id, environment.mark)
        await self._delete(group)

    async def _find(self, environment: Environment) -> Group | None:
        """Return our group if it exists, and remove any duplicates of it."""
        return await self._only_one(environment, *await self._search(environment))

    async def _search(self, environment: Environment) -> tuple[list[Group], list[Group]]:
        """Return all groups with our name, and all with our mark."""
        return await read_together(
            self._directory.groups_by_name(environment.derived_name),
            self._directory.groups_by_external_id(environment.mark.text),
        )

    async def _only_one(
        self, environment: Environment, by_name: list[Group], by_mark: list[Group]
    ) -> Group | None:
        """Return our group if it was found, and remove any duplicates of it."""
        name, mark = environment.derived_name, environment.mark
        for group in by_name:
            require_ours(System.IDENTITY_PROVIDER, f"Group {name}", group.external_id, mark)
        ours = sorted(_own(mark, by_name, by_mark), key=lambda group: (group.display_name != name, group.id))
        if not ours:
            return None
        kept, *doubles = ours
        for double in doubles:
            await self._delete(double)
        if doubles and kept.id not in {group.id for group in await self.own_groups(environment)}:
            # The deleted duplicate was this very group, or another actor has deleted it.
            raise NotYet(
                System.IDENTITY_PROVIDER,
                f"Group {name} is gone from the {System.IDENTITY_PROVIDER} since its double was removed",
                "Wait: it is made again; if it stays so, look for other groups of that name",
                ambiguous=True,
            )
        return kept

    async def own_groups(self, environment: Environment) -> list[Group]:
        """Return all groups that carry our mark, each once.

        They are found by the mark, and by our name where the search by mark lags.
        """
        return _own(environment.mark, *await self._search(environment))

    async def remove(self, input: RemoveInput) -> RemoveResult:
        """Delete every group that carries our mark, however many there are."""
        groups = await self.own_groups(input.environment)
        for group in groups:
            await self._delete(group)
        if not groups:
            return RemoveResult(note=NOTHING_THERE)
        return RemoveResult(note=f"deleted {_named(groups)}")

    async def _delete(self, group: Group) -> None:
        try:
            # Remove the members first: if the deletion fails, the remaining group gives no access.
            removed: set[str] = set()
            # Repeat until no members are left, or only members that cannot be removed: some directories
            # return only a part of the members at a time.
            while left := [
                member for member in await self._directory.members(group.id) if member not in removed
            ]:
                for user_id in left:
                    await self._directory.remove_member(group.id, user_id)
                removed.update(left)
            await self._directory.delete_group(group.id)
        except NotFound:
            return

    async def inspect(self, input: InspectInput) -> InspectResult:
        """Return all groups that carry our mark."""
        groups = await self.own_groups(input.environment)
        return InspectResult(left=tuple(f"group {group.display_name}" for group in groups))


def _own(mark: OwnerMark, by_name: Sequence[Group], by_mark: Sequence[Group]) -> list[Group]:
    ours = [group for group in (*by_mark, *by_name) if mark.matches_text(group.external_id)]
    # Compare ids without regard to case: if two entries are the same group, deleting one of them deletes
    # both.
    return list({group.id.casefold(): group for group in reversed(ours)}.values())[::-1]


def _named(groups: list[Group]) -> str:
    return ", ".join(f"group {group.display_name}" for group in groups)
