"""Ensures that no unknown caller's body is read, that guessing is slowed down, and that both are logged."""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import structlog
from fastapi import FastAPI

from contracts.phases import Phase
from starter.api import events
from starter.api.events import MAX_STREAMS_PER_PERSON
from starter.api.health import ready
from starter.api.problem_details import ApiProblem
from starter.auth.tokens import write_tokens
from starter.catalogue.loader import STARTER_TEMPLATES
from starter.config_files import reloading
from starter.environments.access import EnvironmentAccess
from starter.environments.reader import EnvironmentSnapshot
from starter.environments.schemas import EnvironmentView
from tests.api.application import DEV, DEVELOPER, OPS, PLATFORM, an_app, bearer
from tests.api.caller import problem


@pytest.fixture
async def app(tmp_path: Path) -> FastAPI:
    return await an_app(tmp_path)


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("203.0.113.7", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://api/api/v1") as http:
        yield http


def lines(captured: list[Any]) -> list[tuple[str, str, str, str]]:
    return [
        (line["actor"], line["verb"], line["object"], line["verdict"])
        for line in captured
        if line["event"] == "access"
    ]


async def test_a_body_of_an_unknown_caller_is_not_read(app: FastAPI) -> None:
    """Ensures it for every path and method below the API's root, and that the open ones stay open."""

    async def receive() -> Any:
        raise AssertionError("it is read")

    async def status(method: str, path: str) -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"60000")],
            "client": ("203.0.113.9", 5), "server": ("api", 80), "scheme": "http", "http_version": "1.1",
            "root_path": "",
        }  # fmt: skip
        await app(scope, receive, send)
        return int(sent[0]["status"])

    for method, path in (("POST", "/environments"), ("PUT", "/freeze"), ("POST", "/sweeps"), ("PUT", "/no")):
        assert await status(method, f"/api/v1{path}") == 401
    for path in ("/healthz", "/docs", "/api/v1/openapi.json"):
        assert await status("GET", path) == 200


@pytest.mark.usefixtures("stopped_throttles")
async def test_wrong_tokens_are_slowed_down_and_logged(http: httpx.AsyncClient) -> None:
    """Ensures that 300 leave some lines, never the token, and that right ones are answered still."""
    with structlog.testing.capture_logs() as captured:
        answers = [await http.get("/templates", headers=bearer(f"guess-{n}")) for n in range(300)]
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {401, 429}
    assert codes[0] == 401
    assert codes[-1] == 429
    assert int(problem(answers[-1], 429)["status"]) == 429
    assert int(answers[-1].headers["Retry-After"]) > 0
    logged = lines(captured)
    assert 0 < len(logged) <= 2 * codes.count(401)
    assert {verdict for *_, verdict in logged} == {"not_signed_in", "limited"}
    assert all(line["peer"] == "203.0.113.7" for line in captured)
    assert "guess" not in str(captured)
    assert (await http.get("/templates", headers=bearer(DEVELOPER))).status_code == 200


