"""A SCIM 2.0 directory (RFC 7643, RFC 7644): people found, groups and membership kept.

Accounts of people are read, never written. Where servers differ (ignored filters, 200 or 204, refused
removals of who is not there), all of them are understood here.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class User:
    """A person as the directory has them. `email` is the primary address, or what the user name is."""

    id: str
    user_name: str
    email: str


@dataclass(frozen=True)
class Group:
    """A group without its members."""

    id: str
    display_name: str
    external_id: str | None


class Scim:
    """A SCIM directory behind one base URL, with a bearer token."""

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout: timedelta,
        verify: ssl.SSLContext | bool = True,
        system: str = "SCIM directory",
    ) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """Close all connections; the directory cannot be called afterwards."""
        raise NotImplementedError

    async def check(self) -> None:
        """Make one authenticated read: returns if the directory is reachable and the token is good."""
        raise NotImplementedError

    async def find_user(self, email: str) -> User | None:
        """The person whose user name, or else one of whose addresses, is this one; case does not matter."""
        raise NotImplementedError

    async def groups_by_external_id(self, external_id: str) -> list[Group]:
        """All groups with exactly this externalId."""
        raise NotImplementedError

    async def groups_by_name(self, name: str) -> list[Group]:
        """All groups with exactly this displayName: there may be several."""
        raise NotImplementedError

    async def create_group(self, name: str, external_id: str) -> Group:
        """Create it. AlreadyExists where the directory keeps names unique; others make a second one."""
        raise NotImplementedError

    async def delete_group(self, group_id: str) -> None:
        """Delete it. NotFound if it is gone."""
        raise NotImplementedError

    async def members(self, group_id: str) -> list[str]:
        """Ids of its members. NotFound if there is no such group."""
        raise NotImplementedError

    async def add_members(self, group_id: str, user_ids: Sequence[str]) -> None:
        """Make all of them members; who is one already stays one. NotFound if there is no such group."""
        raise NotImplementedError

    async def remove_member(self, group_id: str, user_id: str) -> None:
        """Make them no member; who is none already is fine. NotFound if there is no such group."""
        raise NotImplementedError
