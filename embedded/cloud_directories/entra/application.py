"""The stand-in for Microsoft Entra ID as an ASGI application.

It serves groups, members, users and deleted groups of Microsoft Graph at `/v1.0`, and the token endpoint of
the tenant. Source: the API reference of Microsoft Graph v1.0 (group, user, directory deleted items).
"""

import math
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, cast
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from embedded.asgi_server import Endpoint, StandIn, listening_socket
from embedded.cloud_directories.controls import CurrentBehaviour, control_routes
from embedded.cloud_directories.entra.authorization import TOKEN_PATH, Authorization
from embedded.cloud_directories.entra.directory import EntraDirectory
from embedded.cloud_directories.entra.queries import GROUP, USER, Query
from embedded.cloud_directories.entra.responses import (
    GraphError,
    denied,
    invalid_body,
    too_many_requests,
)
from embedded.cloud_directories.store import Document, LaggingStore
from embedded.cloud_directory_behaviour import EntraBehaviour
from embedded.faults import App, FaultInjector, Receive, Scope, Send
from embedded.standin_options import EntraOptions

#: The application permissions that each kind of call needs: any one of them.
_WRITE_GROUPS = ("Group.ReadWrite.All", "Directory.ReadWrite.All")
_CREATE_GROUPS = ("Group.Create", *_WRITE_GROUPS)
_WRITE_MEMBERS = ("GroupMember.ReadWrite.All", *_WRITE_GROUPS)
_READ_GROUPS = ("GroupMember.Read.All", "Group.Read.All", "Directory.Read.All", *_WRITE_MEMBERS)
_READ_USERS = ("User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All")
#: The alternate key of a group in a path, with the slash that the reference has and its examples have not.
_ALTERNATE_KEY = re.compile(
    r"(?P<groups>/v1\.0/groups)/?\(uniqueName='(?P<name>(?:[^']|'')*)'\)(?P<rest>/.*)?"
)


@contextmanager
def open_entra(options: EntraOptions) -> Iterator[StandIn]:
    """Open the tenant's data, and add its first people."""
    behaviour = CurrentBehaviour(options.behaviour)
    with (
        listening_socket(options.port) as sock,
        closing(LaggingStore(options.database, lambda: behaviour.now.lag)) as store,
    ):
        entra = EntraStandIn(options, store, behaviour)
        yield StandIn([Endpoint(FaultInjector(entra.app, entra.operation_of), sock)])


