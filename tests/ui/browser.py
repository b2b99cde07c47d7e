"""A person at a browser: signs in, looks, types, clicks; and what the browser complains about."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, Playwright, expect

from embedded.stack.stack import Part, Stack

#: Longest wait for what the page shows within a second on an idle machine, in milliseconds.
MAX_WAIT = 30_000
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
#: Every rule of WCAG 2.2 A and AA, and the good practice.
_RUN_AXE = """async (rules) => (await axe.run(rules.length ? { runOnly: rules } : {})).violations.flatMap(
    (found) => found.nodes.map((node) => `${found.id}: ${node.html}: ${node.failureSummary}`)
)"""


def chromium() -> str:
    """The Chromium of this machine: that of TEST_CHROMIUM, or the one on the path."""
    found = os.environ.get("TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert found, "there is no Chromium: install Debian's package chromium, or set TEST_CHROMIUM"
    return found


async def launch(playwright: Playwright) -> Browser:
    """Start the browser without a window."""
    return await playwright.chromium.launch(
        executable_path=chromium(), args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    )


@dataclass
class Person:
    """One person's browser. `complaints` has every error of the console, the network and the scripts."""

    page: Page
    stack: Stack
    email: str
    complaints: list[str] = field(default_factory=list)

    @property
    def base(self) -> str:
        """The address of the page."""
        return self.stack.url(Part.API)

    async def sign_in(self, path: str = "/") -> None:
        """Open a page, and sign in at the provider's own page that it leads to."""
        await self.page.goto(f"{self.base}{path}")
        await self.sign_in_at_provider()
        await self.page.wait_for_url(f"{self.base}{path}")

    async def sign_in_at_provider(self) -> None:
        """Fill in the provider's page, which is open."""
        await self.page.get_by_label("Name or address").fill(self.email)
        await self.page.get_by_label("Password").fill(self.stack.password_of(self.email))
        await self.page.get_by_role("button", name="Sign in").click()

    async def open(self, path: str) -> None:
        """Open a page of the API."""
        await self.page.goto(f"{self.base}{path}")

    async def sees(self, text: str) -> None:
        """Wait until the page shows the text."""
        await expect(self.page.get_by_text(text).first).to_be_visible(timeout=MAX_WAIT)

    async def state(self, words: str) -> None:
        """Wait until the environment's page shows the state."""
        await expect(self.page.locator("#chip")).to_have_text(words, timeout=MAX_WAIT)

    async def ask(self, name: str, template: str = "small") -> None:
        """Ask for an environment by the form."""
        await self.open(f"/new/{template}")
        await self.page.get_by_label("Name").fill(name)
        await self.page.get_by_role("button", name="Ask for it").click()
        await self.page.wait_for_url(f"{self.base}/environments/{name}**")

    async def audit(self, *rules: str) -> list[str]:
        """What axe-core finds wrong on the page as it is, by these rules or by all of them."""
        if not await self.page.evaluate("() => 'axe' in window"):
            await self.page.evaluate(AXE)
        found: list[str] = await self.page.evaluate(_RUN_AXE, list(rules))
        return found

    async def widths(self) -> tuple[int, int]:
        """The width of the content and that of the window: a wider content scrolls sideways."""
        found: list[int] = await self.page.evaluate(
            "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        return found[0], found[1]


@asynccontextmanager
async def person(browser: Browser, stack: Stack, email: str, **options: Any) -> AsyncIterator[Person]:
    """A browser of one person, without cookies of others."""
    options = {"timezone_id": "Europe/Berlin", "locale": "en-GB", "accept_downloads": True, **options}
    context = await browser.new_context(**options)
    context.set_default_timeout(MAX_WAIT)
    page = await context.new_page()
    someone = Person(page, stack, email)
    page.on("console", lambda said: someone.complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: someone.complaints.append(str(error)))
    try:
        yield someone
    finally:
        await context.close()


def screenshot_folder() -> Path | None:
    """Where screenshots are written: the folder of TEST_SCREENSHOTS, none without it."""
    folder = os.environ.get("TEST_SCREENSHOTS")
    return Path(folder) if folder else None
