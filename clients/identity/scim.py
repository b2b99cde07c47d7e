"""A SCIM 2.0 directory (RFC 7643, RFC 7644): find users, manage groups and membership.

User accounts are read and never written. Servers differ: some ignore or refuse filters, answer 200 or 204,
or refuse to remove a user who is not a member. This client handles all of these.
"""

import ssl
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from clients.errors import ClientError, MalformedAnswer, NotFound, Rejected
from clients.identity.client_credentials import ClientCredentials
from clients.identity.protocol import Group, User, only_active
from clients.identity.scim_lists import ListReader, Query, WireGroup, WireUser, id_from_url
from clients.identity.scim_people import PeopleSearch, quoted
from clients.transport.http import Answer, HttpSystem, bearer_headers

_Shape = TypeVar("_Shape", WireUser, WireGroup)

_MEDIA_TYPE = "application/scim+json"
_GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
_PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


class Scim:
    """A SCIM directory behind one base URL, with a bearer token or with client credentials."""

    def __init__(
        self,
        base_url: str,
        token: str = "",
        *,
        timeout: timedelta,
        credentials: ClientCredentials | None = None,
        verify: ssl.SSLContext | bool = True,
        reread: Callable[[], str] | None = None,
        system: str = "SCIM directory",
    ) -> None:
        self._system = system
        self._credentials = credentials
        self._people = PeopleSearch(
            lambda operation, condition, fits: self._find("/Users", operation, WireUser, condition, fits),
            lambda operation: self._reader("/Users", operation, WireUser, lambda _: False),
        )
        self._http = HttpSystem(
            system,
            base_url,
            headers={**bearer_headers(token), "Accept": _MEDIA_TYPE},
            credentials=credentials,
            timeout=timeout,
            explain=_explain,
            classify=_classify,
            verify=verify,
            renewed=(lambda: bearer_headers(reread())) if reread else None,
        )

    async def close(self) -> None:
        """Close all connections; the directory cannot be called afterwards."""
        await self._http.close()
        if self._credentials is not None:
            await self._credentials.close()

    async def check(self) -> None:
        """Make one authenticated read, to prove that the directory is reachable and the token valid.

        It does not read the obvious `/ServiceProviderConfig`, because that needs no authentication.
        """
        operation = "read groups"
        reader = self._reader("/Groups", operation, WireGroup, lambda _: True)
        reader.parse_page(await reader.ask({"count": 1}))

    async def find_user(self, email: str) -> User | None:
        """Return the active user with this user name or address, ignoring case, or None.

        Raises:
            Rejected: several users share the address, and a person has to decide which one is meant.
        """
        return only_active(await self.users_by_address(email), self._system, email)

    async def users_by_address(self, email: str) -> list[User]:
        """Return all users with this user name, or else this address, ignoring case; also disabled ones."""
        return [
            User(
                user.id,
                name := user.username or "",
                next(iter(user.addresses()), name),
                is_active=user.active is not False,
            )
            for user in await self._people.users(f"find user {email}", email)
        ]

    async def groups_by_external_id(self, external_id: str) -> list[Group]:
        """Return all groups with exactly this externalId."""
        return await self._groups("externalId", external_id, lambda group: group.externalid == external_id)

    async def groups_by_name(self, name: str) -> list[Group]:
        """Return all groups with exactly this displayName, of which there may be several."""
        return await self._groups("displayName", name, lambda group: group.displayname == name)

    async def groups_starting_with(self, name_start: str) -> list[Group]:
        """Return all groups whose displayName starts with this text."""
        return await self._groups(
            "displayName", name_start, lambda group: group.displayname.startswith(name_start), operator="sw"
        )

    async def create_group(self, name: str, external_id: str) -> Group:
        """Create the group; raise AlreadyExists where the directory keeps names unique.

        Other directories create a second group with the same name.
        """
        operation = f"create group {name}"
        answer = await self._http.call(
            "POST",
            "/Groups",
            operation,
            body={"schemas": [_GROUP], "displayName": name, "externalId": external_id},
            headers={"Content-Type": _MEDIA_TYPE},
        )
        if not answer.body.strip() and (location := answer.headers.get("Location", "")):
            return Group(id_from_url(location), name, external_id)
        created = self._parse_group(answer.fields, operation, ambiguous=True)
        return Group(created.id, created.displayname, created.externalid)

    async def delete_group(self, group_id: str) -> None:
        """Delete the group; raise NotFound if it does not exist."""
        await self._http.call("DELETE", _group_path(group_id), f"delete group {group_id}")

    async def group(self, group_id: str) -> Group:
        """Return the group with this id; raise NotFound if there is none."""
        group = await self._read_group(group_id, {})
        return Group(group.id, group.displayname, group.externalid)

    async def members(self, group_id: str) -> list[str]:
        """Return the ids of the group's members, maybe not all of a large group.

        Raises:
            NotFound: there is no such group.
        """
        members = (await self._read_group(group_id, {})).members
        if members is None:
            # Some directories return members only if the request names the attribute: Keycloak.
            members = (await self._read_group(group_id, {"attributes": "id,displayName,members"})).members
        return list(dict.fromkeys(member.value for member in members or []))

    async def _read_group(self, group_id: str, query: Query) -> WireGroup:
        operation = f"read group {group_id}"
        document = await self._http.call_json("GET", _group_path(group_id), operation, query=query)
        return self._parse_group(document, operation, ambiguous=False)

    async def add_members(self, group_id: str, user_ids: Sequence[str]) -> None:
        """Add all users to the group; idempotent. Raise NotFound if there is no such group."""
        if user_ids:
            value = [{"value": user_id} for user_id in user_ids]
            change = {"op": "add", "path": "members", "value": value}
            await self._patch(group_id, change, f"add {len(user_ids)} members to group {group_id}")

    async def remove_member(self, group_id: str, user_id: str) -> None:
        """Remove the user from the group; idempotent. Raise NotFound if there is no such group."""
        operation = f"remove member {user_id} from group {group_id}"
        by_filter = {"op": "remove", "path": f"members[value eq {quoted(user_id)}]"}
        # Entra sends this form, and directories made for Entra understand it.
        by_value = {"op": "remove", "path": "members", "value": [{"value": user_id}]}
        for change in (by_filter, by_value):
            try:
                await self._patch(group_id, change, operation)
                return
            except (Rejected, NotFound) as error:
                # Some directories refuse to remove a user who is not a member, with 400 (noTarget) or 404;
                # the group may be deleted too.
                refusal = error
                if user_id not in await self.members(group_id):
                    return
        raise refusal

    async def _patch(self, group_id: str, change: dict[str, Any], operation: str) -> None:
        await self._http.call(
            "PATCH",
            _group_path(group_id),
            operation,
            body={"schemas": [_PATCH], "Operations": [change]},
            headers={"Content-Type": _MEDIA_TYPE},
        )

    async def _groups(
        self, attribute: str, value: str, fits: Callable[[WireGroup], bool], *, operator: str = "eq"
    ) -> list[Group]:
        operation = f"find group by {attribute} {value}"
        try:
            condition = f"{attribute} {operator} {quoted(value)}"
            groups = await self._find("/Groups", operation, WireGroup, condition, fits)
        except Rejected:
            # Read all groups, because not every directory can filter by every attribute, and a group of
            # ours that is not found would be left over.
            groups = await self._all_groups(operation)
        return [Group(each.id, each.displayname, each.externalid) for each in groups if fits(each)]

    async def _all_groups(self, operation: str) -> list[WireGroup]:
        try:
            return await self._reader("/Groups", operation, WireGroup, lambda _: False).read({})
        except NotFound as error:
            # This does not mean that there are no groups: the directory has no list of groups.
            raise MalformedAnswer(self._system, operation, error.detail) from None

    async def _find(
        self, path: str, operation: str, shape: type[_Shape], condition: str, fits: Callable[[_Shape], bool]
    ) -> list[_Shape]:
        """Return all entries for a filter; the directory may ignore it, so the caller compares."""
        reader = self._reader(path, operation, shape, fits)
        try:
            return await reader.read({"filter": condition})
        except NotFound as error:
            # Some directories answer 404 when nothing matches. A wrong URL gives the same answer, also for
            # the list.
            try:
                reader.parse_page(await reader.ask({"startIndex": 1, "count": 1}))
            except NotFound:
                raise MalformedAnswer(self._system, operation, error.detail) from None
            return []

    def _reader(
        self, path: str, operation: str, shape: type[_Shape], fits: Callable[[_Shape], bool]
    ) -> ListReader[_Shape]:
        async def ask(query: Query) -> Any:
            # Exclude the members of groups, because there may be thousands, and no caller of this method
            # needs them.
            more: Query = {"excludedAttributes": "members"} if path == "/Groups" else {}
            return await self._http.call_json("GET", path, operation, query={**query, **more})

        return ListReader(self._system, operation, shape, ask, fits)

    def _parse_group(self, document: Any, operation: str, *, ambiguous: bool) -> WireGroup:
        try:
            return WireGroup.model_validate(document)
        except ValidationError:
            # Raise outside of the handler, because the validation error would carry the answer along.
            pass
        raise MalformedAnswer(self._system, operation, "the answer is no SCIM group", ambiguous=ambiguous)


def _group_path(group_id: str) -> str:
    return f"/Groups/{quote(group_id, safe='')}"


def _explain(answer: Answer) -> str:
    """Return the message of a SCIM error; "" for other content, such as a proxy's page."""
    error = answer.fields
    return " ".join(str(error[key]) for key in ("scimType", "detail") if error.get(key))


def _classify(answer: Answer, _detail: str) -> type[ClientError] | None:
    if answer.status in (404, 410) and answer.is_html:
        return MalformedAnswer
    if answer.status == 410:
        return NotFound
    # 501 means that the directory does not implement this, so a retry cannot succeed.
    return Rejected if answer.status == 501 else None
