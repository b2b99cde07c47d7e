"""The platform team's pages in a browser: read by a screen reader, on a phone, in both themes, and used."""

import asyncio
import csv
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from embedded.stack.stack import Stack
from tests.api.caller import Caller, calling
from tests.support.deadline import HANG
from tests.support.stack import ALICE, BOB, unique
from tests.ui.browser import MAX_WAIT, Person, person, screenshot_folder

PAGES = {
    "capacity": "/platform",
    "pools": "/platform/pools",
    "problems": "/platform/problems",
    "ends": "/platform/ends",
    "reconcile": "/platform/reconcile",
    "audit": "/platform/audit",
    "audit-wrong": "/platform/audit?since=soon",
    "figures": "/platform/figures",
    "figures-hours": "/platform/figures?days=2",
}
#: A phone and a desktop.
WIDTHS = {"phone": 360, "desktop": 1280}


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_platform_pages_are_accessible_and_fit(browser: Browser, stack: Stack, theme: str) -> None:
    name = unique("seen")
    async with calling(stack, BOB.email) as bob:
        await _hosts_are_known(bob)
        await bob.ready(name)
        gone = unique("gone")
        await bob.ready(gone)
        await bob.gone(gone)
    folder, found = screenshot_folder(), []
    async with person(browser, stack, ALICE.email, color_scheme=theme) as alice:
        await alice.sign_in("/platform")
        for what, path in PAGES.items():
            await alice.open(path)
            for summary in await alice.page.get_by_text("The numbers as a table").all():
                await summary.click()
            for size, width in WIDTHS.items():
                await alice.page.set_viewport_size({"width": width, "height": 900})
                found += [f"{what}, {size}: {one}" for one in await alice.audit()]
                content, window = await alice.widths()
                if content > window:
                    found.append(f"{what}, {size}: {content} px wide")
                if folder:
                    shot = folder / f"platform-{what}-{size}-{theme}.png"
                    await alice.page.screenshot(path=shot, full_page=True)
        assert not found, "\n".join(found)
        # The answer to a filter that is wrong is an error, and the browser says so.
        assert [one for one in alice.complaints if "422" not in one] == []


async def test_freeze_thaw_dry_run_and_export(alice_at_browser: Person, tmp_path: Path) -> None:
    alice, page, reason = alice_at_browser, alice_at_browser.page, f"Incident {unique()}"
    await alice.open("/platform/ends")
    await page.get_by_label("Reason").fill(reason)
    await page.get_by_role("button", name="Freeze all ends").click()
    try:
        await alice.sees("All ends are frozen.")
        await alice.sees(f"{reason}")
        async with calling(alice.stack, ALICE.email) as caller:
            frozen = (await caller.http.get("/freeze")).json()["frozen"]
        assert (frozen["by"], frozen["reason"]) == (ALICE.email, reason)
    finally:
        await page.get_by_role("button", name=re.compile("Thaw")).click()
    await alice.sees("Thawed: the next sweep warns and ends what is due.")
    await page.get_by_role("button", name="Dry run: show what it would do").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Dry run of the sweep", timeout=MAX_WAIT)
    await expect(page.get_by_role("status")).to_contain_text("checked", timeout=MAX_WAIT)
    name = unique("traced")
    async with calling(alice.stack, BOB.email) as bob:
        await _hosts_are_known(bob)
        await bob.ready(name)
    await alice.open("/platform/audit")
    await page.get_by_label("Environment").fill(name)
    await page.get_by_role("button", name="Show").click()
    await alice.sees("asked for it")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Export as CSV").click()
    file = tmp_path / "audit.csv"
    await (await download.value).save_as(file)
    lines = list(csv.DictReader(file.read_text().splitlines()))
    assert {line["environment"] for line in lines} == {name}
    assert {"request", "ready"} <= {line["verb"] for line in lines}
    assert alice.complaints == []


async def test_reconcile_sweep_is_run_and_shown(alice_at_browser: Person) -> None:
    alice, page = alice_at_browser, alice_at_browser.page
    await alice.open("/platform/ends")
    await page.get_by_role("button", name="Dry run: show what it would reconcile").click()
    heading, status = page.get_by_role("heading", level=1), page.get_by_role("status")
    await expect(heading).to_have_text("Dry run of the reconcile sweep", timeout=MAX_WAIT)
    await expect(status).to_contain_text("would be adopted, undone or repaired now", timeout=MAX_WAIT)
    await page.get_by_role("button", name="Reconcile now").click()
    await expect(heading).to_have_text("Reconcile sweep", timeout=MAX_WAIT)
    await expect(status).to_contain_text("open", timeout=MAX_WAIT)
    await page.get_by_role("link", name="Back to ends").click()
    await page.get_by_role("link", name="What the last one found").click()
    await expect(status).to_contain_text("without an open environment", timeout=MAX_WAIT)
    assert await alice.audit() == []
    assert alice.complaints == []


async def test_platform_is_not_offered_to_a_developer(bob_at_browser: Person) -> None:
    await expect(bob_at_browser.page.get_by_role("link", name="Platform")).to_have_count(0)
    await bob_at_browser.open("/platform")
    await bob_at_browser.sees("for the platform team")


async def _hosts_are_known(caller: Caller) -> None:
    """Wait until the hosts have reported their capacity: before that, no request gets a place."""
    async with asyncio.timeout(HANG):
        while True:
            answer = await caller.http.get("/capacity")
            hosts = answer.json()["hosts"] if answer.is_success else []
            if hosts and all(host["known"] for host in hosts):
                return
            await asyncio.sleep(0.1)
