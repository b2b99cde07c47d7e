"""Microsoft Entra ID by Microsoft Graph v1.0: find users, manage security groups and membership.

The owner mark is the group's `uniqueName`, an alternate key that cannot be changed. Several groups may have
the same display name, and a description can be edited. Source: Microsoft's reference of Graph. Reads lag
behind writes by seconds, because any replica may answer; advanced queries (`ConsistencyLevel: eventual`) read
an index that lags more, so none is used here.
"""

import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Generic, TypeVar
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, Field, TypeAdapter

from clients.errors import AlreadyExists, ClientError, Denied, MalformedAnswer, NotFound, NotYet
from clients.identity.addresses import is_same_address
from clients.identity.answers import parse_answer
from clients.identity.client_credentials import ClientCredentials, explain_oauth_error
from clients.identity.pagination import pages
from clients.identity.protocol import Group, User, only_active
from clients.transport.http import Answer, HttpSystem

#: The largest page of groups, users and members.
PAGE_SIZE = 999
#: Before an owner mark in `uniqueName`, which other programs use too.
UNIQUE_NAME_START = "moorage."
#: The longest `mailNickname`, which every group needs, also one without mail.
MAX_NICKNAME = 64

_DELETED = "/directory/deletedItems"
_GROUP_FIELDS = "id,displayName,uniqueName"
_USER_FIELDS = "id,userPrincipalName,mail,accountEnabled"
_SAFE = re.compile(r"[A-Za-z0-9-]")


class _User(BaseModel):
    id: str
    name: str = Field(default="", alias="userPrincipalName")
    mail: str | None = None
    # Graph leaves it out where the credential may not read it, which proves nothing about the account.
    enabled: bool | None = Field(default=None, alias="accountEnabled")


class _Member(BaseModel):
    id: str


class _Group(BaseModel):
    id: str
    name: str = Field(alias="displayName")
    unique_name: str | None = Field(default=None, alias="uniqueName")

    @property
    def result(self) -> Group:
        return Group(self.id, self.name, mark_of(self.unique_name))


Query = Mapping[str, str | int]

_Shape = TypeVar("_Shape", bound=BaseModel)


class _Page(BaseModel, Generic[_Shape]):
    value: list[_Shape]
    next_link: str | None = Field(default=None, alias="@odata.nextLink")


def unique_name(mark: str) -> str:
    """Return the `uniqueName` for an owner mark.

    It needs no escapes in an address, since not every proxy passes an escaped slash on: other characters than
    letters, digits and hyphens are written as a dot and two hexadecimal digits.
    """
    bytes = mark.encode()
    return UNIQUE_NAME_START + "".join(
        chr(each) if _SAFE.fullmatch(chr(each)) else f".{each:02x}" for each in bytes
    )


def mark_of(name: str | None) -> str | None:
    """Return the owner mark in a `uniqueName`; None if it contains none."""
    if name is None or not name.startswith(UNIQUE_NAME_START):
        return None
    mark = unquote(name.removeprefix(UNIQUE_NAME_START).replace("%", "%25").replace(".", "%"))
    return mark if unique_name(mark) == name else None


def scope(graph_url: str) -> str:
    """Return the scope of the access token: all rights that an administrator has granted to the client."""
    parts = urlsplit(graph_url)
    return f"{parts.scheme}://{parts.netloc}/.default"


