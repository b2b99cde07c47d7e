"""Lives of one name, seen past the API: what is said of one never reaches another, however it ended."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from temporalio.client import Client

from clients.jsonl_file import JsonLinesFile
from contracts.capacity.models import ReservationRequest
from contracts.capacity.sizes import size_of
from contracts.environment.chart_values import compose_values
from contracts.environment.models import AuditLogEntry, Outcome
from contracts.environment_workflow import ActorInput, EnvironmentStart
from contracts.notifications import LifeRecord
from contracts.types.naming import workflow_id
from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from starter.auth.policy import Verb
from starter.environments import watcher
from starter.environments.access import EnvironmentAccess
from starter.environments.commands import EnvironmentCommands
from starter.environments.health import EnvironmentHealth
from starter.environments.reader import EnvironmentReader, Latest
from starter.environments.requests.service import EnvironmentStarter
from starter.placement.reservations import Reservations
from starter.temporal.updates import WorkflowClosed
from tests.api.caller import MAX_WAIT, Caller, problem
from tests.lifecycle.databases import Systems
from tests.support.stack import ALICE, BOB, client_of, unique
from tests.support.stand_ins import set_faults
from tests.workflows.conftest import until
from worker.data_converter import converter_at

pytestmark = pytest.mark.slow

DRY = {"dry_run": True}


@pytest.fixture
async def client(stack: Stack) -> Client:
    """A way to the stack's Temporal server past its API."""
    return await client_of(stack)


async def test_a_late_word_about_an_earlier_life(client: Client, bob: Caller) -> None:
    """Ensures that what was decided about one life does nothing to the next one of the same name."""
    name = unique()
    await bob.ask(name)
    reader = EnvironmentReader(client)
    earlier = await reader.read(name)
    assert earlier is not None
    await bob.gone(name)
    later = (await bob.ask(name)).json()["life"]
    commands = EnvironmentCommands(client, EnvironmentAccess(reader), reader)
    with pytest.raises(WorkflowClosed):
        await commands.send(Verb.DELETE, earlier, ActorInput(actor=BOB.email), "")
    view = await bob.until(name, lambda view: view.phase == "ready")
    assert (view.life, view.outcome) == (later, None)
    await bob.gone(name)


async def test_a_word_about_another_life_than_the_one_that_is_there(bob: Caller) -> None:
    """Ensures that a caller who names a life changes no other life of that name."""
    name = unique()
    earlier = (await bob.ask(name)).json()["life"]
    await bob.gone(name)
    later = await bob.ready(name)
    path = f"/environments/{name}"
    for method, verb, body in (
        ("DELETE", "", None),
        ("POST", "/cancel", None),
        ("POST", "/extend", {"by": "1h"}),
    ):
        answer = await bob.http.request(method, path + verb, params={"life": earlier}, json=body)
        assert problem(answer, 409)["reason"] == "other_life", f"{method} {verb} was about another life"
    now = await bob.show(name)
    assert (now.life, now.phase, now.expires_at) == (later.life, "ready", later.expires_at)
    answer = await bob.http.delete(path, params={"life": later.life})
    assert answer.status_code == 202, answer.text
    await bob.until(name, lambda view: view.ended)


