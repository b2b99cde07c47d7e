"""A developer's whole way on the page, and what the systems have afterwards."""

from pathlib import Path

from playwright.async_api import Page, expect

from embedded.stack.stack import Stack
from tests.lifecycle.databases import Systems
from tests.support.stack import DAVE, unique
from tests.ui.browser import MAX_WAIT, Person
from tests.ui.whole_way import live_on_the_page

#: More than any page has to stop at.
MAX_TABS = 60


async def test_ask_watch_use_extend_share_and_delete(bob_at_browser: Person, tmp_path: Path) -> None:
    await live_on_the_page(bob_at_browser, DAVE.email, tmp_path)


async def test_ask_extend_and_delete_by_the_keyboard_alone(bob_at_browser: Person, stack: Stack) -> None:
    bob, page, name = bob_at_browser, bob_at_browser.page, unique("keys")
    await bob.open("/")
    await _press(page, 'a[href="/new"]')
    await bob.sees("Choose a template.")
    await _press(page, 'a[href="/new/small"]')
    await bob.sees("New environment from small")
    await _tab_to(page, "#name")
    # The field has the suggestion, which the first Tab selects.
    await page.keyboard.type(name)
    await expect(page.get_by_label("Name", exact=True)).to_have_value(name)
    await _tab_to(page, "#ttl-range")
    before = await page.locator("output").inner_text()
    await page.keyboard.press("ArrowLeft")
    await expect(page.locator("output")).not_to_have_text(before)
    await _press(page, 'button[value="request"]')
    await bob.sees("It was asked for, and is being made.")
    await bob.state("Ready")

    extend = 'form[action$="/extend"] button'
    await expect(page.locator(extend).first).to_be_visible(timeout=MAX_WAIT)
    end = await page.locator("#facts + dl time").first.get_attribute("datetime")
    await _press(page, extend, key="Space")
    await bob.sees("Its end was moved.")
    assert await page.locator("#facts + dl time").first.get_attribute("datetime") != end

    await _press(page, "#delete > summary")
    await _tab_to(page, "#typed")
    await page.keyboard.type(name)
    await _press(page, 'form[action$="/delete"] button')
    await bob.state("Deleted")
    assert Systems(stack).holds(name) == {}
    assert bob.complaints == []


async def _tab_to(page: Page, selector: str) -> None:
    """Move the focus by the Tab key."""
    is_there = "(selector) => document.activeElement.matches(selector)"
    for _ in range(MAX_TABS):
        await page.keyboard.press("Tab")
        if await page.evaluate(is_there, selector):
            return
    raise AssertionError(f"the Tab key does not reach {selector}")


async def _press(page: Page, selector: str, key: str = "Enter") -> None:
    """Use what the Tab key reaches."""
    await _tab_to(page, selector)
    await page.keyboard.press(key)


async def test_take_a_snapshot_and_restore_it(bob_at_browser: Person, stack: Stack) -> None:
    """Ensures that the page says by itself when one is taken, and when it is restored."""
    bob, page, name = bob_at_browser, bob_at_browser.page, unique("page")
    side = page.locator("#side")
    await bob.ask(name)
    await bob.state("Ready")
    await page.get_by_role("button", name="Take a snapshot").click()
    await bob.sees("A snapshot is being taken. The volumes of its workloads are left out.")
    await expect(side).to_contain_text("1, taken ", timeout=MAX_WAIT)
    await page.get_by_text("Restore a snapshot", exact=True).click()
    await bob.sees("What is gone:")
    await page.get_by_role("button", name="Restore snapshot 1, taken").click()
    await bob.sees("The snapshot is being restored, which takes about half a minute.")
    await expect(side).to_contain_text("before the restore of snapshot 1", timeout=MAX_WAIT)
    # What can be restored is offered again when the restore is over.
    await expect(page.get_by_text("Restore a snapshot", exact=True)).to_be_visible(timeout=MAX_WAIT)
    await expect(page.locator('[data-about="restore"]:not(.over)')).to_have_count(0)
    await bob.open(f"/environments/{name}/history")
    await bob.sees("restored snapshot 1")
    await bob.open(f"/environments/{name}")
    await page.get_by_text("Delete this environment").click()
    await page.locator("#typed").fill(name)
    await page.get_by_role("button", name=f"Delete {name}").click()
    await bob.state("Deleted")
    assert Systems(stack).holds(name) == {}
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
