"""What is read stays where it is, whatever the live updates bring."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from playwright.async_api import Browser, Page, ViewportSize, expect

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.api.caller import Caller, calling
from tests.support.fault_points import CHANGING, MAKING, UNMAKING
from tests.support.stack import BOB, CAROL, HURRY, hurried, unique
from tests.support.stand_ins import set_faults
from tests.ui.browser import MAX_WAIT, Person, person
from tests.ui.inspection import DESKTOP, PHONE, shoot

pytestmark = pytest.mark.timeout(600)

#: The browser's own measure, and the places of what is read: the browser does not count what is replaced.
#: Below "About it" there is what can be done, which is more once it is ready.
_WATCH = """() => {
    window.shifts = [];
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts.push(
            ...entry.sources.map((source) => `${entry.value} ${source.node?.outerHTML?.slice(0, 200)}`));
    }).observe({ type: "layout-shift" });
    const read = "h1, #use, #progress, #facts, .steps li";
    const places = () => new Map([...document.querySelectorAll(read)].map((each) => [
        each.id || each.querySelector(".name")?.firstChild.textContent || "h1",
        Math.round(each.getBoundingClientRect().top + scrollY)]));
    let before = places();
    new MutationObserver(() => {
        const now = places();
        for (const [name, top] of before) if (now.has(name) && now.get(name) !== top)
            window.shifts.push(`${name} has gone from ${top} to ${now.get(name)}`);
        before = now;
    }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
}"""
_IN_WINDOW = """(selector) => {
    const box = document.querySelector(selector).getBoundingClientRect();
    return box.height > 0 && box.top >= 0 && box.bottom <= innerHeight;
}"""


def window_name(window: ViewportSize) -> str:
    """What its screenshots are called."""
    return "phone" if window == PHONE else "desktop"


async def watch(page: Page) -> None:
    """Note from now on all that moves."""
    await page.evaluate(_WATCH)


async def moved(page: Page) -> list[str]:
    """What has moved since."""
    found: list[str] = await page.evaluate("() => [...new Set(window.shifts)]")
    return found


@pytest.fixture(scope="module")
async def harbour(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack with separate faults. Steps that fail are tried for long, undos are not."""
    timeouts = {"step_timeout": timedelta(minutes=30), "undo_timeout": timedelta(seconds=3)}
    options = hurried(timeouts=HURRY.model_copy(update=timeouts))
    async with Stack(tmp_path_factory.mktemp("harbour"), options) as stack:
        yield stack


@pytest.fixture
async def bob(harbour: Stack) -> AsyncIterator[Caller]:
    async with calling(harbour, BOB.email) as caller:
        yield caller
    for part in (Part.CONTROL_PLANE, Part.DIRECTORY, Part.HOST):
        set_faults(harbour.url(part))


@pytest.fixture(params=[pytest.param(DESKTOP, id="desktop"), pytest.param(PHONE, id="phone")])
def window(request: pytest.FixtureRequest) -> ViewportSize:
    """The window of the reader: each test has both."""
    size: ViewportSize = request.param
    return size


@pytest.fixture
async def reader(browser: Browser, harbour: Stack, window: ViewportSize) -> AsyncIterator[Person]:
    async with person(browser, harbour, BOB.email, viewport=window) as someone:
        await someone.sign_in()
        yield someone


def fail(stack: Stack, part: Part, operation: str, status: int) -> None:
    """Let a call of a system fail from now on."""
    set_faults(stack.url(part), Fault(operation=operation, kind=FaultKind.STATUS, status=status))


async def test_nothing_moves_while_the_steps_pass(reader: Person, bob: Caller, window: ViewportSize) -> None:
    """Ensures that the text stays in its place, also when the page offers more because it is ready."""
    page, name = reader.page, unique("calm")
    await page.add_init_script(f"addEventListener('DOMContentLoaded', {_WATCH})")
    await bob.accepted(name)
    await reader.open(f"/environments/{name}")
    await reader.state("Ready")
    await expect(page.locator("#command-kubeconfig")).to_be_visible(timeout=MAX_WAIT)
    assert await moved(page) == []