async def test_a_watcher_of_a_life_that_ends_sees_its_end(
    stack: Stack, bob: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that the end of a life is reported although the next life has its name before the next read."""
    monkeypatch.setattr(watcher, "MIN_PAUSE_SECONDS", 3600.0)
    name = unique()
    life = (await bob.ready(name)).life
    reader = EnvironmentReader(await client_of(stack))
    watches = watcher.EnvironmentWatcher(reader, EnvironmentHealth({}))
    standing = await reader.read(name)
    assert standing is not None
    followed = watches.follow(standing, 60.0)
    first = await anext(followed)
    assert first is not None
    await bob.gone(name)
    await bob.ready(name)
    monkeypatch.setattr(watcher, "MIN_PAUSE_SECONDS", 0.0)
    [watched] = watches._watched.values()
    looks = asyncio.create_task(watches._watch(watched))
    last = await anext(followed)
    assert last is not None
    assert (last.life, last.ended, last.outcome) == (life, True, "deleted")
    assert last.certificate, "its watcher saw the end without its certificate"
    await looks
    await followed.aclose()
    await bob.gone(name)


async def test_a_repeat_that_meets_the_end(client: Client, bob: Caller) -> None:
    """Ensures that a repeat starts no second life when its life closes just after the read."""
    name = unique()
    life = (await bob.ask(name)).json()["life"]
    start = await _start_of(client, name)

    class OutOfDate(EnvironmentReader):
        """What it says of the first look is out of date before anybody acts on it."""

        looks = 0

        async def latest(self, name: str) -> Latest | None:
            latest = await super().latest(name)
            self.looks += 1
            if self.looks == 1:
                await bob.gone(name)
            return latest

    handle = client.get_workflow_handle(workflow_id(name))
    run_id = (await handle.describe()).run_id
    starter = EnvironmentStarter(client, OutOfDate(client), Reservations(client))
    outcome = await starter.start_or_join(start, _ask(start))
    assert (await handle.describe()).run_id == run_id, "the repeat has started a second life"
    assert (outcome.kind, outcome.answer.life) == ("finished", life)


def _ask(start: EnvironmentStart) -> ReservationRequest:
    """What it asks of the capacity."""
    environment = start.environment
    return ReservationRequest(
        name=environment.name,
        life=environment.mark.life,
        owner=environment.owner,
        team=environment.spec.team,
        template=environment.template.name,
        size=size_of(environment.template.size, compose_values(environment)),
        hosts=(environment.host,),
        ends_at=datetime.now(UTC) + environment.ttl,
    )


async def _start_of(client: Client, name: str) -> EnvironmentStart:
    """What the latest run of the name was started with."""
    history = await client.get_workflow_handle(workflow_id(name)).fetch_history()
    payloads = history.events[0].workflow_execution_started_event_attributes.input.payloads
    [start] = await converter_at(client, workflow_id(name)).decode(payloads, [EnvironmentStart])
    assert isinstance(start, EnvironmentStart)
    return start


async def test_ended_from_outside(client: Client, bob: Caller, dave: Caller) -> None:
    """Ensures that a terminated one is shown as what it is, and that all ways in say what to do about it."""
    name = unique()
    await bob.ready(name)
    await client.get_workflow_handle(workflow_id(name)).terminate(reason="a try")
    view = await bob.until(name, lambda view: view.ended)
    assert (view.ended, view.phase, view.certificate) == (True, "orphaned", None)
    assert "closed from outside (terminated by " in view.remark
    assert ": a try), so nothing was taken down" in view.remark
    assert f"moorage teardown {name} --force" in view.remark
    assert [step.state for step in view.steps] == ["done"] * 8, "the view lacks the steps that were done"
    path = f"/environments/{name}"
    for answer in (
        await bob.http.get(f"{path}/kubeconfig"),
        await bob.http.delete(path),
        await bob.ask(name),
        await bob.http.post("/environments", params=DRY, json={"name": name, "template": "small"}),
    ):
        assert "--force" in problem(answer, 409)["detail"], answer.request.url
    assert "is taken" in problem(await dave.ask(name), 409)["detail"], "a stranger learns more"
    [life] = (await bob.http.get(f"{path}/history")).json()["lives"]
    assert life["phase"] == "orphaned"
    assert life["audit_log"][-1]["action"] == "closed its workflow from outside"
    for query in ({}, {"phase": "orphaned"}):
        listed = await bob.http.get(
            "/environments", params={"ended": True, "owner": BOB.email, "limit": 200, **query}
        )
        assert {row["name"]: row["phase"] for row in listed.json()["environments"]}[name] == "orphaned"


async def test_forced_teardown(client: Client, stack: Stack, alice: Caller, bob: Caller) -> None:
    """Ensures that what a terminated one left is removed by its marks, and its name free then."""
    name = unique()
    path = f"/environments/{name}/force-teardown"
    ready = await bob.ready(name)
    assert "its own workflow runs" in problem(await alice.http.post(path), 409)["detail"]
    await client.get_workflow_handle(workflow_id(name)).terminate()
    problem(await bob.http.post(path), 403)
    other = await alice.http.post(path, params={"life": "another"})
    assert problem(other, 409)["reason"] == "other_life"
    assert Systems(stack).holds(name), "there is nothing to remove"
    first, second = await asyncio.gather(alice.http.post(path), alice.http.post(path))
    assert {first.status_code, second.status_code} <= {202, 409}
    assert 202 in {first.status_code, second.status_code}
    view = await bob.until(name, lambda view: view.ended)
    assert (view.phase, view.outcome, view.life) == ("gone", "deleted", ready.life)
    assert view.requested_at == ready.requested_at, "what is older than it would be taken for its own"
    assert view.certificate
    assert view.certificate.nothing_left
    assert len(view.certificate.systems) == 3, "not all systems were looked at"
    assert Systems(stack).holds(name) == {}
    said = [(entry.actor, entry.action) for entry in view.audit_log]
    assert (ALICE.email, "had what is left of it torn down") in said
    assert ("Temporal", "closed its workflow from outside") in said
    assert "nothing is left" in problem(await alice.http.post(path), 409)["detail"]
    await bob.ready(name)
    await bob.gone(name)


async def test_an_unchanged_one_is_not_asked_again(client: Client, bob: Caller) -> None:
    """Ensures that looking again at what has not changed costs no query, and an ended one no second look."""
    name = unique()
    await bob.ready(name)
    reader = EnvironmentReader(client)
    looks = [await reader.read(name)]

    async def is_unchanged() -> bool:
        looks.append(await reader.read(name, looks[-1]))
        before, after = looks[-2:]
        return before is not None and after is not None and after.status is before.status

    # What it does once it is ready may change it between two looks.
    await until(is_unchanged, "a look at what has not changed asks no worker", MAX_WAIT)
    second = looks[-1]
    assert second is not None
    run = await client.get_workflow_handle(workflow_id(name)).describe()
    assert second.view.run_id == run.run_id
    await bob.gone(name)
    ended = await reader.read(name, second)
    again = await reader.read(name)
    assert ended is not None
    assert again is not None
    assert ended.status is again.status
    assert ended.view == again.view


async def test_one_that_temporal_has_dropped(stack: Stack, alice: Caller, bob: Caller, dave: Caller) -> None:
    """Ensures that list, show and history agree on lives that only their accounts still know."""
    name = unique()
    now = datetime.now(UTC)
    accounts = [
        LifeRecord(
            name=name, life=f"{number:020x}", owner=BOB.email, team="blue", collaborators=(),
            template="small", host="local", outcome=Outcome.EXPIRED,
            requested_at=now - timedelta(days=900 + number), ended_at=now - timedelta(days=900 - number),
            audit_log=(AuditLogEntry(at=now, actor=BOB.email, action="asked for it"),),
        )
        for number in range(5)
    ]  # fmt: skip
    for account in accounts:
        await JsonLinesFile(stack.folder / "audit-log.jsonl").add(account.model_dump_json())
    view = await bob.show(name)
    assert (view.life, view.phase, view.outcome) == (accounts[-1].life, "gone", "expired")
    assert "Temporal has dropped its run" in view.remark
    lives = (await bob.http.get(f"/environments/{name}/history")).json()["lives"]
    assert [life["life"] for life in lives] == [account.life for account in reversed(accounts)]
    for caller in (alice, bob):
        assert await _listed(caller, name) == [account.life for account in reversed(accounts)]
    assert await _listed(bob, name, phase="gone", team="blue") == [one.life for one in reversed(accounts)]
    assert await _listed(bob, name, template="medium") == []
    assert await _listed(dave, name) == []
    problem(await dave.http.get(f"/environments/{name}"), 404)
    # What Temporal still knows is listed once, although it has an account as well.
    known = unique()
    await bob.ready(known)
    await bob.gone(known)

    async def is_listed() -> bool:
        lives = await _listed(bob, known)
        assert len(lives) <= 1
        return bool(lives)

    await until(is_listed, "Temporal lists it as ended", MAX_WAIT)


async def _listed(caller: Caller, name: str, **query: str) -> list[str]:
    """The lives of the name in the caller's list of the past, page by page."""
    lives, cursor, pages = [], None, 0
    while cursor or not pages:
        answer = await caller.http.get(
            "/environments", params={"ended": True, "limit": 3, "cursor": cursor, **query}
        )
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["environments"]) <= 3
        lives += [row["life"] for row in page["environments"] if row["name"] == name]
        cursor, pages = page["next"], pages + 1
    return lives


