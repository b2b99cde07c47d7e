"""Sign-in of browsers: the real flow with the embedded OpenID provider, and what can go wrong in it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import structlog
from fastapi import FastAPI

from starter.page.session.cookies import ATTEMPT_COOKIE, SESSION_COOKIE
from tests.api.application import DEVELOPER, bearer
from tests.page.browser import (
    SIGNED_IN,
    browser,
    csrf_of,
    fields_of,
    page_app,
    session_in,
    sign_in,
    signed_in,
    to_issuer,
    way_back,
)
from tests.support.sign_in import Clock, Provider, running_provider


@pytest.fixture(scope="module")
async def provider(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Provider]:
    folder = tmp_path_factory.mktemp("provider")
    async with running_provider(folder, Clock(), redirect_uris=(SIGNED_IN,)) as running:
        yield running


@pytest.fixture
async def app(tmp_path: Path, provider: Provider) -> FastAPI:
    return await page_app(tmp_path, provider.url)


def lines(captured: list[Any]) -> list[tuple[object, ...]]:
    return [(line["actor"], line["verb"], line["verdict"]) for line in captured if line["event"] == "access"]


async def test_a_person_who_opens_a_page_signs_in_and_is_back_there(app: FastAPI, provider: Provider) -> None:
    async with browser(app) as http:
        answer = await http.get("/who?a=1&b=2")
        assert (answer.status_code, answer.headers["location"]) == (
            303,
            "/sign-in?next=/who%3Fa%3D1%26b%3D2",
        )
        with structlog.testing.capture_logs() as captured:
            back = await sign_in(http, provider, path=answer.headers["location"])
        assert (back.status_code, back.headers["location"]) == (303, "/who?a=1&b=2")
        assert (await http.get("/who")).text == "alice@example.com"
        assert lines(captured) == [("alice@example.com", "signed_in", "allowed")]
        [cookie] = [each for each in back.headers.get_list("set-cookie") if SESSION_COOKIE + "=" in each]
        assert cookie.endswith("; Path=/; Secure; HttpOnly; SameSite=Lax")
        assert not any(name.startswith(ATTEMPT_COOKIE) for name in http.cookies)


async def test_the_issuer_is_asked_with_state_nonce_and_challenge(app: FastAPI, provider: Provider) -> None:
    async with browser(app) as http:
        asked = fields_of(await to_issuer(http))
    assert (asked["client_id"], asked["redirect_uri"], asked["response_type"]) == (
        "moorage",
        SIGNED_IN,
        "code",
    )
    assert asked["code_challenge_method"] == "S256"
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43


async def test_a_cookie_is_no_token_and_a_token_is_no_session(app: FastAPI, provider: Provider) -> None:
    tokens = await provider.sign_in("alice")
    async with signed_in(app, provider) as http:
        assert (await http.get("/api/v1/templates")).status_code == 401
        assert (await http.get("/api/v1/templates", headers=bearer(DEVELOPER))).status_code == 200
    async with browser(app) as http:
        for token in (DEVELOPER, tokens["access_token"]):
            assert (await http.get("/who", headers=bearer(token))).status_code == 303
            refused = await http.get("/who", headers={**bearer(token), "Accept": "application/json"})
            assert refused.status_code == 404


async def test_a_state_that_is_not_of_this_browser_is_refused(app: FastAPI, provider: Provider) -> None:
    async with browser(app) as http, browser(app) as attacker:
        stolen = await way_back(await to_issuer(attacker), provider, "bob")
        with structlog.testing.capture_logs() as captured:
            answer = await http.get(stolen)
        assert answer.status_code == 403
        assert "was started in another browser" in answer.text
        assert lines(captured) == [("", "signed_in", "not_signed_in")]
        assert SESSION_COOKIE not in http.cookies


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"iss": "https://evil.test"}, "from another issuer"),
        ({"iss": ""}, "from another issuer"),
        ({"code": "guessed"}, "does not accept the sign-in (invalid_grant)"),
        ({"code": "", "error": "access_denied"}, "The sign-in was denied."),
        ({"code": "", "error": "<script>alert(1)</script>"}, "refuses the sign-in"),
    ],
    ids=str,
)
async def test_a_wrong_answer_of_the_issuer_is_one_sentence(
    app: FastAPI, provider: Provider, changes: dict[str, str], sentence: str
) -> None:
    async with browser(app) as http:
        answer = fields_of(await way_back(await to_issuer(http), provider))
        changed = {name: value for name, value in {**answer, **changes}.items() if value}
        with structlog.testing.capture_logs() as captured:
            refused = await http.get(f"{SIGNED_IN}?{urlencode(changed)}")
        assert refused.status_code == 403
        assert lines(captured) == [("", "signed_in", "not_signed_in")]
        assert "Traceback" not in f"{captured}{refused.text}"
        assert sentence in refused.text
        assert "alert(1)" not in refused.text
        # It is over: the same answer, even the right one, is good for nothing now.
        again = await http.get(f"{SIGNED_IN}?{urlencode(answer)}")
        assert (again.status_code, SESSION_COOKIE in http.cookies) == (403, False)


async def test_an_answer_with_a_field_twice_is_refused(app: FastAPI, provider: Provider) -> None:
    async with browser(app) as http:
        address = await way_back(await to_issuer(http), provider)
        with structlog.testing.capture_logs() as captured:
            assert (await http.get(f"{address}&state=x")).status_code == 403
        assert lines(captured) == [("", "signed_in", "not_signed_in")]


async def test_a_code_is_good_for_one_session(app: FastAPI, provider: Provider) -> None:
    async with browser(app) as http:
        address = await way_back(await to_issuer(http), provider)
        kept = httpx.Cookies(http.cookies)
        assert (await http.get(address)).status_code == 303
        # With the cookie of the sign-in as it was, another browser gets nothing for the code.
        async with browser(app) as other:
            other.cookies = kept
            with structlog.testing.capture_logs() as captured:
                answer = await other.get(address)
            assert (answer.status_code, "invalid_grant" in answer.text) == (403, True)
            assert lines(captured) == [("", "signed_in", "not_signed_in")]
            assert "invalid_grant" in str(captured)
            assert fields_of(address)["code"] not in str(captured)
        # In this browser the person is signed in: the page that was opened again leads home.
        assert (await http.get(address)).headers["location"] == "/"


async def test_an_id_token_of_another_sign_in_is_refused(app: FastAPI, provider: Provider) -> None:
    async with browser(app) as http:
        other = fields_of(await to_issuer(http))
        address = await to_issuer(http)
        asked = fields_of(address)
        back = await way_back(address.replace(asked["nonce"], other["nonce"]), provider)
        refused = await http.get(back)
    assert "of another sign-in" in refused.text


async def test_two_tabs_that_sign_in_do_not_disturb_each_other(app: FastAPI, provider: Provider) -> None:
    async with browser(app) as http:
        first, second = [await to_issuer(http, f"/sign-in?next=/who?tab={n}") for n in (1, 2)]
        answers = [await http.get(await way_back(each, provider)) for each in (second, first)]
        assert [each.headers["location"] for each in answers] == ["/who?tab=2", "/who?tab=1"]
        assert (await http.get("/who")).status_code == 200


async def test_forms_of_other_tabs_stay_valid_when_the_same_person_signs_in_again(
    app: FastAPI, provider: Provider
) -> None:
    async with browser(app) as http:
        waiting = await to_issuer(http)
        await sign_in(http, provider)
        token, before = await csrf_of(http), session_in(http, app)
        await http.get(await way_back(waiting, provider))
        assert session_in(http, app).id != before.id
        answer = await http.post("/change", data={"csrf": token, "what": "it"})
        assert answer.status_code == 200


async def test_another_person_replaces_the_session(app: FastAPI, provider: Provider) -> None:
    async with browser(app) as http, browser(app) as thief:
        waiting = await to_issuer(http)
        await sign_in(http, provider)
        thief.cookies = httpx.Cookies(http.cookies)
        token = await csrf_of(http)
        await http.get(await way_back(waiting, provider, "bob"))
        assert (await http.get("/who")).text == "bob@example.com"
        assert (await http.post("/change", data={"csrf": token, "what": "it"})).status_code == 403
        assert (await thief.get("/who")).status_code == 303


async def test_sign_ins_that_are_given_up_do_not_fill_the_browser(app: FastAPI) -> None:
    async with browser(app) as http:
        for _ in range(20):
            await to_issuer(http)
        assert len([name for name in http.cookies if name.startswith(ATTEMPT_COOKIE)]) == 6


async def test_a_person_in_no_group_gets_the_reason(app: FastAPI, provider: Provider) -> None:
    async with browser(app) as http:
        answer = await sign_in(http, provider, "carol")
        assert answer.status_code == 403
        assert "carol@example.com is in no group that is a team here" in answer.text
        assert SESSION_COOKIE not in http.cookies


async def test_a_restart_of_the_api_and_a_second_one_keep_people_signed_in(
    app: FastAPI, provider: Provider, tmp_path: Path
) -> None:
    other = await page_app(tmp_path / "other", provider.url)
    async with browser(app) as http, browser(other) as elsewhere:
        # Another API of the installation finishes what the first one has started.
        back = await way_back(await to_issuer(http), provider)
        elsewhere.cookies = http.cookies
        assert (await elsewhere.get(back)).status_code == 303
        http.cookies = elsewhere.cookies
        assert (await http.get("/who")).text == "alice@example.com"
        assert session_in(http, other).principal.teams == ("payments",)


@pytest.mark.usefixtures("stopped_throttles")
async def test_failures_from_one_address_are_limited(app: FastAPI) -> None:
    async with browser(app) as http:
        with structlog.testing.capture_logs() as captured:
            answers = [await http.get("/signed-in?state=x&code=y") for _ in range(70)]
    refused = [each for each in answers if each.status_code == 429]
    assert len(refused) == 10
    assert all(each.headers["retry-after"] for each in refused)
    assert 0 < [verdict for *_, verdict in lines(captured)].count("limited") <= len(refused)


async def test_people_choose_among_several_issuers(tmp_path: Path, provider: Provider) -> None:
    app = await page_app(tmp_path, provider.url, "https://sso.example.com")
    async with browser(app) as http:
        page = await http.get("/sign-in?next=/who")
        assert page.status_code == 200
        assert "sso.example.com" in page.text
        chosen = f"/sign-in?next=/who&issuer={provider.url}"
        assert (await sign_in(http, provider, path=chosen)).headers["location"] == "/who"
        # An issuer that the file does not have is no choice.
        http.cookies.clear()
        assert (await http.get("/sign-in?issuer=https://evil.test")).status_code == 200


async def test_without_an_issuer_the_page_says_how_to_get_in(tmp_path: Path) -> None:
    app = await page_app(tmp_path)
    async with browser(app) as http:
        assert "no sign-in for browsers" in (await http.get("/sign-in")).text


async def test_the_sign_in_is_at_the_public_address(tmp_path: Path, provider: Provider) -> None:
    app = await page_app(tmp_path, provider.url, MOORAGE_API__PUBLIC_URL="https://moorage.test")
    async with browser(app, "http://10.1.2.3:7400") as http:
        answer = await http.get("/sign-in?next=/who")
        assert answer.headers["location"] == "https://moorage.test/sign-in?next=/who&here=1"
    # A proxy that is not trusted hides https://, and all works with the setting.
    async with browser(app, "http://moorage.test") as http:
        assert fields_of(await to_issuer(http))["redirect_uri"] == SIGNED_IN


async def test_a_program_at_an_address_of_the_page_gets_the_address_of_the_api(tmp_path: Path) -> None:
    async with browser(await page_app(tmp_path)) as http:
        answer = await http.get("/typo/api/v1/environments", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "the API is at /api/v1" in answer.json()["detail"]
