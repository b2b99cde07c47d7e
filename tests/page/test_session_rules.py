"""What a session takes from an issuer and what not, with answers that no real issuer would give."""

import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from starter.auth.authentication import Authentication, IssuerUnavailable, TokenRefused
from starter.auth.oidc.issuers import Issuer
from starter.auth.oidc.verifier import TokenVerifier, VerifiedToken
from starter.auth.policy import Principal
from starter.config_files.reloading import Reloaded
from starter.page.session.attempt import AttemptRefused, new_attempt
from starter.page.session.csrf import CsrfTokens
from starter.page.session.issuer_client import Endpoints, GrantRefused, IssuerClient, TokenAnswer
from starter.page.session.sealing import Sealer
from starter.page.session.session import Session
from starter.page.session.sessions import PageSessions, SessionEnded, SignInRefused
from tests.page.samples import ADA, ISSUER, KEYS, a_session
from tests.starter.oidc.issuer import FakeIssuer, running_issuer

JWT = "header.claims.signature"
EVE = Principal(person="Eve", email="eve@example.com", teams=("payments",))


class Scripted:
    """An issuer's client and the authentication, which answer as a test says."""

    def __init__(self) -> None:
        self.tokens = TokenAnswer(token_type="Bearer", access_token=JWT, refresh_token="r2", id_token=JWT)
        self.principal, self.issuer = ADA, ISSUER.url
        self.refusal: Exception | None = None
        self.nonce, self.revoked, self.remembered = "", list[str](), list[str]()

    async def endpoints(self, _: Issuer) -> Endpoints:
        url = ISSUER.url
        return Endpoints(issuer=url, authorization_endpoint=f"{url}/a", token_endpoint=f"{url}/t")

    async def grant(self, _: Issuer, __: Any) -> TokenAnswer:
        return self.tokens

    async def revoke(self, _: Issuer, token: str) -> bool:
        self.revoked.append(token)
        return True

    async def verify_signed(self, _: str) -> VerifiedToken:
        if self.refusal:
            raise self.refusal
        return VerifiedToken(self.principal, self.issuer, time.time() + 360, time.time() + 60)

    async def id_claims(self, _: str, __: Issuer) -> dict[str, Any]:
        return {"nonce": self.nonce}

    def remember_teams(self, principal: Principal) -> None:
        self.remembered.append(principal.email)

    def sessions(self) -> PageSessions:
        issuers = cast(Reloaded[tuple[Issuer, ...]], SimpleNamespace(current=lambda: (ISSUER,)))
        return PageSessions(
            cast(Authentication, self), issuers, Sealer(KEYS, "i"), CsrfTokens(KEYS), cast(IssuerClient, self)
        )

    async def start(self, **answer: str) -> Session:
        attempt = new_attempt(ISSUER, "https://moorage.test/signed-in", "/", time.time())
        self.nonce = self.nonce or attempt.nonce
        return await self.sessions().start(attempt, {"code": "c", **answer})


def due(**changes: Any) -> Session:
    now = time.time()
    times = {"started_at": now, "seen_at": now, "renew_at": now, "valid_until": now + 60}
    return a_session(refresh_token="r1", **{**times, **changes})


async def test_what_the_issuer_gives_becomes_a_session() -> None:
    scripted = Scripted()
    session = await scripted.start()
    assert (session.principal, session.refresh_token, session.id_token) == (ADA, "r2", JWT)
    # A minute before the token's end, which the API moves by the leeway of clocks.
    assert 235 < session.renew_at - time.time() <= 240
    assert 355 < session.valid_until - time.time() <= 360


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"nonce": "another"}, AttemptRefused, "of another sign-in"),
        ({"issuer": "https://other.example.com"}, SignInRefused, "from another issuer"),
        ({"refusal": TokenRefused("you are in no group")}, SignInRefused, "you are in no group"),
    ],
    ids=["nonce", "issuer", "groups"],
)
async def test_a_sign_in_that_is_refused_leaves_no_sign_in_at_the_issuer(
    changes: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    scripted = Scripted()
    vars(scripted).update(changes)
    with pytest.raises(error, match=sentence):
        await scripted.start()
    assert scripted.revoked == (["r2"] if error is SignInRefused else [])


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        ({"access_token": "opaque"}, "not a signed one"),
        ({"id_token": ""}, "although the scope openid asks for it"),
    ],
)
async def test_tokens_of_another_kind_are_refused(tokens: dict[str, str], sentence: str) -> None:
    scripted = Scripted()
    scripted.tokens = scripted.tokens.model_copy(update=tokens)
    with pytest.raises(SignInRefused, match=sentence):
        await scripted.start()


async def test_a_renewal_keeps_the_person_and_takes_new_teams() -> None:
    scripted, session = Scripted(), due()
    scripted.principal = ADA.model_copy(update={"teams": ("search",)})
    sessions = scripted.sessions()
    renewed = await sessions.current(session, is_activity=True)
    assert (renewed.principal.teams, renewed.refresh_token) == (("search",), "r2")
    assert (renewed.root, renewed.started_at, renewed.seen_at) == (
        session.root,
        session.started_at,
        session.seen_at,
    )
    assert scripted.remembered == ["ada@example.com"]


