"""The page of one environment: its state, and what it shows again after a refusal."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from contracts.environment.models import Outcome, Phase
from starter.auth.policy import Principal, Role
from starter.environments.schemas import Done, DoneKind, EnvironmentView, FreezeView
from starter.request_errors import FieldProblem, InvalidRequest
from tests.page.browser import SILENT, browser_of, csrf_of, own_state, page_app
from tests.page.samples import a_view

BOB = Principal(person="Bob", email="bob@example.com", teams=("blue",))


class Services:
    """What the API's services answer, and the calls of those that change something."""

    def __init__(self) -> None:
        self.view, self.frozen = a_view(), FreezeView(reason="a migration")
        self.refusal: Exception | None = None
        self.calls: list[tuple[Any, ...]] = []

    async def read(self, *_: object) -> EnvironmentView:
        return self.view

    async def cached_state(self) -> FreezeView:
        return self.frozen

    async def extend(self, *call: Any) -> Done:
        return self._done("extend", *call)

    async def end(self, *call: Any) -> Done:
        return self._done("end", *call)

    async def change(self, *call: Any) -> Done:
        return self._done("change", *call)

    async def sleep(self, *call: Any) -> Done:
        return self._done("sleep", *call)

    async def wake(self, *call: Any) -> Done:
        return self._done("wake", *call)

    async def take_snapshot(self, *call: Any) -> Done:
        return self._done("snapshot", *call)

    async def restore(self, *call: Any) -> Done:
        return self._done("restore", *call)

    async def transfer(self, *call: Any) -> Done:
        return self._done("transfer", *call)

    async def read_embedded(self, *call: Any) -> str:
        self._done("read_embedded", *call)
        return "a kubeconfig"

    def _done(self, *call: Any) -> Done:
        self.calls.append(call)
        if self.refusal:
            raise self.refusal
        return Done(kind=DoneKind.ACCEPTED, message="Done.", name="demo", environment=self.view)


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
    for name in ("details", "freeze", "commands", "membership", "kubeconfigs", "sleep"):
        setattr(app.state, name, services)
    return services


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with browser_of(app, BOB) as signed:
        yield signed


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"phase": Phase.READY}, "Ready"),
        ({"phase": Phase.ASLEEP}, "Asleep"),
        ({"phase": Phase.TEARING_DOWN, "outcome": Outcome.EXPIRED}, "Being deleted"),
        ({"phase": Phase.TEARDOWN_INCOMPLETE, "outcome": Outcome.FAILED}, "Deletion is stuck"),
        ({"phase": Phase.GONE, "outcome": Outcome.EXPIRED, "ended": True}, "Expired"),
        ({"phase": Phase.ORPHANED, "ended": True}, "Orphaned"),
    ],
    ids=str,
)
async def test_the_title_and_the_chip_say_the_same(
    http: httpx.AsyncClient, services: Services, fields: dict[str, Any], words: str
) -> None:
    """Ensures that a window among many does not say that it is over while it is being deleted."""
    services.view = a_view(**fields)
    text = (await http.get("/environments/demo")).text
    assert f"<title>demo: {words} - Moorage</title>" in text
    [chip] = re.findall(r'id="chip"[^>]*>\s*<span class="chip [a-z]+">([^<]*)<', text)
    assert chip == words


FORMS = [
    ("extend", {"until": "2026-11-27T20:00:00Z"}, "done=extended"),
    ("sleep", {}, "done=asleep"),
    ("wake", {}, "done=waking"),
    ("snapshots", {}, "done=snapshot"),
    ("restore", {"number": "2"}, "done=restoring"),
    ("people", {"person": "dave@example.com", "action": "add"}, "done=added"),
    ("people", {"person": "dave@example.com", "action": "remove"}, "done=removed"),
    ("transfer", {"to": "carol@example.com"}, "done=given"),
    ("delete", {"typed": " demo "}, "done=deleted"),
    ("cancel", {}, "done=cancelled"),
    ("resume-teardown", {}, "done=resumed"),
    ("kubeconfig", {}, ""),
]


