"""Requests of attackers to the page: what they may not get, change or slow down."""

import asyncio
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI

from starter.api.routes.environments import PREVIEWS_BURST
from starter.auth.policy import Principal, Role
from starter.config_files import reloading
from starter.environments.schemas import Done, DoneKind, EnvironmentView
from starter.page.environment_sections import MAX_AUDIENCES, SharedSections
from starter.page.response_headers import HEADERS
from starter.page.session.cookies import SESSION_COOKIE
from starter.page.session.session import Session
from starter.page.temporal_links import TemporalLinks
from tests.api.application import DEVELOPER, PLATFORM, bearer
from tests.page.browser import (
    SILENT,
    browser,
    browser_of,
    csrf_of,
    entry_of,
    fresh_session,
    page_app,
    pages_of,
    put_session,
    sessions_of,
    write_issuers,
)
from tests.page.samples import a_view

ADA = Principal(person="Ada", email="ada@example.com", teams=("blue",), role=Role.PLATFORM)


@pytest.fixture
async def app(tmp_path: Path) -> FastAPI:
    """The application with an issuer that does not answer."""
    return await page_app(tmp_path, SILENT)


@pytest.fixture
async def http(app: FastAPI) -> Any:
    """The browser of Ada, whose session needs no renewal for now."""
    async with browser_of(app, ADA) as signed:
        yield signed


def session(app: FastAPI, **changes: Any) -> Session:
    """A session of Ada, for a quarter of an hour."""
    return fresh_session(app, **{"principal": ADA, **changes})


async def _fail() -> None:
    raise RuntimeError("a mistake")


async def test_every_answer_of_the_page_has_the_headers(app: FastAPI, http: httpx.AsyncClient) -> None:
    """Ensures it also for faults, which the framework answers outside of all middleware."""
    pages_of(app).add_api_route("/fails", _fail)
    for path, status in (("/who", 200), ("/fails", 500), ("/nothing", 404), ("/sign-in", 303)):
        answer = await http.get(path)
        assert answer.status_code == status
        assert "default-src 'none'" in answer.headers["content-security-policy"], path
        assert answer.headers["cache-control"] == "no-store", path
        assert HEADERS.items() <= {name.title(): value for name, value in answer.headers.items()}.items()