async def test_a_renewal_for_another_person_ends_the_session() -> None:
    scripted, session = Scripted(), due()
    scripted.principal, sessions = EVE, scripted.sessions()
    for _ in range(2):
        with pytest.raises(SessionEnded):
            await sessions.current(session, is_activity=True)


async def test_an_issuer_that_does_not_rotate_refresh_tokens_keeps_the_session() -> None:
    scripted = Scripted()
    scripted.tokens = scripted.tokens.model_copy(update={"refresh_token": "", "id_token": ""})
    renewed = await scripted.sessions().current(due(id_token="i1"), is_activity=True)
    assert (renewed.refresh_token, renewed.id_token) == ("r1", "i1")


async def test_a_token_that_is_over_at_once_is_not_renewed_with_each_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripted = Scripted()

    async def short(_: str) -> VerifiedToken:
        return VerifiedToken(ADA, ISSUER.url, time.time() + 1, 0.0)

    monkeypatch.setattr(scripted, "verify_signed", short)
    renewed = await scripted.sessions().current(due(), is_activity=True)
    assert renewed.renew_at > time.time() + 3


@pytest.fixture
async def issuer() -> AsyncIterator[FakeIssuer]:
    async with running_issuer() as running:
        running.discovery = {
            "authorization_endpoint": f"{running.url}/authorize",
            "token_endpoint": f"{running.url}/token",
        }
        yield running


def entry(issuer: FakeIssuer) -> Issuer:
    return Issuer(url=issuer.url, audience="moorage-api", client_id="moorage", team_prefix="team-")


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://other.example.com"},
        {"token_endpoint": "http://sso.example.com/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"end_session_endpoint": "http://sso.example.com/logout"},
        {"revocation_endpoint": "ftp://sso.example.com"},
        {"token_endpoint": None},
    ],
    ids=str,
)
async def test_a_discovery_document_that_is_not_safe_is_not_used(
    issuer: FakeIssuer, discovery: dict[str, Any]
) -> None:
    issuer.discovery |= discovery
    client = IssuerClient()
    with pytest.raises(IssuerUnavailable):
        await client.endpoints(entry(issuer))
    await client.close()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, b'{"error": "invalid_grant"}', GrantRefused),
        (401, b'{"error": "invalid_client"}', GrantRefused),
        (400, b'{"error": "temporarily_unavailable"}', IssuerUnavailable),
        (400, b'{"error": "<script>"}', IssuerUnavailable),
        (400, b"<html>", IssuerUnavailable),
        (503, b'{"error": "invalid_grant"}', IssuerUnavailable),
        (200, b"{}", IssuerUnavailable),
        (200, b'{"access_token": "a", "token_type": "DPoP"}', IssuerUnavailable),
        (200, b"[" * 100_000, IssuerUnavailable),
        (200, b" " * 300_000, IssuerUnavailable),
        (302, b"", IssuerUnavailable),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_only_a_refusal_of_the_issuer_ends_a_session(
    issuer: FakeIssuer, status: int, body: bytes, error: type[Exception]
) -> None:
    client = IssuerClient()
    await client.endpoints(entry(issuer))
    issuer.status, issuer.key_set = status, body
    with pytest.raises(error):
        await client.grant(entry(issuer), {"grant_type": "refresh_token"})
    await client.close()


async def test_a_discovery_document_is_kept_while_the_issuer_does_not_answer(issuer: FakeIssuer) -> None:
    now = [0.0]
    client = IssuerClient(clock=lambda: now[0])
    known = await client.endpoints(entry(issuer))
    asked = len(issuer.requests)
    assert await client.endpoints(entry(issuer)) == known
    assert len(issuer.requests) == asked
    issuer.status, now[0] = 500, 3600.0
    for _ in range(3):
        assert await client.endpoints(entry(issuer)) == known
    assert len(issuer.requests) == asked + 1
    await client.close()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "another service"),
        ({"aud": "another-client"}, "another service"),
        ({"aud": "moorage", "exp": 1}, "has expired"),
        ({"aud": "moorage", "iss": "https://other.example.com"}, "does not accept"),
    ],
    ids=str,
)
async def test_an_id_token_is_for_the_client_of_this_issuer(
    issuer: FakeIssuer, changes: dict[str, Any], sentence: str
) -> None:
    verifier = TokenVerifier([entry(issuer), ISSUER])
    assert (await verifier.id_claims(issuer.token(aud="moorage", nonce="n"), entry(issuer)))["nonce"] == "n"
    with pytest.raises(TokenRefused, match=sentence):
        await verifier.id_claims(issuer.token(**changes), entry(issuer))
    with pytest.raises(TokenRefused, match="from another issuer"):
        await verifier.id_claims(issuer.token(aud="moorage"), ISSUER)
    with pytest.raises(TokenRefused, match="longer than"):
        await verifier.id_claims("x" * 20_000, entry(issuer))
