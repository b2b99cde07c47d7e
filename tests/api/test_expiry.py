"""Expiry through the API: extension, warning, freeze, sweep; on the shared stack and the real schedule."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import Client

from contracts.sweeps.expiry import SWEEP_DRY_RUN
from contracts.templates.supported_charts import NEWEST_TESTED
from embedded.stack.stack import Part, Stack
from tests.api.caller import Caller, calling, fields_of, problem
from tests.support.stack import ALICE, BOB, client_of, hurried, unique

pytestmark = pytest.mark.slow

ONE_LIFE = f"""
version: 1
description: Lives for seconds.
chart: {{version: {NEWEST_TESTED}}}
kubernetes: v1.36.0
size: {{cpu: "1", memory: 2Gi, storage: 2Gi, pods: 20}}
ttl: {{default: 12s, maximum: 1h, extension: {{times: 1, total: 10m}}, warnings: [4s]}}
"""


async def test_an_extension(bob: Caller, carol: Caller) -> None:
    """Ensures that an end is moved, is refused if later than the policy allows, and is in the history."""
    view = await bob.ready(unique("extended"), ttl="2h")
    path = f"/environments/{view.name}"
    assert view.expires_at
    key = {"Idempotency-Key": "once"}
    for _ in range(2):
        answer = await carol.http.post(f"{path}/extend", json={"by": "1d"}, headers=key)
        assert answer.status_code == 200, answer.text
    now = await bob.show(view.name)
    assert now.expires_at == view.expires_at + timedelta(days=1), "once is once"
    answer = await bob.http.post(f"{path}/extend", json={"by": "1h"}, headers=key)
    assert answer.status_code == 200, answer.text
    now = await bob.show(view.name)
    assert now.expires_at == view.expires_at + timedelta(days=1, hours=1), (
        "it took her key for a repeat of his"
    )
    refused = problem(await bob.http.post(f"{path}/extend", json={"by": "9d"}), 409)
    assert refused["reason"] == "beyond_policy"
    assert datetime.fromisoformat(refused["latest"]) == view.expires_at + timedelta(days=3)
    until = (view.expires_at + timedelta(days=2)).astimezone().isoformat()
    assert (await bob.http.post(f"{path}/extend", json={"until": until})).status_code == 200
    [life] = (await bob.http.get(f"{path}/history")).json()["lives"]
    audited = [(line["actor"], line["action"]) for line in life["audit_log"]]
    assert audited[0] == (BOB.email, "asked for it")
    assert (carol_line := ("carol@example.com", "extended it by 1d")) in audited, carol_line
    await bob.gone(view.name)
    answer = await bob.http.post(f"{path}/extend", json={"by": "1h"})
    assert "gone" in problem(answer, 409)["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "by"),
        ({"by": "1d", "until": "2030-01-01T00:00:00Z"}, "by"),
        ({"by": "soon"}, "by"),
        ({"until": "2030-01-01T00:00:00"}, "until"),
        ({"until": "tomorrow"}, "until"),
        ({"by": "1d", "reason": "x" * 600}, "reason"),
    ],
)
async def test_extensions_that_cannot_be_read(bob: Caller, body: dict[str, str], field: str) -> None:
    """Ensures that a bad extension is rejected with the name of the field."""
    name = unique("unread")
    await bob.ask(name)
    assert field in fields_of(problem(await bob.http.post(f"/environments/{name}/extend", json=body), 422))
    await bob.gone(name)


async def test_only_the_platform_team_freezes_and_sweeps(bob: Caller) -> None:
    """Ensures that a developer sees whether ends are frozen, and decides nothing about it."""
    assert (await bob.http.get("/freeze")).json()["frozen"] is None
    for method, path, body in (("PUT", "/freeze", {"reason": "x"}), ("DELETE", "/freeze", None)):
        assert "platform" in problem(await bob.http.request(method, path, json=body), 403)["detail"]
    for path in ("/sweeps", "/sweeps?dry_run=true"):
        problem(await bob.http.post(path), 403)


async def test_a_dry_run(alice: Caller) -> None:
    """Ensures that the platform team can look at what a sweep would do."""
    answer = await alice.http.post("/sweeps", params={"dry_run": True})
    assert answer.status_code == 200, answer.text
    assert answer.json()["over"]
    assert answer.json()["result"]["dry_run"]
    problem(await alice.http.get("/sweeps/nonsense"), 404)


@pytest.mark.parametrize("details", [[], ["in clear"], [{"in": "clear"}, None]])
async def test_a_sweep_that_was_closed_from_outside(
    stack: Stack, alice: Caller, details: list[object]
) -> None:
    """Ensures that the state of such a sweep can be read, whatever details another client has given."""
    foreign = await Client.connect(stack.temporal_address)
    ours = await client_of(stack)
    run = await ours.start_workflow("ExpirySweepWorkflow", id=SWEEP_DRY_RUN, task_queue="no-worker")
    path = f"/sweeps/{run.result_run_id}?dry_run=true"
    handle = foreign.get_workflow_handle(run.id, run_id=run.result_run_id)
    await handle.terminate(*details, reason="a test")
    answer = await alice.http.get(path)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["over"], found["result"]) == (True, None)
    assert found["message"] == "The sweep was stopped before it was through: Temporal's Web UI tells why."


async def test_a_sweep_that_no_worker_accepts(stack: Stack, alice: Caller) -> None:
    """Ensures that the platform team learns within seconds why a sweep has no result."""
    client = await client_of(stack)
    handle = await client.start_workflow("ExpirySweepWorkflow", id=SWEEP_DRY_RUN, task_queue="no-worker")
    try:
        answer = await alice.http.get(f"/sweeps/{handle.result_run_id}?dry_run=true")
    finally:
        await handle.terminate(reason="a test")
    assert problem(answer, 503)["detail"].startswith("No worker is answering")


@pytest.mark.timeout(180)
async def test_a_life_is_warned_frozen_and_ended_by_the_schedule(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Ensures that the schedule alone warns of an end and ends an environment, but not during a freeze, and
    that its history is there afterwards."""
    folder = tmp_path_factory.mktemp("ends")
    templates = folder / "templates"
    templates.mkdir()
    (templates / "small.yaml").write_text(ONE_LIFE)
    settings = {
        "MOORAGE_TEMPLATES": str(templates),
        "MOORAGE_SWEEP__INTERVAL": "1s",
        "MOORAGE_SWEEP__JITTER": "1s",
    }
    options = hurried(environment=settings)
    async with Stack(folder / "stack", options) as stack, calling(stack, ALICE.email) as alice:
        name = unique("brief")
        view = await alice.ready(name)
        assert view.expires_at
        answer = await alice.http.put("/freeze", json={"reason": "a fair"})
        assert "a fair" in answer.json()["message"], answer.text
        assert (await alice.http.get("/environments")).json()["frozen"]["reason"] == "a fair"
        assert problem(await alice.http.post("/sweeps"), 409)["reason"] == "frozen"
        await stack.restart(Part.WORKER)
        await asyncio.sleep(max(0.0, (view.expires_at - datetime.now(UTC)).total_seconds()) + 3)
        assert (await alice.show(name)).phase == "ready", "it ended although ends are frozen"
        assert "would be" in (await alice.http.post("/sweeps?dry_run=true")).json()["message"]
        assert (await alice.http.delete("/freeze")).status_code == 200
        view = await alice.until(name, lambda now: now.ended)
        assert view.outcome == "expired"
        assert view.certificate
        assert view.certificate.nothing_left
        what = [line.action for line in view.audit_log]
        assert what.index("warned 4s before the end") < what.index("ended it: its time was up")
        assert "could not be recorded in time" in next(
            line.result for line in view.audit_log if line.action.startswith("warned")
        )
        [life] = (await alice.http.get(f"/environments/{name}/history")).json()["lives"]
        assert life["outcome"] == "expired"
        kept = (stack.folder / "audit-log.jsonl").read_text()
        assert f'"name":"{name}"' in kept
        # A second life of the name: the first one is now known by its account only.
        await alice.ready(name)
        lives = (await alice.http.get(f"/environments/{name}/history")).json()["lives"]
        assert [life["phase"] for life in lives] == ["ready", "gone"]
        assert lives[1]["audit_log"][0]["action"] == "asked for it"
