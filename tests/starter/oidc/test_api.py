"""Callers with tokens of an OpenID Connect issuer, at the API."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI

from clients.safe_yaml import write_yaml
from starter.auth.oidc.issuers import load_issuers
from starter.auth.rate_limit import WRONG_TOKENS_BURST
from starter.config_files import reloading
from starter.config_files.yaml_source import FilesUnusable
from tests.api.application import DEVELOPER, an_app, an_app_with, bearer
from tests.api.caller import fields_of, problem
from tests.starter.oidc.issuer import FakeIssuer, running_issuer
from tests.starter.oidc.test_verifier import FORGERIES


@pytest.fixture
async def issuer() -> AsyncIterator[FakeIssuer]:
    async with running_issuer() as running:
        yield running


@pytest.fixture
async def app(tmp_path: Path, issuer: FakeIssuer) -> FastAPI:
    file = tmp_path / "issuers.yaml"
    entry = {"url": issuer.url, "audience": "moorage-api", "team_prefix": "team-"}
    file.write_text(write_yaml({"issuers": [entry]}))
    return await an_app(tmp_path, MOORAGE_API__ISSUERS_FILE=str(file))


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("203.0.113.7", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://api/api/v1") as http:
        yield http


async def test_a_token_of_an_issuer_and_one_of_the_file_both_sign_in(
    http: httpx.AsyncClient, issuer: FakeIssuer
) -> None:
    for token in (issuer.token(), DEVELOPER):
        assert (await http.get("/templates", headers=bearer(token))).status_code == 200


HOUR = 3600
ATTACKS: dict[str, Callable[[FakeIssuer], str]] = {
    **FORGERIES,
    "expired": lambda issuer: issuer.token(exp=int(issuer.now()) - HOUR),
    "without an end": lambda issuer: issuer.token(exp=None),
    "not yet valid": lambda issuer: issuer.token(nbf=int(issuer.now()) + HOUR),
    "for another audience": lambda issuer: issuer.token(aud="another"),
    "of another issuer": lambda issuer: issuer.token(iss="https://evil.example"),
    "with an unknown key id": lambda issuer: issuer.token(kid="invented"),
    "with an address that is not verified": lambda issuer: issuer.token(email_verified=False),
    "of a person in no team": lambda issuer: issuer.token(groups=["all"]),
    "none of any issuer": lambda issuer: "guessed",
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_each_attack_is_401_with_one_sentence_one_line_in_the_security_log_and_no_stack_trace(
    http: httpx.AsyncClient, issuer: FakeIssuer, attack: str
) -> None:
    token = ATTACKS[attack](issuer)
    with structlog.testing.capture_logs() as captured:
        answer = await http.get("/templates", headers=bearer(token))
    detail = problem(answer, 401)["detail"]
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert detail.startswith(("the token", "alice@example.com", "the address"))
    assert "\n" not in detail
    if attack == "for another audience":
        assert detail == "the token is for another service: its audience is not moorage-api"
    assert [line["event"] for line in captured] == ["access"], "there is more in the logs than one line"
    assert [(line["verdict"], line["reason"]) for line in captured] == [("not_signed_in", detail)]
    assert "Traceback" not in f"{captured}{answer.text}"
    assert "exc_info" not in captured[0]
    assert token not in f"{captured}{answer.text}"


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"is_hanging": True},
        {"key_set": b"{" + b" " * 10_000_000 + b"}"},
        {"key_set": b"[" * 100_000},
        {"discovery": {"issuer": "https://another.example"}},
    ],
    ids=["failing", "hanging", "10 MB of keys", "nested deeply", "of another issuer"],
)
@pytest.mark.usefixtures("stopped_throttles")
async def test_an_issuer_that_does_not_answer_is_503_with_when_to_try_again(
    http: httpx.AsyncClient, issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    """Ensures that no one is limited or locked out for it, and that the lines in the security log are few."""
    monkeypatch.setattr("starter.auth.oidc.keys.FETCH_TIMEOUT", timedelta(seconds=0.5))
    for name, value in fault.items():
        setattr(issuer, name, value)
    token = issuer.token()
    with structlog.testing.capture_logs() as captured:
        answers = [await http.get("/templates", headers=bearer(token)) for _ in range(WRONG_TOKENS_BURST * 2)]
    details = {problem(answer, 503)["detail"] for answer in answers}
    assert details == {
        "the token cannot be verified, because its issuer does not answer: try again in a minute"
    }
    assert all(answer.headers["Retry-After"] for answer in answers)
    accesses = [line for line in captured if line["event"] == "access"]
    assert WRONG_TOKENS_BURST <= len(accesses) < len(answers)
    assert {(line["verdict"], line["reason"], line["status"]) for line in accesses} == {
        ("failed", *details, 503)
    }
    assert "Traceback" not in str(captured)
    assert issuer.url not in f"{accesses}{answers[0].text}"
    assert token not in str(captured)
    assert (await http.get("/templates", headers=bearer(DEVELOPER))).status_code == 200


class Accounts:
    """A directory with these accounts."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def find_user(self, email: str) -> object | None:
        return email if email in self.addresses else None


