"""Directories as products have them, each from its documentation or a public report: small, and in memory.

None of them is strict: each does what its source says that the product does, right or wrong by the standard.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import quote

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from embedded.asgi_server import listening_socket

Document = dict[str, Any]
_FILTER = re.compile(r'(?P<name>.+) eq (?P<value>".*")')


@dataclass
class Dialect:
    """A directory of RFC 7644, in all that its subclasses leave as it is."""

    users: list[Document] = field(default_factory=list)
    groups: dict[str, Document] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    made: int = 0

    filters: ClassVar[tuple[str, ...]] = ("userName", "emails.value", "displayName", "externalId")
    #: Whether conditions can be joined by `or`.
    has_or: ClassVar[bool] = True
    largest_page: ClassVar[int] = 100
    ref_base: ClassVar[str] = "https://idp.example.com/scim/v2/Users/"

    def add_user(self, user_name: str, *emails: str) -> str:
        """A person; returns the id."""
        id = f"u{len(self.users) + 1}"
        addresses = [{"value": each, "primary": index == 0} for index, each in enumerate(emails)]
        self.users.append({"id": id, "userName": user_name, "emails": addresses, "active": True})
        return id

    def add_group(self, name: str, external_id: str | None = None, members: tuple[str, ...] = ()) -> str:
        """A group; returns the id."""
        self.made += 1
        id = f"g{self.made}"
        self.groups[id] = {"id": id, "displayName": name, "externalId": external_id, "members": list(members)}
        return id

    # What subclasses change

    def matches(self, resource: Document, name: str, value: str) -> bool:
        """Whether a resource fits a filter. The standard minds the case of ids and externalId only."""
        if name.startswith("emails"):
            return value.lower() in [str(each["value"]).lower() for each in resource.get("emails", ())]
        if name == "externalId":
            return bool(resource.get(name) == value)
        return str(resource.get(name, "")).lower() == value.lower()

    def conditions(self, text: str) -> list[tuple[str, str]]:
        """Read a filter: attributes and values of its conditions."""
        matches = [_FILTER.fullmatch(each) for each in text.split(" or ")]
        assert all(matches), text
        return [(match["name"], json.loads(match["value"])) for match in matches if match]

    def refuse_filter(self, _name: str) -> Response:
        """The answer to a filter that it does not have."""
        return error(400, scimType="invalidFilter")

    def listed(self, found: list[Document], start: int, count: int, _query: Document) -> Response:
        """One page."""
        page = found[start - 1 : start - 1 + count]
        return JSONResponse(
            {"totalResults": len(found), "startIndex": start, "itemsPerPage": len(page), "Resources": page}
        )

    def shown(self, group: Document, query: Document) -> Document:
        """A group as it is shown by itself. An empty attribute is left out (RFC 7644, 3.9)."""
        members = [self.member(id) for id in group["members"]]
        without = {name: value for name, value in group.items() if name != "members" and value is not None}
        is_wanted = "members" not in query.get("excludedAttributes", "")
        return {**without, **({"members": members} if members and is_wanted else {})}

    def member(self, id: str) -> Any:
        """A member as it is shown."""
        return {"value": id, "$ref": f"{self.ref_base}{id}"}

    def removed(self, group: Document, operation: Document) -> Response | None:
        """Take members out; the answer if that is refused."""
        path = operation.get("path", "")
        by_filter = re.fullmatch(r'members\[value eq "(.*)"\]', path)
        gone = [by_filter[1]] if by_filter else [each["value"] for each in operation.get("value", ())]
        group["members"] = [each for each in group["members"] if each not in gone]
        return None

    # The protocol

    async def __call__(self, request: Request) -> Response:
        """Answer one call."""
        self.asked.append(f"{request.method} {request.url.path}?{request.url.query}")
        _, kind, id = (*request.path_params["path"].split("/"), "")[:3]
        query = dict(request.query_params)
        body = await request.body()
        if request.method == "POST":
            return self.create(json.loads(body))
        if request.method == "GET" and not id:
            everything = self.users if kind == "Users" else list(self.groups.values())
            return self.list_all(kind, everything, query)
        if id not in self.groups:
            return error(404)
        if request.method == "DELETE":
            self.deleted.append(id)
            del self.groups[id]
            return Response(status_code=204)
        if request.method == "PATCH":
            return self.patch(self.groups[id], json.loads(body)["Operations"])
        return JSONResponse(self.shown(self.groups[id], query))

    def create(self, document: Document) -> Response:
        """Make a group."""
        id = self.add_group(document["displayName"], document.get("externalId"))
        return JSONResponse(self.shown(self.groups[id], {}), status_code=201)

    def list_all(self, kind: str, everything: list[Document], query: Document) -> Response:
        """List what fits."""
        found = everything
        if "filter" in query:
            conditions = self.conditions(query["filter"])
            if unknown := next((name for name, _ in conditions if name not in self.filters), None):
                return self.refuse_filter(unknown)
            if len(conditions) > 1 and not self.has_or:
                return self.refuse_filter("or")
            found = [each for each in everything if any(self.matches(each, *one) for one in conditions)]
        if kind == "Groups":
            found = [self.shown(each, {"excludedAttributes": "members"}) for each in found]
        count = min(int(query.get("count", self.largest_page)), self.largest_page)
        return self.listed(found, max(1, int(query.get("startIndex", 1))), count, query)

    def patch(self, group: Document, operations: list[Document]) -> Response:
        """Change who is in a group."""
        for operation in operations:
            if operation["op"] == "add":
                new = [each["value"] for each in operation["value"]]
                group["members"] = list(dict.fromkeys((*group["members"], *new)))
            elif refusal := self.removed(group, operation):
                return refusal
        return Response(status_code=204)


class Keycloak(Dialect):
    """Keycloak 26.7, preview `scim-api`: members only if asked for; the case of an address matters.

    Seen with 26.7.3; keycloak/keycloak pull request 51530 mends the case.
    """

    def shown(self, group: Document, query: Document) -> Document:
        shown = super().shown(group, query)
        if "members" not in query.get("attributes", ""):
            shown.pop("members", None)
        return shown

    def matches(self, resource: Document, name: str, value: str) -> bool:
        if name == "emails.value":
            return value in [each["value"] for each in resource["emails"]]
        return super().matches(resource, name, value)


class CaseMinding(Dialect):
    """All filters mind the case: zulip/zulip#21758, simpleidserver/SimpleIdServer#489, zitadel#9257."""

    def matches(self, resource: Document, name: str, value: str) -> bool:
        if name == "emails.value":
            return value in [each["value"] for each in resource["emails"]]
        return bool(resource.get(name) == value)


