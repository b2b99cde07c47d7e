"""`moorage login` as a process, at a real Keycloak and an API that accepts the people of its realm."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clients.safe_yaml import write_yaml
from tests.api.application import an_app
from tests.keycloak.conftest import REALM
from tests.keycloak.test_sign_in import decide
from tests.page.browser import entry_of
from tests.support.sign_in import Provider, serving
from tests.support.sign_in_process import run, sign_in_by_browser, sign_in_by_device, who
from tools.keycloak.server import Keycloak as Server


async def _no_rotation() -> None:
    raise NotImplementedError


@pytest.fixture
def provider(server: Server) -> Provider:
    return Provider(
        server.realm_url(REALM), lambda person: f"{person}-password", _no_rotation, decide_device=decide
    )


@pytest.fixture
async def url(provider: Provider, tmp_path: Path) -> AsyncIterator[str]:
    """An API without a page."""
    file = tmp_path / "issuers.yaml"
    file.write_text(write_yaml({"issuers": [entry_of(provider.url)]}))
    app = await an_app(tmp_path, MOORAGE_API__ISSUERS_FILE=str(file))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        async with serving(app, sock):
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


async def test_a_person_signs_in_with_the_browser_and_out(provider: Provider, url: str, home: Path) -> None:
    """Ensures that the tokens of the sign-in are taken by the API, and revoked at the end."""
    signed_in = await sign_in_by_browser(home, url, provider, "alice")
    assert (signed_in["email"], signed_in["teams"], signed_in["role"]) == (
        "alice@example.com",
        ["payments"],
        "developer",
    )
    shown = await who(home)
    assert (shown["email"], shown["credential"]["source"]) == (
        "alice@example.com",
        f"sign-in at {provider.url}",
    )
    assert shown["credential"]["is_renewed"] is True
    code, out, _ = await run(home, "logout", "-o", "json")
    assert (code, '"revoked": true' in out) == (0, True), out
    code, _, err = await run(home, "whoami")
    assert (code, "not signed in" in err) == (4, True), err


async def test_a_person_signs_in_on_another_device(provider: Provider, url: str, home: Path) -> None:
    signed_in = await sign_in_by_device(home, url, provider, "bob")
    assert (signed_in["email"], signed_in["role"]) == ("bob@example.com", "platform")
    assert (await who(home))["email"] == "bob@example.com"
