"""Every page in every state, held to the same: see `tests.ui.inspection`. Screenshots go the same way."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, expect

from contracts.environment.models import Phase
from embedded.stack.stack import Part, Stack
from tests.api.caller import calling
from tests.support.stack import ALICE, BOB, CAROL, DAVE
from tests.ui.browser import MAX_WAIT, Person, person
from tests.ui.gallery import HOSTILE, LONG, LONG_ADDRESS, LONGEST_NAME, NEWCOMER, gallery
from tests.ui.inspection import DESKTOP, inspect

pytestmark = pytest.mark.timeout(600)

PEOPLE = {each.email.partition("@")[0]: each for each in (ALICE, BOB, CAROL, DAVE, NEWCOMER)} | {"long": LONG}


@dataclass(frozen=True)
class View:
    """A page in a state: who looks, at what, and what it must show. `answer` is its status."""

    name: str
    who: str
    path: str
    shows: str
    answer: int = 200


VIEWS = [
    # It does not stay so for long.
    View("environment-tearing-down", "bob", "/environments/tearing-down", "How it is undone"),
    View("list", "bob", "/", "only-one"),
    View("list-all", "alice", "/", LONGEST_NAME),
    View("list-empty", "erin", "/", "You have no environment"),
    View("list-none-stuck", "erin", "/?show=stuck", "Nothing is held up"),
    View("list-none-ended", "erin", "/?show=ended", "None has ended"),
    View("list-stuck", "bob", "/?show=stuck", "throttled"),
    View("list-ended", "bob", "/?show=ended", "expired"),
    View("list-none-found", "bob", "/?q=zz", "No environment begins with"),
    View("list-hostile", "bob", f"/?q={quote(HOSTILE)}", "No environment begins with"),
    View("templates", "bob", "/new", "No room now"),
    View("templates-no-quota", "erin", "/new", "Your quota is used up"),
    View("form", "bob", "/new/small", "Ask for it"),
    View("form-teams", "long", "/new/medium", "Team"),
    View("form-no-room", "bob", "/new/full", "No room now"),
    View("environment-ready", "bob", "/environments/ready", "Use it"),
    View("environment-team-mate", "carol", "/environments/only-one", "End it"),
    View("environment-platform", "alice", f"/environments/{LONGEST_NAME}", "End it"),
    View("environment-collaborator", "dave", "/environments/ready", "Use it"),
    View("environment-long", "long", f"/environments/{LONGEST_NAME}", "Use it"),
    View("environment-done", "bob", "/environments/ready?done=extended", "Its end was moved."),
    View("environment-waits", "bob", "/environments/waits", "Waiting for "),
    View("environment-usable", "bob", "/environments/imported", "Usable"),
    View("environment-retries", "bob", "/environments/retries", "Attempt"),
    View("environment-throttled", "bob", "/environments/throttled", "asked for a pause"),
    View("environment-access-pending", "bob", "/environments/access-pending", "Not in all systems yet:"),
    View("environment-owner-left", "carol", "/environments/left", "Its owner has left."),
    View("list-owner-left", "carol", "/?q=left", "a member of the team can take it"),
    View("environment-failed", "bob", "/environments/failed", "What to do:"),
    View("environment-deleted", "bob", "/environments/deleted", "Deleted"),
    View("environment-expired", "bob", "/environments/expired", "Expired"),
    View("history", "bob", "/environments/deleted/history", "asked for it"),
    View("history-failed", "bob", "/environments/failed/history", "Failed"),
    View("certificate", "bob", "/environments/deleted/certificate", "Nothing is left."),
    View("platform", "alice", "/platform", "local"),
    View("platform-pools", "alice", "/platform/pools", "No template keeps a warm pool"),
    View("platform-problems", "alice", "/platform/problems", "throttled"),
    View("platform-ends", "alice", "/platform/ends", "Sweep"),
    View("platform-audit", "alice", "/platform/audit", BOB.email),
    View("platform-figures", "alice", "/platform/figures", "small"),
    View("platform-forbidden", "bob", "/platform", "Back to your environments", 403),
    View("not-found", "bob", "/environments/no-such", "no environment", 404),
    View("no-such-page", "bob", "/no/such/page", "Back to your environments", 404),
    View("no-such-template", "bob", f"/new/{quote(HOSTILE, safe='')}", "Back to your environments", 404),
    View("forbidden", "alice", f"/environments/{LONGEST_NAME}/kubeconfig", "Back to your environments", 403),
    View("not-ready", "bob", "/environments/waits/kubeconfig", "Back to your environments", 409),
    View("bad-address", "bob", "/?cursor=nonsense", "Back to your environments", 422),
]


class House:
    """The gallery, and a browser for each person who looks at it."""

    def __init__(self, browser: Browser, stack: Stack, closing: AsyncExitStack) -> None:
        self.browser, self.stack, self._closing = browser, stack, closing
        self._people: dict[str, Person] = {}

    async def of(self, who: str) -> Person:
        """The browser of a person who has signed in."""
        if who not in self._people:
            someone = person(self.browser, self.stack, PEOPLE[who].email, viewport=DESKTOP)
            self._people[who] = await self._closing.enter_async_context(someone)
            await self._people[who].sign_in()
        self._people[who].complaints.clear()
        return self._people[who]

    async def look(self, someone: Person, name: str) -> None:
        """Inspect the page that is open, and keep the measurements."""
        await inspect(someone, name)


@pytest.fixture(scope="module")
async def house(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with AsyncExitStack() as closing:
        stack = await closing.enter_async_context(gallery(tmp_path_factory.mktemp("gallery")))
        yield House(browser, stack, closing)


#: Visits of a page that says that a busy system is to be asked again.
TRIES = 5


def expected(complaint: str, answer: int) -> bool:
    """Whether the browser only tells of the page's own status, or that it was to be visited again."""
    return f"status of {answer} " in complaint or "status of 503 " in complaint


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
async def test_page(house: House, view: View) -> None:
    someone = await house.of(view.who)
    for _ in range(TRIES):
        answer = await someone.page.goto(f"{someone.base}{view.path}")
        assert answer
        if answer.status != 503:
            break
    assert answer
    assert answer.status == view.answer
    await someone.sees(view.shows)
    await house.look(someone, view.name)
    assert [each for each in someone.complaints if not expected(each, view.answer)] == []


