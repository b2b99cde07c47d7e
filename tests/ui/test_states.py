"""Pages in states that a stack takes long to reach, held to the same: see `tests.ui.inspection`."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Literal

import pytest
from fastapi import FastAPI
from playwright.async_api import Browser, expect

from starter.environments.schemas import FreezeView
from starter.page.routes.platform import rollouts
from tests.support.booking_views import CODE
from tests.ui.browser import MAX_WAIT, Person
from tests.ui.inspection import DESKTOP, PHONE, inspect, shoot
from tests.ui.state_values import ALICE, BOB, ENVIRONMENTS, LONGEST, NOW
from tests.ui.states import Services, application, visitor

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
#: What the page of each environment must show.
SHOWS = {
    "asleep": ("It is asleep.", "by its idle time", "Wake asleep", "Sleeps"),
    "falling-asleep": ("It does not fall asleep yet.", "What to do:"),
    "could-not-wake": ("It could not be woken.", "What to do:"),
    "drift": ("It is being repaired.", "tell the platform team", "It could not be repaired so far:"),
    "changing": ("Its template is being changed.", "To medium version 2, for bob@example.com."),
    "going-back": ("It goes back to small version 1:",),
    "snapshots": ("2, taken ", "3, taken ", "4, not taken: ", "Restore a snapshot", "Take a snapshot"),
    "restoring": ("Snapshot 3 is being restored.", "For bob@example.com.", "5, taken "),
    "restore-goes-back": ("it goes back to the state before", "Not yet:", "What to do:", "Next try"),
    "restore-failed": ("The last restore failed, and it has the state of before.", "Restore a snapshot"),
    "orphaned": ("Orphaned", "Its workflow was closed from outside"),
    LONGEST: (
        *("Its owner has left.", "Something is wrong with it on its host.", "Upgrade to version 2"),
        *("The last change of its template was rolled back.", "app=shop", "domain"),
    ),
}


@dataclass(frozen=True)
class View:
    """A page in a state: who looks, at what, and what it must show."""

    name: str
    path: str
    shows: tuple[str, ...]
    who: str = "alice"
    frozen: bool = False


VIEWS = [
    *(View(f"state-{name}", f"/environments/{name}", SHOWS[name], "bob") for name in ENVIRONMENTS),
    View("state-list", "/?order=state", ("orphaned", "Only the newest 500 are in this order"), "bob"),
    View("state-list-label", "/?label=app%3Dshop&template=small", (LONGEST, "Owner"), "bob"),
    View("state-list-no-label", "/?label=app%3Dnone", ("No environment has the label",), "bob"),
    View("state-list-none", "/?owner=x%40example.com", ("No environment passes these filters",), "bob"),
    View("state-form-parameters", "/new/parameters", ("The domain of its ingress.",), "bob"),
    View("state-orphaned-platform", "/environments/orphaned", ("Run in Temporal",)),
    View("state-problems-orphaned", "/platform/problems", ("Orphaned", "moorage teardown NAME --force")),
    View("state-capacity", "/platform", ("1,204 of 2,000 held, 796 free", "1,234.5 of 4,000 held")),
    View("state-pools", "/platform/pools", ("Stopped", "It makes no more", "Filling", "Its hours begin")),
    View("state-bookings", "/platform/bookings", ("2 of 3", "Ending", "Over")),
    View("state-booking", "/platform/bookings/k8s-101", ("Who has come", "ann@example.com", "End it now")),
    View("state-booking-ending", "/platform/bookings/ending", ("Not gone yet", "has given up")),
    View("state-booking-over", "/platform/bookings/over", ("Nothing is left.", "What has ended")),
    View("state-seat", "/seat", ("At a course or a workshop you get a code.",), "bob"),
    View("state-ends", "/platform/ends", ("Wait for your confirmation", "moorage leavers --confirm")),
    View("state-ends-frozen", "/platform/ends", ("Thaw: let environments end again",), frozen=True),
    View("state-sweep-dry-run", "/platform/sweeps/1?dry_run=true", ("Would be warned: 1,204",)),
    View("state-sweep-running", "/platform/sweeps/running", ("Look again",)),
    View("state-sweep-nothing", "/platform/sweeps/nothing", ("Nothing was due.",)),
    View("state-sweep-frozen", "/platform/sweeps/frozen?dry_run=true", ("All ends are frozen",), frozen=True),
    View("state-reconcile", "/platform/reconcile", ("3 wait for your confirmation", "Skipped")),
    View(
        "state-rollouts", "/platform/rollouts", ("The last upgrade of each template", "Failures that stop it")
    ),
    View("state-rollout-none", "/platform/rollouts/none", ("There was no upgrade of all",)),
    View("state-rollout-running", "/platform/rollouts/running", ("Stop: begin no further wave", "1,204")),
    View("state-rollout-second-page", "/platform/rollouts/running?offset=50", ("51 to 70 of 70",)),
    View(
        "state-rollout-stopped",
        "/platform/rollouts/stopped",
        ("Stopped: 1 upgrade has failed.", "It was stopped"),
    ),
    View("state-rollout-over", "/platform/rollouts/over", ("It is over", "12 upgraded")),
    View("state-reconcile-dry-run", "/platform/reconcile/1?dry_run=true", ("Missing or altered",)),
]


class House:
    """The application, and a browser for each person who looks at it."""

    def __init__(self, app: FastAPI, people: dict[str, Person]) -> None:
        self.app, self.people = app, people
        self.services: Services = app.state.services


@pytest.fixture(scope="module")
async def house(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    app = await application(tmp_path_factory.mktemp("states"))
    async with AsyncExitStack() as closing:
        people = {
            principal.person.lower(): await closing.enter_async_context(visitor(browser, app, principal))
            for principal in (ALICE, BOB)
        }
        # The first page waits until the browser and the templates are loaded.
        for someone in people.values():
            await someone.open("/")
        yield House(app, people)


def test_every_environment_is_looked_at() -> None:
    assert set(SHOWS) == set(ENVIRONMENTS)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
async def test_state(house: House, view: View) -> None:
    someone = house.people[view.who]
    someone.complaints.clear()
    freeze = FreezeView(by=ALICE.email, since=NOW, reason="We migrate the host, until noon.")
    house.services.frozen = freeze if view.frozen else None
    answer = await someone.page.goto(f"{someone.base}{view.path}")
    assert answer
    assert answer.status == 200, await answer.text()
    for text in view.shows:
        await someone.sees(text)
    await inspect(someone, view.name)
    assert someone.complaints == []


async def test_a_restore_is_confirmed_by_what_comes_back_and_what_does_not(house: House) -> None:
    """Ensures that the buttons are behind that, name their snapshots, and are reached with the keyboard."""
    bob = house.people["bob"]
    bob.complaints.clear()
    await bob.open("/environments/snapshots")
    buttons = bob.page.get_by_role("button", name=re.compile("^Restore snapshot "))
    await expect(buttons.first).to_be_hidden()
    await bob.page.get_by_text("Restore a snapshot").click()
    for words in ("What comes back:", "What does not:", "What is gone:"):
        await bob.sees(words)
    await expect(buttons).to_have_text(
        [re.compile(f"^Restore snapshot {number}, taken ") for number in (3, 2)]
    )
    try:
        for window, size in (("desktop", DESKTOP), ("phone", PHONE)):
            await bob.page.set_viewport_size(size)
            content, width = await bob.widths()
            assert content <= width
            for scheme in SCHEMES:
                await bob.page.emulate_media(color_scheme=scheme)
                assert await bob.audit() == []
                await shoot(bob.page, "state-snapshots-restore", f"{window}-{scheme}")
    finally:
        await bob.page.emulate_media(color_scheme="light")
        await bob.page.set_viewport_size(DESKTOP)
    assert bob.complaints == []


async def test_upgrades_in_progress_are_listed(house: House) -> None:
    house.services.upgrading = ["running", LONGEST]
    try:
        await _look_at_rollouts(house, "state-rollouts-running", f"Upgrade of all environments of {LONGEST}")
    finally:
        house.services.upgrading = []


async def test_upgrades_of_an_empty_catalogue(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "offered_templates", lambda *_: [])
    await _look_at_rollouts(house, "state-rollouts-empty", "The catalogue has no template.")


async def _look_at_rollouts(house: House, name: str, shows: str) -> None:
    alice = house.people["alice"]
    alice.complaints.clear()
    await alice.open("/platform/rollouts")
    await alice.sees(shows)
    await inspect(alice, name)
    assert alice.complaints == []


@pytest.mark.parametrize(
    ("template", "name", "shows"),
    [
        ("plain", "state-rollout-plan", ("60 would be upgraded", "The first 50 of 62.", "Upgrade these 60")),
        ("parameters", "state-rollout-plan-nothing", ("0 would be upgraded to parameters version 3",)),
    ],
    ids=["some", "nothing"],
)
async def test_plan_of_an_upgrade(house: House, template: str, name: str, shows: tuple[str, ...]) -> None:
    alice = house.people["alice"]
    alice.complaints.clear()
    await alice.open("/platform/rollouts")
    await alice.page.get_by_label("Template", exact=True).select_option(template)
    await alice.page.get_by_role("button", name="Dry run: show what would be upgraded").click()
    for text in shows:
        await alice.sees(text)
    await inspect(alice, name)
    assert alice.complaints == []


async def test_upgrade_with_numbers_that_are_wrong(house: House) -> None:
    """Ensures that each is reported at its field, where the browser lets it pass."""
    alice = house.people["alice"]
    alice.complaints.clear()
    await alice.open("/platform/rollouts")
    await alice.page.get_by_label("Environments of each further wave").fill("99")
    await alice.page.get_by_label("Failures that stop it").fill("0")
    button = alice.page.get_by_role("button", name="Dry run: show what would be upgraded")
    await button.evaluate("(each) => { each.form.noValidate = true; }")
    await button.click()
    await expect(alice.page.get_by_role("alert")).to_be_focused(timeout=MAX_WAIT)
    for field in ("wave", "stop_after"):
        await expect(alice.page.locator(f"#{field}-error")).not_to_be_empty()
    await inspect(alice, "state-rollouts-wrong")
    assert [each for each in alice.complaints if "status of 422 " not in each] == []


@pytest.mark.parametrize(
    ("locale", "environments", "cpu", "memory"),
    [("de-DE", "1.204", "1.234,5", "9.876Gi"), ("en-US", "1,204", "1,234.5", "9,876Gi")],
)
async def test_numbers_are_those_of_the_reader(
    browser: Browser, house: House, locale: str, environments: str, cpu: str, memory: str
) -> None:
    async with visitor(browser, house.app, ALICE, locale=locale) as alice:
        await alice.open("/platform")
        for text in (f"{environments} of ", f"{cpu} of ", f"{memory} of "):
            await alice.sees(text)


async def test_platform_page_without_javascript(browser: Browser, house: House) -> None:
    house.services.frozen = None
    async with visitor(browser, house.app, ALICE, java_script_enabled=False) as alice:
        await alice.open("/platform")
        await alice.sees("1204 of 2000 held, 796 free")
        await alice.page.get_by_role("link", name="Ends", exact=True).click()
        await alice.page.get_by_label("Reason").fill("We migrate the host.")
        await alice.page.get_by_role("button", name="Freeze all ends").click()
        await alice.sees("All ends are frozen.")
        await alice.page.get_by_role("button", name="Thaw").click()
        await alice.sees("Thawed: the next sweep warns and ends what is due.")
        assert alice.complaints == []


async def test_a_seat_is_taken_without_javascript(browser: Browser, house: House) -> None:
    house.app.state.bookings.seat = "asleep"
    async with visitor(browser, house.app, BOB, java_script_enabled=False) as bob:
        await bob.open("/")
        await bob.page.get_by_role("link", name="Take a seat").click()
        await bob.page.get_by_label("Code").fill("K7QF")
        await bob.page.get_by_role("button", name="Take the seat").click()
        await bob.sees("This code is not good: it is mistyped")
        await bob.page.get_by_label("Code").fill(CODE)
        await bob.page.get_by_role("button", name="Take the seat").click()
        await bob.sees("It is asleep.")


async def test_certificate_as_it_is_printed(house: House) -> None:
    bob = house.people["bob"]
    await bob.open("/environments/gone/certificate")
    await bob.page.emulate_media(media="print", color_scheme="dark")
    try:
        for hidden in ("header", "footer", ".crumb", ".skip"):
            await expect(bob.page.locator(hidden).first).to_be_hidden()
        for text in ("Nothing is left.", "volume data-0", "pod mrg-demo-0", "bob@example.com, team blue"):
            await bob.sees(text)
        # Dark text on white paper, whatever the theme of the screen is.
        assert await bob.audit("color-contrast") == []
        paper = "() => getComputedStyle(document.documentElement).backgroundColor"
        assert await bob.page.evaluate(paper) == "rgb(255, 255, 255)"
        ink = "() => getComputedStyle(document.querySelector('h1')).color"
        assert await bob.page.evaluate(ink) == "rgb(22, 32, 44)"
        await shoot(bob.page, "certificate", "printed")
    finally:
        await bob.page.emulate_media(media="screen", color_scheme="light")


async def test_the_name_that_is_suggested_is_free(house: House) -> None:
    bob, name = house.people["bob"], "bob-plain"
    for taken, suggested in ((set(), name), ({name, f"{name}-2"}, f"{name}-3")):
        house.services.taken = taken
        await bob.open("/new/plain")
        await expect(bob.page.get_by_label("Name", exact=True)).to_have_value(suggested)


async def test_filters_lead_to_their_list_and_stay_in_it(house: House) -> None:
    bob = house.people["bob"]
    await bob.open("/")
    await bob.page.get_by_text("More filters").click()
    await bob.page.get_by_label("Owner").fill("BOB@example.com")
    await bob.page.get_by_label("Template").fill("small")
    await bob.page.get_by_role("button", name="Show").click()
    await bob.sees("could-not-wake")
    await expect(bob.page.get_by_role("link", name=LONGEST)).to_have_count(0)
    await expect(bob.page.get_by_label("Owner")).to_have_value("bob@example.com")
    await bob.page.get_by_role("link", name="Next page").click()
    await expect(bob.page.get_by_label("Template")).to_have_value("small")
    await bob.page.get_by_role("link", name="First page").click()
    await expect(bob.page.get_by_label("Owner")).to_have_value("bob@example.com")
