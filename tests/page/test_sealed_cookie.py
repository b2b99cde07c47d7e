"""The sealed cookie, the paths that a sign-in leads back to, and the tokens of forms, without a server."""

import zlib

import pytest

from starter.auth.policy import Principal
from starter.page.session import session as sessions
from starter.page.session.addresses import is_own_origin, local_path, origin_of, sign_in_address
from starter.page.session.attempt import AttemptRefused, find_attempt, new_attempt
from starter.page.session.cookies import MAX_COOKIE_LENGTH, SESSION_COOKIE
from starter.page.session.csrf import CsrfTokens, is_from_own_page
from starter.page.session.sealing import BadSeal, Sealer
from starter.page.session.session import Session, SessionTooLarge, open_session, seal_session
from tests.page.samples import ISSUER, KEYS, a_session, incompressible

SEALER = Sealer(KEYS, "k3x9q0vb")


def test_a_sealed_session_is_opened_and_shows_nothing() -> None:
    session = a_session(refresh_token="the-refresh-token", id_token="the-id-token")
    text = seal_session(session, SEALER)
    assert open_session(text, SEALER) == session
    assert seal_session(session, SEALER) != text
    assert "the-refresh-token" not in f"{session!r}{text}"
    assert "the-id-token" not in repr(session)


def _flipped(text: str, at: int) -> str:
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


def test_a_cookie_that_was_changed_in_any_place_is_refused() -> None:
    text = seal_session(a_session(), SEALER)
    for at in range(0, len(text) - 1, 7):
        with pytest.raises(BadSeal):
            open_session(_flipped(text, at), SEALER)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "AAAA",
        "A" * 16,
        "A" * 40,
        "=",
        "===",
        "\x00",
        "é" * 30,
        "{}",
        "null",
        "A" * 5000,
        "a.b.c",
        " ",
    ],
    ids=lambda text: repr(text[:10]),
)
def test_text_that_was_not_sealed_is_refused(text: str) -> None:
    with pytest.raises(BadSeal):
        open_session(text, SEALER)


def test_a_cookie_that_was_cut_is_refused() -> None:
    text = seal_session(a_session(), SEALER)
    for length in range(0, len(text), 5):
        with pytest.raises(BadSeal):
            open_session(text[:length], SEALER)
        with pytest.raises(BadSeal):
            open_session(text[length + 1 :], SEALER)


def test_a_cookie_of_another_key_installation_or_purpose_is_refused() -> None:
    text = seal_session(a_session(), SEALER)
    attempt = new_attempt(ISSUER, "https://moorage.test/signed-in", "/", 1000.0)
    for foreign in (Sealer([b"x" * 32], "k3x9q0vb"), Sealer(KEYS, "another")):
        with pytest.raises(BadSeal):
            open_session(text, foreign)
        with pytest.raises(AttemptRefused):
            find_attempt(attempt.state, {attempt.cookie: attempt.seal(foreign)}, SEALER, 1000.0)
    with pytest.raises(BadSeal):
        open_session(attempt.seal(SEALER), SEALER)


def test_an_older_key_opens_what_it_has_sealed() -> None:
    old, new = b"o" * 32, b"n" * 32
    text = seal_session(a_session(), Sealer([old], "k3x9q0vb"))
    rotated = Sealer([new, old], "k3x9q0vb")
    assert open_session(text, rotated) == a_session()
    with pytest.raises(BadSeal):
        open_session(seal_session(a_session(), rotated), Sealer([old], "k3x9q0vb"))


def test_a_cookie_of_another_version_is_refused() -> None:
    for content in (b"{}", b"no json", zlib.compress(b"{}"), zlib.compress(b"[" * 5000)):
        with pytest.raises(BadSeal):
            open_session(SEALER.seal(sessions._PURPOSE, content), SEALER)


def test_tokens_that_do_not_fit_are_left_out_the_id_token_first() -> None:
    long, other = incompressible(2200), incompressible(2200)
    kept = open_session(seal_session(a_session(refresh_token=long, id_token=other), SEALER), SEALER)
    assert (kept.refresh_token, kept.id_token) == (long, "")
    kept = open_session(seal_session(a_session(refresh_token=long + other, id_token="i"), SEALER), SEALER)
    assert kept == a_session()
    text = seal_session(a_session(refresh_token=long), SEALER)
    assert len(SESSION_COOKIE) + len(text) <= MAX_COOKIE_LENGTH


def test_a_person_whose_teams_do_not_fit_gets_an_error() -> None:
    teams = tuple(incompressible(90) for _ in range(60))
    person = Principal(person="Ada", email="ada@example.com", teams=teams)
    with pytest.raises(SessionTooLarge, match="60 teams do not fit into a cookie"):
        seal_session(a_session(principal=person), SEALER)


@pytest.mark.parametrize(
    ("now", "is_over"),
    [(1000.0, False), (1000 + 8 * 3600 - 1, False), (1000 + 8 * 3600, True), (1e12, True)],
)
def test_a_session_ends_when_no_page_is_opened(now: float, is_over: bool) -> None:
    assert a_session(started_at=1000.0, seen_at=1000.0).is_over(now) is is_over


def test_a_session_ends_after_its_longest_life() -> None:
    session = a_session(started_at=1000.0, seen_at=1000 + 12 * 3600 - 2)
    assert not session.is_over(1000 + 12 * 3600 - 1)
    assert session.is_over(1000 + 12 * 3600)


