"""The directory as an ASGI application: authentication, unique names, and its first people."""

import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from typing import Any

from scim2_models import Attribute, ScimProvider, UnauthorizedException, Uniqueness
from scim2_server.applications.asgi import ASGIApplication
from scim2_server.memory import AsyncInMemoryStorage
from scim2_server.requests import ScimRequest
from scim2_server.testserver.application import BEARER_TOKEN_SCHEME
from scim2_server.utils import (
    load_default_resource_types,
    load_default_schemas,
    load_default_service_provider_config,
)

from embedded.asgi_server import Endpoint, StandIn, listening_socket
from embedded.directory.storage import SqliteStorage, model_of
from embedded.faults import FaultInjector
from embedded.standin_options import DirectoryOptions

_USER = "urn:ietf:params:scim:schemas:core:2.0:User"
_GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"

_RESOURCE_PATH = re.compile(r"(?:/v2)?/(Users|Groups)(/[^/]+)?/?")
_OPERATIONS = {
    ("GET", "Users", False): "user.find",
    ("GET", "Users", True): "user.find",
    ("POST", "Groups", False): "group.create",
    ("GET", "Groups", False): "group.find",
    ("GET", "Groups", True): "group.get",
    ("PATCH", "Groups", True): "group.patch",
    ("DELETE", "Groups", True): "group.delete",
}


@contextmanager
def open_directory(options: DirectoryOptions) -> Iterator[StandIn]:
    """Open the directory's data, and seed its people."""
    served = provider(unique_groups=not options.allow_duplicate_groups)
    with (
        listening_socket(options.port) as sock,
        closing(SqliteStorage(options.database, served)) as storage,
    ):
        seed(storage, served, options.people)
        app = FaultInjector(Directory(storage, served, options.token), operation_of)
        yield StandIn([Endpoint(app, sock)])


def operation_of(method: str, path: str) -> str | None:
    """Return the operation of a call, by which faults find it; None for calls that Moorage does not make."""
    match = _RESOURCE_PATH.fullmatch(path)
    return _OPERATIONS.get((method, match[1], match[2] is not None)) if match else None


@cache
def provider(*, unique_groups: bool) -> ScimProvider:
    """Return what the directory serves: people and groups of RFC 7643, without passwords.

    With `unique_groups` displayName is unique among groups, case-insensitively, as in most products. The RFC
    allows several groups of one name.
    """
    schemas = load_default_schemas()
    # There is no sign-in, so passwords are dropped.
    schemas[_USER].attributes = [each for each in _attributes(schemas[_USER]) if each.name != "password"]
    for attribute in _attributes(schemas[_GROUP]):
        if attribute.name == "displayName":
            attribute.uniqueness = Uniqueness.server if unique_groups else Uniqueness.none
    config = load_default_service_provider_config()
    config.authentication_schemes = [BEARER_TOKEN_SCHEME]
    return ScimProvider.from_discovery(
        schemas.values(), load_default_resource_types().values(), config=config
    )


def _attributes(schema: Any) -> list[Attribute]:
    return list(schema.attributes)


class Directory(ASGIApplication):
    """Serves callers with the token; others read only what SCIM makes public."""

    def __init__(self, storage: SqliteStorage, provider: ScimProvider, token: str) -> None:
        super().__init__(AsyncInMemoryStorage(storage), provider)
        self._expected = f"Bearer {token}".encode()

    # Not `async`: the library does not await it, and an `async` one would let every call in.
    def check_auth(self, request: ScimRequest) -> None:
        """Refuse a request without the token."""
        given = (request.header("Authorization") or "").encode()
        if not secrets.compare_digest(given, self._expected):
            raise UnauthorizedException


def seed(storage: SqliteStorage, provider: ScimProvider, people: Iterable[str]) -> None:
    """Create a person for each of these addresses that has none."""
    kind = next(kind for kind in provider.resource_types if kind.name == "User")
    model = model_of(kind, provider)
    existing = {
        str(vars(user)["user_name"]).casefold() for user in storage.resources if isinstance(user, model)
    }
    for email in people:
        if email.casefold() in existing:
            continue
        given_name = email.partition("@")[0].capitalize()
        person = {
            "schemas": [_USER],
            "userName": email,
            "displayName": given_name,
            "name": {"givenName": given_name, "familyName": "Example"},
            "active": True,
            "emails": [{"value": email, "type": "work", "primary": True}],
        }
        storage.create(kind, model.model_validate(person))
