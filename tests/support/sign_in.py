"""What each OpenID provider must do for Moorage, as statements that a real and our own provider share.

A test module inherits `SignInStatements` and gives the fixture `provider`.
"""

import asyncio
import base64
import hashlib
import html
import re
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx
import pytest
import uvicorn

from embedded.openid.app import ROTATE_PATH, open_openid
from embedded.stack.state_dir import free_port
from embedded.standin_options import Account, OpenIdOptions
from starter.auth.oidc.issuers import Issuer
from starter.auth.oidc.verifier import TokenRefused, TokenVerifier
from starter.auth.policy import Role
from tests.support.stand_ins import TLS

REDIRECT = "http://127.0.0.1:8765/callback"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def challenge_of(verifier: str) -> dict[str, str]:
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return {"code_challenge": challenge, "code_challenge_method": "S256"}


@dataclass
class Provider:
    """An OpenID provider with alice (team-payments), bob (also platform) and carol, who is in no group."""

    url: str
    password_of: Callable[[str], str]
    #: Makes the provider sign with a new key.
    rotate: Callable[[], Awaitable[None]]
    #: Opens the address that a device shows, and approves or denies it as the person.
    decide_device: Callable[["Provider", httpx.AsyncClient, str, str, bool], Awaitable[None]]
    document: dict[str, Any] = field(default_factory=dict)

    def client(self) -> httpx.AsyncClient:
        """A browser, or a command line."""

        async def accept_cookies(_: httpx.Response) -> None:
            # Keycloak marks its cookies as secure, and these tests speak http on loopback.
            for cookie in client.cookies.jar:
                cookie.secure = False

        client = httpx.AsyncClient(
            event_hooks={"response": [accept_cookies]},
            timeout=60,
            trust_env=False,
            verify=TLS,
        )
        return client

    async def endpoint(self, name: str) -> str:
        """The address of an endpoint, by discovery."""
        if not self.document:
            async with self.client() as http:
                answer = await http.get(f"{self.url}/.well-known/openid-configuration")
            self.document = answer.raise_for_status().json()
            assert self.document["issuer"] == self.url
        return str(self.document[f"{name}_endpoint"])

    async def authorize(self, http: httpx.AsyncClient, **changes: str) -> httpx.Response:
        """Open the page of the sign-in."""
        query = {
            "client_id": "moorage",
            "redirect_uri": REDIRECT,
            "response_type": "code",
            "scope": "openid email profile",
            "state": "the-state",
            **challenge_of("v" * 43),
            **changes,
        }
        given = {name: value for name, value in query.items() if value}
        return await http.get(f"{await self.endpoint('authorization')}?{urlencode(given)}")

    async def submit(
        self, http: httpx.AsyncClient, page: httpx.Response, person: str, **more: str
    ) -> httpx.Response:
        """Fill in the form of a page."""
        form = re.search(r'action="([^"]+)"', page.text)
        assert form, page.text[:500]
        password = {"username": person, "password": self.password_of(person), **more}
        return await http.post(urljoin(str(page.url), html.unescape(form[1])), data=password)

    async def code_of(self, person: str, **changes: str) -> str:
        """Sign the person in; return the code that the browser is sent back with."""
        async with self.client() as http:
            page = await self.authorize(http, **changes)
            answer = await self.submit(http, page, person)
        assert answer.status_code == 302, answer.text[:500]
        sent = parse_qs(urlsplit(answer.headers["location"]).query)
        assert answer.headers["location"].startswith(f"{REDIRECT}?")
        assert (sent["state"], sent.get("iss", [self.url])) == (["the-state"], [self.url])
        [code] = sent["code"]
        return code

    async def post(self, endpoint: str, **form: str) -> httpx.Response:
        """Call an endpoint as the public client."""
        async with self.client() as http:
            return await http.post(await self.endpoint(endpoint), data={"client_id": "moorage", **form})

    async def exchange(self, code: str, **changes: str) -> httpx.Response:
        """Exchange the code for tokens."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": "v" * 43,
            **changes,
        }
        return await self.post("token", **form)

    async def refresh(self, token: str) -> httpx.Response:
        return await self.post("token", grant_type="refresh_token", refresh_token=token)

    async def sign_in(self, person: str) -> dict[str, str]:
        """Sign the person in; return the answer with the tokens."""
        answer = await self.exchange(await self.code_of(person))
        tokens: dict[str, str] = answer.raise_for_status().json()
        return tokens


def verifier_of(url: str) -> TokenVerifier:
    """The verifier of an API that trusts the provider."""
    issuer = Issuer(
        url=url,
        audience="moorage-api",
        client_id="moorage",
        team_prefix="team-",
        platform_groups=("platform",),
    )
    return TokenVerifier([issuer])


def refused(answer: httpx.Response) -> str:
    """The error of a token endpoint's refusal."""
    assert answer.status_code in (400, 401), answer.text
    return str(answer.json()["error"])


