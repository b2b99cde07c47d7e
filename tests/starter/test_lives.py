"""Lives of one name, seen past the API: what is said of one never reaches another, however it ended."""

import asyncio
from datetime import UTC, datetime

import pytest
from temporalio.client import Client

from contracts.capacity import Ask, size_of
from contracts.messages import EnvironmentStart
from contracts.naming import workflow_id
from contracts.values import compose
from embedded.stack import Stack
from starter import watching
from starter.acting import Actor, Finished
from starter.reading import Latest, Reader
from starter.reserving import Reservations
from starter.updates import JustClosed
from tests.starter.calling import Caller, problem
from tests.support.stack import BOB, client_of, unique
from worker.converter import converter_at


@pytest.fixture
async def client(stack: Stack) -> Client:
    """A way to the stack's Temporal server past its API."""
    return await client_of(stack)


async def test_a_late_word_about_an_earlier_life(client: Client, bob: Caller) -> None:
    """Ensures that what was decided about one life does nothing to the next one of the same name."""
    name = unique()
    await bob.ask(name)
    reader = Reader(client)
    earlier = await reader.read(name)
    assert earlier is not None
    await bob.gone(name)
    later = (await bob.ask(name)).json()["life"]
    with pytest.raises(JustClosed):
        await Actor(client, reader, Reservations(client)).delete(earlier, BOB.email, None)
    view = await bob.until(name, lambda view: view.phase == "ready")
    assert (view.life, view.outcome) == (later, None)
    await bob.gone(name)


async def test_a_word_about_another_life_than_the_one_that_is_there(bob: Caller) -> None:
    """Ensures that whoever names the life that they mean changes no other one of that name."""
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


async def test_whoever_follows_one_that_ends_sees_its_end(
    stack: Stack, bob: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that the end of a life is told although its name is the next one's before anybody looked."""
    monkeypatch.setattr(watching, "SHORTEST_PAUSE_SECONDS", 3600.0)
    name = unique()
    life = (await bob.ready(name)).life
    reader = Reader(await client_of(stack))
    watches = watching.Watches(reader)
    standing = await reader.read(name)
    assert standing is not None
    followed = watches.follow(standing, 60.0)
    first = await anext(followed)
    assert first is not None
    await bob.gone(name)
    await bob.ready(name)
    monkeypatch.setattr(watching, "SHORTEST_PAUSE_SECONDS", 0.0)
    [watched] = watches._watched.values()
    looks = asyncio.create_task(watches._watch(watched))
    last = await anext(followed)
    assert last is not None
    assert (last.life, last.ended, last.outcome) == (life, True, "deleted")
    assert last.certificate, "it was followed to its end, and its certificate is not told"
    await looks
    await followed.aclose()
    await bob.gone(name)


async def test_a_repeat_that_meets_the_end(client: Client, bob: Caller) -> None:
    """Ensures that a repeat whose life closes just after somebody has looked begins no second life."""
    name = unique()
    life = (await bob.ask(name)).json()["life"]
    start = await _start_of(client, name)

    class OutOfDate(Reader):
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
    answer = await Actor(client, OutOfDate(client), Reservations(client)).request(start, _ask(start))
    assert (await handle.describe()).run_id == run_id, "the repeat has begun a second life"
    # Temporal still knows what the first one was answered; when it does not, the outcome is the answer.
    assert (answer.standing.life if isinstance(answer, Finished) else answer.answer.life) == life


def _ask(start: EnvironmentStart) -> Ask:
    """What it asks of the capacity."""
    environment = start.environment
    return Ask(
        name=environment.name,
        life=environment.mark.life,
        owner=environment.owner,
        team=environment.spec.team,
        template=environment.template.name,
        size=size_of(environment.template.size, compose(environment)),
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


async def test_ended_from_outside(client: Client, bob: Caller) -> None:
    """Ensures that one that was terminated in Temporal is shown as such, and does not block its name."""
    name = unique()
    await bob.ready(name)
    await client.get_workflow_handle(workflow_id(name)).terminate()
    view = await bob.show(name)
    assert (view.ended, view.phase, view.certificate) == (True, "ready", None)
    assert "ended from outside (terminated)" in view.remark
    assert "is gone" in problem(await bob.http.get(f"/environments/{name}/kubeconfig"), 409)["detail"]
    answer = await bob.http.delete(f"/environments/{name}")
    assert answer.json()["kind"] == "nothing_to_do"
    assert "has to look" in answer.json()["message"]
    listed = await bob.http.get("/environments", params={"ended": True, "owner": BOB.email, "limit": 200})
    assert name in listed.text


async def test_an_unchanged_one_is_not_asked_again(client: Client, bob: Caller) -> None:
    """Ensures that looking again at what has not changed costs no query, and an ended one no second look."""
    name = unique()
    await bob.ready(name)
    reader = Reader(client)
    first = await reader.read(name)
    second = await reader.read(name, first)
    assert first is not None
    assert second is not None
    assert second.status is first.status
    await bob.gone(name)
    ended = await reader.read(name, second)
    again = await reader.read(name)
    assert ended is not None
    assert again is not None
    assert ended.status is again.status
    assert ended.view == again.view
