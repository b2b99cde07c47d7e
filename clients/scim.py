"""A SCIM 2.0 directory (RFC 7643, RFC 7644): people found, groups and membership kept.

Accounts of people are read, never written. Where servers differ (ignored or refused filters, 200 or 204,
refused removals of who is not there), all of them are understood here.
"""

import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from clients.errors import ClientError, NotFound, Rejected, Unintelligible
from clients.http import Answer, HttpSystem

_MEDIA_TYPE = "application/scim+json"
_GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
_PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

#: Resources asked for at once: what the usual services give at most in one page.
PAGE_SIZE = 100
#: More pages than any directory has that is searched so: one that counts on and on is not read for ever.
MAX_PAGES = 500


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


class _Wire(BaseModel):
    """Only what is used here is looked at: real directories send many more fields, and odd ones."""

    model_config = ConfigDict(extra="ignore", frozen=True, coerce_numbers_to_str=True)


class _Email(_Wire):
    value: str | None = None
    primary: bool | None = None


class _User(_Wire):
    id: str
    userName: str  # noqa: N815 - as it is on the wire
    active: bool | None = None
    emails: list[_Email] | None = None

    def addresses(self) -> list[str]:
        """All addresses, a primary one first."""
        ordered = sorted(self.emails or [], key=lambda email: not email.primary)
        return [email.value for email in ordered if email.value]


class _Member(_Wire):
    value: str


class _Group(_Wire):
    id: str
    displayName: str  # noqa: N815 - as it is on the wire
    externalId: str | None = None  # noqa: N815 - as it is on the wire
    members: list[_Member] | None = None


class _Page(_Wire):
    totalResults: int | None = None  # noqa: N815 - as it is on the wire
    Resources: list[Any] | None = None


