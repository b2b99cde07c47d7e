"""One Chromium and one stack for all tests of the page."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from embedded.stack.stack import Stack
from tests.support.stack import ALICE, BOB
from tests.ui.browser import Person, launch, person


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder need Chromium."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.ui)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await launch(playwright)
        yield browser
        await browser.close()


@pytest.fixture
async def bob_at_browser(browser: Browser, stack: Stack) -> AsyncIterator[Person]:
    """A developer who has signed in, at the list."""
    async with person(browser, stack, BOB.email) as bob:
        await bob.sign_in()
        yield bob


@pytest.fixture
async def alice_at_browser(browser: Browser, stack: Stack) -> AsyncIterator[Person]:
    """One of the platform team who has signed in, at the list."""
    async with person(browser, stack, ALICE.email) as alice:
        await alice.sign_in()
        yield alice
