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
from tests.starter.test_catalogue import GOOD

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


async def test_a_card_says_what_a_template_gives_and_takes_how_long_it_lives_and_for_whom(
    tmp_path: Path, app: FastAPI
) -> None:
    """Ensures that it takes what its quota allows and what its control plane needs besides."""
    for name, teams in (("known", "[]"), ("index", "[search, data]")):
        (tmp_path / "templates" / f"{name}.yaml").write_text(f"{GOOD}teams: {teams}\n")
    known = await page_app(tmp_path, SILENT, MOORAGE_TEMPLATES=str(tmp_path / "templates"))
    known.state.reader, known.state.reservations = app.state.reader, app.state.reservations
    async with browser_of(known, ADA) as http:
        shown = (await http.get("/new")).text
    cards = {
        name: dict(re.findall(r"<dt>([^<]+)</dt><dd>(.*?)</dd>", card))
        for name, card in re.findall(r'href="/new/([a-z]+)"(.*?)</li>', shown, re.DOTALL)
    }
    facts = {term: re.sub(r"<[^>]+>", "", text) for term, text in cards["known"].items()}
    assert facts == {
        "For you": "2 CPU, 4Gi, 10Gi disk, 40 pods",
        "Takes": "5 CPU, 6.2Gi of its host",
        "Lives": "8h, at most 3d",
        "Kubernetes": "v1.36.0",
        "For": "every team",
    }
    assert cards["index"]["For"] == "search, data"


PARAMETERS = """
parameters:
  replicas: {type: integer, description: Control planes., default: 1, minimum: 1, maximum: 3}
  store: {type: choice, description: Where the state is., choices: [etcd, sqlite], default: sqlite}
  domain: {type: string, description: Its <b>domain</b>.}
values:
  x: ["${parameters.replicas}", "${parameters.store}", "${parameters.domain}"]
"""


async def test_parameters_are_fields_with_their_refusals(tmp_path: Path, app: FastAPI) -> None:
    """Ensures that each parameter has a field, and that what is wrong with it is beside that field."""
    file = tmp_path / "templates" / "tuned.yaml"
    file.write_text(GOOD + PARAMETERS)
    tuned = await page_app(tmp_path, SILENT, MOORAGE_TEMPLATES=str(tmp_path / "templates"))
    tuned.state.reader, tuned.state.reservations = app.state.reader, app.state.reservations
    async with browser_of(tuned, ADA) as http:
        shown = (await http.get("/new/tuned")).text
        assert "Its &lt;b&gt;domain&lt;/b&gt;." in shown
        assert re.findall(r'name="parameter-([a-z]+)"', shown) == ["replicas", "store", "domain"]
        assert '<option value="etcd">etcd</option>' in shown
        [csrf] = set(re.findall(r'name="csrf" value="([^"]+)"', shown))
        typed = {
            "csrf": csrf,
            "key": "k",
            "name": "demo",
            "parameter-replicas": "9",
            "parameter-store": "etcd",
        }
        answer = await http.post("/new/tuned", data=typed)
    assert answer.status_code == 422
    assert 'href="#field-parameter-replicas"' in answer.text
    [wrong] = re.findall(r'id="parameter-replicas-error"[^>]*>([^<]*)<', answer.text)
    assert wrong == "&#34;9&#34; is not a whole number from 1 to 3"
    [missing] = re.findall(r'id="parameter-domain-error"[^>]*>([^<]*)<', answer.text)
    assert missing.startswith("is missing: Its ")
    assert '<option value="etcd" selected>' in answer.text
    assert re.search(r'name="parameter-replicas"[^>]* value="9"', answer.text)
