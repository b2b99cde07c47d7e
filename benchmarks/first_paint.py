"""First paint of the pages in a real Chromium: when a person sees something after a click."""

import statistics
from pathlib import Path
from typing import Any

from playwright.async_api import async_playwright

from benchmarks.support.harness import ground
from tests.ui.browser import Person, launch, person

#: The pages, by what they are called, of an environment called `one` that is ready.
PAGES = {
    "list": "/",
    "templates": "/new",
    "form": "/new/small",
    "environment": "/environments/one",
    "history": "/environments/one/history",
    "capacity": "/platform",
    "audit trail": "/platform/audit",
    "figures": "/platform/figures",
}
#: Visits of each page; the first ones are without the files that the browser keeps.
VISITS = 5
TARGET_MS = 200.0
#: When the browser has painted first, in milliseconds since the click.
_PAINT = """() => new Promise((resolve) => new PerformanceObserver((list, observer) => {
    const paint = list.getEntriesByName("first-contentful-paint")[0];
    if (paint) { observer.disconnect(); resolve(paint.startTime); }
}).observe({ type: "paint", buffered: true }))"""


async def measure_first_paint(folder: Path) -> dict[str, Any]:
    """Visit each page in turn, as one of the platform team."""
    async with ground(folder) as here, async_playwright() as playwright:
        await here.request("one")
        await here.until("EnvPhase = 'ready'", 1)
        browser = await launch(playwright)
        async with person(browser, here.stack, here.stack.options.people[0].email) as alice:
            await alice.sign_in()
            paints: dict[str, list[float]] = {name: [] for name in PAGES}
            for _ in range(VISITS):
                for name, path in PAGES.items():
                    paints[name].append(await _paint(alice, path))
        await browser.close()
    medians = {name: statistics.median(values) for name, values in paints.items()}
    return {
        "what": "first paint of the pages in Chromium",
        **{name: f"median {medians[name]:.0f} ms, longest {max(paints[name]):.0f} ms" for name in PAGES},
        "target": f"median of each page < {TARGET_MS:g} ms",
        "reached": max(medians.values()) < TARGET_MS,
    }


async def _paint(who: Person, path: str) -> float:
    await who.open(path)
    return float(await who.page.evaluate(_PAINT))
