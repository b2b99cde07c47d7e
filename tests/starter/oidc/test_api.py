"""Callers with tokens of an OpenID Connect issuer, at the API."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import structlog
from fastapi import FastAPI

from clients.safe_yaml import write_yaml
from starter.auth.oidc.issuers import load_issuers
from starter.config_files import reloading
from starter.config_files.yaml_source import FilesUnusable
from tests.api.application import DEVELOPER, an_app, bearer
from tests.api.caller import problem
from tests.starter.oidc.issuer import FakeIssuer, running_issuer


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


async def test_a_refused_token_is_401_with_its_reason_and_one_line_in_the_security_log(
    http: httpx.AsyncClient, issuer: FakeIssuer
) -> None:
    token = issuer.token(aud="another")
    with structlog.testing.capture_logs() as captured:
        answer = await http.get("/templates", headers=bearer(token))
    detail = problem(answer, 401)["detail"]
    assert detail == "the token is for another service: its audience is not moorage-api"
    assert [line["verdict"] for line in captured if line["event"] == "access"] == ["not_signed_in"]
    assert token not in f"{captured}{answer.text}"


async def test_an_issuer_that_does_not_answer_is_503_with_when_to_try_again(
    http: httpx.AsyncClient, issuer: FakeIssuer
) -> None:
    issuer.status = 500
    answer = await http.get("/templates", headers=bearer(issuer.token()))
    assert "its issuer does not answer" in problem(answer, 503)["detail"]
    assert answer.headers["Retry-After"]


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
