"""Resize and upgrade through the API and the command line, on a stack with a separate catalogue."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from embedded.stack.stack import Part, Stack
from tests.api.caller import MAX_WAIT, Caller, calling, fields_of, problem
from tests.cli.test_commands import cli_of
from tests.lifecycle.databases import Systems
from tests.starter.test_catalogue import GOOD
from tests.support.fault_points import assert_one_of_each
from tests.support.stack import ALICE, BOB, CAROL, hurried, unique
from tests.support.stand_ins import control

TUNED = (
    "parameters:\n  replicas: {type: integer, description: d, default: 1, minimum: 1, maximum: 3}\n"
    "values:\n  controlPlane: {statefulSet: {highAvailability: {replicas: '${parameters.replicas}'}}}\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalogue") / "templates"
    folder.mkdir()
    (folder / "small.yaml").write_text(GOOD + TUNED)
    (folder / "medium.yaml").write_text(GOOD.replace('cpu: "2"', 'cpu: "4"') + TUNED)
    (folder / "old.yaml").write_text(GOOD.replace("v1.36.0", "v1.35.0"))
    (folder / "stored.yaml").write_text(
        GOOD + "values: {controlPlane: {backingStore: {etcd: {deploy: {enabled: true}}}}}\n"
    )
    (folder / "other-team.yaml").write_text(GOOD + "teams: [green]\n")
    (folder / "open.yaml").write_text(GOOD + "network: {internet: false}\n")
    (folder / "brief.yaml").write_text(
        GOOD.replace("maximum: 3d", "maximum: 4h").replace("default: 8h", "default: 2h")
    )
    return folder


@pytest.fixture(scope="module")
async def harbour(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    options = hurried(environment={"MOORAGE_TEMPLATES": str(folder)})
    async with Stack(tmp_path_factory.mktemp("stack"), options) as stack:
        yield stack


@pytest.fixture
async def bob(harbour: Stack) -> AsyncIterator[Caller]:
    async with calling(harbour, BOB.email) as caller:
        yield caller


async def changed(caller: Caller, name: str, verb: str, **body: Any) -> Any:
    answer = await caller.http.post(f"/environments/{name}/{verb}", json=body)
    assert answer.status_code == 202, answer.text
    return await caller.until(name, lambda view: view.change is None)


async def test_resize_and_upgrade(harbour: Stack, bob: Caller, folder: Path, tmp_path: Path) -> None:
    """Ensures that template, version and parameters change in place, with one of everything and its data."""
    name = unique("grows")
    before = await bob.ready(name, parameters={"replicas": 2})
    planned = await bob.http.post(
        f"/environments/{name}/resize", params={"dry_run": True}, json={"template": "medium"}
    )
    assert planned.status_code == 200, planned.text
    assert planned.json()["kind"] == "dry_run"
    assert planned.json()["values"]["controlPlane"]["statefulSet"]["highAvailability"] == {"replicas": 2}
    view = await changed(bob, name, "resize", template="medium")
    assert (view.template, view.phase, view.life) == ("medium", "ready", before.life)
    assert view.parameters == {"replicas": 2}
    assert view.change_problem is None
    assert_one_of_each(Systems(harbour).holds(name))
    again = await bob.http.post(f"/environments/{name}/resize", json={"template": "medium"})
    assert (again.status_code, again.json()["kind"]) == (200, "nothing_to_do")
    # The command line, with the newer version of the template.
    text = (folder / "medium.yaml").read_text()
    (folder / "medium.yaml").write_text(text.replace("version: 1", "version: 2", 1))
    async with asyncio.timeout(MAX_WAIT):
        while (await bob.http.get("/templates/medium")).json()["version"] != 2:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    assert (await bob.show(name)).template_newer == 2
    moorage = cli_of(harbour, tmp_path, BOB.email)
    upgraded = await moorage("upgrade", name, "--set", "replicas=3")
    assert upgraded.code == 0, upgraded.err
    assert upgraded.out == f"{name} has medium version 2.\n"
    shown = json.loads((await moorage("show", name, "-o", "json")).out)
    assert (shown["template_version"], shown["parameters"]) == (2, {"replicas": 3})
    assert "changed it to medium version 2: replicas=3" in (await moorage("history", name)).out
    listed = (await bob.http.get("/environments", params={"template": "medium"})).json()["environments"]
    assert name in {row["name"] for row in listed}
    gone = await bob.gone(name)
    assert gone.certificate is not None
    assert gone.certificate.nothing_left


async def test_what_is_refused(harbour: Stack, bob: Caller) -> None:
    """Ensures that what cannot change in place is named, and that nothing is tried."""
    name = unique("stays")
    await bob.ready(name)

    async def refused(status: int, **body: Any) -> dict[str, Any]:
        answer = await bob.http.post(f"/environments/{name}/resize", json=body)
        return problem(answer, status)

    older = await refused(409, template="old")
    assert older["reason"] == "not_in_place"
    assert "Kubernetes v1.36.0 cannot become the older v1.35.0" in older["detail"]
    stored = await refused(409, template="stored")
    assert "where the vCluster keeps its state (controlPlane.backingStore) is set once" in stored["detail"]
    assert "(network) is set once" in (await refused(409, template="open"))["detail"]
    brief = await refused(409, template="brief")
    assert (brief["reason"], "brief lasts at most 4h" in brief["detail"]) == ("beyond_policy", True)
    assert set(fields_of(await refused(422, template="nothing"))) == {"template"}
    assert set(fields_of(await refused(422, template="other-team"))) == {"template"}
    assert set(fields_of(await refused(422, template="medium", parameters={"replicas": 9}))) == {
        "parameters.replicas"
    }
    assert set(fields_of(await refused(422))) == {"template"}
    newest = await bob.http.post(f"/environments/{name}/upgrade")
    assert (newest.status_code, newest.json()["kind"]) == (200, "nothing_to_do")
    life = await bob.http.post(
        f"/environments/{name}/resize", params={"life": "another"}, json={"template": "medium"}
    )
    assert problem(life, 409)["reason"] == "other_life"
    view = await bob.show(name)
    assert [entry.action for entry in view.audit_log if "change" in entry.action] == []
    await bob.gone(name)


async def test_a_change_that_does_not_become_ready(harbour: Stack, bob: Caller, tmp_path: Path) -> None:
    """Ensures that it is rolled back with its reason, and that people keep what they had."""
    name = unique("back")
    await bob.ready(name)
    trouble = {"namespace": f"*{name}", "waiting_for": "its image", "failed": "no such image (simulated)"}
    control(harbour.url(Part.HOST), "PUT", "/-/trouble", trouble)
    moorage = cli_of(harbour, tmp_path, BOB.email)
    answer = await bob.http.post(f"/environments/{name}/resize", json={"template": "medium"})
    assert answer.status_code == 202, answer.text
    view = await bob.until(name, lambda view: view.change is not None and view.change.going_back)
    assert view.template == "small"
    second = await bob.http.post(f"/environments/{name}/upgrade", json={"parameters": {"replicas": 2}})
    assert "already" in problem(second, 409)["detail"]
    asleep = await bob.http.post(f"/environments/{name}/sleep")
    assert "being changed" in problem(asleep, 409)["detail"]
    control(harbour.url(Part.HOST), "DELETE", "/-/trouble")
    view = await bob.until(name, lambda view: view.change is None)
    assert (view.template, view.phase) == ("small", "ready")
    assert view.change_problem is not None
    assert "no such image" in view.change_problem.cause
    assert "the last one was rolled back: vcluster:" in (await moorage("show", name)).out
    assert_one_of_each(Systems(harbour).holds(name))
    await bob.gone(name)


async def test_who_may_change_it(harbour: Stack, bob: Caller) -> None:
    """Ensures that a team mate and the platform team may, and a stranger does not know of it."""
    name = unique("whose")
    await bob.ready(name)
    for person, status in ((CAROL, 200), (ALICE, 200)):
        async with calling(harbour, person.email) as caller:
            answer = await caller.http.post(f"/environments/{name}/upgrade")
            assert answer.status_code == status, answer.text
    await bob.gone(name)
