"""Rejects request bodies that are larger than any valid request, before they are in memory."""

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The largest useful request names twenty people; anything larger is a mistake or an attack.
MAX_BODY_BYTES = 64 * 1024


class BodyLimit:
    """ASGI middleware that answers 413 to a larger body, also if no length was announced.

    It raises an exception for the application's handlers; FastAPI's own limit answers in plain text and
    bypasses them.
    """

    def __init__(
        self, app: ASGIApp, limit: int = MAX_BODY_BYTES, smaller: Mapping[str, int] | None = None
    ) -> None:
        self._app = app
        self._limit = limit
        self._smaller = smaller or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, and count the bytes of the body that it reads."""
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
                # Count the bytes whatever length was announced, because a chunked body can announce anything
                # and have any length.
                received += len(message.get("body", b""))
                if received <= limit:
                    return message
            raise HTTPException(413, f"the request is too large: at most {limit // 1024} KiB")

        await self._app(scope, counted, send)
