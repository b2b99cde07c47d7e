"""A Keycloak realm by its Admin REST API: find users, manage groups and membership.

The owner mark is an attribute of the group. Sources: Keycloak's Admin REST API, and a real server of version
26.7, which the tests of this client run. Group names are unique per level and case-sensitive there.
"""

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter, ValidationError

from clients.errors import ClientError, MalformedAnswer, NotFound
from clients.identity.addresses import is_same_address
from clients.identity.client_credentials import ClientCredentials, explain_oauth_error
from clients.identity.protocol import Group, User, only_active
from clients.transport.http import Answer, HttpSystem

#: The attribute of a group that contains its owner mark.
OWNER_ATTRIBUTE = "moorage.dev/owner"
PAGE_SIZE = 100
#: Maximum number of pages of one list. The searches here match a handful of groups; only a group with more
#: than 10,000 members has more pages.
MAX_PAGES = 100

Query = Mapping[str, str | int]


class _Entry(BaseModel):
    id: str


class _User(_Entry):
    username: str = ""
    email: str = ""
    enabled: bool = True


class _Group(_Entry):
    name: str
    path: str | None = None
    attributes: dict[str, list[str]] = {}

    @property
    def is_top_level(self) -> bool:
        return self.path is None or self.path == f"/{self.name}"

    @property
    def result(self) -> Group:
        marks = self.attributes.get(OWNER_ATTRIBUTE, [])
        return Group(self.id, self.name, marks[0] if len(marks) == 1 else None)


_T = TypeVar("_T")
_Shape = TypeVar("_Shape", bound=_Entry)


