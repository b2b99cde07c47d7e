"""What every page is held to, whatever it shows: one pass in which the browser itself measures."""

from dataclasses import dataclass

from playwright.async_api import Page, ViewportSize

from tests.ui.browser import Person, screenshot_folder

#: Bytes of a page with its style, script and icons, as they come over the network.
PAGE_BYTES = 60_000
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 360, "height": 740}
#: A window of 1280 at 200 %.
ZOOMED: ViewportSize = {"width": 640, "height": 400}

_MEASURE = """() => new Promise((done) => {
    let shift = 0;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) shift += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
    setTimeout(() => {
        const [page] = performance.getEntriesByType("navigation");
        const files = performance.getEntriesByType("resource").filter((file) => !file.name.includes("/live"));
        const paint = performance.getEntriesByName("first-contentful-paint")[0];
        done({
            bytes: [page, ...files].reduce((sum, file) => sum + file.encodedBodySize, 0),
            // A refusal may come after a wait for another system, which is not the page's.
            paint: paint ? paint.startTime - (page.responseStart > 2000 ? page.responseStart : 0) : 0,
            shift,
        });
    }, 50);
})"""
#: All that can have the focus and is on the page, in the order of the document.
_FOCUSABLE = """() => [...document.querySelectorAll(
    'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex="0"]'
)].filter((each) => !each.disabled && each.checkVisibility({ visibilityProperty: true }))
  .map((each, number) => { each.dataset.order = number; return each.outerHTML.slice(0, 120); })"""
_FOCUSED = """() => {
    const each = document.activeElement, style = getComputedStyle(each), box = each.getBoundingClientRect();
    const width = style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth);
    return { order: Number(each.dataset.order ?? -1), outline: width, seen: box.width > 0 && box.height > 0,
             scrolls: each.scrollWidth > each.clientWidth };
}"""
_WIDE = """() => [...document.querySelectorAll("body *")]
    .filter((each) => each.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .slice(0, 3).map((each) => each.outerHTML.slice(0, 160))"""
#: Text that its own box cuts off, where nothing lets people read the rest.
_CUT = """() => [...document.querySelectorAll("main *")].filter((each) => {
    const style = getComputedStyle(each);
    return style.overflowX === "hidden" && each.scrollWidth > each.clientWidth + 1
        && !each.closest(".visually-hidden, thead") && !each.title;
}).map((each) => each.outerHTML.slice(0, 160))"""


#: A navigation of more lines than one, and a current tab that is out of sight.
_WRAPPED = """() => [...document.querySelectorAll(".bar nav, .tabs")]
    .filter((each) => new Set([...each.children].map((link) => link.offsetTop)).size > 1)
    .map((each) => each.textContent)"""
#: Cells whose parts a narrow window sets beside one another, as if each were a separate text.
_SPLIT = """() => [...document.querySelectorAll("table.blocks td")].filter((each) =>
    ["flex", "grid"].includes(getComputedStyle(each).display)
        && [...each.childNodes].filter((part) => part.textContent.trim()).length > 1
).map((each) => each.outerHTML.slice(0, 160))"""
#: Values of facts that are not in the column of the first one.
_ASTRAY = """() => [...document.querySelectorAll("dl.facts dd")].filter((each) =>
    each.getBoundingClientRect().left !== each.parentElement.querySelector("dd").getBoundingClientRect().left
).map((each) => each.outerHTML.slice(0, 160))"""
_TAB_OUT_OF_SIGHT = """() => [...document.querySelectorAll(".tabs [aria-current]")].filter((each) => {
    const box = each.getBoundingClientRect();
    return box.left < 0 || box.right > document.documentElement.clientWidth;
}).map((each) => each.textContent)"""

#: A page that is live may be replaced in part while its keys are pressed.
LOOKS = 5


@dataclass(frozen=True)
class Measured:
    """What the browser has measured of a page."""

    bytes: int
    paint: float
    shift: float


async def inspect(person: Person, name: str) -> Measured:
    """Check the page that is open, and write its screenshots. Fails with the problems."""
    try:
        return await _inspect(person, name)
    finally:
        await person.page.emulate_media(color_scheme="light")
        await person.page.set_viewport_size(DESKTOP)


async def _inspect(person: Person, name: str) -> Measured:
    page = person.page
    measured = Measured(**await page.evaluate(_MEASURE))
    assert measured.shift == 0, f"what it shows moves: {measured.shift}"
    assert measured.bytes < PAGE_BYTES
    found = await person.audit()
    assert not found, "\n".join(found)
    assert await page.evaluate(_WRAPPED) == []
    assert await page.evaluate(_ASTRAY) == []
    await _check_keyboard(page)
    await shoot(page, name, "desktop-light")
    await page.emulate_media(color_scheme="dark")
    # Only colours differ between the themes.
    found = await person.audit("color-contrast")
    assert not found, "\n".join(found)
    await shoot(page, name, "desktop-dark")
    for window in (ZOOMED, PHONE):
        await page.set_viewport_size(window)
        content, width = await person.widths()
        assert content <= width, f"at {width} px it scrolls sideways: {await page.evaluate(_WIDE)}"
        cut = await page.evaluate(_CUT)
        assert cut == [], f"text is cut off at {width} px"
    assert await page.evaluate(_WRAPPED) == []
    assert await page.evaluate(_TAB_OUT_OF_SIGHT) == []
    assert await page.evaluate(_SPLIT) == []
    await shoot(page, name, "phone-dark")
    await page.emulate_media(color_scheme="light")
    await shoot(page, name, "phone-light")
    return measured


async def _check_keyboard(page: Page) -> None:
    """Reach all that can be used by the Tab key, in the order of the document, with a focus that is seen."""
    for _ in range(LOOKS):
        every, reached = await _reach_by_tab(page)
        if reached == list(range(len(every))):
            return
        if await page.locator("[data-order]").count() == len(every):
            break  # No live update has replaced a part of the page meanwhile.
    assert reached == list(range(len(every))), [
        each for number, each in enumerate(every) if number not in reached
    ] or reached


async def _reach_by_tab(page: Page) -> tuple[list[str], list[int]]:
    """Return all that can have the focus, and what the Tab key has reached of it, in that order."""
    every: list[str] = await page.evaluate(_FOCUSABLE)
    await page.evaluate("() => { document.activeElement.blur(); getSelection().removeAllRanges(); }")
    await page.evaluate("() => { const top = document.querySelector('.skip'); top.focus(); }")
    reached: list[int] = []
    for _ in range(2 * len(every) + 20):
        focused = await page.evaluate(_FOCUSED)
        if reached and focused["order"] == reached[-1]:
            # A date has a place for each of its numbers.
            await page.keyboard.press("Tab")
            continue
        if focused["order"] < 0 or focused["order"] in reached:
            break
        assert focused["seen"], f"the focus is where nothing is: {every[focused['order']]}"
        assert focused["outline"] >= 2, f"the focus is not seen: {every[focused['order']]}"
        reached.append(focused["order"])
        await page.keyboard.press("Tab")
    return every, reached


async def shoot(page: Page, name: str, kind: str, *, full_page: bool = True) -> None:
    """Write a screenshot, if they are wanted: of the whole page, or of what the window shows."""
    if folder := screenshot_folder():
        await page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
        folder.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=folder / f"{name}.{kind}.png", full_page=full_page)
