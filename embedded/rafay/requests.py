"""One call as its handler sees it, and the table of paths by which it gets there."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import parse_qs

from pydantic import BaseModel, ValidationError

from embedded.faults import Receive
from embedded.rafay.error_responses import Family, Refusal, Reply, Trouble

_Body = TypeVar("_Body", bound=BaseModel)


@dataclass(frozen=True)
class Request:
    """A call whose path is known and whose caller, except for an agent, is authenticated."""

    parts: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    query_string: bytes
    body: bytes
    username: str
    receive: Receive
    roles: tuple[str, ...] = ()

    def query(self, name: str, default: str = "") -> str:
        """The value of a query parameter."""
        return parse_qs(self.query_string.decode("latin-1")).get(name, [default])[0]

    def number(self, name: str, default: int) -> int:
        """The value of a query parameter that is a number, and not below 0."""
        value = self.query(name, str(default))
        if not value.isdecimal():
            raise Refusal(Trouble.INVALID, f"{name} must be a number")
        return int(value)

    def read(self, shape: type[_Body]) -> _Body:
        """The JSON body as `shape`, or a refusal that says what is wrong with it."""
        try:
            return shape.model_validate(json.loads(self.body))
        except ValidationError as error:
            first = error.errors()[0]
            raise Refusal(Trouble.INVALID, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        except ValueError as error:
            raise Refusal(Trouble.INVALID, "the body is not JSON") from error

    async def disconnected(self) -> None:
        """Return when the caller is gone."""
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                return


Handler = Callable[[Request], Awaitable[Reply]]


class Route:
    """One method and path pattern: the name of its operation, its handler, and what its caller must be."""

    def __init__(self, method: str, pattern: str, operation: str, handler: Handler, family: Family) -> None:
        self.method = method
        self.operation = operation
        self.handler = handler
        self.family = family
        self.writes = method not in ("GET", "HEAD")
        self._pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern))

    def match(self, method: str, path: str) -> Mapping[str, str] | None:
        """The variable parts of the path if this is its route."""
        if method != self.method:
            return None
        found = self._pattern.fullmatch(path)
        return found.groupdict() if found else None