class Keycloak:
    """One realm of a Keycloak server, with the client credentials of a service account.

    `realm_url` is the realm's issuer, such as `https://sso.example.com/realms/acme`.
    """

    def __init__(
        self,
        realm_url: str,
        credentials: ClientCredentials,
        *,
        timeout: timedelta,
        verify: ssl.SSLContext | bool = True,
        system: str = "Keycloak",
    ) -> None:
        self._system = system
        self._credentials = credentials
        self._http = HttpSystem(
            system,
            admin_url(realm_url),
            headers={"Accept": "application/json"},
            timeout=timeout,
            explain=_explain,
            classify=_classify,
            verify=verify,
            credentials=credentials,
        )

    async def close(self) -> None:
        """Close all connections; the realm cannot be called afterwards."""
        await self._http.close()
        await self._credentials.close()

    async def check(self) -> None:
        """Read one group and one user, to prove that the credential is valid and may list both."""
        for path, shape in (("/groups", _Group), ("/users", _User)):
            await self._page(path, f"read {path.strip('/')}", shape, {}, first=0, size=1)

    async def find_user(self, email: str) -> User | None:
        """Return the enabled user with this user name or address, ignoring case, or None.

        Raises:
            Rejected: several users share the address, and a person has to decide which one is meant.
        """
        return only_active(await self.users_by_address(email), self._system, email)

    async def users_by_address(self, email: str) -> list[User]:
        """Return all users with this user name, or else this address, ignoring case; also disabled ones."""
        for attribute in ("username", "email"):
            query = {attribute: email, "exact": "true"}
            users = await self._page("/users", f"find user {email}", _User, query, first=0, size=PAGE_SIZE)
            # The realm compares as its database collates; other letters than A to Z may differ for people.
            found = [user for user in users if is_same_address(email, getattr(user, attribute))]
            if found:
                return [
                    User(user.id, user.username, user.email or user.username, is_active=user.enabled)
                    for user in found
                ]
        return []

    async def groups_by_external_id(self, external_id: str) -> list[Group]:
        """Return all groups with exactly this owner mark."""
        query = {"q": f"{_quoted(OWNER_ATTRIBUTE)}:{_quoted(external_id)}"}
        groups = await self._groups(query, f"find group by owner {external_id}")
        return [group for group in groups if group.external_id == external_id]

    async def groups_by_name(self, name: str) -> list[Group]:
        """Return the group of the top level with exactly this name: none or one, since names are unique."""
        groups = await self._groups({"search": name, "exact": "true"}, f"find group {name}")
        return [group for group in groups if group.display_name == name]

    async def groups_starting_with(self, name_start: str) -> list[Group]:
        """Return all groups of the top level whose name starts with this text."""
        # The search of names finds the text anywhere in them.
        groups = await self._groups({"search": name_start}, f"find groups {name_start}")
        return [group for group in groups if group.display_name.startswith(name_start)]

    async def create_group(self, name: str, external_id: str) -> Group:
        """Create the group; raise AlreadyExists if the top level has one of that name."""
        operation = f"create group {name}"
        body = {"name": name, "attributes": {OWNER_ATTRIBUTE: [external_id]}}
        answer = await self._http.call("POST", "/groups", operation, body=body)
        # The answer has no body; the new id is the last part of its location.
        id = answer.headers.get("Location", "").rstrip("/").rpartition("/")[2]
        if not id:
            raise MalformedAnswer(
                self._system, operation, "the answer does not say where the group is", ambiguous=True
            )
        return Group(id, name, external_id)

    async def delete_group(self, group_id: str) -> None:
        """Delete the group; raise NotFound if it does not exist."""
        await self._http.call("DELETE", _group_path(group_id), f"delete group {group_id}")

    async def group(self, group_id: str) -> Group:
        """Return the group with this id; raise NotFound if there is none."""
        operation = f"read group {group_id}"
        document = await self._http.call_json("GET", _group_path(group_id), operation)
        return self._parse(TypeAdapter(_Group), document, operation).result

    async def members(self, group_id: str) -> list[str]:
        """Return the ids of all members of the group; raise NotFound if there is no such group."""
        path, operation = f"{_group_path(group_id)}/members", f"read members of group {group_id}"
        return [user.id async for user in self._all(path, operation, _User, {"briefRepresentation": "true"})]

    async def add_members(self, group_id: str, user_ids: Sequence[str]) -> None:
        """Add all users to the group; idempotent. Raise NotFound if there is no such group or user."""
        for user_id in user_ids:
            await self._http.call(
                "PUT", _membership_path(user_id, group_id), f"add member {user_id} to group {group_id}"
            )

    async def remove_member(self, group_id: str, user_id: str) -> None:
        """Remove the user from the group; idempotent. Raise NotFound if there is no such group."""
        operation = f"remove member {user_id} from group {group_id}"
        try:
            await self._http.call("DELETE", _membership_path(user_id, group_id), operation)
        except NotFound:
            # Either the user is unknown, who then is no member, or the group.
            await self.group(group_id)

    async def _groups(self, query: Query, operation: str) -> list[Group]:
        # Without these two, the list leaves out the attributes, and returns the parents of what matches.
        full: Query = {"briefRepresentation": "false", "populateHierarchy": "false"}
        groups = self._all("/groups", operation, _Group, {**query, **full})
        return [group.result async for group in groups if group.is_top_level]

    async def _all(
        self, path: str, operation: str, shape: type[_Shape], query: Query
    ) -> AsyncIterator[_Shape]:
        """Yield each entry of a list once, in pages; raise MalformedAnswer if it has no end."""
        known: set[str] = set()
        for number in range(MAX_PAGES):
            page = await self._page(path, operation, shape, query, first=number * PAGE_SIZE, size=PAGE_SIZE)
            for entry in page:
                if entry.id not in known:
                    known.add(entry.id)
                    yield entry
            if len(page) < PAGE_SIZE:
                return
        raise MalformedAnswer(self._system, operation, f"the list has more than {MAX_PAGES} pages")

    async def _page(
        self,
        path: str,
        operation: str,
        shape: type[_Shape],
        query: Query,
        *,
        first: int,
        size: int,
    ) -> list[_Shape]:
        document = await self._http.call_json(
            "GET", path, operation, query={**query, "first": first, "max": size}
        )
        return self._parse(TypeAdapter(list[shape]), document, operation)  # type: ignore[valid-type]

    def _parse(self, adapter: TypeAdapter[_T], document: Any, operation: str) -> _T:
        try:
            return adapter.validate_python(document)
        except ValidationError:
            # Raise outside of the handler, because the validation error would carry the answer along.
            pass
        raise MalformedAnswer(self._system, operation, "the answer does not have Keycloak's form")


def admin_url(realm_url: str) -> str:
    """Return the base URL of the realm's Admin REST API.

    Raises:
        ValueError: `realm_url` does not end with `/realms/NAME`.
    """
    base, separator, realm = realm_url.rstrip("/").rpartition("/realms/")
    if not separator or not realm or "/" in realm:
        raise ValueError("does not end with /realms/ and the name of a realm")
    return f"{base}/admin/realms/{realm}"


def token_url(realm_url: str) -> str:
    """Return the realm's token endpoint."""
    return f"{realm_url.rstrip('/')}/protocol/openid-connect/token"


def _quoted(text: str) -> str:
    # Keycloak's search by attributes splits unquoted text at blanks and colons and knows no escape.
    return f'"{text}"'


def _group_path(group_id: str) -> str:
    return f"/groups/{quote(group_id, safe='')}"


def _membership_path(user_id: str, group_id: str) -> str:
    return f"/users/{quote(user_id, safe='')}/groups/{quote(group_id, safe='')}"


def _explain(answer: Answer) -> str:
    """Return the message of one of Keycloak's errors; "" for other content, such as a proxy's page."""
    return str(answer.fields.get("errorMessage") or "") or explain_oauth_error(answer)


def _classify(answer: Answer, _detail: str) -> type[ClientError] | None:
    return MalformedAnswer if answer.status == 404 and answer.is_html else None
