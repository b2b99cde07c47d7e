"""A person signs in to the page at a real Keycloak, in a real Chromium."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from tests.keycloak.conftest import REALM
from tests.page.browser import page_app
from tests.support.sign_in import serving
from tests.ui.browser import MAX_WAIT, launch
from tools.keycloak.server import Keycloak as Server


@pytest.fixture
async def address(server: Server, tmp_path: Path) -> AsyncIterator[str]:
    """The page of an API that accepts the people of the realm."""
    app = await page_app(tmp_path, server.realm_url(REALM))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        async with serving(app, sock):
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await launch(playwright)
        page = await browser.new_page()
        page.set_default_timeout(MAX_WAIT)
        yield page
        await browser.close()


async def sign_in(page: Page, person: str) -> None:
    """Fill in Keycloak's own form."""
    await page.locator("#username").fill(person)
    await page.locator("#password").fill(f"{person}-password")
    await page.locator("#kc-login").click()


async def test_a_person_signs_in_and_out(page: Page, address: str) -> None:
    """Ensures that the whole way works, and that the sign-out ends Keycloak's session too."""
    await page.goto(f"{address}/new")
    await sign_in(page, "alice")
    await page.wait_for_url(f"{address}/new")
    await expect(page.get_by_text("alice@example.com")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url(f"{address}/signed-out**")
    await page.goto(f"{address}/new")
    await expect(page.locator("#username")).to_be_visible()


async def test_a_person_in_no_team_is_refused_with_the_reason(page: Page, address: str) -> None:
    await page.goto(f"{address}/new")
    await sign_in(page, "carol")
    await expect(page.get_by_text("is in no group that is a team here")).to_be_visible()
