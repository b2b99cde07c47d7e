"""What goes wrong between a person and a page: two tabs, the back button, a session that ends, a restart."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from embedded.stack.stack import Part, Stack
from starter.page.session.cookies import SESSION_COOKIE
from tests.api.caller import Caller, calling
from tests.support.stack import BOB, CAROL, hurried, unique
from tests.ui.browser import MAX_WAIT, Person, person


async def lives_of(caller: Caller, name: str) -> int:
    """How many lives the name has had."""
    answer = await caller.http.get(f"/environments/{name}/history")
    return len(answer.json()["lives"])


async def test_a_form_of_one_tab_after_the_other_tab_has_deleted_it(
    bob_at_browser: Person, bob: Caller
) -> None:
    name, here = unique("tabs"), bob_at_browser.page
    await bob.ready(name)
    await bob_at_browser.open(f"/environments/{name}")
    there = await here.context.new_page()
    await there.goto(here.url)
    # Without live updates: the tab is as it was when its machine slept.
    await there.route("**/live*", lambda route: route.abort())
    await there.reload()
    await bob.gone(name)
    await there.get_by_role("button", name="8h").click()
    alert = there.get_by_role("alert")
    await expect(alert).to_be_focused(timeout=MAX_WAIT)
    await expect(alert).to_contain_text(re.compile(r"has ended|is gone|ended"))
    await expect(there.locator("#chip")).to_have_text("Deleted")
    await bob_at_browser.state("Deleted")


async def test_another_person_deletes_it_while_it_is_watched(
    bob_at_browser: Person, bob: Caller, carol: Caller
) -> None:
    name = unique("meanwhile")
    await bob.ready(name)
    await bob_at_browser.open(f"/environments/{name}")
    await expect(bob_at_browser.page.get_by_role("button", name="Add")).to_be_visible()
    await bob_at_browser.page.get_by_label("Let a person use it").fill("half typed")
    await carol.gone(name)
    await bob_at_browser.state("Deleted")
    await expect(bob_at_browser.page.get_by_role("link", name="Certificate")).to_be_visible(timeout=MAX_WAIT)
    await bob_at_browser.open(f"/environments/{name}/history")
    await bob_at_browser.sees(CAROL.email)


async def test_the_back_button_after_a_request_shows_a_form_that_works(
    bob_at_browser: Person, bob: Caller
) -> None:
    page, first, second = bob_at_browser.page, unique("back"), unique("again")
    await bob_at_browser.ask(first)
    await page.go_back()
    name, button = page.get_by_label("Name", exact=True), page.get_by_role("button", name="Ask for it")
    await expect(button).to_be_enabled(timeout=MAX_WAIT)
    await expect(button).not_to_have_attribute("aria-disabled", "true")
    await name.fill(second)
    await button.click()
    await page.wait_for_url(f"**/environments/{second}?done=created")
    assert (await lives_of(bob, first), await lives_of(bob, second)) == (1, 1)


async def test_a_double_click_asks_once(bob_at_browser: Person, bob: Caller) -> None:
    page, name = bob_at_browser.page, unique("twice")
    await bob_at_browser.open("/new/small")
    await page.get_by_label("Name", exact=True).fill(name)
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.method) if sent.method == "POST" else None)
    # While the first answer is on its way.
    await page.get_by_role("button", name="Ask for it").dblclick(no_wait_after=True)
    await page.wait_for_url(f"**/environments/{name}?done=*")
    await bob_at_browser.sees("It was asked for")
    assert await lives_of(bob, name) == 1
    assert bob_at_browser.complaints == []


async def test_the_same_form_twice_without_javascript_asks_once(
    browser: Browser, stack: Stack, bob: Caller
) -> None:
    name = unique("twice")
    async with person(browser, stack, BOB.email, java_script_enabled=False) as someone:
        await someone.sign_in("/new/small")
        page = someone.page
        await page.get_by_label("Name", exact=True).fill(name)
        await page.get_by_role("button", name="Ask for it").dblclick(no_wait_after=True)
        # The second click breaks off the first navigation: to wait for a navigation would fail.
        await expect(page).to_have_url(re.compile(rf"/environments/{name}\?done="), timeout=MAX_WAIT)
    assert await lives_of(bob, name) == 1


async def test_all_of_it_without_javascript(browser: Browser, stack: Stack, bob: Caller) -> None:
    name = unique("plain")
    async with person(browser, stack, BOB.email, java_script_enabled=False) as someone:
        await someone.sign_in("/new/small")
        page = someone.page
        await page.get_by_label("Name", exact=True).fill(name)
        await page.get_by_label("Time to live").select_option("1h")
        await page.get_by_role("button", name="See what would be made").click()
        await someone.sees("This would be made")
        await page.get_by_role("button", name="Ask for it").click()
        await page.wait_for_url(f"**/environments/{name}?done=created")
        # The page loads itself again.
        await someone.state("Ready")
        await page.get_by_role("button", name="8h").click()
        await someone.sees("Its end was moved.")
        await page.get_by_label("Let a person use it").fill(CAROL.email)
        await page.get_by_role("button", name="Add").click()
        await expect(page.locator(".people")).to_contain_text(CAROL.email, timeout=MAX_WAIT)
        await page.get_by_text("Delete this environment").click()
        await page.get_by_label(re.compile("Type .* to delete it")).fill(name)
        await page.get_by_role("button", name=f"Delete {name}").click()
        await someone.state("Deleted")
        assert someone.complaints == []


async def test_a_session_that_ends_while_a_form_is_filled_in_leads_back_to_the_form(
    bob_at_browser: Person, bob: Caller
) -> None:
    page, name = bob_at_browser.page, unique("idle")
    await bob_at_browser.open("/new/small")
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_label("Who else may use it").fill(CAROL.email)
    await page.context.clear_cookies(name=SESSION_COOKIE)
    await page.get_by_role("button", name="Ask for it").click()
    await bob_at_browser.sees("Your session has ended, so nothing was done")
    answer = await bob.http.get(f"/environments/{name}")
    assert answer.status_code == 404
    await page.get_by_role("link", name="Sign in").click()
    await bob_at_browser.sign_in_at_provider()
    await page.wait_for_url("**/new/small")
    await expect(page.get_by_label("Name", exact=True)).to_have_value(name)
    await expect(page.get_by_label("Who else may use it")).to_have_value(CAROL.email)
    await page.get_by_role("button", name="Ask for it").click()
    await page.wait_for_url(f"**/environments/{name}?done=created")


async def test_a_sign_out_in_another_tab_is_said_where_it_is_watched(
    bob_at_browser: Person, bob: Caller
) -> None:
    name, page = unique("watched"), bob_at_browser.page
    await bob.ready(name)
    await bob_at_browser.open(f"/environments/{name}")
    await page.get_by_label("Let a person use it").fill("half typed")
    there = await page.context.new_page()
    await there.goto(bob_at_browser.base)
    await there.get_by_role("button", name="Sign out").click()
    await expect(there.get_by_text("You are signed out.")).to_be_visible(timeout=MAX_WAIT)
    await bob_at_browser.sees("Live updates have ended: reload the page, and sign in again")
    assert await page.get_by_label("Let a person use it").input_value() == "half typed"


async def test_forms_that_came_by_live_updates_do_what_they_say(bob_at_browser: Person, bob: Caller) -> None:
    name, page = unique("forms"), bob_at_browser.page
    await bob_at_browser.ask(name)
    loads: list[str] = []
    page.on("load", lambda loaded: loads.append(loaded.url))
    await bob_at_browser.state("Ready")
    await page.get_by_label("Let a person use it").fill(CAROL.email)
    assert loads == [], "it was loaded again"
    await page.get_by_role("button", name="Add").click()
    await bob_at_browser.sees("The person can use it as soon as all systems know.")
    await expect(page.locator(".people")).to_contain_text(CAROL.email)


async def test_a_name_that_is_taken_between_check_and_request(bob_at_browser: Person, carol: Caller) -> None:
    page, name = bob_at_browser.page, unique("taken")
    await bob_at_browser.open("/new/small")
    await page.get_by_label("Name", exact=True).fill(name)
    await expect(page.locator("#check")).to_contain_text(name, timeout=MAX_WAIT)
    await carol.ask(name)
    await page.get_by_role("button", name="Ask for it").click()
    alert = page.get_by_role("alert")
    await expect(alert).to_be_focused(timeout=MAX_WAIT)
    await expect(alert).to_contain_text(re.compile(rf"{name}.*(taken|exists|already)"))
    assert await page.get_by_label("Name", exact=True).input_value() == name


async def test_a_wrong_address_of_a_collaborator_is_reported_at_its_field(
    bob_at_browser: Person, bob: Caller
) -> None:
    page, name = bob_at_browser.page, unique("people")
    await bob.ready(name)
    await bob_at_browser.open("/new/small")
    await page.get_by_label("Name", exact=True).fill(unique("form"))
    await page.get_by_label("Who else may use it").fill("no-one@example.com")
    await expect(page.locator("#collaborators-error")).to_contain_text("no-one@example.com", timeout=MAX_WAIT)
    await bob_at_browser.open(f"/environments/{name}")
    await page.get_by_label("Let a person use it").fill("no-one@example.com")
    await page.get_by_role("button", name="Add").click()
    await expect(page.locator("#person-error")).to_contain_text("no-one@example.com", timeout=MAX_WAIT)
    assert await page.get_by_label("Let a person use it").input_value() == "no-one@example.com"


async def test_an_extension_beyond_the_policy_is_refused_with_the_sentence(
    bob_at_browser: Person, bob: Caller
) -> None:
    page, name = bob_at_browser.page, unique("beyond")
    await bob.ready(name)
    await bob_at_browser.open(f"/environments/{name}")
    button = page.get_by_role("button", name="8h")
    await button.evaluate("(element) => { element.value = '2100-01-01T00:00:00Z'; }")
    async with page.expect_navigation() as answer:
        await button.click()
    response = await answer.value
    assert response
    assert response.status == 409
    await expect(page.get_by_role("alert")).to_contain_text(re.compile("at most|until|latest"))


async def test_a_kubeconfig_of_what_is_not_ready(bob_at_browser: Person, bob: Caller) -> None:
    name = unique("early")
    view = await bob.ready(name)
    await bob.gone(view.name)
    answer = await bob_at_browser.page.goto(f"{bob_at_browser.base}/environments/{name}/kubeconfig")
    assert answer
    assert answer.status == 409
    await bob_at_browser.sees(name)


@pytest.mark.timeout(300)
async def test_live_updates_go_on_after_the_api_was_killed(browser: Browser, tmp_path: Path) -> None:
    options = hurried(stand_ins={Part.HOST: {"start_seconds": 4, "stop_seconds": 0.1}})
    async with (
        Stack(tmp_path, options) as stack,
        calling(stack, BOB.email) as caller,
        person(browser, stack, BOB.email) as bob,
    ):
        await bob.sign_in()
        await bob.ask("restarted")
        await stack.kill(Part.API)
        await bob.sees("The connection is lost. Trying again")
        await stack.start(Part.API)
        await bob.state("Ready")
        await expect(bob.page.locator("#live-state")).to_be_hidden()
        # Its forms are as valid as before: no state of the API was needed.
        await bob.page.get_by_role("button", name="8h").click()
        await bob.sees("Its end was moved.")
        assert await lives_of(caller, "restarted") == 1


async def test_nothing_moves_where_people_want_that(browser: Browser, stack: Stack, bob: Caller) -> None:
    name = unique("still")
    await bob.ask(name)
    async with person(browser, stack, BOB.email, reduced_motion="reduce") as someone:
        await someone.sign_in(f"/environments/{name}")
        running = "() => document.getAnimations().length"
        for _ in range(10):
            assert await someone.page.evaluate(running) == 0
        await someone.state("Ready")


@pytest.mark.parametrize(
    ("locale", "zone", "date"),
    [
        ("de-DE", "Europe/Berlin", r"\d\d\.\d\d\.\d{4}, \d\d:\d\d"),
        ("en-US", "America/New_York", r"[A-Z][a-z]{2} \d{1,2}, \d{4}, \d{1,2}:\d\d\s[AP]M"),
    ],
)
async def test_times_are_those_of_the_reader(
    browser: Browser, stack: Stack, bob: Caller, locale: str, zone: str, date: str
) -> None:
    name = unique("times")
    view = await bob.ready(name)
    assert view.expires_at
    async with person(browser, stack, BOB.email, locale=locale, timezone_id=zone) as someone:
        await someone.sign_in(f"/environments/{name}")
        end = someone.page.locator("#facts + dl time").nth(1)
        await expect(end).to_have_text(re.compile(f"^{date}$"))
        there = await someone.page.evaluate(
            """([moment, zone]) => new Intl.DateTimeFormat(undefined,
                { hour: "numeric", minute: "2-digit", timeZone: zone }).format(new Date(moment))""",
            [view.expires_at.isoformat(), zone],
        )
        assert there in await end.inner_text()
        await expect(someone.page.locator("#facts + dl time").first).to_have_text(re.compile(r"^in \d+h"))
