"""Tokens of a real Keycloak, obtained as a person obtains them, at the verifier of the API."""

import base64
import hashlib
import html
import re
import secrets
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from starter.auth.oidc.issuers import Issuer
from starter.auth.oidc.verifier import TokenRefused, TokenVerifier
from starter.auth.policy import Role
from tests.keycloak.conftest import REALM
from tools.keycloak.server import Keycloak as Server

REDIRECT = "http://127.0.0.1:8765/callback"


async def sign_in(server: Server, person: str) -> dict[str, str]:
    """Sign the person in by the authorization code flow with PKCE; return the answer with the tokens."""

    async def accept_cookies(response: httpx.Response) -> None:
        # Keycloak marks its cookies as secure, and this test speaks http on loopback.
        for cookie in client.cookies.jar:
            cookie.secure = False

    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    base = f"{server.realm_url(REALM)}/protocol/openid-connect"
    hooks = {"response": [accept_cookies]}
    async with httpx.AsyncClient(event_hooks=hooks, timeout=60, trust_env=False) as client:
        query = {
            "client_id": "moorage",
            "redirect_uri": REDIRECT,
            "response_type": "code",
            "scope": "openid email profile",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        page = await client.get(f"{base}/auth", params=query)
        form = re.search(r'action="([^"]+)"', page.text)
        assert form, page.text[:500]
        password = {"username": person, "password": f"{person}-password"}
        answer = await client.post(html.unescape(form[1]), data=password)
        assert answer.status_code == 302, answer.text[:500]
        [code] = parse_qs(urlsplit(answer.headers["location"]).query)["code"]
        exchange = {
            "grant_type": "authorization_code",
            "client_id": "moorage",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": verifier,
        }
        answer = await client.post(f"{base}/token", data=exchange)
        answer.raise_for_status()
        tokens: dict[str, str] = answer.json()
        return tokens


@pytest.fixture
def verifier(server: Server) -> TokenVerifier:
    issuer = Issuer(
        url=server.realm_url(REALM),
        audience="moorage-api",
        client_id="moorage",
        team_prefix="team-",
        platform_groups=("platform",),
    )
    return TokenVerifier([issuer])


@pytest.mark.parametrize(("person", "role"), [("alice", Role.DEVELOPER), ("bob", Role.PLATFORM)])
async def test_a_person_who_signs_in_has_teams_and_role_by_groups(
    server: Server, verifier: TokenVerifier, person: str, role: Role
) -> None:
    tokens = await sign_in(server, person)
    principal = await verifier.principal_of(tokens["access_token"])
    assert (principal.email, principal.teams, principal.role) == (
        f"{person}@example.com",
        ("payments",),
        role,
    )
    assert principal.person == f"{person.title()} Example"


async def test_an_id_token_is_for_the_client_and_not_for_the_api(
    server: Server, verifier: TokenVerifier
) -> None:
    tokens = await sign_in(server, "alice")
    with pytest.raises(TokenRefused, match="audience"):
        await verifier.principal_of(tokens["id_token"])


async def test_a_person_without_a_group_is_told_to_join_one(server: Server, verifier: TokenVerifier) -> None:
    tokens = await sign_in(server, "carol")
    with pytest.raises(TokenRefused, match="no group that is a team here"):
        await verifier.principal_of(tokens["access_token"])


async def test_tokens_of_the_directory_client_are_no_sign_in(
    server: Server, verifier: TokenVerifier, directory_secret: str
) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": "moorage-directory",
        "client_secret": directory_secret,
    }
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        answer = await client.post(f"{server.realm_url(REALM)}/protocol/openid-connect/token", data=form)
    with pytest.raises(TokenRefused, match="audience"):
        await verifier.principal_of(answer.json()["access_token"])


async def test_rotated_keys_of_the_realm_are_taken_up(
    server: Server, verifier: TokenVerifier, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "starter.auth.oidc.keys.MIN_INTERVAL", type("Zero", (), {"total_seconds": lambda _: 0})()
    )
    await verifier.principal_of((await sign_in(server, "alice"))["access_token"])
    realm = (await admin.get("")).json()
    component = {
        "name": "rotated",
        "providerId": "rsa-generated",
        "providerType": "org.keycloak.keys.KeyProvider",
        "parentId": realm["id"],
        "config": {"priority": ["1000"]},
    }
    (await admin.post("/components", json=component)).raise_for_status()
    principal = await verifier.principal_of((await sign_in(server, "alice"))["access_token"])
    assert principal.email == "alice@example.com"
