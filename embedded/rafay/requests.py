"""What the handlers of the stand-in have in common: their table of calls, and how they read a request."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from embedded.rafay.error_responses import Family, Reason, Refusal

_Body = TypeVar("_Body", bound=BaseModel)


class Call(NamedTuple):
    """One call of the API: its method and path, the operation by which faults find it, and its handler."""

    method: str
    path: str
    operation: str
    handler: Callable[[Request], Awaitable[Response]]
    family: Family


def query(request: Request, name: str) -> str:
    """Return the value of a query parameter, or an empty text."""
    return request.query_params.get(name, "")


def number(request: Request, name: str, default: int) -> int:
    """Return the value of a query parameter that is a number, and not below 0.

    Raises:
        Refusal: it is something else.
    """
    value = query(request, name) or str(default)
    if not value.isdecimal():
        raise Refusal(Reason.INVALID, f"{name} must be a number")
    return int(value)


async def read(request: Request, shape: type[_Body]) -> _Body:
    """Return the JSON body as `shape`.

    Raises:
        Refusal: it is something else; the text names the field.
    """
    try:
        return shape.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "body"
        raise Refusal(Reason.INVALID, f"{field}: {first['msg']}") from error


async def disconnected(request: Request) -> None:
    """Return when the caller has disconnected."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
