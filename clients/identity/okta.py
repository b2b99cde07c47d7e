"""An Okta organization by its management API: find users, manage groups and membership.

The owner mark is the description of the group. Source: Okta's API reference. Names of Okta's own groups are
unique, those of imported groups are not. Searches lag behind writes, typically by less than a second; reads
by id or login do not.
"""

import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter

from clients.errors import AlreadyExists, ClientError, MalformedAnswer, NotFound
from clients.identity.addresses import is_same_address
from clients.identity.answers import parse_answer
from clients.identity.client_credentials import ClientCredentials, explain_oauth_error
from clients.identity.pagination import next_link, pages
from clients.identity.protocol import Group, User, only_active
from clients.transport.http import Answer, HttpSystem

#: What the worker needs, and what a process that only looks people and groups up needs.
SCOPE = "okta.groups.manage okta.users.read"
READ_SCOPE = "okta.groups.read okta.users.read"
#: Okta advises against larger pages.
PAGE_SIZE = 200
#: Users who cannot sign in until an administrator acts. A locked account or an expired password is temporary.
DISABLED = frozenset({"STAGED", "SUSPENDED", "DEPROVISIONED"})

_DUPLICATE = "E0000001"


class _UserProfile(BaseModel):
    login: str = ""
    email: str | None = None


class _User(BaseModel):
    id: str
    status: str
    profile: _UserProfile

    @property
    def result(self) -> User:
        login = self.profile.login
        return User(self.id, login, self.profile.email or login, is_active=self.status not in DISABLED)


class _GroupProfile(BaseModel):
    name: str
    description: str | None = None


class _Group(BaseModel):
    id: str
    profile: _GroupProfile

    @property
    def result(self) -> Group:
        return Group(self.id, self.profile.name, self.profile.description or None)


Query = Mapping[str, str | int]

_Shape = TypeVar("_Shape", bound=BaseModel)


def api_token_headers(token: str) -> dict[str, str]:
    """Return the headers for an API token (SSWS); none if the text cannot be a token."""
    return {"Authorization": f"SSWS {token}"} if token.isascii() and token.isprintable() and token else {}


def token_url(org_url: str) -> str:
    """Return the token endpoint of the organization's own authorization server, the only one for its API."""
    return f"{org_url.rstrip('/')}/oauth2/v1/token"


