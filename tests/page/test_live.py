"""The live updates of an environment's page: what is sent, and when a stream ends."""

import json
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from contracts.environment.models import Phase
from starter.auth.policy import Principal
from starter.environments.schemas import EnvironmentView
from starter.page.environment_parts import SharedParts, version_of
from starter.page.environment_sections import SharedSections
from starter.page.routes import live
from starter.page.temporal_links import TemporalLinks
from starter.statistics.usual_times import UsualTimes
from tests.page.samples import a_session, a_view

BOB = Principal(person="Bob", email="bob@example.com", teams=("blue",))
MAKING, READY = a_view(phase=Phase.PROVISIONING), a_view()
GONE = a_view(phase=Phase.GONE, ended=True)


class Stream:
    """One stream of Bob, over these views; `is_valid` says of each whether his session still counts then."""

    def __init__(self, *views: EnvironmentView | None, is_valid: tuple[bool, ...] = ()) -> None:
        self._views, self._is_valid = views, iter(is_valid)

    async def follow(self, *_: object) -> AsyncGenerator[EnvironmentView | None, None]:
        for view in self._views:
            yield view

    async def events(self, version: str) -> list[tuple[str, str]]:
        """The names of the events, with their data."""
        state = SimpleNamespace(
            shared_parts=SharedParts(),
            shared_sections=SharedSections(TemporalLinks(None, "moorage")),
            sessions=SimpleNamespace(is_valid=lambda _: next(self._is_valid, True)),
            statistics=SimpleNamespace(usual_times=lambda *_: UsualTimes()),
        )
        found = []
        stream = live._events(
            cast(Any, SimpleNamespace(view=self._views[0])),
            a_session(principal=BOB),
            cast(Any, state),
            cast(Any, self),
            version,
            "https://moorage.test",
        )
        async for event in stream:
            fields = dict(line.split(": ", 1) for line in event.decode().splitlines() if ": " in line)
            if "event" in fields:
                found.append((fields["event"], fields.get("data", "")))
        return found


async def names(stream: Stream, version: str) -> list[str]:
    return [name for name, _ in await stream.events(version)]


async def test_sections_come_only_where_the_page_has_others() -> None:
    stream = Stream(MAKING, a_view(phase=Phase.PROVISIONING, remark="It waits."), READY, GONE)
    events = await stream.events(version_of(MAKING))
    assert [name for name, _ in events] == ["parts", "parts", "parts", "sections", "parts", "sections", "end"]
    assert json.loads(events[3][1])["version"] == version_of(READY)
    assert await names(Stream(READY), "of an older page") == ["parts", "sections"]


@pytest.mark.parametrize(
    "stream",
    [
        Stream(MAKING, READY, GONE, is_valid=(True, False)),
        Stream(MAKING, None, GONE, is_valid=(True, False)),
        Stream(MAKING, a_view(owner="carol@example.com", team="green"), GONE),
    ],
    ids=["session is over", "session is over while nothing changes", "access was taken"],
)
async def test_a_stream_ends_without_a_word_when_its_person_may_see_no_more(stream: Stream) -> None:
    """Ensures that the browser connects again, and then gets the reason."""
    assert await names(stream, version_of(MAKING)) == ["parts"]