class Entra:
    """One tenant of Entra ID, with the client credentials of an application.

    `graph_url` is `https://graph.microsoft.com/v1.0`, or that of a national cloud.
    """

    def __init__(
        self,
        graph_url: str,
        credentials: ClientCredentials,
        *,
        timeout: timedelta,
        verify: ssl.SSLContext | bool = True,
        system: str = "Entra ID",
    ) -> None:
        self._system = system
        self._credentials = credentials
        self._base_url = graph_url.rstrip("/")
        self._http = HttpSystem(
            system,
            self._base_url,
            headers={"Accept": "application/json"},
            credentials=credentials,
            timeout=timeout,
            explain=_explain,
            classify=_classify,
            verify=verify,
        )

    async def close(self) -> None:
        """Close all connections; the tenant cannot be called afterwards."""
        await self._http.close()
        await self._credentials.close()

    async def check(self) -> None:
        """Read one group and one user, to prove that the credential is valid and may list both."""
        for path, fields in (("/groups", _GROUP_FIELDS), ("/users", _USER_FIELDS)):
            operation = f"read {path.strip('/')}"
            answer = await self._http.call("GET", path, operation, query={"$select": fields, "$top": 1})
            parse_answer(TypeAdapter(_Page[_Member]), answer, self._system, operation)

    async def find_user(self, email: str) -> User | None:
        """Return the enabled user with this user principal name or address, ignoring case, or None.

        Raises:
            Rejected: several users share the address, and a person has to decide which one is meant.
        """
        return only_active(await self.users_by_address(email), self._system, email)

    async def users_by_address(self, email: str) -> list[User]:
        """Return the user with this name, or else all with this address; also disabled ones."""
        operation = f"find user {email}"
        condition = f"userPrincipalName eq {_quoted(email)} or mail eq {_quoted(email)}"
        query = {"$filter": condition, "$select": _USER_FIELDS}
        users = [user async for user in self._all("/users", operation, _User, query)]
        for field in ("name", "mail"):
            found = {user.id: user for user in users if is_same_address(email, getattr(user, field))}
            if any(user.enabled is None for user in found.values()):
                raise Denied(self._system, operation, "accountEnabled is hidden: grant User.Read.All")
            if found:
                return [
                    User(user.id, user.name, user.mail or user.name, is_active=bool(user.enabled))
                    for user in found.values()
                ]
        return []

    async def groups_by_external_id(self, external_id: str) -> list[Group]:
        """Return the group with exactly this owner mark: none or one, since unique names are unique."""
        operation = f"find group by owner {external_id}"
        try:
            group = await self._read_group(_key_path(external_id), operation)
        except NotFound:
            return []
        return [group] if group.external_id == external_id else []

    async def groups_by_name(self, name: str) -> list[Group]:
        """Return all groups with exactly this name, of which there may be several."""
        operation = f"find group {name}"
        query = {"$filter": f"displayName eq {_quoted(name)}", "$select": _GROUP_FIELDS}
        found = [group.result async for group in self._all("/groups", operation, _Group, query)]
        return list({group.id: group for group in found if group.display_name == name}.values())

    async def groups_starting_with(self, name_start: str) -> list[Group]:
        """Return all groups whose name starts with this text."""
        operation = f"find groups {name_start}"
        query = {"$filter": f"startswith(displayName,{_quoted(name_start)})", "$select": _GROUP_FIELDS}
        found = [group.result async for group in self._all("/groups", operation, _Group, query)]
        ours = [group for group in found if group.display_name.startswith(name_start)]
        return list({group.id: group for group in ours}.values())

    async def create_group(self, name: str, external_id: str) -> Group:
        """Create the security group, or return the one that has this owner mark already.

        An upsert by the unique name, so that a repeated call makes no second group. An upsert changes a group
        that is there, so this looks first; the same mark means that the group is ours.
        """
        operation = f"create group {name}"
        for found in await self.groups_by_external_id(external_id):
            if found.display_name == name:
                return found
        body = {
            "displayName": name,
            "description": f"Managed by Moorage for {external_id}: do not change or delete it by hand.",
            "mailEnabled": False,
            "mailNickname": _nickname(name),
            "securityEnabled": True,
            "groupTypes": [],
        }
        try:
            answer = await self._http.call(
                "PATCH", _key_path(external_id), operation, body=body, headers={"Prefer": "create-if-missing"}
            )
        except AlreadyExists:
            if not await self._purge_deleted(external_id):
                raise
            detail = "a deleted group of this owner still had its unique name, and is purged now"
            raise NotYet(self._system, operation, detail) from None
        if answer.body.strip():
            return parse_answer(TypeAdapter(_Group), answer, self._system, operation, ambiguous=True).result
        # 204: it was there, and the look had not seen it yet.
        for found in await self.groups_by_external_id(external_id):
            return found
        raise NotYet(self._system, operation, "it exists, and is not found yet", ambiguous=True)

    async def delete_group(self, group_id: str) -> None:
        """Delete the group, for good; raise NotFound if it does not exist.

        Entra ID keeps a deleted group for 30 days, and with it its unique name.
        """
        await self._http.call("DELETE", _group_path(group_id), f"delete group {group_id}")
        await self._purge(group_id)

    async def group(self, group_id: str) -> Group:
        """Return the group with this id; raise NotFound if there is none."""
        return await self._read_group(_group_path(group_id), f"read group {group_id}")

    async def members(self, group_id: str) -> list[str]:
        """Return the ids of all direct members of the group; raise NotFound if there is no such group."""
        path, operation = f"{_group_path(group_id)}/members", f"read members of group {group_id}"
        found = [member.id async for member in self._all(path, operation, _Member, {"$select": "id"})]
        return list(dict.fromkeys(found))

    async def add_members(self, group_id: str, user_ids: Sequence[str]) -> None:
        """Add all users to the group; idempotent. Raise NotFound if there is no such group or user.

        One call each: an addition of several is refused as a whole if one of them is a member already.
        """
        for user_id in user_ids:
            operation = f"add member {user_id} to group {group_id}"
            reference = {"@odata.id": f"{self._base_url}/directoryObjects/{quote(user_id, safe='')}"}
            try:
                await self._http.call(
                    "POST", f"{_group_path(group_id)}/members/$ref", operation, body=reference
                )
            except AlreadyExists:
                continue

    async def remove_member(self, group_id: str, user_id: str) -> None:
        """Remove the user from the group; idempotent. Raise NotFound if there is no such group."""
        operation = f"remove member {user_id} from group {group_id}"
        # Without `/$ref`, Graph deletes the user.
        path = f"{_group_path(group_id)}/members/{quote(user_id, safe='')}/$ref"
        try:
            await self._http.call("DELETE", path, operation)
        except NotFound:
            # The user is no member, or the group does not exist.
            await self.group(group_id)

    async def _purge_deleted(self, external_id: str) -> bool:
        """Purge the deleted groups with this owner mark; return whether there were any."""
        operation = f"find deleted group by owner {external_id}"
        deleted = self._all(
            f"{_DELETED}/microsoft.graph.group", operation, _Group, {"$select": _GROUP_FIELDS}
        )
        ours = [group.id async for group in deleted if group.result.external_id == external_id]
        for group_id in ours:
            await self._purge(group_id)
        return bool(ours)

    async def _purge(self, group_id: str) -> None:
        # NotFound: the tenant does not keep deleted groups, or the replica does not know of it yet. A client
        # that may delete groups and not purge them leaves them to the 30 days.
        with contextlib.suppress(NotFound, Denied):
            path = f"{_DELETED}/{quote(group_id, safe='')}"
            await self._http.call("DELETE", path, f"purge deleted group {group_id}")

    async def _read_group(self, path: str, operation: str) -> Group:
        answer = await self._http.call("GET", path, operation, query={"$select": _GROUP_FIELDS})
        return parse_answer(TypeAdapter(_Group), answer, self._system, operation).result

    async def _all(
        self, path: str, operation: str, shape: type[_Shape], query: Query
    ) -> AsyncIterator[_Shape]:
        async def read(next_path: str | None) -> tuple[_Page[_Shape], str | None]:
            first: Query | None = {**query, "$top": PAGE_SIZE} if next_path is None else None
            answer = await self._http.call("GET", next_path or path, operation, query=first)
            page = parse_answer(TypeAdapter(_Page[shape]), answer, self._system, operation)  # type: ignore[valid-type]
            return page, page.next_link

        async for page in pages(read, base_url=self._base_url, system=self._system, operation=operation):
            for entry in page.value:
                yield entry


def _quoted(value: str) -> str:
    # OData: a text is in single quotes, and one in the text is doubled.
    return "'{}'".format(value.replace("'", "''"))


def _nickname(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)[:MAX_NICKNAME]


def _key_path(mark: str) -> str:
    return f"/groups(uniqueName='{unique_name(mark)}')"


def _group_path(group_id: str) -> str:
    return f"/groups/{quote(group_id, safe='')}"


def _explain(answer: Answer) -> str:
    """Return the message of one of Graph's errors; "" for other content, such as a proxy's page."""
    error = answer.fields.get("error")
    if not isinstance(error, dict):
        return explain_oauth_error(answer)
    return ": ".join(str(error[key]) for key in ("code", "message") if error.get(key))


def _classify(answer: Answer, detail: str) -> type[ClientError] | None:
    if answer.status == 404 and answer.is_html:
        return MalformedAnswer
    if answer.status != 400:
        return None
    # Graph tells these apart from other wrong requests by their texts only.
    if "already exist" in detail:
        return AlreadyExists
    if "Invalid object identifier" in detail:
        return NotFound
    if "do not exist" in detail:
        # A replica that does not know the new group yet (documented for additions of members).
        return NotYet
    return None
