"""The list of environments: which are asked for, in which order they are shown, and with which problems."""

import html
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from contracts.environment.models import Outcome, Phase
from starter.auth.policy import Principal
from starter.environments.lists.listing import Filters
from starter.environments.schemas import EnvironmentPage, EnvironmentRow, FreezeView, Unwell
from tests.page.browser import SILENT, browser_of, own_state, page_app

BOB = Principal(person="Bob", email="bob@example.com", teams=("blue",))
NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


def row(name: str, minutes: int, **fields: Any) -> EnvironmentRow:
    values: dict[str, Any] = {
        "name": name, "life": name, "owner": "bob@example.com", "team": "blue", "template": "small",
        "host": "local", "phase": Phase.READY, "requested_at": NOW + timedelta(minutes=minutes),
    }  # fmt: skip
    return EnvironmentRow(**{**values, **fields})


ROWS = (
    row("calm", 1, expires_at=NOW + timedelta(hours=3)),
    row("making", 2, phase=Phase.PROVISIONING),
    row("stuck", 3, phase=Phase.TEARDOWN_INCOMPLETE, expires_at=NOW + timedelta(hours=1)),
    row("asked", 4, problem="waits for its host", expires_at=NOW + timedelta(hours=2)),
)


class Services:
    """The list, the health and the freeze of the API."""

    def __init__(self) -> None:
        self.rows: tuple[EnvironmentRow, ...] = ROWS
        self.frozen: FreezeView | None = None
        self.filters: list[Filters] = []

    async def page(self, _: Principal, filters: Filters, **__: object) -> EnvironmentPage:
        self.filters.append(filters)
        return EnvironmentPage(environments=self.rows)

    async def first(self, _: Principal, filters: Filters, most: int) -> tuple[list[EnvironmentRow], bool]:
        self.filters.append(filters)
        return list(self.rows[:most]), len(self.rows) <= most

    async def add_to_rows(self, rows: Sequence[EnvironmentRow], **_: str) -> tuple[EnvironmentRow, ...]:
        return tuple(each.model_copy(update={"unwell": Unwell(what="it has no pod")}) for each in rows)

    async def cached_state(self) -> FreezeView | None:
        return self.frozen

    def stop(self) -> None:
        """Nothing runs."""


@pytest.fixture(scope="module")
async def shared_app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return await page_app(tmp_path_factory.mktemp("page"), SILENT)


@pytest.fixture
def app(shared_app: FastAPI) -> Iterator[FastAPI]:
    with own_state(shared_app):
        yield shared_app


@pytest.fixture
def services(app: FastAPI) -> Services:
    services = Services()
    for name in ("list", "health", "freeze"):
        setattr(app.state, name, services)
    return services


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with browser_of(app, BOB) as signed:
        yield signed


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("newest", ["asked", "stuck", "making", "calm"]),
        ("name", ["asked", "calm", "making", "stuck"]),
        ("ends", ["stuck", "asked", "calm", "making"]),
        # Its hosts say something of each of them, so that only the phase decides.
        ("state", ["stuck", "making", "asked", "calm"]),
    ],
)
async def test_orders(http: httpx.AsyncClient, services: Services, order: str, names: list[str]) -> None:
    text = (await http.get("/", params={"order": order})).text
    assert re.findall(r'<th scope="row"><a href="/environments/([a-z]+)"', text) == names


async def test_an_order_is_that_of_all_pages(http: httpx.AsyncClient, services: Services) -> None:
    """Ensures that the pages of an order have each row once, and none before a row of an earlier page."""
    services.rows = tuple(row(f"env-{number * 7919 % 120:03}", number) for number in range(120))
    address, seen = "/?order=name&q=env", list[str]()
    for _ in range(3):
        text = (await http.get(address)).text
        seen += re.findall(r'<th scope="row"><a href="/environments/([a-z0-9-]+)"', text)
        following = re.search(r'href="([^"]*)">Next page', text)
        address = html.unescape(following[1]) if following else ""
    assert seen == [f"env-{number:03}" for number in range(120)]
    assert address == "", "a fourth page is offered"
    assert "Only the newest" not in text


async def test_an_order_of_too_many_says_of_which_it_is(http: httpx.AsyncClient, services: Services) -> None:
    services.rows = tuple(row(f"env-{number}", number) for number in range(501))
    assert "Only the newest 500 are in this order" in (await http.get("/?order=name&start=450")).text
    assert (await http.get("/?order=name&start=500")).status_code == 422


async def test_a_page_of_an_order_that_is_no_more_is_the_last_one(
    http: httpx.AsyncClient, services: Services
) -> None:
    """Ensures that one who goes on after others have ended sees rows, and no "you have no environment"."""
    services.rows = tuple(row(f"env-{number:03}", number) for number in range(60))
    text = (await http.get("/?order=name&start=450")).text
    assert re.findall(r'<th scope="row"><a href="/environments/([a-z0-9-]+)"', text)[0] == "env-050"
    assert "Next page" not in text


async def test_what_is_held_up_comes_before_its_phase(http: httpx.AsyncClient, services: Services) -> None:
    text = (await http.get("/?order=state&show=stuck")).text
    assert re.findall(r'<th scope="row"><a href="/environments/([a-z]+)"', text)[0] == "asked"


@pytest.mark.parametrize(
    ("query", "filters", "asks_hosts"),
    [
        ("", Filters(troubles=True), True),
        ("?show=mine", Filters(owner="bob@example.com", troubles=True), True),
        ("?show=stuck", Filters(stuck=True, troubles=True), False),
        ("?show=ended", Filters(ended=True), False),
        ("?q=%20De", Filters(name="de", troubles=True), True),
        (
            "?template=small%20&team=blue&owner=Ada%40Example.com&label=app&show=ended",
            Filters(template="small", team="blue", owner="ada@example.com", labels=("app",), ended=True),
            False,
        ),
        (
            "?template=&team=&owner=ada%40example.com&label=&show=mine",
            Filters(owner="bob@example.com", troubles=True),
            True,
        ),
    ],
)
async def test_what_is_asked_for(
    http: httpx.AsyncClient, services: Services, query: str, filters: Filters, asks_hosts: bool
) -> None:
    text = (await http.get(f"/{query}")).text
    assert services.filters == [filters]
    assert ("It has no pod." in text) is asks_hosts


async def test_an_ended_life_has_its_outcome_and_leads_to_its_history(
    http: httpx.AsyncClient, services: Services
) -> None:
    ending = row("ending", 1, phase=Phase.TEARING_DOWN, outcome=Outcome.EXPIRED)
    over = row("over", 2, phase=Phase.GONE, outcome=Outcome.EXPIRED, ended=True, ended_at=NOW)
    services.rows, services.frozen = (ending, over), FreezeView(reason="a migration")
    text = (await http.get("/?order=name")).text
    assert re.findall(r'<span class="chip [a-z]+">([^<]*)<', text) == ["Being deleted", "Expired"]
    assert 'href="/environments/over/history"' in text
    assert "All ends are frozen: a migration" in text
