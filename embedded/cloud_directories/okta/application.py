"""The stand-in for Okta as an ASGI application.

It serves groups, members and users of the management API, and the token endpoint of the org authorization
server. Sources: the API reference of Okta ("Groups", "Users"), as its SDKs publish it too.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from embedded.asgi_server import Endpoint, StandIn, listening_socket
from embedded.cloud_directories.controls import CurrentBehaviour, control_routes
from embedded.cloud_directories.okta.authorization import TOKEN_PATH, Authorization, BearerRefused
from embedded.cloud_directories.okta.directory import GroupType, OktaDirectory, UserStatus
from embedded.cloud_directories.okta.rate_limit import RateLimits
from embedded.cloud_directories.okta.responses import (
    OktaError,
    limit_of,
    malformed_body,
    not_found,
    page_of,
    too_many_requests,
)
from embedded.cloud_directories.okta.searches import GROUP_FILTER, GROUP_SEARCH, USER_FILTER, USER_SEARCH
from embedded.cloud_directories.store import Document, LaggingStore
from embedded.faults import App, FaultInjector
from embedded.standin_options import OktaOptions

#: Default and largest size of a page, by the API reference.
_GROUPS_PAGE, _GROUP_QUERY, _MEMBERS_PAGE = 10_000, 300, 1000
_USERS_PAGE, _USER_QUERY = 200, 10
_READ_GROUPS = ("okta.groups.read", "okta.groups.manage")
_MANAGE_GROUPS = ("okta.groups.manage",)
_READ_USERS = ("okta.users.read", "okta.users.manage")


@contextmanager
def open_okta(options: OktaOptions) -> Iterator[StandIn]:
    """Open the org's data, and add its first people."""
    behaviour = CurrentBehaviour(options.behaviour)
    with (
        listening_socket(options.port) as sock,
        closing(LaggingStore(options.database, lambda: behaviour.now.lag)) as store,
    ):
        okta = OktaStandIn(options, store, behaviour)
        yield StandIn([Endpoint(FaultInjector(okta.app, okta.operation_of), sock)])