async def test_form_with_errors_keeps_what_was_typed(house: House) -> None:
    bob = await house.of("bob")
    page = bob.page
    await bob.open("/new/small")
    people = f"{LONG_ADDRESS}\nno address\n\u202eabc\n{HOSTILE}"
    await page.get_by_label("Name", exact=True).fill("No_Name")
    await page.get_by_label("Who else may use it").fill(people)
    await page.get_by_role("button", name="Ask for it").click()
    await expect(page.get_by_role("alert")).to_be_focused(timeout=MAX_WAIT)
    assert await page.get_by_label("Who else may use it").input_value() == people
    await house.look(bob, "form-errors")
    assert [each for each in bob.complaints if not expected(each, 422)] == []


async def test_form_with_what_would_be_made(house: House) -> None:
    bob = await house.of("bob")
    await bob.open("/new/small")
    await bob.page.get_by_label("Name", exact=True).fill("planned")
    await bob.page.get_by_label("Who else may use it").fill(f"{CAROL.email}, {DAVE.email}")
    await bob.page.get_by_role("button", name="See what would be made").click()
    await bob.sees("This would be made")
    await house.look(bob, "form-preview")
    assert bob.complaints == []


async def test_form_without_room(house: House) -> None:
    bob = await house.of("bob")
    await bob.open("/new/single")
    await bob.page.get_by_label("Name", exact=True).fill("second-one")
    await bob.page.get_by_role("button", name="Ask for it").click()
    await expect(bob.page.get_by_role("alert")).to_be_focused(timeout=MAX_WAIT)
    await house.look(bob, "form-quota")
    assert [each for each in bob.complaints if not expected(each, 409)] == []


