"""The whole way of a developer on the page: from the request to the certificate."""

import re
from pathlib import Path

import yaml
from playwright.async_api import expect

from tests.lifecycle.databases import Systems
from tests.support.stack import unique
from tests.ui.browser import MAX_WAIT, Person


async def live_on_the_page(who: Person, colleague: str, folder: Path) -> None:
    """Ask, watch, use, extend, share with the colleague and delete, by clicks; look into the databases."""
    page, name, systems = who.page, unique("page"), Systems(who.stack)
    await who.ask(name)
    await who.sees("It was asked for, and is being made.")
    # Live: without a reload, the steps pass and the page offers what a ready environment has.
    await who.state("Ready")
    await expect(page.locator("#command-kubeconfig")).to_have_text(
        f"moorage kubeconfig {name} --merge", timeout=MAX_WAIT
    )
    assert "project" in systems.holds(name)

    await page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=who.base)
    await page.get_by_role("button", name=f"Copy the command moorage kubeconfig {name} --merge").click()
    await who.sees("Copied")
    assert await page.evaluate("() => navigator.clipboard.readText()") == f"moorage kubeconfig {name} --merge"

    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download the kubeconfig").click()
    file = folder / "kubeconfig"
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
    await who.sees("Its end was moved.")
    assert await page.locator("#facts + dl time").first.get_attribute("datetime") != before

    await page.get_by_label("Let a person use it").fill(colleague)
    await page.get_by_role("button", name="Add").click()
    await who.sees("The person can use it as soon as all systems know.")
    await expect(page.get_by_text("People are being changed.")).to_be_hidden(timeout=MAX_WAIT)
    await expect(page.locator(".people")).to_contain_text(colleague)

    await page.get_by_text("Delete this environment").click()
    await page.get_by_label(re.compile("Type .* to delete it")).fill(name)
    await page.get_by_role("button", name=f"Delete {name}").click()
    await who.state("Deleted")
    await page.get_by_role("link", name="Certificate").click()
    await who.sees("Nothing is left.")
    assert systems.holds(name) == {}
    await who.open(f"/environments/{name}/history")
    await who.sees(f"added {colleague}")
    assert who.complaints == []
