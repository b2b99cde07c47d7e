"""Snapshots through the API and the command: answered, refused, shown, and never without what they lack."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from embedded.stack.stack import Part, Stack
from tests.api.caller import Caller, calling, problem
from tests.cli.test_commands import cli_of, ended
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


async def taken(caller: Caller, name: str) -> None:
    """Take a snapshot, and wait until it is taken."""
    answer = await caller.http.post(f"/environments/{name}/snapshots")
    assert answer.status_code == 202, answer.text
    await caller.until(name, lambda now: bool(now.snapshots) and now.snapshots[-1].taken_at is not None)


async def test_a_snapshot_is_restored_through_the_api(stack: Stack, bob: Caller, dave: Caller) -> None:
    """Ensures that its owner restores it, with a snapshot of before, and that a repeat is answered."""
    name = (await bob.ready(unique("restored"), collaborators=[DAVE.email])).name
    path, key = f"/environments/{name}/restore", {"Idempotency-Key": "once"}
    none = problem(await bob.http.post(path), 409)
    assert none["detail"] == f"{name} has no snapshot that could be restored: take one first."
    await taken(bob, name)
    assert "is for its owner" in problem(await dave.http.post(path), 403)["detail"]
    answer = await bob.http.post(path, headers=key)
    assert answer.status_code == 202, answer.text
    assert answer.json()["kind"] == "accepted"
    said = f"Snapshot 1 of {name} is being restored; the volumes of its workloads are left out."
    assert answer.json()["message"] == said
    view = await bob.until(name, lambda now: bool(now.steps) and now.restore is None)
    assert (view.phase, view.restore_problem, view.unwell) == ("ready", None, None)
    assert [(one.number, one.before) for one in view.snapshots] == [
        (1, ""),
        (2, "the restore of snapshot 1"),
    ]
    actions = [f"{entry.actor} {entry.action}" for entry in view.audit_log]
    assert f"{BOB.email} asked to restore snapshot 1" in actions
    assert "moorage restored snapshot 1" in actions
    again = await bob.http.post(path, headers=key)
    assert again.json()["message"] == said
    assert (await bob.show(name)).snapshots == view.snapshots, "the repeat was done again"
    # The one that was taken before it is the way back from it.
    undone = await bob.http.post(path, json={"snapshot": 2})
    assert "Snapshot 2 of" in undone.json()["message"]
    await bob.until(name, lambda now: bool(now.steps) and now.restore is None)
    await bob.gone(name)
    assert Systems(stack).holds(name) == {}
    assert f"{name} is gone: there is nothing to restore" in problem(await bob.http.post(path), 409)["detail"]


async def test_what_cannot_be_restored_is_refused_in_one_sentence(bob: Caller) -> None:
    name = (await bob.ready(unique("restored"))).name
    path = f"/environments/{name}/restore"
    await taken(bob, name)
    unknown = problem(await bob.http.post(path, json={"snapshot": 7}), 409)
    assert unknown["detail"] == f"{name} has no snapshot 7: it has 1."
    for wrong in ({"snapshot": 0}, {"snapshot": "last"}, {"number": 1}, [1]):
        problem(await bob.http.post(path, json=wrong), 422)
    other = problem(await bob.http.post(path, params={"life": "0" * 20}), 409)
    assert other["reason"] == "other_life"
    assert (await bob.http.post(f"/environments/{name}/sleep")).status_code == 202
    await bob.until(name, lambda now: now.phase == "asleep")
    asleep = problem(await bob.http.post(path), 409)
    assert (asleep["reason"], f"{name} is asleep: " in asleep["detail"]) == ("not_now", True)
    view = await bob.show(name)
    assert [one.action for one in view.audit_log if "restore" in one.action] == []
    await bob.gone(name)


async def test_a_snapshot_is_restored_by_the_command(stack: Stack, bob: Caller, tmp_path: Path) -> None:
    name, moorage = (await bob.ready(unique("restored"))).name, cli_of(stack, tmp_path, BOB.email)
    refused = await moorage("restore", name)
    assert (refused.code, refused.out) == (1, "")
    assert f"{name} has no snapshot that could be restored: take one first." in refused.err
    await moorage("snapshot", name)
    unasked = await moorage("restore", name)
    assert (unasked.code, "confirm with --yes" in unasked.err) == (2, True)
    done = await moorage("restore", name, "--yes")
    assert (done.code, done.out) == (0, f"Snapshot 1 of {name} was restored, without volumes.\n"), done.err
    assert f"snapshot 1 is being restored, by {BOB.email}; without volumes" in done.err
    shown = (await moorage("show", name)).out
    assert "\nrestore:" not in shown
    assert re.search(
        r"^snapshot: +2, taken .* before the restore of snapshot 1; without volumes$", shown, re.M
    )
    as_json = await moorage("restore", name, "--snapshot", "1", "--yes", "-o", "json")
    assert (as_json.json["restore"], as_json.json["restore_problem"]) == (None, None)
    assert "asked to restore snapshot 1" in (await moorage("history", name)).out
    await bob.gone(name)


async def test_a_restore_that_fails_goes_back(stack: Stack, bob: Caller, tmp_path: Path) -> None:
    """Ensures that it says why while it goes back, takes no other change meanwhile, and is as before then."""
    name, moorage = (await bob.ready(unique("restored"))).name, cli_of(stack, tmp_path, BOB.email)
    await taken(bob, name)
    trouble = {"namespace": f"*{name}", "failed": "gzip: invalid header"}
    control(stack.url(Part.HOST), "PUT", "/-/restores", trouble)
    try:
        process = await moorage.start("restore", name, "--yes")
        view = await bob.until(name, lambda now: now.restore is not None and now.restore.problem is not None)
        assert view.restore_problem
        assert "gzip: invalid header" in view.restore_problem.cause
        assert view.unwell is None
        shown = (await moorage("show", name)).out
        assert re.search(
            "^restore: +snapshot 1 failed, going back to the state before: .*invalid", shown, re.M
        )
        for verb, body in (("snapshots", None), ("restore", None), ("sleep", None)):
            refused = problem(await bob.http.post(f"/environments/{name}/{verb}", json=body), 409)
            assert refused["reason"] == "not_now"
            assert (
                f"Snapshot 1 of {name} is being restored: ask again when that is over." in refused["detail"]
            )
    finally:
        control(stack.url(Part.HOST), "DELETE", "/-/restores")
    result = await ended(process)
    assert (result.code, result.out) == (1, "")
    assert f"The snapshot could not be restored, and {name} is as before." in result.err
    assert "gzip: invalid header" in result.err
    view = await bob.show(name)
    assert (view.phase, view.restore) == ("ready", None)
    assert view.restore_problem
    shown = (await moorage("show", name)).out
    assert re.search("^restore: +the last one failed, and it has the state of before: ", shown, re.M)
    # The next restore takes that back.
    assert (await moorage("restore", name, "--snapshot", "1", "--yes")).code == 0
    assert (await bob.show(name)).restore_problem is None
    await bob.gone(name)
    assert Systems(stack).holds(name) == {}


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


async def test_nothing_is_restored_during_a_change_of_the_template(harbour: Stack) -> None:
    async with calling(harbour, ALICE.email) as alice:
        name = (await alice.ready(unique("changing"))).name
        await taken(alice, name)
        control(harbour.url(Part.HOST), "PUT", "/-/trouble", {"namespace": f"*{name}", "waiting_for": "it"})
        try:
            answer = await alice.http.post(f"/environments/{name}/resize", json={"template": "medium"})
            assert answer.status_code == 202, answer.text
            await alice.until(name, lambda now: now.change is not None and len(now.snapshots) == 2)
            refused = problem(await alice.http.post(f"/environments/{name}/restore"), 409)
        finally:
            control(harbour.url(Part.HOST), "DELETE", "/-/trouble")
        assert refused["reason"] == "not_now"
        assert (
            refused["detail"] == f"{name} is being changed to another template: ask again when that is over."
        )
        await alice.until(name, lambda now: now.change is None)
        await alice.gone(name)


async def test_an_environment_whose_vcluster_takes_none_says_why(harbour: Stack) -> None:
    """Ensures that one clear sentence refuses it, and that a change of it goes on."""
    async with calling(harbour, ALICE.email) as alice:
        view = await alice.ready(unique("stored"), template="stored")
        assert "a separate etcd" in view.no_snapshots
        refused = problem(await alice.http.post(f"/environments/{view.name}/snapshots"), 409)
        assert refused["reason"] == "beyond_policy"
        assert refused["detail"] == f"No snapshot of {view.name} can be taken: {view.no_snapshots}."
        restored = problem(await alice.http.post(f"/environments/{view.name}/restore"), 409)
        assert (restored["reason"], view.no_snapshots in restored["detail"]) == ("beyond_policy", True)
        assert (await alice.show(view.name)).snapshots == ()
        await alice.gone(view.name)