class Okta:
    """One Okta organization, with the client credentials of a service app or with an API token.

    `org_url` is the organization's address, such as `https://acme.okta.com`.
    """

    def __init__(
        self,
        org_url: str,
        token: str = "",
        *,
        timeout: timedelta,
        credentials: ClientCredentials | None = None,
        verify: ssl.SSLContext | bool = True,
        reread: Callable[[], str] | None = None,
        system: str = "Okta",
    ) -> None:
        self._system = system
        self._credentials = credentials
        self._base_url = f"{org_url.rstrip('/')}/api/v1"
        self._http = HttpSystem(
            system,
            self._base_url,
            headers={**api_token_headers(token), "Accept": "application/json"},
            credentials=credentials,
            timeout=timeout,
            explain=_explain,
            classify=_classify,
            verify=verify,
            renewed=(lambda: api_token_headers(reread())) if reread else None,
        )

    async def close(self) -> None:
        """Close all connections; the organization cannot be called afterwards."""
        await self._http.close()
        if self._credentials is not None:
            await self._credentials.close()

    async def check(self) -> None:
        """Read one group and one user, to prove that the credential is valid and may list both."""
        for path, shape in (("/groups", _Group), ("/users", _User)):
            operation = f"read {path.strip('/')}"
            answer = await self._http.call("GET", path, operation, query={"limit": 1})
            parse_answer(TypeAdapter(list[shape]), answer, self._system, operation)  # type: ignore[valid-type]

    async def find_user(self, email: str) -> User | None:
        """Return the enabled user with this login or address, ignoring case, or None.

        The look-up by login is one call, and is up to date. Only an address that is no login takes a
        second call, a search.

        Raises:
            Rejected: several users share the address, and a person has to decide which one is meant.
        """
        return only_active(await self.users_by_address(email), self._system, email)

    async def users_by_address(self, email: str) -> list[User]:
        """Return the user with this login, or else all with this address; also disabled ones."""
        operation = f"find user {email}"
        by_login = await self._user_by_login(email, operation)
        if by_login is not None:
            return [by_login.result]
        query = {"search": f"profile.email eq {_quoted(email)}"}
        found = {
            user.id: user.result
            async for user in self._all("/users", operation, _User, query)
            if is_same_address(email, user.profile.email)
        }
        return list(found.values())

    async def _user_by_login(self, login: str, operation: str) -> _User | None:
        try:
            answer = await self._http.call("GET", f"/users/{quote(login, safe='')}", operation)
        except NotFound:
            return None
        user = parse_answer(TypeAdapter(_User), answer, self._system, operation)
        # The path takes ids, "me" and the part of a login before the "@" as well.
        return user if is_same_address(login, user.profile.login) else None

    async def groups_by_external_id(self, external_id: str) -> list[Group]:
        """Return all groups with exactly this owner mark."""
        groups = await self._search("profile.description", external_id, f"find group by owner {external_id}")
        return [group for group in groups if group.external_id == external_id]

    async def groups_by_name(self, name: str) -> list[Group]:
        """Return all groups with exactly this name, imported ones included."""
        groups = await self._search("profile.name", name, f"find group {name}")
        return [group for group in groups if group.display_name == name]

    async def groups_starting_with(self, name_start: str) -> list[Group]:
        """Return all groups whose name starts with this text."""
        groups = await self._search("profile.name", name_start, f"find groups {name_start}", operator="sw")
        return [group for group in groups if group.display_name.startswith(name_start)]

    async def create_group(self, name: str, external_id: str) -> Group:
        """Create the group; raise AlreadyExists if the name of an Okta group is taken."""
        operation = f"create group {name}"
        body = {"profile": {"name": name, "description": external_id}}
        answer = await self._http.call("POST", "/groups", operation, body=body)
        return parse_answer(TypeAdapter(_Group), answer, self._system, operation, ambiguous=True).result

    async def delete_group(self, group_id: str) -> None:
        """Delete the group; raise NotFound if it does not exist."""
        await self._http.call("DELETE", _group_path(group_id), f"delete group {group_id}")

    async def group(self, group_id: str) -> Group:
        """Return the group with this id; raise NotFound if there is none."""
        operation = f"read group {group_id}"
        answer = await self._http.call("GET", _group_path(group_id), operation)
        return parse_answer(TypeAdapter(_Group), answer, self._system, operation).result

    async def members(self, group_id: str) -> list[str]:
        """Return the ids of all members of the group; raise NotFound if there is no such group."""
        path, operation = f"{_group_path(group_id)}/users", f"read members of group {group_id}"
        return list(dict.fromkeys([user.id async for user in self._all(path, operation, _User, {})]))

    async def add_members(self, group_id: str, user_ids: Sequence[str]) -> None:
        """Add all users to the group; idempotent. Raise NotFound if there is no such group or user."""
        for user_id in user_ids:
            operation = f"add member {user_id} to group {group_id}"
            await self._http.call("PUT", _membership_path(group_id, user_id), operation)

    async def remove_member(self, group_id: str, user_id: str) -> None:
        """Remove the user from the group; idempotent. Raise NotFound if there is no such group."""
        operation = f"remove member {user_id} from group {group_id}"
        try:
            await self._http.call("DELETE", _membership_path(group_id, user_id), operation)
        except NotFound:
            # Either the user is unknown, who then is no member, or the group.
            await self.group(group_id)

    async def _search(
        self, attribute: str, value: str, operation: str, *, operator: str = "eq"
    ) -> list[Group]:
        search = f"{attribute} {operator} {_quoted(value)}"
        found = [group.result async for group in self._all("/groups", operation, _Group, {"search": search})]
        return list({group.id: group for group in found}.values())

    async def _all(
        self, path: str, operation: str, shape: type[_Shape], query: Query
    ) -> AsyncIterator[_Shape]:
        async def read(next_path: str | None) -> tuple[Answer, str | None]:
            first: Query | None = {**query, "limit": PAGE_SIZE} if next_path is None else None
            answer = await self._http.call("GET", next_path or path, operation, query=first)
            return answer, next_link(answer.headers)

        async for answer in pages(read, base_url=self._base_url, system=self._system, operation=operation):
            for entry in parse_answer(TypeAdapter(list[shape]), answer, self._system, operation):  # type: ignore[valid-type]
                yield entry


def _quoted(value: str) -> str:
    # A value of a search is in double quotes, as in SCIM, whose filters it follows: escaping by JSON's rules
    # prevents injection into the search.
    return json.dumps(value, ensure_ascii=False)


def _group_path(group_id: str) -> str:
    return f"/groups/{quote(group_id, safe='')}"


def _membership_path(group_id: str, user_id: str) -> str:
    return f"{_group_path(group_id)}/users/{quote(user_id, safe='')}"


def _explain(answer: Answer) -> str:
    """Return the message of one of Okta's errors; "" for other content, such as a proxy's page."""
    error = answer.fields
    if not error.get("errorCode"):
        return explain_oauth_error(answer)
    causes = error.get("errorCauses")
    details = [error, *(causes if isinstance(causes, list) else ())]
    summaries = [each.get("errorSummary") for each in details if isinstance(each, dict)]
    return f"{error['errorCode']} {'; '.join(str(each) for each in summaries if each)}"


def _classify(answer: Answer, detail: str) -> type[ClientError] | None:
    if answer.status == 404 and answer.is_html:
        return MalformedAnswer
    if answer.status == 400 and _DUPLICATE in detail and "already exists" in detail:
        # Every invalid value has this code; only the cause tells a name that is taken.
        return AlreadyExists
    return None
