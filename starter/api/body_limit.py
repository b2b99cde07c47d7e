"""Refuses bodies that are larger than any request can be, before they are held in memory."""

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The largest request that makes sense names twenty people; all else is a mistake or an attack.
MAX_BODY_BYTES = 64 * 1024


class BodyLimit:
    """Answers 413 for a larger body, announced or not, in the API's own way.

    FastAPI's own limit answers in plain text, past the handlers of an application.
    """

    def __init__(
        self, app: ASGIApp, limit: int = MAX_BODY_BYTES, smaller: Mapping[str, int] | None = None
    ) -> None:
        self._app = app
        self._limit = limit
        self._smaller = smaller or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, with its body counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._smaller.get(scope["path"], self._limit)
        announced = Headers(scope=scope).get("content-length", "")
        too_large = announced.isdigit() and int(announced) > limit
        received = 0

        async def counted() -> Message:
            nonlocal received
            if not too_large:
                message = await receive()
                # Whatever was announced: a body in chunks may announce anything, and be of any length.
                received += len(message.get("body", b""))
                if received <= limit:
                    return message
            raise HTTPException(413, f"the request is too large: at most {limit // 1024} KiB")

        await self._app(scope, counted, send)
