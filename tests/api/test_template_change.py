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

pytestmark = pytest.mark.slow

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


async def _catalogue_has(caller: Caller, template: str, version: int) -> None:
    async with asyncio.timeout(MAX_WAIT):
        while (await caller.http.get(f"/templates/{template}")).json().get("version") != version:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def test_a_rollout_stops_at_the_first_failure_and_goes_on_when_asked_again(
    harbour: Stack, bob: Caller, folder: Path, tmp_path: Path
) -> None:
    """Ensures that the second is rolled back and the third untouched, and that only the platform team may."""
    (folder / "fleet.yaml").write_text(GOOD)
    await _catalogue_has(bob, "fleet", 1)
    first, second, third, sleeper = (unique(start) for start in ("aa", "bb", "cc", "dd"))
    for name in (first, second, third, sleeper):
        await bob.ready(name, template="fleet")
    await bob.http.post(f"/environments/{sleeper}/sleep")
    await bob.until(sleeper, lambda view: view.phase == "asleep")
    values = "values: {sync: {toHost: {ingresses: {enabled: true}}}}\n"
    (folder / "fleet.yaml").write_text(GOOD.replace("version: 1", "version: 2", 1) + values)
    await _catalogue_has(bob, "fleet", 2)
    body = {"template": "fleet"}
    for method, path, json_body in (
        ("POST", "/rollouts", body), ("GET", "/rollouts/fleet", None), ("POST", "/rollouts/fleet/stop", None),
    ):  # fmt: skip
        assert "platform" in problem(await bob.http.request(method, path, json=json_body), 403)["detail"]
    ops = cli_of(harbour, tmp_path, ALICE.email)
    all_of_it = ("upgrade", "--template", "fleet", "--all")
    dry = await ops(*all_of_it, "--dry-run")
    assert dry.code == 0, dry.err
    assert [line.split(":")[0].split() for line in dry.out.splitlines()[:-1]] == [
        [first, "would", "be", "upgraded"], [second, "would", "be", "upgraded"],
        [third, "would", "be", "upgraded"], [sleeper, "not", "upgraded"],
    ]  # fmt: skip
    assert "3 would be upgraded to fleet version 2, 1 not. Nothing was changed." in dry.out
    trouble = {"namespace": f"*{second}", "waiting_for": "its image", "failed": "no such image (simulated)"}
    control(harbour.url(Part.HOST), "PUT", "/-/trouble", trouble)
    running = asyncio.create_task(ops(*all_of_it, "--wave", "1", "--output", "json"))
    await bob.until(second, lambda view: view.change is not None and view.change.going_back)
    async with calling(harbour, ALICE.email) as alice:
        joined = await alice.http.post("/rollouts", json=body)
        assert (joined.status_code, joined.json()["joined"]) == (202, True), joined.text
        assert f"by {ALICE.email} is running already" in joined.json()["message"]
        assert set(fields_of(problem(await alice.http.post("/rollouts", json=body | {"wave": 99}), 422)))
        unknown = await alice.http.post("/rollouts", json={"template": "flee"})
        assert set(fields_of(problem(unknown, 422))) == {"template"}
        other = await alice.http.post("/rollouts", json=body | {"version": 7})
        assert fields_of(problem(other, 422))["version"].startswith("fleet has version 2 now, and not 7")
    control(harbour.url(Part.HOST), "DELETE", "/-/trouble")
    done = await running
    assert done.code == 1, done.err
    assert "1 environment was not reached: 1 could not be upgraded" in done.err
    result = json.loads(done.out)["result"]
    assert {line["name"]: line["outcome"] for line in result["lines"]} == {
        first: "upgraded", second: "rolled back", third: "waiting", sleeper: "skipped"
    }  # fmt: skip
    assert "no such image" in result["lines"][1]["reason"]
    view = await bob.show(third)
    assert (view.template_version, [e for e in view.audit_log if "change" in e.action]) == (1, [])
    [asked] = [e for e in (await bob.show(first)).audit_log if e.action.startswith("asked to change")]
    assert asked.actor == ALICE.email
    again = await ops(*all_of_it)
    assert again.code == 0, again.err
    assert f"{third}: upgraded" in again.err
    for name in (first, second, third):
        view = await bob.show(name)
        assert (view.template_version, view.phase) == (2, "ready")
        assert_one_of_each(Systems(harbour).holds(name))
    nothing = await ops(*all_of_it, "--stop")
    assert "no upgrade of all environments of fleet is running" in nothing.err.lower()
    for name in (first, second, third, sleeper):
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