class SignInStatements:
    """What each provider must do."""

    @pytest.fixture
    def verifier(self, provider: Provider) -> TokenVerifier:
        return verifier_of(provider.url)

    @pytest.mark.parametrize(("person", "role"), [("alice", Role.DEVELOPER), ("bob", Role.PLATFORM)])
    async def test_a_person_who_signs_in_has_teams_and_role_by_groups(
        self, provider: Provider, verifier: TokenVerifier, person: str, role: Role
    ) -> None:
        tokens = await provider.sign_in(person)
        principal = await verifier.principal_of(tokens["access_token"])
        assert (principal.email, principal.teams, principal.role) == (
            f"{person}@example.com",
            ("payments",),
            role,
        )
        assert principal.person == f"{person.title()} Example"

    async def test_an_id_token_is_for_the_client_and_not_for_the_api(
        self, provider: Provider, verifier: TokenVerifier
    ) -> None:
        tokens = await provider.sign_in("alice")
        with pytest.raises(TokenRefused, match="audience"):
            await verifier.principal_of(tokens["id_token"])

    async def test_a_person_without_a_group_is_asked_to_join_one(
        self, provider: Provider, verifier: TokenVerifier
    ) -> None:
        tokens = await provider.sign_in("carol")
        with pytest.raises(TokenRefused, match="no group that is a team here"):
            await verifier.principal_of(tokens["access_token"])

    async def test_rotated_keys_are_taken_up(
        self, provider: Provider, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "starter.auth.oidc.keys.MIN_INTERVAL", type("Zero", (), {"total_seconds": lambda _: 0})()
        )
        await verifier.principal_of((await provider.sign_in("alice"))["access_token"])
        await provider.rotate()
        principal = await verifier.principal_of((await provider.sign_in("alice"))["access_token"])
        assert principal.email == "alice@example.com"

    async def test_user_info_has_the_claims(self, provider: Provider) -> None:
        tokens = await provider.sign_in("alice")
        async with provider.client() as http:
            address = await provider.endpoint("userinfo")
            headers = {"Authorization": f"Bearer {tokens['access_token']}"}
            claims = (await http.get(address, headers=headers)).raise_for_status().json()
            assert (await http.get(address, headers={"Authorization": "Bearer x"})).status_code == 401
        assert (claims["email"], claims["email_verified"]) == ("alice@example.com", True)
        assert claims["groups"] == ["team-payments"]

    async def test_a_wrong_password_signs_no_one_in(self, provider: Provider) -> None:
        async with provider.client() as http:
            page = await provider.authorize(http)
            answer = await provider.submit(http, page, "alice", password="wrong")
        assert answer.status_code in (200, 401)
        assert "location" not in answer.headers

    async def test_a_code_is_good_for_one_use(self, provider: Provider) -> None:
        code = await provider.code_of("alice")
        assert (await provider.exchange(code)).status_code == 200
        assert refused(await provider.exchange(code)) == "invalid_grant"

    @pytest.mark.parametrize(
        "changes",
        [{"code_verifier": "w" * 43}, {"code_verifier": ""}, {"redirect_uri": "http://127.0.0.1:1/callback"}],
        ids=["another verifier", "no verifier", "another address"],
    )
    async def test_a_code_that_was_stolen_gives_no_tokens(
        self, provider: Provider, changes: dict[str, str]
    ) -> None:
        assert refused(await provider.exchange(await provider.code_of("alice"), **changes)) == "invalid_grant"

    @pytest.mark.parametrize(
        "uri",
        ["https://evil.test/callback", "http://127.0.0.1.evil.test/callback", "http://127.0.0.1@evil.test/callback",
         "http://192.0.2.1:80/callback", "javascript:alert(1)", "//evil.test/callback", ""],
    )  # fmt: skip
    async def test_no_browser_is_sent_to_another_place(self, provider: Provider, uri: str) -> None:
        async with provider.client() as http:
            answer = await provider.authorize(http, redirect_uri=uri)
        assert answer.status_code == 400
        assert "location" not in answer.headers

    @pytest.mark.parametrize(
        "changes",
        [{"code_challenge": "", "code_challenge_method": ""}, {"code_challenge_method": "plain"}],
        ids=["none", "plain"],
    )
    async def test_a_sign_in_without_a_hashed_challenge_is_refused(
        self, provider: Provider, changes: dict[str, str]
    ) -> None:
        async with provider.client() as http:
            answer = await provider.authorize(http, **changes)
        sent = parse_qs(urlsplit(answer.headers["location"]).query)
        assert (sent["error"], sent["state"]) == (["invalid_request"], ["the-state"])

    async def test_a_refresh_gives_new_tokens_of_the_same_person(
        self, provider: Provider, verifier: TokenVerifier
    ) -> None:
        first = await provider.sign_in("alice")
        second = (await provider.refresh(first["refresh_token"])).raise_for_status().json()
        assert (await verifier.principal_of(second["access_token"])).email == "alice@example.com"
        assert refused(await provider.refresh("guessed")) == "invalid_grant"
        assert refused(await provider.refresh(second["access_token"])) == "invalid_grant"

    async def test_a_revoked_session_is_not_renewed(self, provider: Provider) -> None:
        tokens = await provider.sign_in("alice")
        for _ in range(2):
            answer = await provider.post("revocation", token=tokens["refresh_token"])
            assert answer.status_code == 200
        assert refused(await provider.refresh(tokens["refresh_token"])) == "invalid_grant"

    async def start_device(self, provider: Provider) -> dict[str, Any]:
        """Start the flow of a device."""
        await provider.endpoint("device_authorization")
        form = {"scope": "openid email profile", **challenge_of("v" * 43)}
        answer = await provider.post("device_authorization", **form)
        started: dict[str, Any] = answer.raise_for_status().json()
        return started

    async def poll(self, provider: Provider, code: str, **changes: str) -> httpx.Response:
        form = {"grant_type": DEVICE_GRANT, "device_code": code, "code_verifier": "v" * 43, **changes}
        return await provider.post("token", **form)

    async def test_a_device_that_is_approved_gets_tokens_once(
        self, provider: Provider, verifier: TokenVerifier
    ) -> None:
        started = await self.start_device(provider)
        assert refused(await self.poll(provider, started["device_code"])) == "authorization_pending"
        assert refused(await self.poll(provider, started["device_code"])) == "slow_down"
        async with provider.client() as http:
            await provider.decide_device(provider, http, started["verification_uri_complete"], "alice", True)
        # The poll that was too early has made the interval longer.
        tokens = await self.poll_after(provider, started, more=5)
        principal = await verifier.principal_of(tokens.raise_for_status().json()["access_token"])
        assert principal.email == "alice@example.com"
        assert refused(await self.poll(provider, started["device_code"])) == "invalid_grant"

    async def test_a_denied_device_gets_access_denied(self, provider: Provider) -> None:
        started = await self.start_device(provider)
        async with provider.client() as http:
            await provider.decide_device(provider, http, started["verification_uri_complete"], "alice", False)
        assert refused(await self.poll(provider, started["device_code"])) == "access_denied"

    async def poll_after(self, provider: Provider, started: dict[str, Any], *, more: int) -> httpx.Response:
        """Poll as a device does, when its interval is over."""
        await self.wait(started["interval"] + more)
        return await self.poll(provider, started["device_code"])

    async def wait(self, seconds: float) -> None:
        """Wait for what a device waits between two polls."""
        await asyncio.sleep(seconds)

    async def test_a_device_code_that_is_guessed_gives_nothing(self, provider: Provider) -> None:
        started = await self.start_device(provider)
        for guess in (secrets.token_urlsafe(32), started["user_code"]):
            assert refused(await self.poll(provider, guess)) in ("invalid_grant", "expired_token")