@pytest.mark.parametrize(
    ("age", "is_open"), [(0, True), (899, True), (900, False), (-59, True), (-61, False)]
)
def test_a_sign_in_under_way_expires(age: float, is_open: bool) -> None:
    attempt = new_attempt(ISSUER, "https://moorage.test/signed-in", "/", 1000.0)
    cookies = {attempt.cookie: attempt.seal(SEALER)}
    if is_open:
        assert find_attempt(attempt.state, cookies, SEALER, 1000.0 + age) == attempt
    else:
        with pytest.raises(AttemptRefused):
            find_attempt(attempt.state, cookies, SEALER, 1000.0 + age)


def test_a_sign_in_is_found_by_its_own_state_only() -> None:
    first, second = (new_attempt(ISSUER, "https://moorage.test/signed-in", "/", 1.0) for _ in range(2))
    mixed = {first.cookie: second.seal(SEALER)}
    for state in (first.state, second.state, ""):
        with pytest.raises(AttemptRefused):
            find_attempt(state, mixed, SEALER, 1.0)
    assert first.verifier not in repr(first)


@pytest.mark.parametrize(
    "path",
    ["/", "/environments/demo", "/new/small?name=x&team=a%20b", "/environments/demo/history", "/@x", "/a//b",
     "/a?next=https%3A%2F%2Fevil.test"],
)  # fmt: skip
def test_a_path_of_the_page_is_led_back_to(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    ["//evil.test", "///evil.test", "/\\evil.test", "\\\\evil.test", "https://evil.test", "https:evil.test",
     "javascript:alert(1)", "data:text/html,x", "/\t/evil.test", "/\n/evil.test", "\t//evil.test", " /x",
     "evil.test", "", None, "/é", "/\u2028", "/x\r\nSet-Cookie: a=b", "/" + "a" * 1000, "?next=/", "#x",
     "/#x", "/x y",
     "/sign-in", "/sign-in?next=/", "/sign-out", "/signed-in?code=x", "/<script>", '/"', "/\x00", "/\x7f"],
    ids=repr,
)  # fmt: skip
def test_any_other_place_is_not_led_to(path: str | None) -> None:
    assert local_path(path) == "/"


def test_the_path_survives_the_address_of_the_sign_in() -> None:
    assert sign_in_address("/") == "/sign-in"
    assert sign_in_address("/a?b=c&d=e", unsent="1") == "/sign-in?next=/a%3Fb%3Dc%26d%3De&unsent=1"


def _scope(scheme: str = "https", **headers: str) -> dict[str, object]:
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "scheme": scheme, "headers": given}


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("moorage.test", "https://moorage.test"),
        ("Moorage.TEST:8443", "https://moorage.test:8443"),
        ("[::1]:7400", "https://[::1]:7400"),
        ("evil.test/x", "https://localhost"),
        ("a@evil.test", "https://localhost"),
        ("a b", "https://localhost"),
        ("", "https://localhost"),
    ],
)
def test_the_origin_is_that_of_the_request_or_of_the_setting(host: str, origin: str) -> None:
    assert origin_of(_scope(host=host), None) == origin
    assert origin_of(_scope(host=host), "https://set.test") == "https://set.test"


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({}, True),
        ({"origin": "https://moorage.test"}, True),
        ({"origin": "https://moorage.test", "sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "none"}, True),
        ({"origin": "null", "sec_fetch_site": "same-origin"}, True),
        ({"origin": "null"}, False),
        ({"origin": "https://evil.test"}, False),
        ({"origin": "https://moorage.test.evil.test"}, False),
        ({"origin": "https://moorage.test:8443"}, False),
        ({"origin": "https://evil.test", "sec_fetch_site": "same-origin"}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site", "origin": "https://moorage.test"}, False),
        ({"sec_fetch_site": "anything"}, False),
    ],
    ids=str,
)
def test_a_change_comes_from_an_own_page(headers: dict[str, str], is_own: bool) -> None:
    for scheme in ("https", "http"):
        assert is_from_own_page(_scope(scheme, host="moorage.test", **headers), None) is is_own
    assert is_from_own_page(_scope(host="10.1.2.3", **headers), "https://moorage.test") is is_own


def test_with_the_setting_the_scheme_counts() -> None:
    scope = _scope(host="moorage.test")
    assert is_own_origin("http://moorage.test", scope, None)
    assert not is_own_origin("http://moorage.test", scope, "https://moorage.test")


def test_the_token_of_forms_is_of_one_session_and_survives_a_change_of_keys() -> None:
    old, both = CsrfTokens([b"o" * 32]), CsrfTokens([b"n" * 32, b"o" * 32])
    token = old.of("root")
    assert both.is_valid(token, "root")
    assert both.is_valid(both.of("root"), "root")
    for wrong in ("", token[:-1], token + "0", old.of("other"), both.of("other"), "é", token.upper()):
        assert not both.is_valid(wrong, "root")
    assert not CsrfTokens([b"n" * 32]).is_valid(token, "root")


def test_a_session_has_no_field_without_a_place_in_the_cookie() -> None:
    session = a_session(refresh_token="r", id_token="i")
    kept = open_session(seal_session(session, SEALER), SEALER)
    assert {name: getattr(kept, name) for name in Session.model_fields} == dict(session)
