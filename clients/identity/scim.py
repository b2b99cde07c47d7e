"""A SCIM 2.0 directory (RFC 7643, RFC 7644): people found, groups and membership kept.

Accounts of people are read, never written. Where servers differ (ignored or refused filters, 200 or 204,
refused removals of who is not there), all of them are understood here.
"""

import json
import re
import ssl
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from clients.errors import ClientError, NotFound, Rejected, ServerFailed, Unintelligible
from clients.http import Answer, HttpSystem, bearer
from clients.identity.scim_lists import ListReader, Query, WireGroup, WireUser, last_step

_Shape = TypeVar("_Shape", WireUser, WireGroup)

_MEDIA_TYPE = "application/scim+json"
_GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
_PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

#: So many people are looked through for an address whose case the directory's filter minds: five pages.
FEW_PEOPLE = 500


@dataclass(frozen=True)
class User:
    """A person as the directory has them. `email` is the primary address, or else the user name."""

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
        reread: Callable[[], str] | None = None,
        system: str = "SCIM directory",
    ) -> None:
        self._system = system
        self._http = HttpSystem(
            system,
            base_url,
            headers={"Authorization": f"Bearer {token}", "Accept": _MEDIA_TYPE},
            timeout=timeout,
            explain=_explain,
            classify=_classify,
            verify=verify,
            renewed=(lambda: bearer(reread())) if reread else None,
        )

    async def close(self) -> None:
        """Close all connections; the directory cannot be called afterwards."""
        await self._http.close()

    async def check(self) -> None:
        """Make one authenticated read: returns if the directory is reachable and the token is good.

        The obvious `/ServiceProviderConfig` will not do: it is open to everybody.
        """
        operation = "read groups"
        reader = self._reader("/Groups", operation, WireGroup, lambda _: True)
        reader.parse_page(await reader.ask({"count": 1}))

    async def find_user(self, email: str) -> User | None:
        """The active person whose user name, or else one of whose addresses, is this one, whatever the case.

        Rejected if several people share the address: which of them is meant, a person has to say.
        """
        operation = f"find user {email}"
        found = await self._users(operation, email)
        active = [user for user in found if user.active is not False]
        if len(active) > 1:
            raise Rejected(self._system, operation, f"{len(active)} people have this address")
        if not active:
            return None
        [user] = active
        name = user.username or ""
        return User(user.id, name, next(iter(user.addresses()), name))

    async def _users(self, operation: str, email: str) -> list[WireUser]:
        """Who has this user name, or else this address, in any case; they may be inactive."""
        refusals: list[Rejected] = []
        has_looked = False
        for attributes, fits in _WAYS_TO_A_PERSON:
            is_meant = partial(fits, email)
            for attribute in attributes:
                try:
                    for spelling in _spellings(email):
                        condition = f"{attribute} eq {_quoted(spelling)}"
                        users = await self._find("/Users", operation, WireUser, condition, is_meant)
                        if found := list(filter(is_meant, users)):
                            return found
                except Rejected as error:
                    refusals.append(error)  # it cannot look for this attribute
                    continue
                has_looked = True
                break
        try:
            users = await self._users_of_a_small_directory(operation)
        except (Rejected, NotFound, ServerFailed):
            if not has_looked:
                raise
            return []  # it does not show everybody, and has just said that it does not have this address
        for _, fits in _WAYS_TO_A_PERSON:
            if found := [user for user in users if fits(email, user)]:
                return found
        if refusals and not users and not has_looked:
            raise refusals[-1]
        return []

    async def _users_of_a_small_directory(self, operation: str) -> list[WireUser]:
        """All people where they are few, else none: their addresses may be in a case that no filter found."""
        reader = self._reader("/Users", operation, WireUser, lambda _: False)
        page = reader.parse_page(await reader.ask({"startIndex": 1, "count": 1}))
        return [] if (page.totalresults or 0) > FEW_PEOPLE else await reader.read({})

    async def groups_by_external_id(self, external_id: str) -> list[Group]:
        """All groups with exactly this externalId."""
        return await self._groups("externalId", external_id, lambda group: group.externalid == external_id)

    async def groups_by_name(self, name: str) -> list[Group]:
        """All groups with exactly this displayName: there may be several."""
        return await self._groups("displayName", name, lambda group: group.displayname == name)

    async def create_group(self, name: str, external_id: str) -> Group:
        """Create it. AlreadyExists where the directory keeps names unique; others make a second one."""
        operation = f"create group {name}"
        answer = await self._http.call(
            "POST",
            "/Groups",
            operation,
            body={"schemas": [_GROUP], "displayName": name, "externalId": external_id},
            headers={"Content-Type": _MEDIA_TYPE},
        )
        if not answer.body.strip() and (location := answer.headers.get("Location", "")):
            return Group(last_step(location), name, external_id)
        try:
            document = json.loads(answer.body)
        except ValueError:
            document = None
        created = self._parse_group(document, operation, ambiguous=True)
        return Group(created.id, created.displayname, created.externalid)

    async def delete_group(self, group_id: str) -> None:
        """Delete it. NotFound if it is gone."""
        await self._http.call("DELETE", _group_path(group_id), f"delete group {group_id}")

    async def group(self, group_id: str) -> Group:
        """The group of this id. NotFound if there is none."""
        group = await self._read_group(group_id, {})
        return Group(group.id, group.displayname, group.externalid)

    async def members(self, group_id: str) -> list[str]:
        """Ids of its members, or of some where it has many. NotFound if there is no such group."""
        members = (await self._read_group(group_id, {})).members
        if members is None:
            # Some show members only to those who ask for them: Keycloak.
            members = (await self._read_group(group_id, {"attributes": "id,displayName,members"})).members
        return list(dict.fromkeys(member.value for member in members or []))

    async def _read_group(self, group_id: str, query: Query) -> WireGroup:
        operation = f"read group {group_id}"
        document = await self._http.call_json("GET", _group_path(group_id), operation, query=query)
        return self._parse_group(document, operation, ambiguous=False)

    async def add_members(self, group_id: str, user_ids: Sequence[str]) -> None:
        """Make all of them members; who is one already stays one. NotFound if there is no such group."""
        if user_ids:
            value = [{"value": user_id} for user_id in user_ids]
            change = {"op": "add", "path": "members", "value": value}
            await self._patch(group_id, change, f"add {len(user_ids)} members to group {group_id}")

    async def remove_member(self, group_id: str, user_id: str) -> None:
        """Make them no member; who is none already is fine. NotFound if there is no such group."""
        operation = f"remove member {user_id} from group {group_id}"
        by_filter = {"op": "remove", "path": f"members[value eq {_quoted(user_id)}]"}
        # What Entra sends, and what those understand that were made for it.
        by_value = {"op": "remove", "path": "members", "value": [{"value": user_id}]}
        for change in (by_filter, by_value):
            try:
                await self._patch(group_id, change, operation)
                return
            except (Rejected, NotFound) as error:
                # Some refuse to remove who is not there, by 400 (noTarget) or 404; the group may be gone too.
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

    async def _groups(self, attribute: str, value: str, fits: Callable[[WireGroup], bool]) -> list[Group]:
        operation = f"find group by {attribute} {value}"
        try:
            condition = f"{attribute} eq {_quoted(value)}"
            groups = await self._find("/Groups", operation, WireGroup, condition, fits)
        except Rejected:
            # Not every directory can look for every attribute; to miss one of ours would leave it behind.
            groups = await self._all_groups(operation)
        return [Group(each.id, each.displayname, each.externalid) for each in groups if fits(each)]

    async def _all_groups(self, operation: str) -> list[WireGroup]:
        try:
            return await self._reader("/Groups", operation, WireGroup, lambda _: False).read({})
        except NotFound as error:
            # Not that there are none: there is no list to look at.
            raise Unintelligible(self._system, operation, error.detail) from None

    async def _find(
        self, path: str, operation: str, shape: type[_Shape], condition: str, fits: Callable[[_Shape], bool]
    ) -> list[_Shape]:
        """What the directory lists for a filter, to the last page. It may ignore it: the caller compares."""
        reader = self._reader(path, operation, shape, fits)
        try:
            return await reader.read({"filter": condition})
        except NotFound as error:
            # Some say so that nothing fits. A wrong address says the same, of the list as well.
            try:
                reader.parse_page(await reader.ask({"startIndex": 1, "count": 1}))
            except NotFound:
                raise Unintelligible(self._system, operation, error.detail) from None
            return []

    def _reader(
        self, path: str, operation: str, shape: type[_Shape], fits: Callable[[_Shape], bool]
    ) -> ListReader[_Shape]:
        async def ask(query: Query) -> Any:
            # Of a group's members there may be thousands, and nobody looks at them here.
            more: Query = {"excludedAttributes": "members"} if path == "/Groups" else {}
            return await self._http.call_json("GET", path, operation, query={**query, **more})

        return ListReader(self._system, operation, shape, ask, fits)

    def _parse_group(self, document: Any, operation: str, *, ambiguous: bool) -> WireGroup:
        try:
            return WireGroup.model_validate(document)
        except ValidationError:
            pass  # raised outside: the validation error would carry the answer along
        raise Unintelligible(self._system, operation, "the answer is no SCIM group", ambiguous=ambiguous)