async def test_no_script_gets_into_the_description_of_the_api(http: httpx.AsyncClient) -> None:
    """Ensures it because that page is at the same origin, where the session is."""
    answer = await http.get("/docs")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    scripts = next(each for each in policy.split("; ") if each.startswith("script-src"))
    assert "unsafe" not in scripts
    assert len(re.findall("'sha256-[^']+'", scripts)) == answer.text.count("<script>") == 1
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "referer", ["http://[", "https://[::1", "//[", "http://a]b", "https://moorage.test//evil.test/x", "\x01"]
)
async def test_a_referer_that_is_no_address_leads_home(
    app: FastAPI, http: httpx.AsyncClient, referer: str
) -> None:
    headers = {"Referer": referer, "Sec-Fetch-Mode": "navigate"}
    answer = await http.post("/change", data={"what": "it"}, headers=headers)
    assert answer.status_code == 403
    assert 'href="/"' in answer.text
    async with browser(app) as unknown:
        answer = await unknown.post("/change", headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?unsent=1")


@pytest.mark.parametrize("host", ["evil.test", "[", "a b", "moorage.test@evil.test"])
async def test_no_answer_repeats_the_host_of_a_request(http: httpx.AsyncClient, host: str) -> None:
    for path in ("/who/", "/platform/", "/environments/demo/", "/nothing"):
        answer = await http.get(path, headers={"Host": host})
        assert "location" not in answer.headers
        assert host not in answer.text


async def test_a_token_of_the_api_opens_no_page(app: FastAPI) -> None:
    async with browser(app) as unknown:
        for token in (DEVELOPER, PLATFORM):
            for path in ("/who", "/platform", "/platform/audit/export"):
                answer = await unknown.get(path, headers=bearer(token))
                assert answer.headers["location"].startswith("/sign-in")
            assert (await unknown.post("/change", headers=bearer(token))).status_code == 303


async def test_a_session_opens_no_api(http: httpx.AsyncClient) -> None:
    for path in ("/api/v1/environments", "/api/v1/../v1/environments", "/api/v1//environments"):
        answer = await http.get(path)
        assert answer.status_code == 401, path


@pytest.mark.parametrize("refresh_token", ["", "r"], ids=["cannot be renewed", "its issuer does not answer"])
async def test_a_role_that_was_taken_away_counts_no_more(
    app: FastAPI,
    http: httpx.AsyncClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refresh_token: str,
) -> None:
    """Ensures that a change of the file of issuers counts also for sessions that nothing can renew now."""
    monkeypatch.setattr(reloading, "LOOK_EVERY_SECONDS", 0.0)
    put_session(http, app, session(app, refresh_token=refresh_token))
    assert (await http.get("/who")).status_code == 200
    write_issuers(tmp_path, {**entry_of(SILENT), "platform_groups": []})
    assert (await http.get("/who")).status_code == (503 if refresh_token else 303)


async def test_one_can_sign_out_while_the_session_cannot_be_renewed(
    app: FastAPI, http: httpx.AsyncClient
) -> None:
    csrf = await csrf_of(http)
    assert (await http.get("/who")).status_code == 200
    kept = session(app, renew_at=0.0, valid_until=time.time() - 1)
    put_session(http, app, kept)
    assert (await http.get("/who")).status_code == 503
    assert (await http.post("/sign-out", data={"csrf": csrf})).status_code == 403
    token = sessions_of(app).csrf.of(kept.root)
    assert (await http.post("/sign-out", data={"csrf": token})).headers["location"] == "/signed-out"
    assert SESSION_COOKIE not in http.cookies
    put_session(http, app, kept)
    assert (await http.get("/who")).status_code == 303


@pytest.mark.usefixtures("stopped_throttles")
async def test_checks_of_a_form_are_limited_per_person(app: FastAPI, http: httpx.AsyncClient) -> None:
    """Ensures it together with the dry runs of the API: each asks the directory, a worker and Temporal."""
    asked = list[str]()

    async def preview(requested: Any, *_: object) -> Done:
        asked.append(requested.name)
        return Done(kind=DoneKind.DRY_RUN, message="It would be made.", name=requested.name)

    app.state.preview = SimpleNamespace(preview=preview)
    form = {"csrf": await csrf_of(http), "name": "demo"}
    with structlog.testing.capture_logs() as captured:
        answers = [await http.post("/new/small/check", data=form) for _ in range(PREVIEWS_BURST + 2)]
    # They change nothing, so they do not fill the security log either.
    assert [line for line in captured if line["event"] == "access"] == []
    assert {each.status_code for each in answers[:PREVIEWS_BURST]} == {200}
    assert answers[-1].status_code == 429
    assert answers[-1].headers["retry-after"]
    assert len(asked) <= PREVIEWS_BURST + 1
    body = {"name": "demo", "template": "small"}
    address = "/api/v1/environments?dry_run=true"
    for _ in range(PREVIEWS_BURST + 2):
        answer = await http.post(address, json=body, headers=bearer(PLATFORM))
    assert answer.status_code == 429
    # Others are not limited.
    assert (await http.post(address, json=body, headers=bearer(DEVELOPER))).status_code == 200


async def test_an_issuer_is_asked_once_by_all_who_sign_in_at_the_same_time(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, calls = sessions_of(app).client, list[str]()
    started, gate = asyncio.Event(), asyncio.Event()
    call = client._call

    async def held(*arguments: Any) -> Any:
        calls.append(arguments[2])
        started.set()
        await gate.wait()
        return await call(*arguments)

    monkeypatch.setattr(client, "_call", held)
    async with browser(app) as unknown:
        asked = [asyncio.create_task(unknown.get("/sign-in")) for _ in range(20)]
        await started.wait()
        # All of them reach the discovery before it goes on.
        for _ in range(200):
            await asyncio.sleep(0)
        asked[0].cancel()
        gate.set()
        answers = await asyncio.gather(*asked[1:])
    assert {each.status_code for each in answers} == {503}
    assert len(calls) == 1


async def test_the_commands_of_a_page_have_the_address_of_the_installation(
    tmp_path: Path,
) -> None:
    """Ensures that people do not sign in at a host, or without TLS, because a proxy has asked so."""
    app = await page_app(tmp_path, SILENT, MOORAGE_API__PUBLIC_URL="https://moorage.test")

    async def read(*_: object) -> EnvironmentView:
        return a_view(owner=ADA.email)

    async def cached_state() -> None:
        return None

    app.state.details = SimpleNamespace(read=read)
    app.state.freeze = SimpleNamespace(cached_state=cached_state)
    async with browser(app, "https://moorage.test") as http:
        put_session(http, app, session(app))
        answer = await http.get("/environments/demo", headers={"Host": "inside.test:8080"})
    assert "moorage login https://moorage.test<" in answer.text
    assert "inside.test" not in answer.text


def test_a_client_that_names_many_hosts_fills_no_memory() -> None:
    sections, shown = SharedSections(TemporalLinks(None, "moorage")), a_view(owner=ADA.email)
    for number in range(3 * MAX_AUDIENCES):
        message = sections.message(shown, ADA, f"http://host-{number}")
        assert f"http://host-{number}<" in message
    assert len(sections._kept.of(shown)) <= MAX_AUDIENCES