@pytest.mark.parametrize("has_account", [True, False])
async def test_a_robot_asks_for_an_environment_if_the_directory_has_its_account(
    tmp_path: Path, issuer: FakeIssuer, has_account: bool
) -> None:
    """Ensures that without an account the refusal is one sentence at the owner, before anything starts."""
    robot = "ci-shop@example.com"
    claims: dict[str, Any] = {"repository": "acme/shop", "ref": "refs/heads/main"}
    file = tmp_path / "issuers.yaml"
    rule = {"claims": claims, "email": robot, "teams": ["blue"]}
    file.write_text(
        write_yaml({"issuers": [{"url": issuer.url, "audience": "moorage-api", "robots": [rule]}]})
    )
    accounts = Accounts("alice@example.com", *([robot] if has_account else []))
    app = await an_app_with(accounts, tmp_path, MOORAGE_API__ISSUERS_FILE=str(file))
    headers = bearer(issuer.token(email=None, **claims))
    body = {"name": "nightly", "template": "small"}
    transport = httpx.ASGITransport(app, client=("203.0.113.7", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://api/api/v1") as http:
        checked = await http.post("/requests/check", json={"environments": [body]}, headers=headers)
        if has_account:
            assert checked.status_code == 200, checked.text
            return
        refusal = f"the directory does not know {robot}: correct the address, or ask the platform team"
        assert fields_of(problem(checked, 422))["environments.0.owner"].startswith(refusal)
        asked = await http.post("/environments", json=body, headers=headers)
        assert fields_of(problem(asked, 422))["owner"].startswith(refusal)


async def test_a_changed_file_of_issuers_is_used_and_a_broken_one_is_counted(
    app: FastAPI, http: httpx.AsyncClient, issuer: FakeIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "LOOK_EVERY_SECONDS", 0.0)
    headers, file = bearer(issuer.token()), tmp_path / "issuers.yaml"
    assert (await http.get("/templates", headers=headers)).status_code == 200
    file.write_text("oops")
    assert (await http.get("/templates", headers=headers)).status_code == 200
    assert app.state.metrics.registry.get_sample_value("moorage_issuers_files_unusable") == 1
    file.write_text(write_yaml({"issuers": []}))
    assert (await http.get("/templates", headers=headers)).status_code == 401
    assert app.state.metrics.registry.get_sample_value("moorage_issuers_files_unusable") == 0


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"url": "http://sso.example.com", "audience": "x", "teams": {"a": "b"}}, "https://"),
        ({"url": "https://sso.example.com", "audience": "x"}, "lets no one in"),
        ({"url": "https://sso.example.com", "teams": {"a": "b"}}, "audience"),
        ({"url": "https://sso.example.com", "audience": "x", "team_prefix": "t", "audence": "y"}, "audence"),
        (
            {"url": "https://sso.example.com", "audience": "x", "robots": [{"claims": {}, "email": "a@b.c"}]},
            "claims",
        ),
    ],
    ids=str,
)
def test_a_wrong_file_of_issuers_is_refused_with_the_field(
    tmp_path: Path, entry: dict[str, object], expected: str
) -> None:
    file = tmp_path / "issuers.yaml"
    file.write_text(write_yaml({"issuers": [entry]}))
    with pytest.raises(FilesUnusable) as refusal:
        load_issuers(file)
    assert expected in " ".join(map(str, refusal.value.problems))


def test_a_file_of_issuers_that_others_may_write_or_that_has_one_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "issuers.yaml"
    entry = {"url": "https://sso.example.com", "audience": "x", "team_prefix": "t"}
    file.write_text(write_yaml({"issuers": [entry, entry]}))
    file.chmod(0o664)
    with pytest.raises(FilesUnusable) as refusal:
        load_issuers(file)
    text = " ".join(map(str, refusal.value.problems))
    assert "others may write it" in text
    assert "the same issuer is further up" in text
