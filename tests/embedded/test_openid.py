"""The OpenID provider of the embedded stack: what it shares with Keycloak, and what is its own."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from embedded.openid.guess_limit import GUESSES
from tests.support.sign_in import Clock, Provider, SignInStatements, challenge_of, refused, running_provider


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openid")


@pytest.fixture
async def provider(folder: Path, clock: Clock) -> AsyncIterator[Provider]:
    async with running_provider(folder, clock) as running:
        yield running


class TestOpenIdProvider(SignInStatements):
    """The statements that it shares with Keycloak, and its own."""

    #: Waiting is moving the clock.
    @pytest.fixture(autouse=True)
    def own_clock(self, clock: Clock) -> None:
        self.clock = clock

    async def wait(self, seconds: float) -> None:
        self.clock.ahead += seconds

    async def test_a_code_that_is_used_twice_ends_the_session_of_the_first_use(
        self, provider: Provider
    ) -> None:
        code = await provider.code_of("alice")
        tokens = (await provider.exchange(code)).json()
        await provider.exchange(code)
        assert refused(await provider.refresh(tokens["refresh_token"])) == "invalid_grant"

    async def test_a_refresh_token_that_is_used_twice_ends_the_session(self, provider: Provider) -> None:
        first = await provider.sign_in("alice")
        second = (await provider.refresh(first["refresh_token"])).raise_for_status().json()
        assert refused(await provider.refresh(first["refresh_token"])) == "invalid_grant"
        assert refused(await provider.refresh(second["refresh_token"])) == "invalid_grant"
        async with provider.client() as http:
            headers = {"Authorization": f"Bearer {second['access_token']}"}
            assert (await http.get(await provider.endpoint("userinfo"), headers=headers)).status_code == 401

    async def test_codes_pages_and_tokens_end(self, provider: Provider, clock: Clock) -> None:
        code, tokens = await provider.code_of("alice"), await provider.sign_in("alice")
        started = await self.start_device(provider)
        async with provider.client() as http:
            page = await provider.authorize(http)
            clock.ahead = 601
            assert refused(await provider.exchange(code)) == "invalid_grant"
            assert refused(await self.poll(provider, started["device_code"])) == "expired_token"
            assert (await provider.submit(http, page, "alice")).status_code == 400
            headers = {"Authorization": f"Bearer {tokens['access_token']}"}
            assert (await http.get(await provider.endpoint("userinfo"), headers=headers)).status_code == 401
        clock.ahead = 31 * 24 * 3600
        assert refused(await provider.refresh(tokens["refresh_token"])) == "invalid_grant"

    async def test_a_page_is_good_for_one_sign_in(self, provider: Provider) -> None:
        async with provider.client() as http:
            page = await provider.authorize(http)
            assert (await provider.submit(http, page, "alice")).status_code == 302
            assert (await provider.submit(http, page, "alice")).status_code == 400

    async def test_guessed_passwords_are_limited_by_account(self, provider: Provider, clock: Clock) -> None:
        async with provider.client() as http:
            page = await provider.authorize(http)
            for _ in range(GUESSES):
                assert (await provider.submit(http, page, "alice", password="wrong")).status_code == 401
            answer = await provider.submit(http, page, "alice")
            assert (answer.status_code, "Too many wrong passwords" in answer.text) == (401, True)
            other = await provider.authorize(http)
            assert (await provider.submit(http, other, "bob")).status_code == 302
            clock.ahead += 60
            assert (await provider.submit(http, page, "alice")).status_code == 302

    async def test_guessed_user_codes_are_limited(self, provider: Provider, clock: Clock) -> None:
        started = await self.start_device(provider)
        async with provider.client() as http:
            page = await http.get(started["verification_uri"])
            form = {"decision": "approve"}
            for _ in range(GUESSES):
                answer = await provider.submit(http, page, "alice", user_code="BCDF-GHJK", **form)
                assert answer.status_code == 400
            right = {"user_code": started["user_code"].lower(), **form}
            assert (await provider.submit(http, page, "alice", **right)).status_code == 429
            assert refused(await self.poll(provider, started["device_code"])) == "authorization_pending"
            clock.ahead += 60
            assert (await provider.submit(http, page, "alice", **right)).status_code == 200
            assert (await provider.submit(http, page, "bob", **right)).status_code == 400, "decided already"

    async def test_a_device_that_does_not_know_the_verifier_gets_nothing(self, provider: Provider) -> None:
        started = await self.start_device(provider)
        async with provider.client() as http:
            await provider.decide_device(provider, http, started["verification_uri_complete"], "alice", True)
        answer = await self.poll(provider, started["device_code"], code_verifier="w" * 43)
        assert refused(answer) == "invalid_grant"

    async def test_each_poll_too_early_makes_the_interval_longer(
        self, provider: Provider, clock: Clock
    ) -> None:
        code = (await self.start_device(provider))["device_code"]
        for ahead, expected in (
            (0, "authorization_pending"), (4, "slow_down"), (9, "slow_down"), (14, "slow_down"),
            (29, "slow_down"), (60, "authorization_pending"),
        ):  # fmt: skip
            clock.ahead = ahead
            assert refused(await self.poll(provider, code)) == expected, ahead

    async def test_a_field_that_comes_twice_is_refused(self, provider: Provider) -> None:
        code = await provider.code_of("alice")
        form = f"client_id=moorage&grant_type=authorization_code&code={code}&code=x"
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        async with provider.client() as http:
            address = await provider.endpoint("token")
            assert refused(await http.post(address, content=form, headers=kind)) == "invalid_request"
            assert refused(await http.post(address, json={"code": code})) == "invalid_request"
            large = await http.post(address, content="a=" + "x" * 40_000, headers=kind)
            assert refused(large) == "invalid_request"

    async def test_another_client_gets_nothing(self, provider: Provider) -> None:
        for endpoint in ("token", "device_authorization", "revocation"):
            assert refused(await provider.post(endpoint, client_id="other")) == "invalid_client"
        async with provider.client() as http:
            answer = await provider.authorize(http, client_id="other")
        assert (answer.status_code, "location" in answer.headers) == (400, False)
        assert refused(await provider.post("token", grant_type="password")) == "unsupported_grant_type"

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"response_type": "token"}, "unsupported_response_type"),
            ({"scope": "email"}, "invalid_scope"),
            ({"prompt": "none"}, "login_required"),
        ],
    )
    async def test_a_request_that_is_wrong_goes_back_to_the_client(
        self, provider: Provider, changes: dict[str, str], error: str
    ) -> None:
        async with provider.client() as http:
            answer = await provider.authorize(http, **changes)
        sent = parse_qs(urlsplit(answer.headers["location"]).query)
        assert (sent["error"], sent["state"], sent["iss"]) == ([error], ["the-state"], [provider.url])

    async def test_what_a_form_is_given_is_escaped(self, provider: Provider) -> None:
        script = '"><script>alert(1)</script>'
        async with provider.client() as http:
            page = await provider.authorize(http, login_hint=script)
            device = await http.get(f"{provider.url}/device", params={"user_code": script})
            wrong = await provider.submit(http, page, "alice", username=script)
        for answer in (page, device, wrong):
            assert "<script" not in answer.text
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Cache-Control"] == "no-store"

    async def test_the_nonce_and_the_scopes_are_in_the_id_token(self, provider: Provider) -> None:
        code = await provider.code_of("alice", nonce="n-1", scope="openid unknown")
        tokens = (await provider.exchange(code)).json()
        async with provider.client() as http:
            keys = (await http.get(f"{provider.url}/keys")).json()
        claims = jwt.decode(tokens["id_token"], KeySet.import_key_set(keys), algorithms=["RS256"]).claims
        assert (claims["nonce"], claims["aud"], "email" in claims) == ("n-1", "moorage", False)
        assert claims["exp"] - time.time() < 301
        assert not {"d", "p", "q"} & set(keys["keys"][0]), "only the public key"

    async def test_sessions_and_keys_outlive_the_process(self, tmp_path: Path, clock: Clock) -> None:
        async with running_provider(tmp_path, clock) as first:
            tokens = await first.sign_in("alice")
            async with first.client() as http:
                keys = (await http.get(f"{first.url}/keys")).json()
        async with running_provider(tmp_path, clock) as second:
            assert (await second.refresh(tokens["refresh_token"])).status_code == 200
            async with second.client() as http:
                assert (await http.get(f"{second.url}/keys")).json() == keys

    async def test_its_database_holds_no_secret_of_a_person(self, tmp_path: Path, clock: Clock) -> None:
        async with running_provider(tmp_path, clock) as provider:
            tokens = await provider.sign_in("alice")
            started = await provider.post("device_authorization", **challenge_of("v" * 43))
        content = content_of(tmp_path)
        for secret in (tokens["refresh_token"], started.json()["device_code"], "alice-password"):
            assert secret.encode() not in content


def content_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_faults_can_be_injected(provider: Provider) -> None:
    """Ensures that tests can make it fail, as all stand-ins."""
    async with provider.client() as http:
        fault = {"operation": "openid.token", "kind": "status", "status": 503, "times": 1}
        (await http.put(f"{provider.url}/-/faults", json=[fault])).raise_for_status()
    assert (await provider.refresh("x")).status_code == 503
    assert refused(await provider.refresh("x")) == "invalid_grant"
