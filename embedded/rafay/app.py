"""The stand-in as a Starlette application: authenticates calls and hands them to their handlers."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from embedded.asgi_server import Endpoint, StandIn, listening_socket
from embedded.faults import App, FaultInjector
from embedded.rafay.clusters import Clusters
from embedded.rafay.database import Database
from embedded.rafay.error_responses import Family, Reason, Refusal, error_response
from embedded.rafay.iam import Iam
from embedded.rafay.organization_resources import Catalog
from embedded.rafay.projects import Projects
from embedded.rafay.requests import Call
from embedded.rafay_behaviour import BEHAVIOUR_PATH, Behaviour
from embedded.standin_options import RafayOptions

USERS_PATH = "/-/users"
CLUSTERS_PATH = "/-/clusters/"
#: The identity providers that people have integrated in the console: a JSON list, PUT as a whole.
SIGN_INS_PATH = "/-/sign-ins"

_ADMIN, _AUDITOR = "admin@example.com", "auditor@example.com"
_ROLES = {_ADMIN: ("ADMIN",), _AUDITOR: ("ADMINISTRATOR_READ_ONLY",)}


@contextmanager
def open_rafay(options: RafayOptions) -> Iterator[StandIn]:
    """Open the stand-in's data, and add the users that are missing."""
    with listening_socket(options.port) as sock, closing(Database(options.database)) as database:
        for email in options.users:
            database.add_user(email)
        stand_in = RafayStandIn(
            database,
            Keys(options.api_key, options.read_only_key),
            options.behaviour,
            endpoint=options.endpoint or f"http://127.0.0.1:{options.port}",
            agent_image=options.agent_image,
        )
        stand_in.clusters.start()
        app = FaultInjector(stand_in.app, stand_in.operation_of)
        yield StandIn([Endpoint(app, sock)], on_stop=stand_in.clusters.stop)


@dataclass(frozen=True)
class Keys:
    """The API keys that are accepted. `read_only` may change nothing."""

    full: str = field(repr=False)
    read_only: str | None = field(default=None, repr=False)

    def username(self, key: str) -> str | None:
        """Return the user of the key; None if it is not accepted."""
        return {self.full: _ADMIN, self.read_only: _AUDITOR}.get(key)


class RafayStandIn:
    """The API, without faults."""

    def __init__(
        self, database: Database, keys: Keys, behaviour: Behaviour, *, endpoint: str, agent_image: str
    ) -> None:
        self._database = database
        self._keys = keys
        self._behaviour = behaviour
        self._catalog = Catalog(database, self._current_behaviour)
        self.clusters = Clusters(
            database, self._current_behaviour, endpoint=endpoint, agent_image=agent_image
        )
        projects, iam = Projects(database, self._current_behaviour), Iam(database, self._current_behaviour)
        calls = [*projects.calls(), *iam.calls(), *self._catalog.calls(), *self.clusters.calls()]
        self._routes = [self._route(call) for call in calls]
        starlette = Starlette(
            routes=[*self._routes, *self._control_routes()],
            exception_handlers={404: self._no_such_path, 405: self._no_such_path},
        )
        starlette.router.redirect_slashes = False
        self.app = cast(App, starlette)

    def operation_of(self, method: str, path: str) -> str | None:
        """Return the name of a call's operation, by which faults find it."""
        scope = {"type": "http", "method": method, "path": path}
        return next((route.name for route in self._routes if route.matches(scope)[0] is Match.FULL), None)

    def _current_behaviour(self) -> Behaviour:
        return self._behaviour

    def _route(self, call: Call) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                self._authenticate(call, request)
                await request.body()
                if self._behaviour.latency and call.family is not Family.AGENT:
                    await asyncio.sleep(self._behaviour.latency)
                return await call.handler(request)
            except Refusal as refusal:
                return error_response(refusal, call.family, self._behaviour.missing_status)

        return Route(call.path, endpoint, methods=[call.method], name=call.operation)

    def _authenticate(self, call: Call, request: Request) -> None:
        if call.family is Family.AGENT:
            return  # by the token of its cluster, which the handler knows
        key = request.headers.get(call.family.key_header, "")
        username = self._keys.username(key) if key else None
        if username is None:
            raise Refusal(Reason.UNAUTHENTICATED)
        if call.method != "GET" and key != self._keys.full:
            raise Refusal(Reason.FORBIDDEN)
        request.state.username = username
        request.state.roles = _ROLES[username]

    async def _no_such_path(self, _: Request, __: Exception) -> Response:
        return error_response(Refusal(Reason.NO_SUCH_PATH), Family.V1, self._behaviour.missing_status)

    # For tests and people, beside the API

    def _control_routes(self) -> list[Route]:
        return [
            Route(BEHAVIOUR_PATH, _control(self._set_behaviour), methods=["GET", "PUT", "POST"]),
            Route(USERS_PATH, _control(self._users), methods=["GET", "PUT", "POST"]),
            Route(SIGN_INS_PATH, _control(self._sign_ins), methods=["PUT", "POST"]),
            Route(CLUSTERS_PATH + "{name}", _control(self._fail_cluster), methods=["PUT", "POST"]),
        ]

    async def _set_behaviour(self, request: Request) -> Any:
        if request.method != "GET":
            changes = {**self._behaviour.model_dump(), **(await request.json())}
            self._behaviour = Behaviour.model_validate(changes)
        return self._behaviour.model_dump()

    async def _users(self, request: Request) -> Any:
        if request.method != "GET":
            self._database.add_user(str((await request.json())["email"]))
        return [row["username"] for row in self._database.all("SELECT username FROM users")]

    async def _sign_ins(self, request: Request) -> Any:
        return self._catalog.integrate(await request.body())

    async def _fail_cluster(self, request: Request) -> Any:
        self.clusters.fail(request.path_params["name"], await request.body())
        return {}


def _control(
    handler: Callable[[Request], Awaitable[Any]],
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return JSONResponse(await handler(request))
        except (ValidationError, json.JSONDecodeError, KeyError, TypeError) as error:
            return JSONResponse({"detail": str(error)}, 422)
        except Refusal as refusal:
            return error_response(refusal, Family.V1, 404)

    return endpoint