def _same_address(one: str, other: str | None) -> bool:
    """Whether two addresses differ in the case of A to Z at most: other letters may be somebody else's."""
    return other is not None and one.translate(_LOWER) == other.translate(_LOWER)


def _has_name(email: str, user: WireUser) -> bool:
    return _same_address(email, user.username)


def _has_address(email: str, user: WireUser) -> bool:
    return any(_same_address(email, address) for address in user.addresses())


_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
#: The attributes by which people are looked for, and what it means to be found by them. Of several, the first
#: that the directory can look for.
_WAYS_TO_A_PERSON: tuple[tuple[tuple[str, ...], Callable[[str, WireUser], bool]], ...] = (
    (("userName",), _has_name),
    (("emails.value", "emails", 'emails[type eq "work"].value'), _has_address),
)


def _spellings(email: str) -> Sequence[str]:
    """The address in the cases in which people write it: some directories look for the very letters only."""
    local, at, domain = email.partition("@")
    capitals = re.sub("[A-Za-z]+", lambda word: word[0].capitalize(), local)
    return tuple(dict.fromkeys((email, email.translate(_LOWER), f"{capitals}{at}{domain.translate(_LOWER)}")))


def _group_path(group_id: str) -> str:
    return f"/Groups/{quote(group_id, safe='')}"


def _quoted(value: str) -> str:
    # RFC 7644, 3.4.2.2: a comparison value is a JSON string. Escaped by the same rules, it stays a value.
    return json.dumps(value, ensure_ascii=False)


def _explain(answer: Answer) -> str:
    """The words of a SCIM error; of anything else, such as a proxy's page, none."""
    try:
        error = json.loads(answer.body)
    except ValueError:
        return ""
    if not isinstance(error, dict):
        return ""
    return " ".join(str(error[key]) for key in ("scimType", "detail") if error.get(key))


def _classify(answer: Answer, _detail: str) -> type[ClientError] | None:
    if answer.status in (404, 410) and answer.body.lstrip()[:1] == b"<":
        return Unintelligible  # a page, from a proxy that knows nothing of the thing
    if answer.status == 410:
        return NotFound
    # 501 is the word for what a directory has not built: asking again will not build it.
    return Rejected if answer.status == 501 else None
