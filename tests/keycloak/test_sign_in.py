"""Sign-in at a real Keycloak, as a person does it, and its tokens at the verifier of the API."""

import html
import re
from urllib.parse import urljoin

import httpx
import pytest

from starter.auth.oidc.verifier import TokenRefused, TokenVerifier
from tests.keycloak.conftest import REALM
from tests.support.sign_in import Provider, SignInStatements
from tools.keycloak.server import Keycloak as Server


@pytest.fixture
def provider(server: Server, admin: httpx.AsyncClient) -> Provider:
    async def rotate() -> None:
        realm = (await admin.get("")).json()
        component = {
            "name": "rotated",
            "providerId": "rsa-generated",
            "providerType": "org.keycloak.keys.KeyProvider",
            "parentId": realm["id"],
            "config": {"priority": ["1000"]},
        }
        (await admin.post("/components", json=component)).raise_for_status()

    return Provider(
        server.realm_url(REALM), lambda person: f"{person}-password", rotate=rotate, decide_device=decide
    )


async def decide(
    provider: Provider, http: httpx.AsyncClient, address: str, person: str, approve: bool
) -> None:
    """Sign in on the page of the device, and answer the question that follows."""
    http.follow_redirects = True
    page = await provider.submit(http, await http.get(address), person)
    form = re.search(r'action="([^"]+)"', page.text)
    code = re.search(r'name="code" value="([^"]+)"', page.text)
    assert form, page.text[:2000]
    assert code, page.text[:2000]
    answer = {"code": html.unescape(code[1]), "accept" if approve else "cancel": "x"}
    (await http.post(urljoin(str(page.url), html.unescape(form[1])), data=answer)).raise_for_status()


class TestKeycloak(SignInStatements):
    """The shared statements, and what is Keycloak's alone."""

    async def test_tokens_of_the_directory_client_are_no_sign_in(
        self, server: Server, verifier: TokenVerifier, directory_secret: str
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
