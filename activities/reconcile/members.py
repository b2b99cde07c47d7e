"""Compares the members of an environment's two groups with its people: who is missing, who is extra.

The group of the identity provider has all people of the environment, and that of the control plane has them
only without an identity provider. It only reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from clients.errors import NotFound
from clients.identity.protocol import IdentityProvider, User
from clients.rafay import Rafay

#: Names of one difference that a sentence has; there may be dozens.
MAX_NAMED = 3


class ExpectedPeople(NamedTuple):
    """Who should be in the groups now. Those who have `left` are neither missing nor extra."""

    people: tuple[str, ...]
    has_identity_provider: bool
    left: tuple[str, ...] = ()


class MemberGroups(NamedTuple):
    """The ids of the groups of one environment; "" for one that is not there."""

    control_plane: str
    directory: str


@dataclass(frozen=True)
class MemberDifference:
    """How the members of a group differ: people who are missing, and the ids and names of others."""

    missing: tuple[str, ...] = ()
    extra: tuple[tuple[str, str], ...] = ()


class MemberReader:
    """Compares members in one sweep, and asks the identity provider for each person once."""

    def __init__(self, rafay: Rafay, directory: IdentityProvider | None) -> None:
        self._rafay = rafay
        self._directory = directory
        self._users: dict[str, list[User]] = {}

    async def in_control_plane(self, group_id: str, expected: ExpectedPeople) -> MemberDifference:
        """Return how the local members differ.

        Raises:
            ClientError: The control plane does not answer.
        """
        try:
            members = await self._rafay.group_members(group_id)
        except NotFound:
            return MemberDifference()
        wanted = () if expected.has_identity_provider else expected.people
        allowed = {person.casefold() for person in wanted}
        there = {member.email.casefold() for member in members}
        absent = [one for one in wanted if one not in expected.left and one.casefold() not in there]
        return MemberDifference(
            missing=tuple([one for one in absent if await self._rafay.find_user(one) is not None]),
            extra=tuple((one.id, one.email) for one in members if one.email.casefold() not in allowed),
        )

    async def in_directory(self, group_id: str, expected: ExpectedPeople) -> MemberDifference:
        """Return how the members differ in the identity provider; it names those who are extra by their ids.

        Raises:
            ClientError: The identity provider does not answer.
        """
        if self._directory is None:
            return MemberDifference()
        try:
            members = await self._directory.members(group_id)
        except NotFound:
            return MemberDifference()
        there = {member.casefold() for member in members}
        known: set[str] = set()
        missing = []
        for person in expected.people:
            users = await self._users_of(self._directory, person)
            known.update(user.id.casefold() for user in users)
            active = [user.id.casefold() for user in users if user.is_active]
            if len(active) == 1 and active[0] not in there and person not in expected.left:
                missing.append(person)
        extra = sorted(member for member in set(members) if member.casefold() not in known)
        return MemberDifference(tuple(missing), tuple((one, f"user {one}") for one in extra))

    async def _users_of(self, directory: IdentityProvider, person: str) -> list[User]:
        if person not in self._users:
            self._users[person] = await directory.users_by_address(person)
        return self._users[person]


def describe_members(names: Sequence[str], where: str, *, extra: bool) -> str:
    """Return a difference as the end of a sentence."""
    more = len(names) - MAX_NAMED
    listed = ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
    verb = "is" if len(names) == 1 else "are"
    if extra:
        return f"{listed} {verb} in {where}, and {verb} none of its people"
    return f"{listed} {verb} missing in {where}"
