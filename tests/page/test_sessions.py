"""Sessions of the page with a real issuer: how they are renewed, and how they end."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI

from starter.auth.authentication import IssuerUnavailable
from starter.config_files import reloading
from starter.page.session import sessions as sessions_module
from starter.page.session.cookies import SESSION_COOKIE
from starter.page.session.session import Session
from tests.page.browser import (
    SIGNED_IN,
    SITE,
    browser,
    csrf_of,
    entry_of,
    fields_of,
    page_app,
    put_session,
    session_in,
    sessions_of,
    sign_in,
    signed_in,
    write_issuers,
)
from tests.support.sign_in import Clock, Provider, running_provider


@pytest.fixture(scope="module")
async def provider(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Provider]:
    folder = tmp_path_factory.mktemp("provider")
    async with running_provider(folder, Clock(), redirect_uris=(SIGNED_IN,)) as running:
        yield running


@pytest.fixture(scope="module")
async def shared_app(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> FastAPI:
    return await page_app(tmp_path_factory.mktemp("api"), provider.url)


@pytest.fixture
async def app(shared_app: FastAPI, provider: Provider) -> AsyncIterator[FastAPI]:
    yield shared_app
    sessions_of(shared_app)._renewals._paused.clear()
    async with provider.client() as http:
        await http.delete(f"{provider.url}/-/faults")


@pytest.fixture
async def own_app(tmp_path: Path, provider: Provider) -> FastAPI:
    """An application whose file a test changes, or whose limits it reaches."""
    return await page_app(tmp_path, provider.url)


@pytest.fixture
async def http(app: FastAPI, provider: Provider) -> AsyncIterator[httpx.AsyncClient]:
    async with signed_in(app, provider) as signed:
        yield signed


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def make_due(http: httpx.AsyncClient, app: FastAPI, **changes: Any) -> None:
    """Make the session one that is renewed with the next page."""
    put_session(http, app, session_in(http, app).model_copy(update={"renew_at": 0.0, **changes}))


async def calls_of(provider: Provider, operation: str = "openid.token") -> int:
    async with provider.client() as http:
        return int((await http.get(f"{provider.url}/-/calls")).json().get(operation, 0))


async def break_issuer(provider: Provider, operation: str = "openid.token", **fault: Any) -> None:
    async with provider.client() as http:
        given = {"operation": operation, "kind": "cut_before", **fault}
        (await http.put(f"{provider.url}/-/faults", json=[given])).raise_for_status()


async def ended_at_issuer(provider: Provider, refresh_token: str) -> bool:
    return (await provider.refresh(refresh_token)).status_code == 400


def verdicts(captured: list[Any]) -> list[tuple[str, str, str]]:
    return [
        (line["verb"], line["verdict"], line.get("reason", ""))
        for line in captured
        if line["event"] == "access"
    ]


async def test_a_session_is_renewed_unseen(app: FastAPI, http: httpx.AsyncClient, provider: Provider) -> None:
    before, token = session_in(http, app), await csrf_of(http)
    make_due(http, app)
    answer = await http.get("/who")
    after = session_in(http, app)
    assert (answer.status_code, answer.text) == (200, "alice@example.com")
    assert (after.root, after.started_at) == (before.root, before.started_at)
    assert after.id != before.id
    assert after.refresh_token != before.refresh_token
    # A form that was rendered before is still good.
    assert (await http.post("/change", data={"csrf": token, "what": "it"})).status_code == 200


async def test_tabs_that_race_renew_the_session_once(
    app: FastAPI, http: httpx.AsyncClient, provider: Provider
) -> None:
    make_due(http, app)
    old, calls = session_in(http, app), await calls_of(provider)
    answers = await asyncio.gather(*(http.get("/who") for _ in range(8)))
    assert [each.status_code for each in answers] == [200] * 8
    assert await calls_of(provider) == calls + 1
    new = session_in(http, app)
    # A request with the older cookie, which was on its way.
    put_session(http, app, old)
    assert (await http.get("/who")).status_code == 200
    assert session_in(http, app) == new
    assert await calls_of(provider) == calls + 1


async def test_the_result_of_a_renewal_counts_a_minute_longer_than_the_older_cookie(
    app: FastAPI, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_due(http, app)
    old, renewals = session_in(http, app), sessions_of(app)._renewals
    await http.get("/who")
    new = session_in(http, app)
    # The answer with the new cookie may have been lost, so the result still counts after a minute.
    monkeypatch.setattr(renewals, "_now", lambda: time.time() + 120)
    assert renewals.newest(old) == new
    await http.get("/who")
    monkeypatch.setattr(renewals, "_now", lambda: time.time() + 170)
    assert renewals.newest(old) == new
    monkeypatch.setattr(renewals, "_now", lambda: time.time() + 190)
    assert renewals.newest(old) == old


async def test_a_browser_that_goes_away_does_not_end_the_renewal(
    app: FastAPI, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, is_asked, may_answer = sessions_of(app).client, asyncio.Event(), asyncio.Event()
    grant, calls = client.grant, []

    async def slow(*given: Any) -> Any:
        calls.append(given)
        is_asked.set()
        await may_answer.wait()
        return await grant(*given)

    monkeypatch.setattr(client, "grant", slow)
    make_due(http, app)
    old = session_in(http, app)
    first = asyncio.create_task(http.get("/who"))
    await is_asked.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    may_answer.set()
    assert (await http.get("/who")).status_code == 200
    assert session_in(http, app).id != old.id
    assert len(calls) == 1


async def test_a_removed_person_is_out_at_the_next_renewal(
    app: FastAPI, http: httpx.AsyncClient, provider: Provider
) -> None:
    await provider.post("revocation", token=session_in(http, app).refresh_token)
    make_due(http, app)
    kept = httpx.Cookies(http.cookies)
    with structlog.testing.capture_logs() as captured:
        answer = await http.get("/who")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/who")
    assert SESSION_COOKIE not in http.cookies
    reason = "the issuer does not renew it (invalid_grant)"
    assert verdicts(captured) == [("GET /who", "not_signed_in", reason)]
    # Not with the cookie as it was either, and without another call of the issuer.
    calls, http.cookies = await calls_of(provider), kept
    assert (await http.get("/who")).status_code == 303
    assert await calls_of(provider) == calls


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "cut_before"},
        {"kind": "status", "status": 503},
        {"kind": "html"},
        {"kind": "status", "status": 404},
    ],
    ids=str,
)
async def test_who_is_in_stays_in_while_the_issuer_does_not_answer(
    app: FastAPI, http: httpx.AsyncClient, provider: Provider, fault: dict[str, Any]
) -> None:
    await break_issuer(provider, **fault)
    make_due(http, app)
    calls = await calls_of(provider)
    for _ in range(5):
        assert (await http.get("/who")).status_code == 200
    # It is not asked again with each page.
    assert await calls_of(provider) == calls + 1
    # Until the token would be refused: then the page says so, and the cookie is kept.
    make_due(http, app, valid_until=time.time() - 1)
    answer = await http.get("/who")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "its issuer does not answer" in answer.text
    assert SESSION_COOKIE in http.cookies


async def test_a_session_goes_on_when_the_issuer_is_back(
    app: FastAPI, http: httpx.AsyncClient, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await break_issuer(provider, times=1)
    make_due(http, app, valid_until=time.time() - 1)
    assert (await http.get("/who")).status_code == 503
    monkeypatch.setattr(sessions_of(app)._renewals, "_paused", {})
    assert (await http.get("/who")).status_code == 200


async def test_a_page_does_not_wait_for_an_issuer_that_hangs(
    app: FastAPI, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = asyncio.Event()

    async def hang(*_: Any) -> Any:
        await hanging.wait()
        raise IssuerUnavailable("it has hung")

    monkeypatch.setattr(sessions_of(app).client, "grant", hang)
    monkeypatch.setattr(sessions_module, "RENEWAL_TIMEOUT_SECONDS", 0.05)
    make_due(http, app)
    for _ in range(3):
        assert (await http.get("/who")).status_code == 200
    hanging.set()


async def test_a_session_without_a_refresh_token_ends_with_its_token(
    app: FastAPI, http: httpx.AsyncClient
) -> None:
    make_due(http, app, refresh_token="")
    assert (await http.get("/who")).status_code == 200
    make_due(http, app, refresh_token="", valid_until=time.time() - 1)
    assert (await http.get("/who")).status_code == 303


@pytest.mark.parametrize("changes", [{"started_at": -13}, {"seen_at": -9}], ids=str)
async def test_a_session_that_is_too_old_or_idle_has_ended(
    app: FastAPI, http: httpx.AsyncClient, changes: dict[str, float]
) -> None:
    times = {name: time.time() + hours * 3600 for name, hours in changes.items()}
    put_session(http, app, session_in(http, app).model_copy(update=times))
    assert (await http.get("/who")).status_code == 303
    assert SESSION_COOKIE not in http.cookies


async def test_a_page_that_is_only_open_does_not_keep_the_session(
    app: FastAPI, http: httpx.AsyncClient
) -> None:
    seen_at = time.time() - 3600
    put_session(http, app, session_in(http, app).model_copy(update={"seen_at": seen_at}))
    await http.get("/who", headers={"Accept": "text/event-stream"})
    await http.get("/who", headers={"Sec-Fetch-Mode": "cors"})
    assert session_in(http, app).seen_at == seen_at
    await http.get("/who")
    assert session_in(http, app).seen_at > seen_at + 3500


async def test_a_changed_file_of_issuers_counts_at_once(
    own_app: FastAPI,
    provider: Provider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reloading, "LOOK_EVERY_SECONDS", 0.0)
    async with signed_in(own_app, provider) as http:
        entry = entry_of(provider.url)
        write_issuers(tmp_path, {**entry, "teams": {"team-payments": "renamed"}})
        assert (await http.get("/who")).status_code == 200
        assert "renamed" in session_in(http, own_app).principal.teams
        write_issuers(tmp_path, {**entry, "team_prefix": "none-"})
        with structlog.testing.capture_logs() as captured:
            assert (await http.get("/who")).status_code == 303
        assert "in no group that is a team here" in verdicts(captured)[0][2]


async def test_an_issuer_that_is_no_longer_accepted_ends_its_sessions(
    own_app: FastAPI,
    provider: Provider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reloading, "LOOK_EVERY_SECONDS", 0.0)
    async with signed_in(own_app, provider) as http:
        write_issuers(tmp_path)
        assert (await http.get("/who")).status_code == 303
        assert SESSION_COOKIE not in http.cookies


async def test_sign_out_ends_the_session_here_and_at_the_issuer(
    app: FastAPI, http: httpx.AsyncClient, provider: Provider
) -> None:
    session, token, kept = session_in(http, app), await csrf_of(http), httpx.Cookies(http.cookies)
    with structlog.testing.capture_logs() as captured:
        answer = await http.post("/sign-out", data={"csrf": token})
    assert (answer.status_code, answer.headers["location"]) == (303, "/signed-out")
    assert verdicts(captured) == [("sign_out", "allowed", "")]
    assert "You are signed out." in (await http.get("/signed-out")).text
    assert SESSION_COOKIE not in http.cookies
    assert await ended_at_issuer(provider, session.refresh_token)
    # A copy of the cookie is good for nothing.
    http.cookies = kept
    assert (await http.get("/who")).status_code == 303


async def test_sign_out_in_two_tabs_is_no_error(app: FastAPI, http: httpx.AsyncClient) -> None:
    token = await csrf_of(http)
    answers = [await http.post("/sign-out", data={"csrf": token}) for _ in range(2)]
    assert [each.headers["location"] for each in answers] == ["/signed-out"] * 2


async def test_sign_out_needs_the_token_of_the_session(app: FastAPI, http: httpx.AsyncClient) -> None:
    assert (await http.get("/sign-out")).status_code == 405
    assert (await http.post("/sign-out")).status_code == 403
    assert (await http.get("/who")).status_code == 200


async def test_sign_out_works_while_the_issuer_does_not_answer(
    app: FastAPI, http: httpx.AsyncClient, provider: Provider
) -> None:
    await break_issuer(provider, "openid.revoke")
    answer = await http.post("/sign-out", data={"csrf": await csrf_of(http)})
    assert (answer.status_code, SESSION_COOKIE in http.cookies) == (303, False)


async def test_sign_out_goes_on_to_the_issuers_own_page_if_it_has_one(
    app: FastAPI, http: httpx.AsyncClient, provider: Provider
) -> None:
    issuer = sessions_of(app).issuers()[0]
    endpoints = await sessions_of(app).client.endpoints(issuer)
    token, session = await csrf_of(http), session_in(http, app)
    endpoints.end_session_endpoint = f"{provider.url}/logout"
    answer = await http.post("/sign-out", data={"csrf": token})
    assert answer.headers["location"].startswith(f"{provider.url}/logout?")
    assert fields_of(answer.headers["location"]) == {
        "client_id": "moorage",
        "post_logout_redirect_uri": f"{SITE}/signed-out",
        "id_token_hint": session.id_token,
    }
    # Browsers follow it only where the policy of the page with the form names the place.
    policy = (await http.get("/signed-out")).headers["content-security-policy"]
    assert f"form-action 'self' {provider.url};" in policy


async def test_a_sign_out_during_a_renewal_wins(
    app: FastAPI, http: httpx.AsyncClient, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, is_asked, may_answer = sessions_of(app).client, asyncio.Event(), asyncio.Event()
    grant, given = client.grant, []

    async def slow(*arguments: Any) -> Any:
        is_asked.set()
        await may_answer.wait()
        given.append(await grant(*arguments))
        return given[-1]

    token = await csrf_of(http)
    make_due(http, app)
    kept = httpx.Cookies(http.cookies)
    monkeypatch.setattr(client, "grant", slow)
    async with browser(app) as tab:
        tab.cookies = kept
        renewal = asyncio.create_task(tab.get("/who"))
        await is_asked.wait()
        make_due(http, app, renew_at=time.time() + 100)
        is_settling = asyncio.Event()
        settled = sessions_of(app)._renewals.settled

        async def settle(session: Session) -> Session:
            is_settling.set()
            return await settled(session)

        monkeypatch.setattr(sessions_of(app)._renewals, "settled", settle)
        out = asyncio.create_task(http.post("/sign-out", data={"csrf": token}))
        await is_settling.wait()
        may_answer.set()
        assert (await out).status_code == 303
        assert (await renewal).status_code == 303
        assert SESSION_COOKIE not in tab.cookies
    # The token that the renewal got is revoked, and not the one that it has used.
    assert await ended_at_issuer(provider, given[0].refresh_token)


async def test_a_form_of_a_session_that_has_ended_is_not_sent_and_leads_back(
    app: FastAPI, provider: Provider
) -> None:
    async with browser(app) as http:
        given = {"Referer": f"{SITE}/new/small?x=1", "Sec-Fetch-Mode": "navigate"}
        answer = await http.post("/change", data={"what": "it"}, headers=given)
        assert answer.headers["location"] == "/sign-in?next=/new/small%3Fx%3D1&unsent=1"
        page = await http.get(answer.headers["location"])
        assert "Your session has ended, so nothing was done" in page.text
        link = f"/sign-in?next=/new/small%3Fx%3D1&issuer={provider.url}"
        back = await sign_in(http, provider, path=link)
        assert back.headers["location"] == "/new/small?x=1"
        # A page elsewhere is not led back to.
        elsewhere = await http.get("/signed-out")
        assert elsewhere.status_code == 303
    async with browser(app) as http:
        answer = await http.post("/change", headers={"Referer": "https://evil.test/x"})
        assert answer.headers["location"] == "/sign-in?unsent=1"


@pytest.mark.parametrize(
    ("changes", "status", "sentence"),
    [
        ({"data": {"what": "it"}}, 403, "not of your present sign-in"),
        ({"data": {"what": "it", "csrf": "0" * 64}}, 403, "not of your present sign-in"),
        ({"headers": {"Origin": "https://evil.test"}}, 403, "from another site"),
        ({"headers": {"Sec-Fetch-Site": "cross-site"}}, 403, "from another site"),
        ({"data": None, "json": {"what": "it"}}, 415, "not a form"),
        ({"data": None, "content": b"\xff\xfe"}, 415, "not a form"),
        ({"data": None, "content": b"a=\xff", "headers": FORM}, 400, "cannot be read"),
        ({"data": {"what": ["x"] * 300}}, 400, "cannot be read"),
        ({"data": {"what": "x" * 70_000}}, 413, "at most 64 KiB"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
async def test_no_change_reaches_a_route_without_its_token(
    app: FastAPI, http: httpx.AsyncClient, changes: dict[str, Any], status: int, sentence: str
) -> None:
    data = {"what": "it", "csrf": await csrf_of(http)}
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = await http.request(method, "/change", **{"data": data, **changes})
        assert answer.status_code == status
        assert sentence in answer.text
    # The token may be in a header, for scripts.
    given = {"headers": {"X-CSRF-Token": data["csrf"]}, "data": {"what": "it"}}
    assert (await http.post("/change", **given)).status_code == 200  # type: ignore[arg-type]


async def test_the_token_of_another_session_is_refused(app: FastAPI, provider: Provider) -> None:
    async with signed_in(app, provider) as one, signed_in(app, provider) as other:
        token = await csrf_of(other)
        assert (await one.post("/change", data={"csrf": token, "what": "it"})).status_code == 403


@pytest.mark.usefixtures("stopped_throttles")
async def test_guessed_cookies_are_limited_and_one_line_each_in_the_log(own_app: FastAPI) -> None:
    async with browser(own_app) as http:
        with structlog.testing.capture_logs() as captured:
            answers = []
            for number in range(70):
                http.cookies.clear()
                cookie = {"Cookie": f"{SESSION_COOKIE}=guess{number}"}
                answers.append(await http.get("/who", headers=cookie))
        assert [each.status_code for each in answers].count(303) == 60
        assert answers[-1].status_code == 429
        assert len(verdicts(captured)) == 61
        assert "guess1" not in str(captured)
        # The cookie is deleted, so that a person with an old one is not limited.
        assert f"{SESSION_COOKIE}=;" in answers[0].headers["set-cookie"]


@pytest.mark.usefixtures("stopped_throttles")
async def test_a_copy_of_an_ended_session_is_refused_but_does_not_fill_the_log(
    own_app: FastAPI, provider: Provider
) -> None:
    async with signed_in(own_app, provider) as http:
        cookie = {"Cookie": f"{SESSION_COOKIE}={http.cookies[SESSION_COOKIE]}"}
        await http.post("/sign-out", data={"csrf": await csrf_of(http)})
    async with browser(own_app) as copy:
        with structlog.testing.capture_logs() as captured:
            answers = [await copy.get("/who", headers=cookie) for _ in range(70)]
    assert {each.status_code for each in answers} == {303}
    assert len(verdicts(captured)) == 61
    assert captured[0]["actor"] == "alice@example.com"


async def test_scripts_and_streams_without_a_session_get_401(app: FastAPI) -> None:
    async with browser(app) as http:
        for headers in ({"Accept": "text/event-stream"}, {"Sec-Fetch-Mode": "cors"}, {"Accept": "image/*"}):
            assert (await http.get("/who", headers=headers)).status_code == 401
        assert (await http.get("/static/style.css")).status_code == 200
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/api/v1/nothing")).status_code == 401


async def test_no_secret_is_in_a_log_or_an_answer(
    app: FastAPI, http: httpx.AsyncClient, provider: Provider
) -> None:
    session = session_in(http, app)
    secrets = [session.refresh_token, session.id_token, session.root, str(http.cookies[SESSION_COOKIE])]
    with structlog.testing.capture_logs() as captured:
        await break_issuer(provider, kind="status", status=503)
        make_due(http, app)
        texts = [(await http.get("/who")).text]
        await provider.post("revocation", token=session.refresh_token)
        async with provider.client() as at_issuer:
            await at_issuer.delete(f"{provider.url}/-/faults")
        sessions_of(app)._renewals._paused.clear()
        texts.append((await http.get("/who")).text)
    for secret in secrets:
        assert secret not in f"{captured}{texts}"


async def test_the_streams_of_a_session_end_at_different_times_while_it_can_be_renewed(
    app: FastAPI, http: httpx.AsyncClient
) -> None:
    sessions, session = sessions_of(app), session_in(http, app)
    ends = {sessions.for_stream(session).valid_until for _ in range(20)}
    assert len(ends) == 20
    assert all(session.renew_at <= end <= session.valid_until for end in ends)
    kept = session.model_copy(update={"refresh_token": ""})
    assert sessions.for_stream(kept) == kept
    assert sessions.is_valid(session)
    for changes in ({"valid_until": time.time()}, {"seen_at": 0.0}, {"issuer": "x"}, {"issuer_mark": "x"}):
        assert not sessions.is_valid(session.model_copy(update=changes))