@pytest.mark.parametrize(("path", "fields", "done"), FORMS, ids=lambda value: str(value)[:20])
async def test_a_form_changes_the_life_that_it_was_made_for_and_leads_back(
    http: httpx.AsyncClient, services: Services, path: str, fields: dict[str, str], done: str
) -> None:
    form = {"csrf": await csrf_of(http), "life": "a1", "key": "key-1", **fields}
    answer = await http.post(f"/environments/demo/{path}", data=form)
    [call] = services.calls
    assert {"demo", BOB, "a1"} <= set(call)
    if done:
        assert (answer.status_code, answer.headers["location"]) == (303, f"/environments/demo?{done}")
        assert "key-1" in call
    else:
        assert (answer.status_code, answer.text) == (200, "a kubeconfig")
        assert answer.headers["content-disposition"] == 'attachment; filename="demo.kubeconfig.yaml"'


@pytest.mark.parametrize(("path", "fields", "done"), FORMS, ids=lambda value: str(value)[:20])
async def test_a_refusal_shows_the_page_as_it_is_with_the_sentence(
    http: httpx.AsyncClient, services: Services, path: str, fields: dict[str, str], done: str
) -> None:
    services.refusal = InvalidRequest([FieldProblem(field=path, message="not now")])
    form = {"csrf": await csrf_of(http), "life": "a1", **fields}
    answer = await http.post(f"/environments/demo/{path}", data=form)
    assert answer.status_code == 422
    assert "not now" in answer.text
    assert "All ends are frozen: a migration" in answer.text
    for name in {"person", "to"} & set(fields):
        assert f'value="{fields[name]}"' in answer.text


@pytest.mark.parametrize("role", Role)
async def test_only_the_platform_team_can_end_the_wait_of_a_deletion_that_is_stuck(
    app: FastAPI, services: Services, role: Role
) -> None:
    """Ensures also that it is not offered to be deleted, which it is already."""
    services.view = a_view(phase=Phase.TEARDOWN_INCOMPLETE, outcome=Outcome.DELETED)
    async with browser_of(app, BOB.model_copy(update={"role": role})) as http:
        text = (await http.get("/environments/demo")).text
    assert ("Try again now" in text) == (role is Role.PLATFORM)
    assert "Delete this environment" not in text


@pytest.mark.parametrize(("number", "status"), [("2", 303), ("", 422), ("0", 422), ("last", 422)])
async def test_a_restore_is_of_the_snapshot_whose_button_was_pressed(
    http: httpx.AsyncClient, services: Services, number: str, status: int
) -> None:
    form = {"csrf": await csrf_of(http), "life": "a1", "key": "key-1", "number": number}
    answer = await http.post("/environments/demo/restore", data=form)
    assert answer.status_code == status
    assert [call for call in services.calls if call[0] == "restore"] == (
        [("restore", "demo", BOB, 2, "key-1", "a1")] if status == 303 else []
    )


async def test_a_wrong_name_deletes_nothing(http: httpx.AsyncClient, services: Services) -> None:
    form = {"csrf": await csrf_of(http), "typed": "another"}
    answer = await http.post("/environments/demo/delete", data=form)
    assert (answer.status_code, services.calls) == (422, [])
    assert "to delete it: nothing was deleted" in answer.text


@pytest.mark.parametrize(
    ("team", "location"), [("blue", "/environments/demo?done=given"), ("green", "/")], ids=str
)
async def test_an_owner_who_gives_away_what_they_see_no_more_gets_the_list(
    http: httpx.AsyncClient, services: Services, team: str, location: str
) -> None:
    services.view = a_view(owner="carol@example.com", team=team)
    form = {"csrf": await csrf_of(http), "to": "carol@example.com"}
    answer = await http.post("/environments/demo/transfer", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, location)