async def test_nothing_moves_while_a_step_fails_and_succeeds_at_last(
    reader: Person, harbour: Stack, bob: Caller, window: ViewportSize
) -> None:
    """Ensures that a cause has its line already, and all of its words where the reader asks for them."""
    page, name = reader.page, unique("calm")
    fail(harbour, *MAKING["vcluster"], 503)
    await bob.accepted(name)
    await reader.open(f"/environments/{name}")
    await watch(page)
    why = page.locator("#why-vcluster")
    await expect(why).to_contain_text("Last failure: ", timeout=MAX_WAIT)
    await shoot(page, "live-failing-step", window_name(window))
    assert await moved(page) == []
    closed = await why.evaluate("(each) => each.offsetHeight")
    await why.locator("summary").click()
    # A live update may replace it at any moment.
    await page.wait_for_function(
        "() => { const each = document.querySelector('#why-vcluster');"
        " return each.offsetHeight >= each.querySelector('span').scrollHeight; }"
    )
    if window == PHONE:
        await page.wait_for_function(
            "(closed) => document.querySelector('#why-vcluster').offsetHeight > closed", arg=closed
        )
    await shoot(page, "live-failing-step-open", window_name(window))
    await why.locator("summary").click()
    await watch(page)
    set_faults(harbour.url(Part.HOST))
    await reader.state("Ready")
    await expect(page.locator("#command-kubeconfig")).to_be_visible(timeout=MAX_WAIT)
    assert await moved(page) == []


async def test_nothing_moves_when_it_cannot_be_made(
    reader: Person, harbour: Stack, bob: Caller, window: ViewportSize
) -> None:
    """Ensures that the cause is seen at once, and comes to its place on the page when the reader asks."""
    page, name = reader.page, unique("calm")
    # Held up until the page is open.
    fail(harbour, *MAKING["group"], 503)
    await bob.accepted(name)
    await reader.open(f"/environments/{name}")
    await expect(page.locator("#why-group")).to_contain_text("Last failure: ", timeout=MAX_WAIT)
    await watch(page)
    fail(harbour, *MAKING["group"], 403)
    await reader.state("Failed")
    await reader.sees("It could not be made, and was undone.")
    await reader.sees("What to do:")
    assert await page.evaluate(_IN_WINDOW, "#new-notices .notice")
    await shoot(page, "live-failed", window_name(window), full_page=False)
    assert await moved(page) == []
    assert await reader.audit() == []
    await page.get_by_role("button", name="Show it on the page").click()
    await expect(page.locator("#state .notice.bad")).to_contain_text("It could not be made, and was undone.")
    assert await page.evaluate(_IN_WINDOW, "#state .notice.bad")
    await expect(page.locator("#news .notice")).to_be_hidden()


async def test_nothing_moves_while_it_is_undone_and_an_undo_fails(
    reader: Person, harbour: Stack, bob: Caller, window: ViewportSize
) -> None:
    page, name = reader.page, unique("calm")
    await bob.ready(name)
    fail(harbour, *UNMAKING["namespace"], 500)
    await reader.open(f"/environments/{name}")
    await reader.state("Ready")
    await watch(page)
    await bob.http.delete(f"/environments/{name}")
    await reader.sees("Namespace is not undone yet.")
    await expect(page.locator("#why-namespace")).not_to_be_empty(timeout=MAX_WAIT)
    await shoot(page, "live-undo-fails", window_name(window), full_page=False)
    assert await moved(page) == []
    assert await reader.audit() == []
    set_faults(harbour.url(Part.HOST))
    await bob.until(name, lambda view: view.ended)
    await reader.state("Deleted")
    await expect(page.get_by_role("link", name="Certificate")).to_be_visible(timeout=MAX_WAIT)
    await expect(page.locator("#news .notice")).to_be_hidden()
    await shoot(page, "live-deleted", window_name(window), full_page=False)
    assert await moved(page) == []


async def test_nothing_moves_while_people_are_changed(
    reader: Person, harbour: Stack, bob: Caller, window: ViewportSize
) -> None:
    """Ensures that the place of a notice stays when it is over."""
    page, name = reader.page, unique("calm")
    await bob.ready(name)
    fail(harbour, *CHANGING["group"], 403)
    await bob.http.put(f"/environments/{name}/collaborators/{CAROL.email}")
    await reader.open(f"/environments/{name}")
    await reader.sees("People are being changed.")
    await watch(page)
    await bob.until(name, lambda view: view.access is not None and view.access.problem is not None)
    await reader.sees("Not in all systems yet:")
    set_faults(harbour.url(Part.DIRECTORY))
    await expect(page.get_by_text("People are being changed.")).to_be_hidden(timeout=MAX_WAIT)
    await shoot(page, "live-people", window_name(window), full_page=False)
    assert await moved(page) == []


async def test_nothing_moves_while_the_connection_is_lost(
    reader: Person, harbour: Stack, bob: Caller, window: ViewportSize
) -> None:
    page, name = reader.page, unique("calm")
    await bob.ready(name)
    await reader.open(f"/environments/{name}")
    await watch(page)
    await harbour.kill(Part.API)
    await reader.sees("The connection is lost. Trying again")
    assert await page.evaluate(_IN_WINDOW, "#live-state")
    await shoot(page, "live-lost", window_name(window), full_page=False)
    await harbour.start(Part.API)
    await expect(page.locator("#live-state")).to_be_hidden(timeout=MAX_WAIT)
    assert await moved(page) == []