@pytest.mark.parametrize(
    ("name", "label", "button"),
    [
        ("environment-wrong-person", "Let a person use it", "Add"),
        ("environment-wrong-owner", "E-mail address of the new owner", "Give it away"),
        ("environment-wrong-name", "Type ready to delete it", "Delete ready"),
    ],
    ids=["person", "owner", "name"],
)
async def test_environment_with_a_refused_form(house: House, name: str, label: str, button: str) -> None:
    bob = await house.of("bob")
    await bob.open("/environments/ready")
    for summary in await bob.page.locator("summary").all():
        await summary.click()
    await bob.page.get_by_label(label).fill("no-one@example.com")
    await bob.page.get_by_role("button", name=button, exact=True).click()
    await expect(bob.page.get_by_role("alert")).to_be_focused(timeout=MAX_WAIT)
    await house.look(bob, name)
    assert [each for each in bob.complaints if "status of 4" not in each] == []


async def test_frozen_ends(house: House) -> None:
    bob = await house.of("bob")
    async with calling(house.stack, ALICE.email) as alice:
        answer = await alice.http.put("/freeze", json={"reason": HOSTILE})
        assert answer.status_code == 200, answer.text
        try:
            for name, path in (("list-frozen", "/"), ("environment-frozen", "/environments/ready")):
                await bob.open(path)
                await bob.sees("No environment ends now.")
                await house.look(bob, name)
        finally:
            await alice.http.delete("/freeze")
    assert bob.complaints == []


async def test_teardown_that_is_stuck(house: House) -> None:
    async with calling(house.stack, BOB.email) as caller:
        await caller.until("tearing-down", lambda view: view.phase is Phase.TEARDOWN_INCOMPLETE)
    for name, who in (("environment-stuck", "bob"), ("environment-stuck-platform", "alice")):
        someone = await house.of(who)
        await someone.open("/environments/tearing-down")
        await someone.state("Deletion is stuck")
        await house.look(someone, name)
        assert someone.complaints == []


async def test_sign_in_pages(house: House, browser: Browser) -> None:
    issuers = house.stack.folder / "issuers.yaml"
    before = issuers.read_text()
    [entry] = json.loads(before)["issuers"]
    other = {**entry, "url": "https://login.example.com/realms/contractors"}
    async with person(browser, house.stack, BOB.email, viewport=DESKTOP) as bob:
        await bob.open("/signed-out")
        await house.look(bob, "signed-out")
        await bob.open("/signed-in?state=unknown&code=x")
        await house.look(bob, "not-signed-in")
        issuers.write_text(json.dumps({"issuers": [entry, other]}))
        try:
            # The API reads the file again within seconds.
            link = bob.page.get_by_role("link", name="contractors")
            while not await link.count():
                await bob.open("/sign-in")
        finally:
            issuers.write_text(before)
        await house.look(bob, "sign-in")


async def test_without_a_worker(house: House) -> None:
    bob = await house.of("bob")
    await house.stack.stop(Part.WORKER)
    try:
        # Once it is known, the page says it, by a live update above what it shows already.
        await bob.open("/environments/ready")
        await bob.sees("No worker is answering")
        for name, path in (
            ("no-worker-list", "/"),
            ("no-worker-templates", "/new"),
            ("no-worker-form", "/new/small"),
            ("no-worker-environment", "/environments/ready"),
            ("no-worker-history", "/environments/ready/history"),
        ):
            await bob.open(path)
            await house.look(bob, name)
        await bob.open("/new/small")
        await bob.page.get_by_label("Name", exact=True).fill("too-early")
        await bob.page.get_by_role("button", name="Ask for it").click()
        await expect(bob.page.get_by_role("alert")).to_be_focused(timeout=MAX_WAIT)
        await house.look(bob, "no-worker-refused")
        assert [each for each in bob.complaints if not expected(each, 503)] == []
    finally:
        await house.stack.start(Part.WORKER)