class OktaStandIn:
    """The API, without faults."""

    def __init__(self, options: OktaOptions, store: LaggingStore, behaviour: CurrentBehaviour[Any]) -> None:
        self._behaviour = behaviour
        self._directory = OktaDirectory(store, options.group_attributes)
        self._directory.add_people([{"email": email} for email in options.people])
        self._authorization = Authorization(options, lambda: behaviour.now.token_seconds)
        self._limits = RateLimits(behaviour)
        groups, group = "/api/v1/groups", "/api/v1/groups/{group}"
        members, member = f"{group}/users", f"{group}/users/{{user}}"
        self._routes = [
            Route(TOKEN_PATH, self._authorization.token, methods=["POST"], name="token"),
            self._route("GET", groups, "group.find", _READ_GROUPS, self._list_groups),
            self._route("POST", groups, "group.create", _MANAGE_GROUPS, self._create_group),
            self._route("GET", group, "group.get", _READ_GROUPS, self._get_group),
            self._route("PUT", group, "group.update", _MANAGE_GROUPS, self._replace_group),
            self._route("DELETE", group, "group.delete", _MANAGE_GROUPS, self._delete_group),
            self._route("GET", members, "member.list", _READ_GROUPS, self._list_members),
            self._route("PUT", member, "member.add", _MANAGE_GROUPS, self._add_member),
            self._route("DELETE", member, "member.remove", _MANAGE_GROUPS, self._remove_member),
            self._route("GET", "/api/v1/users", "user.find", _READ_USERS, self._list_users),
            self._route("GET", "/api/v1/users/{user}", "user.get", _READ_USERS, self._get_user),
        ]
        controls = control_routes(
            behaviour,
            settle=store.settle,
            expire_tokens=self._authorization.expire_tokens,
            add_people=self._directory.add_people,
            add_group=self._add_group,
        )
        starlette = Starlette(
            routes=[*self._routes, *controls], exception_handlers={404: _no_such_path, 405: _no_such_path}
        )
        self.app = cast(App, starlette)

    def operation_of(self, method: str, path: str) -> str | None:
        """Return the operation of a call, by which faults find it."""
        scope = {"type": "http", "method": method, "path": path}
        return next((route.name for route in self._routes if route.matches(scope)[0] is Match.FULL), None)

    def _route(
        self,
        method: str,
        path: str,
        operation: str,
        scopes: tuple[str, ...],
        handler: Callable[[Request], Awaitable[Response]],
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            # Limits are counted by endpoint: all calls of one method and path share a window.
            allowance = self._limits.count(operation)
            try:
                self._authorization.require(request, *scopes)
                if allowance.is_exceeded:
                    raise too_many_requests()
                response = await handler(request)
            except OktaError as error:
                response = error.response()
            except BearerRefused as refused:
                response = refused.response(request)
            response.headers.update(allowance.headers)
            return response

        return Route(path, endpoint, methods=[method], name=operation)

    # Groups

    async def _list_groups(self, request: Request) -> Response:
        query = request.query_params
        if name := query.get("q"):
            return JSONResponse([_shown_group(each, request) for each in self._named(name, request)])
        found = self._directory.groups(lagging="search" in query)
        if "search" in query:
            found = list(filter(GROUP_SEARCH.matches(query["search"]), found))
        if "filter" in query:
            found = list(filter(GROUP_FILTER.matches(query["filter"]), found))
        limit = limit_of(request, _GROUPS_PAGE, min(_GROUPS_PAGE, self._behaviour.now.page_limit))
        return page_of(request, found, limit, _shown_group)

    def _named(self, name: str, request: Request) -> list[Document]:
        """Return groups whose name starts with `name`, exact ones first. A query has no pages."""
        wanted = name.casefold()
        names = [(each["profile"]["name"].casefold(), each) for each in self._directory.groups()]
        found = [
            (given != wanted, given, each["id"], each) for given, each in names if given.startswith(wanted)
        ]
        return [each for *_, each in sorted(found, key=lambda each: each[:3])][
            : limit_of(request, _GROUP_QUERY, _GROUPS_PAGE)
        ]

    async def _create_group(self, request: Request) -> Response:
        # 200, not 201: the reference says so.
        return JSONResponse(
            _shown_group(self._directory.create_group((await _body(request)).get("profile")), request)
        )

    async def _get_group(self, request: Request) -> Response:
        return JSONResponse(_shown_group(self._directory.group(request.path_params["group"]), request))

    async def _replace_group(self, request: Request) -> Response:
        profile = (await _body(request)).get("profile")
        replaced = self._directory.replace_group(request.path_params["group"], profile)
        return JSONResponse(_shown_group(replaced, request))

    async def _delete_group(self, request: Request) -> Response:
        self._directory.delete_group(request.path_params["group"])
        return Response(status_code=204)

    def _add_group(self, given: Any) -> Document:
        return self._directory.create_group(given["profile"], GroupType(given.get("type", "OKTA_GROUP")))

    # Members

    async def _list_members(self, request: Request) -> Response:
        members = self._directory.members(request.path_params["group"])
        limit = limit_of(request, _MEMBERS_PAGE, min(_MEMBERS_PAGE, self._behaviour.now.page_limit))
        return page_of(request, members, limit, _shown_user)

    async def _add_member(self, request: Request) -> Response:
        self._directory.add_member(request.path_params["group"], request.path_params["user"])
        return Response(status_code=204)

    async def _remove_member(self, request: Request) -> Response:
        self._directory.remove_member(request.path_params["group"], request.path_params["user"])
        return Response(status_code=204)

    # Users

    async def _get_user(self, request: Request) -> Response:
        return JSONResponse(_shown_user(self._directory.user(request.path_params["user"]), request))

    async def _list_users(self, request: Request) -> Response:
        query = request.query_params
        limit = limit_of(request, _USERS_PAGE, min(_USERS_PAGE, self._behaviour.now.page_limit))
        if start := query.get("q"):
            found = [each for each in self._directory.users() if _starts_with(each, start)]
            first = list(filter(_is_current, found))[: limit_of(request, _USER_QUERY, _USERS_PAGE)]
            return JSONResponse([_shown_user(each, request) for each in first])
        found = self._directory.users(lagging="search" in query)
        if "search" in query:
            found = list(filter(USER_SEARCH.matches(query["search"]), found))
        elif "filter" in query:
            found = list(filter(USER_FILTER.matches(query["filter"]), found))
        else:
            found = list(filter(_is_current, found))
        return page_of(request, found, limit, _shown_user)


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        raise malformed_body() from None
    if not isinstance(body, dict):
        raise malformed_body()
    return body


async def _no_such_path(request: Request, _: Exception) -> Response:
    if request.url.path.startswith("/-/"):
        return Response(status_code=404)
    return not_found(request.url.path, "Path").response()


def _is_current(user: Document) -> bool:
    """Whether lists without a filter have the user: those that are deactivated they leave out."""
    return bool(user["status"] != UserStatus.DEPROVISIONED)


def _starts_with(user: Document, start: str) -> bool:
    profile = user["profile"]
    names = (str(profile[name]).casefold() for name in ("firstName", "lastName", "email"))
    return any(name.startswith(start.casefold()) for name in names)


def _shown_group(group: Document, request: Request) -> Document:
    address = f"{request.base_url}api/v1/groups/{group['id']}"
    links = {"users": {"href": f"{address}/users"}, "apps": {"href": f"{address}/apps"}}
    return {**group, "_links": links}


def _shown_user(user: Document, request: Request) -> Document:
    return {**user, "_links": {"self": {"href": f"{request.base_url}api/v1/users/{user['id']}"}}}
