"""Live progress as server-sent events: the whole status whenever it changes, until the life is over."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from starter.access import Verb
from starter.api.parts import Asking, Parts, TheParts
from starter.reading import Standing

#: Proxies close what is silent for a minute; a comment now and then keeps it open.
KEEP_ALIVE_SECONDS = 15.0
#: How long a client waits before it connects anew, in milliseconds.
RECONNECT_MILLISECONDS = 2000

router = APIRouter(tags=["environments"])


@router.get(
    "/environments/{name}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "events: status …, then end"}},
)
async def follow_environment(name: str, parts: TheParts, principal: Asking) -> StreamingResponse:
    """Follow it: an event `status` with the environment at every change, and `end` with its last state.

    A stream that stops without `end` was cut: connect anew.
    """
    standing = await parts.environment(name, principal, Verb.WATCH)
    return StreamingResponse(
        _events(parts, standing),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(parts: Parts, standing: Standing) -> AsyncIterator[str]:
    yield f"retry: {RECONNECT_MILLISECONDS}\n\n"
    async with aclosing(parts.watches.follow(standing, KEEP_ALIVE_SECONDS)) as views:
        async for view in views:
            if view is None:
                yield ": still here\n\n"
            else:
                event = "end" if view.ended else "status"
                # In ASCII: many who read lines take U+2028 and its like for the end of one.
                yield f"event: {event}\ndata: {view.model_dump_json(ensure_ascii=True)}\n\n"
