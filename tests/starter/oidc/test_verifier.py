"""Which tokens are accepted, and whose they are."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from starter.auth.oidc.claims import TokenRefused
from starter.auth.oidc.issuers import Issuer, Robot
from starter.auth.oidc.keys import MAX_AGE, MIN_INTERVAL, REFRESH_AGE, IssuerKeys, IssuerUnavailable
from starter.auth.oidc.verifier import MAX_TOKEN_LENGTH, TokenVerifier
from starter.auth.policy import Principal, Role
from tests.starter.oidc.issuer import EC, RSA, FakeIssuer, running_issuer
from tests.support.deadline import HANG, NEVER
from tests.support.keys import rsa_jwk

#: The names of tests have it: a moment that is the same in all processes of a test run.
NOW = 1_800_000_000
ROBOT = Robot(
    claims={"repository": "acme/shop", "ref": "refs/heads/main"},
    email="ci-shop@example.com",
    teams=("payments",),
)


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def wall(self) -> float:
        return NOW + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
async def issuer() -> AsyncIterator[FakeIssuer]:
    async with running_issuer() as running:
        running.now = lambda: NOW
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


def settings(issuer: FakeIssuer, **changes: Any) -> Issuer:
    known = {
        "url": issuer.url, "team_prefix": "team-", "platform_groups": ("platform",), "robots": (ROBOT,)
    }  # fmt: skip
    return Issuer(audience="moorage-api", **{**known, **changes})


@pytest.fixture
def verifier(issuer: FakeIssuer, clock: Clock) -> TokenVerifier:
    return connect(issuer, clock)


def connect(issuer: FakeIssuer, clock: Clock, **changes: Any) -> TokenVerifier:
    return TokenVerifier(
        [settings(issuer, **changes)],
        now=clock.wall,
        keys_of=lambda known: IssuerKeys(known, clock=clock.monotonic),
    )


ALICE = Principal(person="Alice Example", email="alice@example.com", teams=("payments",))


@pytest.mark.parametrize(
    ("key", "alg"), [(RSA, "RS256"), (RSA, "PS384"), (EC, "ES256")], ids=["RS256", "PS384", "ES256"]
)
async def test_a_valid_token_is_its_person(
    issuer: FakeIssuer, verifier: TokenVerifier, key: Any, alg: str
) -> None:
    assert await verifier.principal_of(issuer.token(key, alg)) == ALICE


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"email": "ALICE@Example.com"}, {}),
        ({"groups": "team-payments"}, {}),
        ({"aud": ["account", "moorage-api"]}, {}),
        ({"name": None}, {"person": "alice@example.com"}),
        ({"name": "Al\x1bice"}, {"person": "alice@example.com"}),
        ({"groups": ["platform"]}, {"teams": ("platform",), "role": Role.PLATFORM}),
        ({"groups": ["team-b", "team-a", "team-"]}, {"teams": ("a", "b")}),
        ({"exp": NOW - 30}, {}),
        ({"iat": NOW + 30, "nbf": NOW + 30}, {}),
    ],
    ids=str,
)
async def test_claims_give_the_principal(
    issuer: FakeIssuer, verifier: TokenVerifier, changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert await verifier.principal_of(issuer.token(**changes)) == ALICE.model_copy(update=expected)


async def test_teams_are_named_by_a_table(issuer: FakeIssuer, clock: Clock) -> None:
    verifier = connect(issuer, clock, team_prefix=None, teams={"all": "everyone", "other": "x"})
    assert (await verifier.principal_of(issuer.token())).teams == ("everyone",)


async def test_an_issuer_without_a_claim_for_verified_addresses_is_trusted_for_them(
    issuer: FakeIssuer, clock: Clock
) -> None:
    verifier = connect(issuer, clock, verified_claim=None)
    assert await verifier.principal_of(issuer.token(email_verified=None)) == ALICE


async def test_a_robot_is_known_by_all_its_claims(issuer: FakeIssuer, verifier: TokenVerifier) -> None:
    claims: dict[str, Any] = {"email": None, "repository": "acme/shop", "ref": "refs/heads/main"}
    robot = await verifier.principal_of(issuer.token(**claims))
    assert (robot.email, robot.teams, robot.role) == (ROBOT.email, ROBOT.teams, Role.DEVELOPER)
    for name, value in (("ref", "refs/heads/mainx"), ("ref", None), ("repository", "acme/shop-evil")):
        with pytest.raises(TokenRefused):
            await verifier.principal_of(issuer.token(**{**claims, name: value}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": NOW - 3600}, "has expired"),
        ({"exp": None}, "has no end"),
        ({"exp": "soon"}, "claim exp is no time"),
        ({"exp": True}, "claim exp is no time"),
        ({"exp": 1e300}, "claim exp is no time"),
        ({"nbf": NOW + 3600}, "not valid yet"),
        ({"iat": NOW + 3600}, "not valid yet"),
        ({"aud": "another"}, "audience is not moorage-api"),
        ({"aud": None}, "audience is not moorage-api"),
        ({"aud": {"moorage-api": 1}}, "audience is not moorage-api"),
        ({"iss": "https://evil.example"}, "issuer that this installation does not accept"),
        ({"iss": None}, "issuer that this installation does not accept"),
        ({"email": None}, "has no claim email"),
        ({"email": "alice"}, "claim email is no e-mail address"),
        ({"email": "a\n@example.com"}, "claim email is no e-mail address"),
        ({"email_verified": False}, "not verified"),
        ({"email_verified": "true"}, "not verified"),
        ({"email_verified": None}, "not verified"),
        ({"groups": None}, "no group that is a team here"),
        ({"groups": ["all"]}, "no group that is a team here"),
        ({"groups": {"team-payments": 1}}, "no group that is a team here"),
    ],
    ids=str,
)
async def test_a_token_with_a_wrong_claim_is_refused(
    issuer: FakeIssuer, verifier: TokenVerifier, changes: dict[str, Any], reason: str
) -> None:
    token = issuer.token(**changes)
    with pytest.raises(TokenRefused, match=reason) as refusal:
        await verifier.principal_of(token)
    assert token not in str(refusal.value)


def forged(issuer: FakeIssuer, header: dict[str, Any], signature: str = "") -> str:
    parts = (json.dumps(header), json.dumps(issuer.claims()))
    return ".".join(
        [*(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts), signature]
    )


def hmac_with_the_public_key(issuer: FakeIssuer) -> str:
    unsigned = forged(issuer, {"alg": "HS256", "kid": "rsa"}).rstrip(".")
    signature = hmac.digest(RSA.as_pem(private=False), unsigned.encode(), "sha256")
    return f"{unsigned}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


FORGERIES = {
    "none": lambda issuer: forged(issuer, {"alg": "none", "kid": "rsa"}),
    "none with a signature": lambda issuer: forged(issuer, {"alg": "nOnE", "kid": "rsa"}, "AAAA"),
    "HMAC with the public key": hmac_with_the_public_key,
    "another key by the same id": lambda issuer: issuer.token(rsa_jwk("rsa", 2)),
    "an RSA algorithm for an EC key": lambda issuer: issuer.token(RSA, "RS256", kid="ec"),
    "a key in its header": lambda issuer: forged(
        issuer, {"alg": "ES256", "kid": "x", "jwk": ECKey.generate_key("P-256").as_dict(private=False)}, "AA"
    ),
    "no key id": lambda issuer: forged(issuer, {"alg": "RS256"}, "AAAA"),
    "a key id that is a number": lambda issuer: forged(issuer, {"alg": "RS256", "kid": 1}, "AAAA"),
    "changed claims": lambda issuer: ".".join(
        [*forged(issuer, {"alg": "RS256", "kid": "rsa"}).split(".")[:2], issuer.token().split(".")[2]]
    ),
    "a cut signature": lambda issuer: issuer.token()[:-10],
    "no signature": lambda issuer: issuer.token().rpartition(".")[0] + ".",
    "no JSON": lambda issuer: "a.b.c",
    "a list for a header": lambda issuer: f"W10.{issuer.token().split('.')[1]}.AAAA",
    "nested deeply": lambda issuer: f"{base64.urlsafe_b64encode(b'[' * 9000).decode()}.e30.AA",
    "not base64": lambda issuer: "ey~J.ey~J.ey~J",
    "longer than any": lambda issuer: f"{'a' * MAX_TOKEN_LENGTH}.b.c",
}


@pytest.mark.parametrize("kind", FORGERIES)
async def test_a_forged_token_is_refused(issuer: FakeIssuer, verifier: TokenVerifier, kind: str) -> None:
    token = FORGERIES[kind](issuer)
    with pytest.raises(TokenRefused) as refusal:
        await verifier.principal_of(token)
    assert token not in str(refusal.value)


SAME_ID = "same"
KEY_A, KEY_B = (rsa_jwk(SAME_ID, number) for number in (1, 2))


@pytest.mark.parametrize("are_keys_cached", [False, True], ids=["first", "cached"])
async def test_two_issuers_whose_keys_have_the_same_id_are_kept_apart(
    clock: Clock, are_keys_cached: bool
) -> None:
    """Ensures that key, audience, groups and robots of one issuer count for nothing at the other."""
    async with running_issuer() as a, running_issuer() as b:
        a.keys, b.keys = [KEY_A], [KEY_B]
        a.now = b.now = lambda: NOW
        verifier = TokenVerifier(
            [
                settings(a).model_copy(update={"audience": "at-a"}),
                settings(b, platform_groups=(), robots=()).model_copy(update={"audience": "at-b"}),
            ],
            now=clock.wall,
            keys_of=lambda known: IssuerKeys(known, clock=clock.monotonic),
        )

        async def both_accept() -> None:
            assert await verifier.principal_of(a.token(KEY_A, aud="at-a")) == ALICE
            assert await verifier.principal_of(b.token(KEY_B, aud="at-b")) == ALICE

        if are_keys_cached:
            await both_accept()
        robot: dict[str, Any] = {"email": None, "repository": "acme/shop", "ref": "refs/heads/main"}
        for token, reason in (
            (a.token(KEY_A, iss=b.url, aud="at-b"), "signature is not valid"),
            (a.token(KEY_A, iss=b.url, aud="at-a"), "signature is not valid"),
            (b.token(KEY_B, iss=a.url, aud="at-a"), "signature is not valid"),
            (b.token(KEY_B, aud="at-a"), "audience is not at-b"),
            (a.token(KEY_A, aud="at-b"), "audience is not at-a"),
            (b.token(KEY_B, aud="at-b", groups=["platform"]), "no group that is a team here"),
            (b.token(KEY_B, aud="at-b", **robot), "has no claim email"),
        ):
            with pytest.raises(TokenRefused, match=reason):
                await verifier.principal_of(token)
        assert (await verifier.principal_of(a.token(KEY_A, aud="at-a", **robot))).email == ROBOT.email
        await both_accept()
        assert [a.requests.count("/keys"), b.requests.count("/keys")] == [1, 1]


async def test_a_key_that_names_its_algorithm_is_good_for_no_other(
    issuer: FakeIssuer, verifier: TokenVerifier
) -> None:
    issuer.keys = [RSAKey.import_key({**RSA.as_dict(private=True), "alg": "RS512"})]
    with pytest.raises(TokenRefused, match="algorithm"):
        await verifier.principal_of(issuer.token())
    assert await verifier.principal_of(issuer.token(alg="RS512")) == ALICE


async def test_the_issuer_is_asked_once_for_many_tokens(issuer: FakeIssuer, verifier: TokenVerifier) -> None:
    for number in range(20):
        await verifier.principal_of(issuer.token(jti=str(number)))
    assert issuer.requests == ["/.well-known/openid-configuration", "/keys"]


async def test_unknown_keys_are_asked_for_once_a_minute(
    issuer: FakeIssuer, verifier: TokenVerifier, clock: Clock
) -> None:
    await verifier.principal_of(issuer.token())
    for number in range(50):
        with pytest.raises(TokenRefused, match="key that its issuer does not have"):
            await verifier.principal_of(issuer.token(kid=f"invented-{number}"))
    assert issuer.requests.count("/keys") == 1
    clock.ahead += MIN_INTERVAL.total_seconds()
    with pytest.raises(TokenRefused):
        await verifier.principal_of(issuer.token(kid="invented"))
    assert issuer.requests.count("/keys") == 2


async def test_rotated_keys_are_taken_up_and_withdrawn_ones_refused(
    issuer: FakeIssuer, verifier: TokenVerifier, clock: Clock
) -> None:
    token = issuer.token(exp=NOW + 7200)
    await verifier.principal_of(token)
    new = rsa_jwk("new", 2)
    issuer.keys = [new]
    clock.ahead += MIN_INTERVAL.total_seconds()
    assert await verifier.principal_of(issuer.token(new, exp=NOW + 7200)) == ALICE
    clock.ahead += MAX_AGE.total_seconds()
    with pytest.raises(TokenRefused, match="key that its issuer does not have"):
        await verifier.principal_of(token)


async def test_an_issuer_that_fails_keeps_those_in_who_have_a_token(
    issuer: FakeIssuer, verifier: TokenVerifier, clock: Clock
) -> None:
    await verifier.principal_of(issuer.token())
    issuer.status = 503
    clock.ahead += 2 * MAX_AGE.total_seconds()
    assert await verifier.principal_of(issuer.token(exp=NOW + 7200, jti="another")) == ALICE


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"status": 404},
        {"key_set": b"<html>"},
        {"key_set": b'{"keys": []}'},
        {"key_set": b'{"keys": [{"kty": "oct", "k": "AAAA", "kid": "rsa"}]}'},
        {"key_set": b'{"keys": 7}'},
        {"key_set": b"[" * 100_000},
        {"key_set": b'{"keys": [' + b" " * 10_000_000 + b"]}"},
        {"discovery": {"issuer": "https://another.example"}},
        {"discovery": {"jwks_uri": "http://another.example/keys"}},
        {"discovery": {"jwks_uri": "file:///etc/passwd"}},
        {"discovery": {"jwks_uri": None}},
    ],
    ids=lambda fault: str(fault)[:60],
)
async def test_an_issuer_whose_keys_cannot_be_used_is_unavailable(
    issuer: FakeIssuer, verifier: TokenVerifier, fault: dict[str, Any]
) -> None:
    for name, value in fault.items():
        setattr(issuer, name, value)
    with pytest.raises(IssuerUnavailable):
        await verifier.principal_of(issuer.token())


async def test_an_issuer_that_hangs_is_waited_for_once(
    issuer: FakeIssuer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("starter.auth.oidc.keys.FETCH_TIMEOUT", type(MAX_AGE)(seconds=0.5))
    issuer.is_hanging = True
    for _ in range(3):
        with pytest.raises(IssuerUnavailable):
            await verifier.principal_of(issuer.token())
    assert len(issuer.requests) == 1


@pytest.mark.parametrize("age", [REFRESH_AGE, 2 * MAX_AGE], ids=["old keys", "keys too old, after a failure"])
async def test_an_issuer_that_hangs_does_not_hold_up_callers_whose_key_is_cached(
    issuer: FakeIssuer,
    verifier: TokenVerifier,
    clock: Clock,
    age: timedelta,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Longer than this test waits, so that a caller who is held up fails it, however fast the machine is.
    monkeypatch.setattr("starter.auth.oidc.keys.FETCH_TIMEOUT", timedelta(seconds=NEVER))
    await verifier.principal_of(issuer.token())
    clock.ahead += MIN_INTERVAL.total_seconds()
    if age > MAX_AGE:
        issuer.status = 503
        with pytest.raises(TokenRefused):
            await verifier.principal_of(issuer.token(kid="invented"))
    issuer.is_hanging = True
    clock.ahead += age.total_seconds()
    asked = len(issuer.requests)
    issuer.is_asked.clear()
    async with asyncio.timeout(HANG):
        for number in range(3):
            assert await verifier.principal_of(issuer.token(exp=NOW + 7200, jti=str(number))) == ALICE
        await issuer.is_asked.wait()
        waiting = asyncio.create_task(verifier.principal_of(issuer.token(kid="invented", exp=NOW + 7200)))
        await asyncio.sleep(0.01)
        assert await verifier.principal_of(issuer.token(exp=NOW + 7200, jti="another")) == ALICE
    assert not waiting.done()
    waiting.cancel()
    assert len(issuer.requests) == asked + 1


async def test_a_caller_who_goes_away_does_not_stop_the_reading_for_the_others(
    issuer: FakeIssuer, verifier: TokenVerifier
) -> None:
    first, second = (asyncio.create_task(verifier.principal_of(issuer.token(jti=jti))) for jti in "ab")
    await issuer.is_asked.wait()
    first.cancel()
    assert await second == ALICE
    assert issuer.requests == ["/.well-known/openid-configuration", "/keys"]


async def test_an_issuer_whose_certificates_cannot_be_read_is_unavailable(
    issuer: FakeIssuer, clock: Clock, tmp_path: Path
) -> None:
    verifier = TokenVerifier(
        [settings(issuer, url="https://sso.example.com", ca_file=tmp_path / "none.pem")],
        now=clock.wall,
        keys_of=IssuerKeys,
    )
    with pytest.raises(IssuerUnavailable, match="ca_file"):
        await verifier.principal_of(issuer.token(iss="https://sso.example.com"))


@pytest.mark.filterwarnings("ignore:Key size")
async def test_a_weak_key_is_not_used(issuer: FakeIssuer, verifier: TokenVerifier) -> None:
    weak = RSAKey.generate_key(1024, parameters={"kid": "weak"})
    issuer.keys = [weak, RSA]
    with pytest.raises(TokenRefused):
        await verifier.principal_of(issuer.token(weak))


async def test_a_remembered_token_is_refused_when_it_has_expired(
    issuer: FakeIssuer, verifier: TokenVerifier, clock: Clock
) -> None:
    token = issuer.token()
    await verifier.principal_of(token)
    clock.ahead += 361
    with pytest.raises(TokenRefused, match="has expired"):
        await verifier.principal_of(token)
