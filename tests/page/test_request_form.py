"""The form that asks for an environment: what it offers before anything is typed."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from starter.auth.policy import Principal
from starter.catalogue.loader import STARTER_TEMPLATES
from starter.temporal.errors import TemporalUnavailable
from tests.page.browser import SILENT, browser_of, page_app

ADA = Principal(person="Ada", email="ada@example.com", teams=("payments", "search"))


@pytest.fixture
async def app(tmp_path: Path) -> FastAPI:
    """An application whose Temporal does not answer, with one template for a team and one for all."""
    templates = tmp_path / "templates"
    templates.mkdir()
    text = (STARTER_TEMPLATES / "small.yaml").read_text()
    (templates / "small.yaml").write_text(text)
    (templates / "index.yaml").write_text(text.replace("\nteams: []\n", "\nteams: [search, data]\n"))
    (templates / "other.yaml").write_text(text.replace("\nteams: []\n", "\nteams: [data]\n"))
    app = await page_app(tmp_path, SILENT, MOORAGE_TEMPLATES=str(templates))

    async def latest(_: str) -> None:
        return None

    async def cached_state(_: object) -> None:
        raise TemporalUnavailable("it does not answer")

    app.state.reader = SimpleNamespace(latest=latest)
    app.state.reservations = SimpleNamespace(cached_state=cached_state)
    return app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with browser_of(app, ADA) as signed:
        yield signed


@pytest.mark.parametrize(("template", "team"), [("small", "payments"), ("index", "search")])
async def test_the_form_begins_with_a_team_that_may_request_the_template(
    http: httpx.AsyncClient, template: str, team: str
) -> None:
    answer = await http.get(f"/new/{template}")
    assert answer.status_code == 200
    [teams] = re.findall(r'<select id="team".*?</select>', answer.text)
    assert re.findall(r"<option selected>([^<]*)<", teams) == [team]


async def test_only_templates_of_the_callers_teams_are_offered(http: httpx.AsyncClient) -> None:
    offered = (await http.get("/new")).text
    assert re.findall(r'href="/new/([a-z]+)"', offered) == ["index", "small"]
    refused = await http.get("/new/other")
    assert refused.status_code == 404
    assert "There is no template" in refused.text