class NotFoundForNobody(Dialect):
    """404 for a filter that nothing fits: jelhub/scimgateway#18 (its loki plugin)."""

    def listed(self, found: list[Document], start: int, count: int, query: Document) -> Response:
        if "filter" in query and not found:
            return error(404, detail="not found")
        return super().listed(found, start, count, query)


class LowerCase(Dialect):
    """Names of attributes in lower case, `resources` among them: pingidentity/scim2#97 (IBM).

    ssoready/dummyidp#15 and goauthentik/authentik#24441 had to learn it; RFC 7643, 2.1 allows it.
    """

    def listed(self, found: list[Document], start: int, count: int, query: Document) -> Response:
        answer = super().listed(found, start, count, query)
        return JSONResponse(lowered(json.loads(bytes(answer.body))))

    def shown(self, group: Document, query: Document) -> Document:
        shown: Document = lowered(super().shown(group, query))
        return shown


class Wso2(Dialect):
    """WSO2 5.9: `totalResults` counts the page, addresses are plain texts (wso2/product-is#7320).

    Groups have no externalId to filter by, and pages are small.
    """

    filters = ("userName", "emails", "displayName")
    largest_page = 3

    def listed(self, found: list[Document], start: int, count: int, query: Document) -> Response:
        page = [dict(each) for each in found[start - 1 : start - 1 + count]]
        for each in page:
            if "emails" in each:
                each["emails"] = [address["value"] for address in each["emails"]]
        return JSONResponse({"totalResults": len(page), "startIndex": start, "Resources": page})


class Wso2WithoutPages(Dialect):
    """Lists of groups refuse to be paged: 501 (wso2/product-is#7662, #23378)."""

    filters = ("userName", "emails.value", "displayName")

    def list_all(self, kind: str, everything: list[Document], query: Document) -> Response:
        if kind == "Groups" and ("startIndex" in query or "count" in query) and "filter" not in query:
            return error(501, detail="Pagination is not supported")
        return super().list_all(kind, everything, query)


class StartIgnored(Dialect):
    """`startIndex` is ignored while all fits into a page: scimmyjs/scimmy#21, open-liberty#4341."""

    filters = ("userName", "displayName")

    def listed(self, found: list[Document], _start: int, count: int, query: Document) -> Response:
        return super().listed(found, 1, count, query)


class OwnOffset(Dialect):
    """Filters displayName only (docs.attio.com, List SCIM groups); a page begins before it should.

    wso2/product-is#9957: `startIndex` 4 gives entries 2 to 4.
    """

    filters = ("userName", "displayName")
    largest_page = 3

    def listed(self, found: list[Document], start: int, count: int, query: Document) -> Response:
        first = start if start == 1 else max(1, start - 2)
        page = found[first - 1 : first - 1 + count] if start <= len(found) + 2 else []
        return JSONResponse({"totalResults": len(found), "Resources": page})


class FromZero(Dialect):
    """Entries are counted from 0: simpleidserver/SimpleIdServer#185."""

    filters = ("userName", "displayName")

    def list_all(self, kind: str, everything: list[Document], query: Document) -> Response:
        if "startIndex" in query:
            query = {**query, "startIndex": int(query["startIndex"]) + 1}
        return super().list_all(kind, everything, query)