_Shape = TypeVar("_Shape", bound=_Wire)


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
        self._system = system
        self._http = HttpSystem(
            system,
            base_url,
            headers={"Authorization": f"Bearer {token}", "Accept": _MEDIA_TYPE},
            timeout=timeout,
            explain=_explain,
            classify=_classify,
            verify=verify,
        )

    async def close(self) -> None:
        """Close all connections; the directory cannot be called afterwards."""
        await self._http.close()

    async def check(self) -> None:
        """Make one authenticated read: returns if the directory is reachable and the token is good.

        The obvious `/ServiceProviderConfig` will not do: it is open to everybody.
        """
        operation = "read groups"
        answer = await self._http.call_json("GET", "/Groups", operation, query={"count": 1})
        self._parse(_Page, answer, operation)

    async def find_user(self, email: str) -> User | None:
        """The active person whose user name, or else one of whose addresses, is this one, whatever the case.

        Rejected if several people share the address: which of them is meant, a person has to say.
        """
        operation = f"find user {email}"
        wanted = email.casefold()
        users = await self._all("/Users", operation, _User, f"userName eq {_quoted(email)}")
        found = [user for user in users if user.userName.casefold() == wanted]
        if not found:
            try:
                users = await self._all("/Users", operation, _User, f"emails.value eq {_quoted(email)}")
            except Rejected:
                return None  # it looks up by user name only, and has just said that there is none
            found = [user for user in users if wanted in [address.casefold() for address in user.addresses()]]
        found = [user for user in found if user.active is not False]
        if len(found) > 1:
            raise Rejected(self._system, operation, f"{len(found)} people have this address")
        if not found:
            return None
        [user] = found
        return User(user.id, user.userName, next(iter(user.addresses()), user.userName))

    async def groups_by_external_id(self, external_id: str) -> list[Group]:
        """All groups with exactly this externalId."""
        groups = await self._groups("externalId", external_id)
        return [group for group in groups if group.external_id == external_id]

    async def groups_by_name(self, name: str) -> list[Group]:
        """All groups with exactly this displayName: there may be several."""
        groups = await self._groups("displayName", name)
        return [group for group in groups if group.display_name == name]

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
            return Group(location.rstrip("/").rpartition("/")[2], name, external_id)
        try:
            created = _Group.model_validate_json(answer.body)
        except ValidationError:
            raise self._unintelligible(operation, _Group, ambiguous=True) from None
        return Group(created.id, created.displayName, created.externalId)

    async def delete_group(self, group_id: str) -> None:
        """Delete it. NotFound if it is gone."""
        await self._http.call("DELETE", _group_path(group_id), f"delete group {group_id}")

    async def members(self, group_id: str) -> list[str]:
        """Ids of its members. NotFound if there is no such group."""
        operation = f"read group {group_id}"
        group = self._parse(
            _Group, await self._http.call_json("GET", _group_path(group_id), operation), operation
        )
        return [member.value for member in group.members or []]

    async def add_members(self, group_id: str, user_ids: Sequence[str]) -> None:
        """Make all of them members; who is one already stays one. NotFound if there is no such group."""
        if user_ids:
            value = [{"value": user_id} for user_id in user_ids]
            change = {"op": "add", "path": "members", "value": value}
            await self._patch(group_id, change, f"add {len(user_ids)} members to group {group_id}")

    async def remove_member(self, group_id: str, user_id: str) -> None:
        """Make them no member; who is none already is fine. NotFound if there is no such group."""
        change = {"op": "remove", "path": f"members[value eq {_quoted(user_id)}]"}
        try:
            await self._patch(group_id, change, f"remove member {user_id} from group {group_id}")
        except (Rejected, NotFound):
            # Some refuse to remove who is not there, with 400 (noTarget) or 404; the group may be gone too.
            if user_id in await self.members(group_id):
                raise

    async def _patch(self, group_id: str, change: dict[str, Any], operation: str) -> None:
        await self._http.call(
            "PATCH",
            _group_path(group_id),
            operation,
            body={"schemas": [_PATCH], "Operations": [change]},
            headers={"Content-Type": _MEDIA_TYPE},
        )

    async def _groups(self, attribute: str, value: str) -> list[Group]:
        operation = f"find group by {attribute} {value}"
        try:
            groups = await self._all("/Groups", operation, _Group, f"{attribute} eq {_quoted(value)}")
        except Rejected:
            # Not every directory can look for every attribute; to miss one of ours would leave it behind.
            groups = await self._all("/Groups", operation, _Group, None)
        return [Group(group.id, group.displayName, group.externalId) for group in groups]

    async def _all(
        self, path: str, operation: str, shape: type[_Shape], condition: str | None
    ) -> list[_Shape]:
        """What the directory lists, to the last page. It may ignore `condition`: the caller compares."""
        found: list[_Shape] = []
        for _ in range(MAX_PAGES):
            query: dict[str, str | int] = {"startIndex": len(found) + 1, "count": PAGE_SIZE}
            if condition is not None:
                query["filter"] = condition
            if shape is _Group:
                query["excludedAttributes"] = "members"
            answer = await self._http.call_json("GET", path, operation, query=query)
            page = self._parse(_Page, answer, operation)
            resources = page.Resources or []
            found += [self._parse(shape, resource, operation) for resource in resources]
            if not resources or len(found) >= (page.totalResults or 0):
                return found
        raise Unintelligible(self._system, operation, f"the list does not end after {MAX_PAGES} pages")

    def _parse(self, shape: type[_Shape], document: Any, operation: str) -> _Shape:
        try:
            return shape.model_validate(document)
        except ValidationError:
            raise self._unintelligible(operation, shape) from None

    def _unintelligible(self, operation: str, shape: type[_Wire], *, ambiguous: bool = False) -> ClientError:
        what = shape.__name__.lstrip("_").lower()
        return Unintelligible(self._system, operation, f"the answer is no SCIM {what}", ambiguous=ambiguous)


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
    # 501 is the word for what a directory has not built: asking again will not build it.
    return Rejected if answer.status == 501 else None
