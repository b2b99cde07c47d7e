"""Snapshots through the API and the command: answered, refused, shown, and never without what they lack."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from embedded.stack.stack import Part, Stack
from tests.api.caller import Caller, calling, problem
from tests.cli.test_commands import cli_of
from tests.lifecycle.databases import Systems, has_requests
from tests.starter.test_catalogue import GOOD
from tests.support.stack import ALICE, BOB, DAVE, hurried, unique
from tests.support.stand_ins import control

pytestmark = pytest.mark.slow


async def test_a_snapshot_is_taken_through_the_api(stack: Stack, bob: Caller, dave: Caller) -> None:
    """Ensures that its owner has it taken, and its collaborator sees it; a repeat is answered."""
    view = await bob.ready(unique("snapped"), collaborators=[DAVE.email])
    path, key = f"/environments/{view.name}/snapshots", {"Idempotency-Key": "once"}
    assert (view.snapshots, view.no_snapshots) == ((), "")
    assert "is for its owner" in problem(await dave.http.post(path), 403)["detail"]
    answer = await bob.http.post(path, headers=key)
    assert answer.status_code == 202, answer.text
    assert answer.json()["kind"] == "accepted"
    assert "the volumes of its workloads are left out" in answer.json()["message"]
    view = await bob.until(view.name, lambda now: any(one.taken_at for one in now.snapshots))
    [snapshot] = view.snapshots
    assert (snapshot.number, snapshot.actor, snapshot.problem) == (1, BOB.email, None)
    again = await bob.http.post(path, headers=key)
    assert again.json()["message"] == answer.json()["message"], "the repeat was done again"
    shown = await dave.show(view.name)
    assert shown.snapshots == view.snapshots
    other = problem(await bob.http.post(path, params={"life": "0" * 20}), 409)
    assert other["reason"] == "other_life"
    await has_requests(Systems(stack), view.name, 1)
    await bob.gone(view.name)
    assert Systems(stack).holds(view.name) == {}
    assert "is gone" in problem(await bob.http.post(path), 409)["detail"]


async def test_a_snapshot_is_taken_by_the_command(stack: Stack, bob: Caller, tmp_path: Path) -> None:
    view = await bob.ready(unique("snapped"))
    name, moorage = view.name, cli_of(stack, tmp_path, BOB.email)
    taken = await moorage("snapshot", name)
    assert taken.code == 0, taken.err
    assert re.fullmatch(rf"Snapshot 1 of {name} was taken \S.*, without volumes\.\n", taken.out), taken.out
    assert f"A snapshot of {name} is being taken; the volumes of its workloads are left out." in taken.err
    as_json = await moorage("snapshot", name, "--output", "json")
    assert [one["number"] for one in as_json.json["snapshots"]] == [1, 2]
    asked = await moorage("snapshot", name, "--no-wait")
    assert (asked.code, "is being taken" in asked.out) == (0, True)
    await bob.until(name, lambda now: len(now.snapshots) == 3 and all(one.taken_at for one in now.snapshots))
    shown = (await moorage("show", name)).out
    numbers = re.findall(r"^snapshot: +(\d+), taken .*; without volumes$", shown, re.M)
    assert numbers == ["3", "2", "1"]
    control(stack.url(Part.HOST), "PUT", "/-/snapshots", {"namespace": f"*{name}", "failed": "disk full"})
    try:
        failed = await moorage("snapshot", name)
    finally:
        control(stack.url(Part.HOST), "DELETE", "/-/snapshots")
    assert failed.code == 1
    assert f"The snapshot of {name} could not be taken." in failed.err
    assert "disk full" in failed.err
    assert "snapshot:     4 was not taken: " in (await moorage("show", name)).out
    await moorage("sleep", name)
    refused = await moorage("snapshot", name)
    assert (refused.code, "a snapshot can be taken once it is ready" in refused.err) == (1, True)
    await bob.gone(name)


@pytest.fixture(scope="module")
async def harbour(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    (folder := tmp_path_factory.mktemp("catalogue") / "templates").mkdir()
    (folder / "small.yaml").write_text(GOOD)
    (folder / "medium.yaml").write_text(GOOD.replace('cpu: "2"', 'cpu: "3"'))
    stored = "values: {controlPlane: {backingStore: {etcd: {deploy: {enabled: true}}}}}\n"
    (folder / "stored.yaml").write_text(GOOD + stored)
    options = hurried(environment={"MOORAGE_TEMPLATES": str(folder)})
    async with Stack(tmp_path_factory.mktemp("stack"), options) as stack:
        yield stack


async def test_a_change_takes_a_snapshot_first(harbour: Stack) -> None:
    async with calling(harbour, ALICE.email) as alice:
        name = (await alice.ready(unique("safe"))).name
        answer = await alice.http.post(f"/environments/{name}/resize", json={"template": "medium"})
        assert answer.status_code == 202, answer.text
        view = await alice.until(name, lambda now: now.change is None)
        assert view.template == "medium"
        [snapshot] = view.snapshots
        assert snapshot.taken_at
        assert snapshot.before.startswith("the change to medium version ")
        await alice.gone(name)


async def test_an_environment_whose_vcluster_takes_none_says_why(harbour: Stack) -> None:
    """Ensures that one clear sentence refuses it, and that a change of it goes on."""
    async with calling(harbour, ALICE.email) as alice:
        view = await alice.ready(unique("stored"), template="stored")
        assert "a separate etcd" in view.no_snapshots
        refused = problem(await alice.http.post(f"/environments/{view.name}/snapshots"), 409)
        assert refused["reason"] == "beyond_policy"
        assert refused["detail"] == f"No snapshot of {view.name} can be taken: {view.no_snapshots}."
        assert (await alice.show(view.name)).snapshots == ()
        await alice.gone(view.name)