class FilterIgnored(Dialect):
    """Filters of groups are ignored: Metatavu/keycloak-scim-server#46."""

    largest_page = 4

    def matches(self, resource: Document, name: str, value: str) -> bool:
        return "displayName" in resource or super().matches(resource, name, value)


class Aws(Dialect):
    """AWS IAM Identity Center: eq on displayName, externalId, userName; 50 at once; members are never shown.

    docs.aws.amazon.com/singlesignon/latest/developerguide: limitations, listgroups.
    """

    filters = ("userName", "displayName", "externalId")
    has_or = False
    largest_page = 50

    def shown(self, group: Document, query: Document) -> Document:
        return {**super().shown(group, query), "members": []}

    def listed(self, found: list[Document], _start: int, count: int, query: Document) -> Response:
        page = found[:count]
        return JSONResponse(
            {"totalResults": len(page), "startIndex": 1, "itemsPerPage": count, "Resources": page}
        )


class MadeForEntra(Dialect):
    """What is made to Entra's ways: members removed by value only, `active` as a text.

    learn.microsoft.com, "Develop a SCIM endpoint for user provisioning to apps from Microsoft Entra ID".
    """

    def add_user(self, user_name: str, *emails: str) -> str:
        id = super().add_user(user_name, *emails)
        self.users[-1]["active"] = "True"
        return id

    def removed(self, group: Document, operation: Document) -> Response | None:
        if operation["path"] != "members":
            return error(400, scimType="invalidPath")
        return super().removed(group, operation)


class ByReference(Dialect):
    """Members by `$ref` alone, which pingidentity/scim2#269 requires; RFC 7643, 4.2 requires no value."""

    def member(self, id: str) -> Any:
        return {"$ref": f"../Users/{quote(id, safe='')}"}


class PlainMembers(Dialect):
    """Members as plain ids, and a few of them at a time."""

    def member(self, id: str) -> Any:
        return id

    def shown(self, group: Document, query: Document) -> Document:
        return super().shown({**group, "members": group["members"][:2]}, query)


class ListedTwice(Dialect):
    """A person is listed once for each address, and counted so; a group twice by one id."""

    def listed(self, found: list[Document], start: int, count: int, query: Document) -> Response:
        rows: list[Document] = []
        for each in found:
            addresses = each.get("emails", ())
            rows += (
                [{**each, "emails": [address]} for address in addresses] if addresses else [each, dict(each)]
            )
        return super().listed(rows, start, count, query)


class Cursors(Dialect):
    """Pages by cursor (RFC 9865); of the first alone no count is given."""

    filters = ("userName", "displayName")
    largest_page = 2

    def listed(self, found: list[Document], _start: int, count: int, query: Document) -> Response:
        first = int(query.get("cursor", 0))
        more = {"nextCursor": str(first + count)} if first + count < len(found) else {}
        return JSONResponse({"itemsPerPage": count, "Resources": found[first : first + count], **more})


class Snowflake(Dialect):
    """A filter that it does not have fits nothing, by 200: docs.snowflake.com, behaviour change 2276."""

    filters = ("userName", "displayName")

    def refuse_filter(self, _name: str) -> Response:
        return JSONResponse({"totalResults": 0, "Resources": []})


#: Those in which groups can be kept as they must be.
USABLE: tuple[Callable[[], Dialect], ...] = (
    Dialect, Keycloak, CaseMinding, NotFoundForNobody, LowerCase, Wso2, Wso2WithoutPages, StartIgnored,
    OwnOffset, FromZero, FilterIgnored, Aws, MadeForEntra, ByReference, PlainMembers, ListedTwice, Cursors,
    Snowflake,
)  # fmt: skip


def error(status: int, **more: str) -> Response:
    """An error of SCIM's form."""
    schemas = ["urn:ietf:params:scim:api:messages:2.0:Error"]
    return JSONResponse({"schemas": schemas, "status": str(status), **more}, status_code=status)


def lowered(value: Any) -> Any:
    """The document with all names in lower case."""
    if isinstance(value, dict):
        return {name.lower(): lowered(each) for name, each in value.items()}
    return [lowered(each) for each in value] if isinstance(value, list) else value


@asynccontextmanager
async def serving(dialect: Dialect) -> AsyncIterator[str]:
    """A running directory; gives the base URL of its service."""

    async def endpoint(request: Request) -> Response:
        return await dialect(request)

    app = Starlette(routes=[Route("/{path:path}", endpoint, methods=["GET", "POST", "PATCH", "DELETE"])])
    with listening_socket() as sock:
        server = uvicorn.Server(uvicorn.Config(app, log_level=logging.CRITICAL, lifespan="off"))
        task = asyncio.create_task(server.serve(sockets=[sock]))
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}/scim"
        finally:
            server.should_exit = True
            await task
