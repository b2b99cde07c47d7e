"""A developer's whole way on the page, and what the systems have afterwards."""

import re
from pathlib import Path

import yaml
from playwright.async_api import expect

from embedded.stack.stack import Stack
from tests.lifecycle.databases import Systems
from tests.support.stack import DAVE, unique
from tests.ui.browser import MAX_WAIT, Person


async def test_ask_watch_use_extend_share_and_delete(
    bob_at_browser: Person, stack: Stack, tmp_path: Path
) -> None:
    bob, page, name = bob_at_browser, bob_at_browser.page, unique("page")
    await bob.ask(name)
    await bob.sees("It was asked for, and is being made.")
    # Live: without a reload, the steps pass and the page offers what a ready environment has.
    await bob.state("Ready")
    await expect(page.locator("#command-kubeconfig")).to_have_text(
        f"moorage kubeconfig {name} --merge", timeout=MAX_WAIT
    )
    assert "project" in Systems(stack).holds(name)

    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download the kubeconfig").click()
    file = tmp_path / "kubeconfig"
    await (await download.value).save_as(file)
    user = yaml.safe_load(file.read_text())["users"][0]["user"]
    assert user["exec"]["command"] == "moorage"

    await page.get_by_text("For tools that cannot run moorage").click()
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download one for an hour").click()
    await (await download.value).save_as(file)
    user = yaml.safe_load(file.read_text())["users"][0]["user"]
    assert set(user) == {"client-certificate-data", "client-key-data"}

    before = await page.locator("#facts + dl time").first.get_attribute("datetime")
    await page.get_by_role("button", name="8h").click()
    await bob.sees("Its end was moved.")
    assert await page.locator("#facts + dl time").first.get_attribute("datetime") != before

    await page.get_by_label("Let a person use it").fill(DAVE.email)
    await page.get_by_role("button", name="Add").click()
    await bob.sees("The person can use it as soon as all systems know.")
    await expect(page.get_by_text("People are being changed.")).to_be_hidden(timeout=MAX_WAIT)
    await expect(page.locator(".people")).to_contain_text(DAVE.email)

    await page.get_by_text("Delete this environment").click()
    await page.get_by_label(re.compile("Type .* to delete it")).fill(name)
    await page.get_by_role("button", name=f"Delete {name}").click()
    await bob.state("Deleted")
    await page.get_by_role("link", name="Certificate").click()
    await bob.sees("Nothing is left.")
    assert Systems(stack).holds(name) == {}
    await bob.open(f"/environments/{name}/history")
    await bob.sees(f"added {DAVE.email}")
    assert bob.complaints == []


async def test_a_wrong_name_is_reported_beside_its_field_before_and_after_it_is_sent(
    bob_at_browser: Person,
) -> None:
    bob, page = bob_at_browser, bob_at_browser.page
    await bob.open("/new/small")
    await page.get_by_label("Name").fill("My_Env")
    wrong = page.locator("#name-error")
    await expect(wrong).to_contain_text('"My_Env" cannot be a name', timeout=MAX_WAIT)
    await page.get_by_role("button", name="Ask for it").click()
    summary = page.get_by_role("alert")
    await expect(summary).to_be_focused(timeout=MAX_WAIT)
    await expect(summary).to_contain_text('name: "My_Env" cannot be a name')
    await expect(wrong).to_contain_text('"My_Env" cannot be a name')
    assert await page.get_by_label("Name").input_value() == "My_Env"
