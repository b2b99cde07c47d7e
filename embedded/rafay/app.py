"""The stand-in as one ASGI application: finds the handler of a call, authenticates, answers."""

import asyncio
import json
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from pydantic import ValidationError

from embedded.asgi_server import Endpoint, StandIn, listening_socket
from embedded.faults import FaultInjector, Receive, Scope, Send
from embedded.rafay.behaviour import SWITCHES_PATH, Behaviour
from embedded.rafay.catalog import Catalog
from embedded.rafay.clusters import Clusters
from embedded.rafay.database import Store
from embedded.rafay.error_responses import Family, Refusal, Reply, Trouble, refusal_reply, reply
from embedded.rafay.iam import Iam
from embedded.rafay.projects import Projects
from embedded.rafay.requests import Request, Route
from embedded.standin_options import RafayOptions

USERS_PATH = "/-/users"
CLUSTERS_PATH = "/-/clusters/"
#: The identity providers that people have integrated in the console: a JSON list, PUT as a whole.
SIGN_INS_PATH = "/-/sign-ins"

_ADMIN, _AUDITOR = "admin@example.com", "auditor@example.com"


@dataclass(frozen=True)
class Keys:
    """The API keys that are accepted. Whoever has `read_only` may change nothing."""

    full: str = field(repr=False)
    read_only: str | None = field(default=None, repr=False)

    def username(self, key: str) -> str | None:
        """Whose key it is; None if it is none of them."""
        return {self.full: _ADMIN, self.read_only: _AUDITOR}.get(key)

    def roles(self, username: str) -> tuple[str, ...]:
        """Names of the roles of whoever's key it is."""
        return {_ADMIN: ("ADMIN",), _AUDITOR: ("ADMINISTRATOR_READ_ONLY",)}.get(username, ())


@contextmanager
def open_rafay(options: RafayOptions) -> Iterator[StandIn]:
    """Open the stand-in's data, and add the users that are missing."""
    with listening_socket(options.port) as sock, closing(Store(options.database)) as store:
        for email in options.users:
            store.add_user(email)
        app = RafayStandIn(
            store,
            Keys(options.api_key, options.read_only_key),
            options.behaviour,
            endpoint=options.endpoint or f"http://127.0.0.1:{options.port}",
            agent_image=options.agent_image,
        )
        app.clusters.start()
        yield StandIn([Endpoint(FaultInjector(app, app.operation_of), sock)], on_stop=app.clusters.stop)


class RafayStandIn:
    """The API, without faults."""

    def __init__(
        self, store: Store, keys: Keys, switches: Behaviour, *, endpoint: str, agent_image: str
    ) -> None:
        self._store = store
        self._keys = keys
        self._switches = switches
        self.clusters = Clusters(store, lambda: self._switches, endpoint=endpoint, agent_image=agent_image)
        projects = Projects(store, lambda: self._switches)
        access = Iam(store, lambda: self._switches)
        self._offers = Catalog(store, lambda: self._switches)
        self._routes = [
            *projects.routes(),
            *access.routes(),
            *self._offers.routes(),
            *self.clusters.routes(),
        ]

    def operation_of(self, method: str, path: str) -> str | None:
        """The name of a call's operation, by which faults find it."""
        found = self._find(method, path)
        return found[0].operation if found else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"]
        try:
            if path.startswith("/-/"):
                answer = self._control(method, path, await _whole_body(receive))
            else:
                answer = await self._answer(method, path, scope, receive)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            raise
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", str(len(answer.body)).encode()),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, method: str, path: str, scope: Scope, receive: Receive) -> Reply:
        family = Family.V1
        try:
            found = self._find(method, path)
            if found is None:
                raise Refusal(Trouble.NO_SUCH_PATH)
            route, parts = found
            family = route.family
            headers = dict(scope["headers"])
            username = self._authenticate(route, headers)
            body = await _whole_body(receive)
            if self._switches.latency and family is not Family.AGENT:
                await asyncio.sleep(self._switches.latency)
            roles = self._keys.roles(username)
            request = Request(parts, headers, scope["query_string"], body, username, receive, roles)
            return await route.handler(request)
        except Refusal as refusal:
            return refusal_reply(refusal, family, self._switches.missing_status)

    def _authenticate(self, route: Route, headers: Mapping[bytes, bytes]) -> str:
        if route.family is Family.AGENT:
            return ""  # by its cluster's token, which the handler knows
        key = headers.get(route.family.key_header, b"").decode("latin-1")
        username = self._keys.username(key) if key else None
        if username is None:
            raise Refusal(Trouble.UNAUTHENTICATED)
        if route.writes and key != self._keys.full:
            raise Refusal(Trouble.FORBIDDEN)
        return username

    def _find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]] | None:
        for route in self._routes:
            parts = route.match(method, path)
            if parts is not None:
                return route, parts
        return None

    def _control(self, method: str, path: str, body: bytes) -> Reply:
        try:
            if path == SWITCHES_PATH:
                if method != "GET":
                    changed = {**self._switches.model_dump(), **json.loads(body)}
                    self._switches = Behaviour.model_validate(changed)
                return reply(self._switches.model_dump())
            if path == USERS_PATH:
                if method != "GET":
                    self._store.add_user(str(json.loads(body)["email"]))
                return reply([row["username"] for row in self._store.all("SELECT username FROM users")])
            if path == SIGN_INS_PATH and method != "GET":
                return reply(self._offers.integrate(body))
            if path.startswith(CLUSTERS_PATH) and method != "GET":
                self.clusters.fail(path.removeprefix(CLUSTERS_PATH), body)
                return reply({})
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            return reply({"detail": str(error)}, 422)
        except Refusal as refusal:
            return refusal_reply(refusal, Family.V1, 404)
        return refusal_reply(Refusal(Trouble.NO_SUCH_PATH), Family.V1, 404)


async def _whole_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
