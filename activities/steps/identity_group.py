"""Step 4: the group in the identity provider, of the same name as the control plane's, and its members.

Its externalId is the mark. Directories may allow several groups of one name, and the control plane lets in
whoever is in any of them: so a group of our name that is not ours is a conflict even beside ours, and what
a lost answer has doubled is taken away. Strangers in our group stay, until the group goes.
"""

from datetime import timedelta

from temporalio import activity

from activities import activity_context
from activities.errors import Interrupted, NotYet
from activities.ownership import NOTHING_THERE, require_ours
from activities.people_check import configured, ids_of
from clients.errors import AlreadyExists, NotFound
from clients.identity.scim import Group, Scim
from contracts.activities import (
    EnsureInput,
    IdentityStep,
    InspectInput,
    InspectResult,
    RemoveInput,
    RemoveResult,
)
from contracts.environment import Environment, Receipt, System

#: How late a directory's search may be; those of the cloud are so by seconds. Shorter than the pause before
#: the last inspection, which so finds what was cut off meanwhile.
FOUND_LIMIT = timedelta(seconds=30)


class Identity(IdentityStep):
    """Makes, removes and finds the group in the directory."""

    def __init__(self, scim: Scim | None) -> None:
        self._maybe_scim = scim

    @property
    def _scim(self) -> Scim:
        return configured(self._maybe_scim)

    @activity.defn(name="identity.ensure")
    async def ensure(self, input: EnsureInput) -> Receipt:
        """There is one group of the derived name, it is ours, and owner and collaborators are in it."""
        environment = input.environment
        user_ids = await ids_of(self._scim, environment.people, System.IDENTITY_PROVIDER)
        group = await self._find(environment)
        if group is None:
            group = await self._create(environment)
        await self._scim.add_members(group.id, user_ids)
        return Receipt(name=group.display_name, reference=group.id)

    async def _create(self, environment: Environment) -> Group:
        name, mark = environment.derived_name, environment.mark
        try:
            group = await self._scim.create_group(name, mark.text)
            if group.external_id is not None:
                # Some answer with a group that was there before.
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
        """The search that the undo will trust finds the group, before anybody is let in by it."""

        async def missing() -> str:
            ours = await self._scim.groups_by_external_id(environment.mark.text)
            return "" if group.id in {each.id for each in ours} else "its search to find the new group"

        try:
            if not await activity_context.until(missing, limit=FOUND_LIMIT):
                return
        except Interrupted as stop:
            stop.ambiguous = True
            raise
        await self._delete_unless_a_stranger(group, environment)
        raise NotYet(
            System.IDENTITY_PROVIDER,
            f"The {System.IDENTITY_PROVIDER} has made group {group.display_name}, and does not find it by "
            "its externalId",
            "See that it keeps the externalId of groups, and that its filter finds them by it",
            ambiguous=True,
        )

    async def _delete_unless_a_stranger(self, group: Group, environment: Environment) -> None:
        """Remove what was just made. Its answer may have been about another group, so its mark is read."""
        try:
            there = await self._scim.group(group.id)
        except NotFound:
            return
        is_as_made = there.display_name == environment.derived_name and not await self._scim.members(group.id)
        if there.external_id is not None or not is_as_made:
            thing = f"Group {there.display_name}"
            require_ours(System.IDENTITY_PROVIDER, thing, there.external_id, environment.mark)
        await self._delete(group)

    async def _find(self, environment: Environment) -> Group | None:
        """Our group, if it is there: the first, and any other is removed."""
        name, mark = environment.derived_name, environment.mark
        for group in await self._scim.groups_by_name(name):
            require_ours(System.IDENTITY_PROVIDER, f"Group {name}", group.external_id, mark)
        ours = sorted(await self._ours(environment), key=lambda group: (group.display_name != name, group.id))
        if not ours:
            return None
        kept, *doubles = ours
        for double in doubles:
            await self._delete(double)
        if doubles and kept.id not in {group.id for group in await self._ours(environment)}:
            # What went as its double was this very group, or somebody else has removed it.
            raise NotYet(
                System.IDENTITY_PROVIDER,
                f"Group {name} is gone from the {System.IDENTITY_PROVIDER} since its double was removed",
                "Wait: it is made again; if it stays so, look for other groups of that name",
                ambiguous=True,
            )
        return kept

    async def _ours(self, environment: Environment) -> list[Group]:
        """All groups that bear our mark, each once: found by it, or by our name where that search is late."""
        name, mark = environment.derived_name, environment.mark
        by_mark = await self._scim.groups_by_external_id(mark.text)
        by_name = await self._scim.groups_by_name(name)
        ours = [group for group in (*by_mark, *by_name) if mark.is_text(group.external_id)]
        # By id in any case: to delete one of two that are the same would delete both.
        return list({group.id.casefold(): group for group in reversed(ours)}.values())[::-1]

    @activity.defn(name="identity.remove")
    async def remove(self, input: RemoveInput) -> RemoveResult:
        """No group that bears our mark is there, however many there were."""
        groups = await self._ours(input.environment)
        for group in groups:
            await self._delete(group)
        if not groups:
            return RemoveResult(note=NOTHING_THERE)
        return RemoveResult(note=f"deleted {_named(groups)}")

    async def _delete(self, group: Group) -> None:
        try:
            # First the people: should the deletion fail, nobody is let in by what is left.
            out: set[str] = set()
            # Until none are left, or only such as do not go: some show a part of their members at a time.
            while left := [one for one in await self._scim.members(group.id) if one not in out]:
                for user_id in left:
                    await self._scim.remove_member(group.id, user_id)
                out.update(left)
            await self._scim.delete_group(group.id)
        except NotFound:
            return

    @activity.defn(name="identity.inspect")
    async def inspect(self, input: InspectInput) -> InspectResult:
        """All groups that bear our mark."""
        groups = await self._ours(input.environment)
        return InspectResult(left=tuple(f"group {group.display_name}" for group in groups))


def _named(groups: list[Group]) -> str:
    return ", ".join(f"group {group.display_name}" for group in groups)
