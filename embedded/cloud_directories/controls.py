"""What tests and people set on the stand-ins for Okta and Entra ID, at paths under `/-/`."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from embedded.cloud_directory_behaviour import BEHAVIOUR_PATH, DirectoryBehaviour

#: Lets what is eventually consistent show every change now.
SETTLE_PATH = "/-/settle"
#: Ends all access tokens now.
EXPIRE_PATH = "/-/expire-tokens"
#: Creates people, or changes them: a JSON list.
PEOPLE_PATH = "/-/people"
#: Creates a group of any type: a JSON object.
GROUPS_PATH = "/-/groups"

B = TypeVar("B", bound=DirectoryBehaviour)


class CurrentBehaviour(Generic[B]):
    """The behaviour, which changes while the stand-in runs."""

    def __init__(self, behaviour: B) -> None:
        self.now = behaviour

    def change(self, changes: dict[str, Any]) -> None:
        """Change some of its fields; raise ValidationError for one that is not valid."""
        self.now = type(self.now).model_validate({**self.now.model_dump(), **changes})

    def takes_throttled_call(self) -> bool:
        """Return whether this call is one that is answered with 429; each answer uses one up."""
        left = self.now.throttled_calls
        if left:
            self.now = self.now.model_copy(update={"throttled_calls": left - 1})
        return left > 0


def control_routes(
    behaviour: CurrentBehaviour[B],
    *,
    settle: Callable[[], None],
    expire_tokens: Callable[[], None],
    add_people: Callable[[list[Any]], None],
    add_group: Callable[[Any], Any],
) -> list[Route]:
    """Return the routes of the controls."""

    async def serve_behaviour(request: Request) -> Any:
        if request.method != "GET":
            behaviour.change(await request.json())
        return behaviour.now.model_dump()

    async def serve_settle(_: Request) -> Any:
        settle()

    async def serve_expiry(_: Request) -> Any:
        expire_tokens()

    async def serve_people(request: Request) -> Any:
        add_people(await request.json())

    async def serve_groups(request: Request) -> Any:
        return add_group(await request.json())

    return [
        Route(BEHAVIOUR_PATH, _control(serve_behaviour), methods=["GET", "PUT", "POST"]),
        Route(SETTLE_PATH, _control(serve_settle), methods=["POST"]),
        Route(EXPIRE_PATH, _control(serve_expiry), methods=["POST"]),
        Route(PEOPLE_PATH, _control(serve_people), methods=["PUT", "POST"]),
        Route(GROUPS_PATH, _control(serve_groups), methods=["POST"]),
    ]


def _control(handler: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return JSONResponse(await handler(request))
        except (ValidationError, json.JSONDecodeError, ValueError, KeyError, TypeError) as error:
            return JSONResponse({"detail": str(error)}, 422)

    return endpoint
