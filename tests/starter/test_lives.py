"""Lives of one name, seen past the API: what is said of one never reaches another, however it ended."""

from datetime import UTC, datetime

import pytest
from temporalio.client import Client

from contracts.capacity import Ask, size_of
from contracts.messages import EnvironmentStart
from contracts.naming import workflow_id
from contracts.values import compose
from embedded.stack import Stack
from starter.acting import Actor, Finished
from starter.reading import Latest, Reader
from starter.reserving import Reservations
from starter.updates import JustClosed
from tests.starter.calling import Caller, problem
from tests.support.stack import BOB, client_of, unique


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
    assert (answer.standing.life if isinstance(answer, Finished) else answer.life) == life


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
    [start] = await client.data_converter.decode(payloads, [EnvironmentStart])
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