async def test_what_a_dry_run_says_of_a_name_that_is_in_use(stack: Stack, bob: Caller, dave: Caller) -> None:
    """Ensures that a dry run is refused where the request would be, and only there."""
    name = unique()
    await bob.ready(name)

    async def dry(caller: Caller, **fields: str) -> httpx.Response:
        body = {"name": name, "template": "small", **fields}
        return await caller.http.post("/environments", params=DRY, json=body)

    joins = await dry(bob)
    assert (joins.status_code, "would join it" in joins.json()["message"]) == (200, True)
    assert problem(await dry(bob, ttl="3h"), 409)["reason"] == "other_spec"
    assert problem(await dry(dave), 409)["reason"] == "other_owner"
    fault = Fault(operation="group.delete", kind=FaultKind.STATUS, status=500)
    set_faults(stack.url(Part.CONTROL_PLANE), fault)
    try:
        await bob.http.delete(f"/environments/{name}")
        assert problem(await dry(bob), 409)["reason"] == "being_torn_down"

        # And what holds it up is in the list, with when it is tried again.
        async def pauses() -> bool:
            row = (await _stuck(bob)).get(name, {})
            return row.get("problem", "").startswith("not undone: group: ") and bool(row["next_try_at"])

        await until(pauses, "it is listed with its problem and its next try", MAX_WAIT)
    finally:
        set_faults(stack.url(Part.CONTROL_PLANE))
    await bob.until(name, lambda view: view.ended)

    async def is_listed_no_more() -> bool:
        return name not in await _stuck(bob)

    await until(is_listed_no_more, "what is over is not listed as stuck", MAX_WAIT)


async def _stuck(caller: Caller) -> dict[str, dict[str, str]]:
    answer = await caller.http.get("/environments", params={"stuck": True, "mine": True})
    assert answer.status_code == 200, answer.text
    return {row["name"]: row for row in answer.json()["environments"]}