@dataclass
class Clock:
    """A clock that a test moves."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


async def _decide_device(
    provider: Provider, http: httpx.AsyncClient, address: str, person: str, approve: bool
) -> None:
    """Approve or deny at our own provider, whose page asks for all at once."""
    page = await http.get(address)
    [code] = parse_qs(urlsplit(address).query)["user_code"]
    decision = "approve" if approve else "deny"
    answer = await provider.submit(http, page, person, user_code=code, decision=decision)
    assert answer.status_code == 200, answer.text


def embedded_provider(url: str, password_of: Callable[[str], str]) -> Provider:
    """The provider of the embedded stack at this address."""

    async def rotate() -> None:
        async with httpx.AsyncClient(trust_env=False, verify=TLS) as http:
            (await http.post(f"{url}{ROTATE_PATH}")).raise_for_status()

    return Provider(url, password_of, rotate, _decide_device)


@asynccontextmanager
async def running_provider(folder: Path, clock: Clock, **options: Any) -> AsyncIterator[Provider]:
    """Serve our own provider in this process, with the three accounts."""
    groups = {"alice": ("team-payments",), "bob": ("team-payments", "platform"), "carol": ()}
    accounts = tuple(
        Account(email=f"{name}@example.com", name=f"{name.title()} Example", password=f"{name}-password",
                groups=given)
        for name, given in groups.items()
    )  # fmt: skip
    values = {"port": free_port(), "database": folder / "openid.sqlite", "accounts": accounts, **options}
    with open_openid(OpenIdOptions(**values), clock) as stand_in:
        [endpoint] = stand_in.endpoints
        url = f"http://127.0.0.1:{values['port']}"
        async with serving(endpoint.app, endpoint.socket):
            yield embedded_provider(url, lambda person: f"{person}-password")


@asynccontextmanager
async def serving(app: Any, sock: socket.socket) -> AsyncIterator[None]:
    """Serve an application in this process."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    running = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        yield
    finally:
        server.should_exit = True
        await running