class EntraStandIn:
    """The API, without faults."""

    def __init__(
        self, options: EntraOptions, store: LaggingStore, behaviour: CurrentBehaviour[EntraBehaviour]
    ) -> None:
        self._behaviour = behaviour
        self._directory = EntraDirectory(store, lambda: behaviour.now.deletes_softly)
        self._directory.add_people([{"email": email} for email in options.people])
        self._authorization = Authorization(options, lambda: behaviour.now.token_seconds)
        #: The end of the window of writes, and the writes in it.
        self._window = (0.0, 0)
        groups, group = "/v1.0/groups", "/v1.0/groups/{group}"
        members, member = f"{group}/members", f"{group}/members/{{user}}"
        deleted, gone = "/v1.0/directory/deletedItems", "/v1.0/directory/deletedItems/{group}"
        self._routes = [
            Route(TOKEN_PATH, self._authorization.token, methods=["POST"], name="token"),
            self._route("GET", groups, "group.find", _READ_GROUPS, self._list_groups),
            self._route("POST", groups, "group.create", _CREATE_GROUPS, self._create_group),
            self._route("GET", group, "group.get", _READ_GROUPS, self._get_group),
            self._route("PATCH", group, "group.update", _WRITE_GROUPS, self._update_group),
            self._route("DELETE", group, "group.delete", _WRITE_GROUPS, self._delete_group),
            self._route("GET", members, "member.list", _READ_GROUPS, self._list_members),
            self._route(
                "GET", f"{members}/microsoft.graph.user", "member.list", _READ_GROUPS, self._list_members
            ),
            self._route("POST", f"{members}/$ref", "member.add", _WRITE_MEMBERS, self._add_member),
            self._route("DELETE", f"{member}/$ref", "member.remove", _WRITE_MEMBERS, self._remove_member),
            self._route("DELETE", member, "user.delete", _WRITE_MEMBERS, self._delete_user),
            self._route("GET", "/v1.0/users", "user.find", _READ_USERS, self._list_users),
            self._route("GET", "/v1.0/users/{user}", "user.get", _READ_USERS, self._get_user),
            self._route(
                "GET", f"{deleted}/microsoft.graph.group", "deleted.list", _READ_GROUPS, self._list_deleted
            ),
            self._route("GET", gone, "deleted.get", _READ_GROUPS, self._get_deleted),
            self._route("DELETE", gone, "deleted.purge", _WRITE_GROUPS, self._purge),
            self._route("POST", f"{gone}/restore", "deleted.restore", _WRITE_GROUPS, self._restore),
        ]
        controls = control_routes(
            behaviour,
            settle=store.settle,
            expire_tokens=self._authorization.expire_tokens,
            add_people=self._directory.add_people,
            add_group=self._directory.create_group,
        )
        starlette = Starlette(
            routes=[*self._routes, *controls], exception_handlers={404: _no_such_path, 405: _no_such_path}
        )
        self._starlette = cast(App, starlette)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; an alternate key in its path becomes a part of the path like an id."""
        if scope["type"] == "http":
            scope = {**scope, "path": _with_plain_key(scope["path"])}
        await self._starlette(scope, receive, send)

    def operation_of(self, method: str, path: str) -> str | None:
        """Return the operation of a call, by which faults find it."""
        plain = _with_plain_key(path)
        scope = {"type": "http", "method": method, "path": plain}
        name = next((route.name for route in self._routes if route.matches(scope)[0] is Match.FULL), None)
        return "group.upsert" if name == "group.update" and plain != path else name

    def _route(
        self,
        method: str,
        path: str,
        operation: str,
        permissions: tuple[str, ...],
        handler: Callable[[Request], Awaitable[Response]],
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                self._authorization.require(request, *permissions)
                self._throttle(is_write=method != "GET")
                await request.body()  # so that no other call changes the replica before the handler has ended
                self._directory.is_stale = random.random() < self._behaviour.now.stale_share  # noqa: S311
                return await handler(request)
            except GraphError as error:
                return error.response(request)

        return Route(path, endpoint, methods=[method], name=operation)

    def _throttle(self, *, is_write: bool) -> None:
        """Count the call, and refuse it past the limit of writes.

        Source: "Microsoft Graph service-specific throttling limits", identity and access.
        """
        behaviour, now = self._behaviour.now, time.time()
        wait = behaviour.throttled_seconds
        is_throttled = self._behaviour.takes_throttled_call()
        if is_write and not is_throttled:
            end, writes = self._window
            if end <= now:
                end, writes = now + behaviour.write_window, 0
            self._window = (end, writes + 1)
            wait, is_throttled = end - now, writes >= behaviour.write_limit
        if is_throttled:
            raise too_many_requests(math.ceil(wait) if behaviour.retry_after else None)

    def _page(self, query: Query, found: list[Document], kind: str = "") -> Response:
        return query.page(found, self._behaviour.now.page_limit, kind)

    # Groups

    def _group_query(self, request: Request) -> Query:
        excluded = () if self._behaviour.now.filters_unique_name else ("uniqueName",)
        return Query(request, GROUP, excluded=excluded)

    async def _list_groups(self, request: Request) -> Response:
        return self._page(self._group_query(request), self._directory.groups())

    async def _create_group(self, request: Request) -> Response:
        group = self._directory.create_group(await _body(request))
        return JSONResponse(_entity(self._group_query(request).shown(group)), status_code=201)

    async def _get_group(self, request: Request) -> Response:
        group = self._directory.group(_key(request))
        return JSONResponse(_entity(self._group_query(request).shown(group)))

    async def _update_group(self, request: Request) -> Response:
        preferences = [each.strip() for each in request.headers.get("Prefer", "").split(",")]
        creates = "create-if-missing" in preferences
        created = self._directory.upsert_group(_key(request), await _body(request), create=creates)
        if created is None:
            return Response(status_code=204)
        return JSONResponse(_entity(self._group_query(request).shown(created)), status_code=201)

    async def _delete_group(self, request: Request) -> Response:
        self._directory.delete_group(_key(request))
        return Response(status_code=204)

    # Members

    async def _list_members(self, request: Request) -> Response:
        members = self._directory.members(_key(request))
        return self._page(Query(request, USER), members, kind="directoryObjects")

    async def _add_member(self, request: Request) -> Response:
        self._directory.add_members(_key(request), [str((await _body(request)).get("@odata.id"))])
        return Response(status_code=204)

    async def _remove_member(self, request: Request) -> Response:
        self._directory.remove_member(_key(request), request.path_params["user"])
        return Response(status_code=204)

    async def _delete_user(self, _: Request) -> Response:
        # Without /$ref it is the user that would be deleted, for which no app here has the permission.
        raise denied()

    # Users

    async def _list_users(self, request: Request) -> Response:
        return self._page(Query(request, USER), self._directory.users())

    async def _get_user(self, request: Request) -> Response:
        user = self._directory.user(request.path_params["user"])
        return JSONResponse(_entity(Query(request, USER).shown(user), "users"))

    # Deleted groups

    async def _list_deleted(self, request: Request) -> Response:
        return self._page(self._group_query(request), self._directory.deleted_groups())

    async def _get_deleted(self, request: Request) -> Response:
        group = self._directory.deleted_group(request.path_params["group"])
        return JSONResponse(_entity(self._group_query(request).shown(group)))

    async def _purge(self, request: Request) -> Response:
        self._directory.purge_group(request.path_params["group"])
        return Response(status_code=204)

    async def _restore(self, request: Request) -> Response:
        group = self._directory.restore_group(request.path_params["group"])
        return JSONResponse(_entity(self._group_query(request).shown(group)))


def _with_plain_key(path: str) -> str:
    match = _ALTERNATE_KEY.fullmatch(path)
    if match is None:
        return path
    name = quote(match["name"].replace("''", "'"), safe="")
    return f"{match['groups']}/uniqueName={name}{match['rest'] or ''}"


def _key(request: Request) -> str:
    key: str = request.path_params["group"]
    return unquote(key) if key.startswith("uniqueName=") else key


def _entity(document: Document, kind: str = "groups") -> Document:
    return {"@odata.context": f"https://graph.microsoft.com/v1.0/$metadata#{kind}/$entity", **document}


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        raise invalid_body() from None
    if not isinstance(body, dict):
        raise invalid_body()
    return body


async def _no_such_path(request: Request, _: Exception) -> Response:
    path = request.url.path
    message = f"Resource not found for the segment '{path.rpartition('/')[2]}'."
    return GraphError(400, "BadRequest", message).response(request)
