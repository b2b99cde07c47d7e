"""Live updates of an environment's page, as server-sent events with the parts that change.

All watchers of one environment share one look at Temporal, and one rendering of each change.
"""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.datastructures import State

from contracts.environment.models import Phase
from starter.api.dependencies import AccessDep, CallerDep, HealthDep, StreamsDep, WatcherDep
from starter.api.events import (
    CHECK_SECONDS,
    KEEP_ALIVE_SECONDS,
    RECONNECT_MILLISECONDS,
    PersonStream,
)
from starter.auth.policy import Verb, is_allowed
from starter.environments.access import relations_in
from starter.environments.reader import EnvironmentSnapshot
from starter.environments.watcher import EnvironmentWatcher
from starter.page.environment_parts import SharedParts, version_of
from starter.page.environment_sections import SharedSections
from starter.page.session.addresses import origin_of
from starter.page.session.session import Session
from starter.page.session.sessions import PageSessions
from starter.statistics.service import Statistics

router = APIRouter(prefix="/environments/{name}")


@router.get("/live", response_class=StreamingResponse)
async def live_updates(
    name: str,
    request: Request,
    access: AccessDep,
    watcher: WatcherDep,
    health: HealthDep,
    streams: StreamsDep,
    caller: CallerDep,
    life: Annotated[str | None, Query(max_length=100)] = None,
    version: Annotated[str, Query(max_length=100)] = "",
) -> EventSourceResponse:
    """Send the parts of the page at every change: `parts`, and `end` after the last one.

    Where other things can be done than on the page of this `version`, `sections` comes as well.
    A stream that stops without `end` was cut, and the browser connects again.
    """
    snapshot = await access.find(name, caller, Verb.WATCH, life)
    if snapshot.view.phase is Phase.READY:
        snapshot = await health.add_to(snapshot)
    sessions: PageSessions = request.app.state.sessions
    session = sessions.for_stream(request.state.session)
    base_url = origin_of(request.scope, request.app.state.sign_in_pages.public_url)
    events = _events(snapshot, session, request.app.state, watcher, version, base_url)
    return PersonStream(events, streams, caller.email)


async def _events(
    snapshot: EnvironmentSnapshot,
    session: Session,
    state: State,
    watcher: EnvironmentWatcher,
    version: str,
    base_url: str,
) -> AsyncIterator[bytes]:
    """Yield the events as long as the session lasts and its person may see the environment.

    A session is not renewed here, because its cookie can only be replaced when an answer starts: the stream
    ends, and the browser opens it again.
    """
    parts: SharedParts = state.shared_parts
    sections: SharedSections = state.shared_sections
    sessions: PageSessions = state.sessions
    statistics: Statistics = state.statistics
    usual = statistics.usual_times(snapshot.view.template, snapshot.view.host)
    sent_at, latest = time.monotonic(), snapshot.view
    yield format_sse_event(retry=RECONNECT_MILLISECONDS)
    async with aclosing(watcher.follow(snapshot, CHECK_SECONDS)) as views:
        async for view in views:
            latest = view or latest
            is_allowed_still = is_allowed(Verb.WATCH, relations_in(latest, session.principal))
            if not sessions.is_valid(session) or not is_allowed_still:
                return
            if view is not None:
                yield format_sse_event(event="parts", data_str=parts.message(view, usual))
                if version != (version := version_of(view)):
                    message = sections.message(view, session.principal, base_url)
                    yield format_sse_event(event="sections", data_str=message)
                if view.ended:
                    yield format_sse_event(event="end", data_str="")
            elif time.monotonic() - sent_at >= KEEP_ALIVE_SECONDS:
                yield format_sse_event(comment="keep-alive")
            else:
                continue
            sent_at = time.monotonic()
