"""A person signs in to the page at a real Keycloak, in a real Chromium, and does all of it there."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from embedded.stack.stack import Stack
from tests.keycloak.conftest import REALM
from tests.page.browser import entry_of, page_app, write_issuers
from tests.support.sign_in import serving
from tests.support.stack import DAVE, hurried
from tests.support.worker_processes import with_workers
from tests.ui.browser import MAX_WAIT, launch, person
from tests.ui.whole_way import live_on_the_page
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


async def sign_in(page: Page, who: str) -> None:
    """Fill in Keycloak's own form."""
    await page.locator("#username").fill(who)
    await page.locator("#password").fill(f"{who}-password")
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


async def test_the_whole_way_of_one_who_signs_in_there(page: Page, server: Server, tmp_path: Path) -> None:
    """Ensures that Keycloak's tokens carry a person from the request to the certificate, in every system."""
    issuers = write_issuers(tmp_path / "issuers", entry_of(server.realm_url(REALM)))
    options = hurried(environment={"MOORAGE_API__ISSUERS_FILE": str(issuers)})
    assert page.context.browser
    async with (
        Stack(tmp_path / "stack", options) as stack,
        with_workers(stack),
        person(page.context.browser, stack, "alice@example.com") as alice,
    ):
        await alice.open("/")
        await sign_in(alice.page, "alice")
        await alice.page.wait_for_url(f"{alice.base}/")
        await live_on_the_page(alice, DAVE.email, tmp_path)
