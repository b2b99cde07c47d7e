"""The one interface to an identity provider: what the steps and the look-up of people need from it.

Adapters: `scim` for directories with SCIM 2.0, `keycloak` for Keycloak's Admin REST API, `okta` for Okta's
management API, `entra` for Microsoft Graph. All of them read user accounts and never write them, create
groups that carry an owner mark, and raise `clients.errors` only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from clients.errors import Rejected


@dataclass(frozen=True)
class User:
    """A user of the identity provider. `email` is the primary address, or else the user name."""

    id: str
    user_name: str
    email: str
    is_active: bool = True


@dataclass(frozen=True)
class Group:
    """A group without its members. `external_id` is its owner mark; None if it has none."""

    id: str
    display_name: str
    external_id: str | None


class IdentityProvider(Protocol):
    """An identity provider whose groups we manage."""

    async def close(self) -> None:
        """Close all connections; the identity provider cannot be called afterwards."""

    async def check(self) -> None:
        """Make one authenticated read, to prove that it is reachable and the credential valid."""

    async def find_user(self, email: str) -> User | None:
        """Return the active user with this user name or address, ignoring case, or None.

        Raises:
            Rejected: several users share the address, and a person has to decide which one is meant.
        """

    async def users_by_address(self, email: str) -> list[User]:
        """Return all users with this user name or address, ignoring case; also those who are disabled.

        Users with this user name come first; where there are any, users with this address may be missing.
        """

    async def groups_by_external_id(self, external_id: str) -> list[Group]:
        """Return all groups with exactly this owner mark."""

    async def groups_by_name(self, name: str) -> list[Group]:
        """Return all groups with exactly this name, of which there may be several."""

    async def groups_starting_with(self, name_start: str) -> list[Group]:
        """Return all groups whose name starts with this text; never a part of them.

        Raises:
            MalformedAnswer: the list contradicts itself or has no end.
        """

    async def create_group(self, name: str, external_id: str) -> Group:
        """Create the group; raise AlreadyExists where the identity provider keeps names unique."""

    async def delete_group(self, group_id: str) -> None:
        """Delete the group; raise NotFound if it does not exist."""

    async def group(self, group_id: str) -> Group:
        """Return the group with this id; raise NotFound if there is none."""

    async def members(self, group_id: str) -> list[str]:
        """Return the ids of the group's members, maybe not all of a large group; raise NotFound."""

    async def add_members(self, group_id: str, user_ids: Sequence[str]) -> None:
        """Add all users to the group; idempotent. Raise NotFound if there is no such group."""

    async def remove_member(self, group_id: str, user_id: str) -> None:
        """Remove the user from the group; idempotent. Raise NotFound if there is no such group."""


def only_active(users: Sequence[User], system: str, email: str) -> User | None:
    """Return the active one of the users with this address; None without one.

    Raises:
        Rejected: several are active, and a person has to decide which one is meant.
    """
    active = [user for user in users if user.is_active]
    if len(active) > 1:
        raise Rejected(system, f"find user {email}", f"{len(active)} people have this address")
    return active[0] if active else None
