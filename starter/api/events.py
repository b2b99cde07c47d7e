"""Live progress as server-sent events: the whole status after each change, until the life has ended.

`fastapi.sse` encodes the events. Its streaming endpoints are not used: they have answered 200 before a 404 or
429 is known, and need two tasks a watcher.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from contracts.environment.models import Phase
from starter.api.dependencies import (
    AccessDep,
    AuthenticationDep,
    CallerDep,
    HealthDep,
    StreamsDep,
    WatcherDep,
)
from starter.api.problem_details import ApiProblem, ProblemType
from starter.auth.authentication import Authentication, IssuerUnavailable, TokenRefused
from starter.auth.policy import Verb, is_allowed
from starter.environments.access import relations_in
from starter.environments.reader import EnvironmentSnapshot
from starter.environments.schemas import EnvironmentView
from starter.environments.watcher import EnvironmentWatcher

#: Proxies close a connection that is silent for a minute, so the stream sends a comment at this interval.
KEEP_ALIVE_SECONDS = 15.0
#: Interval at which a silent stream checks its token, so that a person who is removed from the tokens file
#: loses access within seconds.
CHECK_SECONDS = 2.0
#: How long a client waits before it reconnects, in milliseconds.
RECONNECT_MILLISECONDS = 2000
#: Enough for all environments of a pipeline, but not all connections of the server.
MAX_STREAMS_PER_PERSON = 100
#: `no-transform`, because a proxy that compresses would buffer events until it has enough of them.
STREAM_HEADERS = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}

router = APIRouter(tags=["environments"])


@router.get(
    "/environments/{name}/events",
    # Not EventSourceResponse: FastAPI would take the route for a separate streaming endpoint.
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "events: status …, then end"}},
)
async def follow_environment(
    name: str,
    request: Request,
    access: AccessDep,
    watcher: WatcherDep,
    authentication: AuthenticationDep,
    streams: StreamsDep,
    health: HealthDep,
    caller: CallerDep,
) -> EventSourceResponse:
    """Follow it: an event `status` with the environment at every change, and `end` with its last state.

    A stream that stops without `end` was cut: connect again.
    """
    snapshot = await access.find(name, caller, Verb.WATCH)
    if snapshot.view.phase is Phase.READY:
        # `watch` of a ready environment ends with this first state.
        snapshot = await health.add_to(snapshot)
    events = follow_events(snapshot, request.state.token, watcher, authentication)
    return PersonStream(events, streams, caller.email)


async def follow_events(
    snapshot: EnvironmentSnapshot, token: str, watcher: EnvironmentWatcher, authentication: Authentication
) -> AsyncIterator[bytes]:
    """Yield the events of the snapshot's life, as long as the token may watch it."""
    sent_at, latest = time.monotonic(), snapshot.view
    yield format_sse_event(retry=RECONNECT_MILLISECONDS)
    async with aclosing(watcher.follow(snapshot, CHECK_SECONDS)) as views:
        async for view in views:
            # People who were taken out of it see no more of it.
            latest = view or latest
            if not await _may_still_watch(authentication, latest, token):
                return
            if view is not None:
                # Send ASCII, because many line readers treat U+2028 and similar characters as line ends.
                data = view.model_dump_json(ensure_ascii=True)
                yield format_sse_event(event="end" if view.ended else "status", data_str=data)
            elif time.monotonic() - sent_at >= KEEP_ALIVE_SECONDS:
                yield format_sse_event(comment="keep-alive")
            else:
                continue
            sent_at = time.monotonic()


class PersonStream(EventSourceResponse):
    """A stream of events that counts as one of the person's until it ends; refused if there are too many.

    It is counted at the moment of the check, so that a hundred more do not pass it at the same time.
    """

    def __init__(self, events: AsyncIterator[bytes], streams: Counter[str], person: str) -> None:
        super().__init__(events, headers=STREAM_HEADERS)
        self._streams, self._person = streams, person

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; raise ApiProblem if the person follows as many environments as one may."""
        streams, person = self._streams, self._person
        if streams[person] >= MAX_STREAMS_PER_PERSON:
            detail = f"you follow {MAX_STREAMS_PER_PERSON} environments already: stop one of these first"
            raise ApiProblem(ProblemType.TOO_MANY_REQUESTS, detail, headers={"Retry-After": "10"})
        streams[person] += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            streams[person] -= 1
            if not streams[person]:
                del streams[person]


async def _may_still_watch(authentication: Authentication, view: EnvironmentView, token: str) -> bool:
    """Return whether the token's owner may still watch; it may have expired, or their teams have changed."""
    try:
        principal = await authentication.principal_of(token)
    except (TokenRefused, IssuerUnavailable):
        return False
    return is_allowed(Verb.WATCH, relations_in(view, principal))
