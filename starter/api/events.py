"""Live progress as server-sent events: the whole status after each change, until the life has ended."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from contracts.environment import Phase
from starter.api.dependencies import Asking, Parts, TheParts
from starter.api.problem_details import ApiProblem
from starter.auth.policy import Principal, Verb, may, relations
from starter.environments.reader import EnvironmentSnapshot

#: Proxies close a connection that is silent for a minute, so the stream sends a comment at this interval.
KEEP_ALIVE_SECONDS = 15.0
#: Interval at which a silent stream checks its token, so that a person who is removed from the tokens file
#: loses access within seconds.
CHECK_SECONDS = 2.0
#: How long a client waits before it reconnects, in milliseconds.
RECONNECT_MILLISECONDS = 2000
#: Maximum number of streams of one person: enough for all environments of a pipeline, but not all connections
#: of the server.
STREAMS_OF_ONE_PERSON = 100

router = APIRouter(tags=["environments"])


@router.get(
    "/environments/{name}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "events: status …, then end"}},
)
async def follow_environment(
    name: str, request: Request, parts: TheParts, principal: Asking
) -> StreamingResponse:
    """Follow it: an event `status` with the environment at every change, and `end` with its last state.

    A stream that stops without `end` was cut: connect anew.
    """
    standing = await parts.environment(name, principal, Verb.WATCH)
    if parts.streams[principal.email] >= STREAMS_OF_ONE_PERSON:
        detail = f"you follow {STREAMS_OF_ONE_PERSON} environments already: stop one of these first"
        raise ApiProblem(HTTPStatus.TOO_MANY_REQUESTS, "too-often", detail, headers={"Retry-After": "10"})
    if standing.view.phase is Phase.READY:
        # `watch` of a ready environment ends with this first state.
        standing = await parts.healths.add_to(standing)
    return StreamingResponse(
        _events(parts, standing, principal, request.state.token),
        media_type="text/event-stream",
        # Set `no-transform`, because a proxy that compresses would buffer events until it has enough of them.
        headers={"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"},
    )


async def _events(
    parts: Parts, standing: EnvironmentSnapshot, principal: Principal, token: str
) -> AsyncIterator[str]:
    parts.streams[principal.email] += 1
    sent_at = time.monotonic()
    try:
        yield f"retry: {RECONNECT_MILLISECONDS}\n\n"
        async with aclosing(parts.watches.follow(standing, CHECK_SECONDS)) as views:
            async for view in views:
                if not _may_still_watch(parts, standing, token):
                    return
                if view is not None:
                    event = "end" if view.ended else "status"
                    # Send ASCII, because many line readers treat U+2028 and similar characters as line ends.
                    yield f"event: {event}\ndata: {view.model_dump_json(ensure_ascii=True)}\n\n"
                elif time.monotonic() - sent_at >= KEEP_ALIVE_SECONDS:
                    yield ": still here\n\n"
                else:
                    continue
                sent_at = time.monotonic()
    finally:
        parts.streams[principal.email] -= 1
        if not parts.streams[principal.email]:
            del parts.streams[principal.email]


def _may_still_watch(parts: Parts, standing: EnvironmentSnapshot, token: str) -> bool:
    """Return whether the token's owner may still watch; its person or teams may have changed."""
    principal = parts.tokens.current().who(token)
    if principal is None:
        return False
    held = relations(
        principal, owner=standing.owner, team=standing.team, collaborators=standing.collaborators
    )
    return may(Verb.WATCH, held)