async def test_changes_and_denials_are_logged(http: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs() as captured:
        assert (await http.get("/templates", headers=bearer(DEVELOPER))).status_code == 200
        body = {"name": "demo", "template": "none"}
        problem(await http.post("/environments", json=body, headers=bearer(DEVELOPER)), 422)
        problem(await http.put("/freeze", json={"reason": "x"}, headers=bearer(DEVELOPER)), 403)
        # There is no Temporal behind it.
        assert (await http.delete("/environments/demo", headers=bearer(PLATFORM))).status_code >= 500
    assert lines(captured) == [
        ("dev@example.com", "request_environment", "demo", "refused"),
        ("dev@example.com", "freeze", "", "denied"),
        ("ops@example.com", "delete_environment", "demo", "failed"),
    ]


@pytest.mark.usefixtures("stopped_throttles")
async def test_who_asks_for_what_is_not_theirs_is_slowed_down(http: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs() as captured:
        codes = [(await http.delete("/freeze", headers=bearer(DEVELOPER))).status_code for _ in range(100)]
        answer = await http.delete("/freeze", headers=bearer(DEVELOPER))
    assert set(codes) == {403, 429}
    assert problem(answer, 429)["detail"].startswith("too many requests that you may not make")
    assert (await http.get("/templates", headers=bearer(DEVELOPER))).status_code == 200
    assert ("dev@example.com", "thaw", "", "limited") in lines(captured)


class Followed:
    """Watches whose environment changes when the test says so."""

    def __init__(self) -> None:
        self.views: asyncio.Queue[EnvironmentView | None] = asyncio.Queue()

    async def follow(self, _: EnvironmentSnapshot, __: float) -> AsyncGenerator[EnvironmentView | None, None]:
        while True:
            yield await self.views.get()


VIEW = EnvironmentView(
    name="demo", life="1", owner=OPS.email, team="blue", template="small", host="one", collaborators=(),
    phase=Phase.READY, requested_at=datetime(2030, 1, 1, tzinfo=UTC), steps=(),
)  # fmt: skip
STANDING = EnvironmentSnapshot(
    name="demo", run_id="r", first_run_id="r", history_length=1, ended=False, request_id="q",
    owner=OPS.email, team="blue", collaborators=(), status=None, view=VIEW,
)  # fmt: skip


@pytest.mark.parametrize(
    "left",
    [[], [(DEVELOPER, DEV.model_copy(update={"teams": ("green",)}))], [("another", DEV)]],
    ids=["taken out", "in another team", "another token"],
)
async def test_a_stream_ends_with_its_token(
    app: FastAPI, tmp_path: Path, left: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that a stream tells nothing more, and ends without `end`, once its token is not good."""
    monkeypatch.setattr(reloading, "LOOK_EVERY_SECONDS", 0)
    watches = cast(Any, Followed())
    stream = events.follow_events(STANDING, DEVELOPER, watches, app.state.authentication)
    assert (await anext(stream)).startswith(b"retry:")
    await watches.views.put(VIEW)
    assert (await anext(stream)).startswith(b"event: status")
    write_tokens(tmp_path / "tokens.yaml", [*left, (PLATFORM, OPS)])
    await watches.views.put(None)
    await watches.views.put(VIEW)
    assert [part async for part in stream] == []


class Reader:
    """A reader that knows one environment."""

    async def read(self, _: str) -> EnvironmentSnapshot:
        return STANDING


async def test_one_person_s_streams_arecounted(app: FastAPI, http: httpx.AsyncClient) -> None:
    app.state.access = EnvironmentAccess(cast(Any, Reader()))
    app.state.streams[DEV.email] = MAX_STREAMS_PER_PERSON
    problem(await http.get("/environments/demo/events", headers=bearer(DEVELOPER)), 429)
    app.state.streams[DEV.email] = 0


async def test_streams_that_start_at_the_same_time_are_counted_one_by_one() -> None:
    """Ensures that no burst passes the limit, and that each stream is given back, also one that is cut."""
    streams, cut = Counter[str](), asyncio.Event()

    async def silent() -> AsyncIterator[bytes]:
        yield b"retry: 1"
        await asyncio.Event().wait()

    async def receive() -> Any:
        await cut.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        await asyncio.sleep(0)

    async def open_one() -> bool:
        try:
            await events.PersonStream(silent(), streams, DEV.email)({"type": "http"}, receive, send)
        except ApiProblem:
            return False
        return True

    burst = [asyncio.create_task(open_one()) for _ in range(MAX_STREAMS_PER_PERSON + 20)]
    await asyncio.wait(burst, return_when=asyncio.FIRST_COMPLETED)
    assert streams[DEV.email] == MAX_STREAMS_PER_PERSON
    cut.set()
    assert sum(await asyncio.gather(*burst)) == MAX_STREAMS_PER_PERSON
    assert not streams


async def test_events_are_not_to_be_changed_on_their_way(app: FastAPI) -> None:
    """Ensures that a proxy which compresses leaves the stream alone."""
    request = cast(Any, type("Request", (), {"state": type("State", (), {"token": DEVELOPER})}))
    state = app.state
    access = EnvironmentAccess(cast(Any, Reader()))
    answer = await events.follow_environment(
        "demo", request, access, state.watcher, state.tokens, state.streams, state.health, DEV
    )
    assert answer.headers["Cache-Control"] == "no-store, no-transform"


class Answering:
    """A Temporal that is well, with nothing that needs attention."""

    async def describe_namespace(self, *_: Any, **__: Any) -> None:
        """Nothing."""

    async def warnings(self) -> list[str]:
        """None."""
        return []


async def test_a_broken_template_takes_no_api_out_of_service(tmp_path: Path, monkeypatch: Any) -> None:
    """Ensures that the last good one is offered, and that the list says what is wrong to who can mend it."""
    monkeypatch.setattr(reloading, "LOOK_EVERY_SECONDS", 0)
    folder = tmp_path / "templates"
    shutil.copytree(STARTER_TEMPLATES, folder)
    app = await an_app(tmp_path, MOORAGE_TEMPLATES=str(folder))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api/api/v1") as http:
        (folder / "small.yaml").write_text("versoin: 1\n")
        remarks = {}
        for token in (DEVELOPER, PLATFORM):
            answer = (await http.get("/templates", headers=bearer(token))).json()
            assert "small" in [one["name"] for one in answer["templates"]]
            remarks[token] = answer["remark"]
        assert "the last good one is in force" in remarks[DEVELOPER]
        assert "versoin" not in remarks[DEVELOPER]
        assert "small.yaml:1:1: versoin: there is no such field" in remarks[PLATFORM]
        state = app.state
        monkeypatch.setattr(type(state.client), "workflow_service", Answering())
        health = await ready(state.client, cast(Any, Answering()), state.catalogue, state.tokens, None)
        assert "the last good one is in force" in (health.remark or "")
