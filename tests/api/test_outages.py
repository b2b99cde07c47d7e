"""When the worker or Temporal is away: answers come soon, say what is known, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from contracts.types.naming import workflow_id
from embedded.stack.stack import Part, Stack
from starter.environments.reader import REST_USABLE_SECONDS
from starter.temporal.errors import NO_WORKER
from tests.api.caller import Caller, problem
from tests.support.deadline import soon
from tests.support.processes import run_module
from tests.support.stack import BOB, DAVE, client_of, hurried, unique
from tests.workflows.conftest import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack whose parts these tests stop and start."""
    async with Stack(tmp_path_factory.mktemp("outages"), hurried()) as stack:
        yield stack


async def test_without_a_worker(stack: Stack, bob: Caller, dave: Caller) -> None:
    """Ensures that without a worker the API shows what Temporal knows, and starts nothing meanwhile."""
    name, later = unique(), unique()
    await bob.ready(name, collaborators=[DAVE.email])
    handle = (await client_of(stack)).get_workflow_handle(workflow_id(name))
    length = 0
    while length != (length := (await handle.describe()).history_length):
        # Past the time in which the API shows what it has read before, so that it asks the worker.
        await asyncio.sleep(REST_USABLE_SECONDS)
        await bob.show(name)
    await stack.kill(Part.WORKER)
    try:
        # The API trusts a worker's answer about an environment at rest for some seconds.
        await bob.until(name, lambda view: NO_WORKER in view.remark)
        for caller in (bob, dave):
            async with soon("it waits for a worker"):
                view = await caller.show(name)
            assert (view.name, view.owner, view.team) == (name, BOB.email, "blue")
            assert (view.phase, view.template) == ("ready", "small")
            assert NO_WORKER in view.remark
            # Its history has not grown since a worker was asked, so all of it is still true.
            assert [step.state for step in view.steps] == ["done"] * 8
        listed = await bob.http.get("/environments")
        assert name in listed.text
        async for event, view in bob.events(name):
            assert (event, view.phase) == ("status", "ready")
            break
        assert (await bob.http.get(f"/environments/{name}/kubeconfig")).status_code == 200
        content = problem(await bob.http.delete(f"/environments/{name}"), 503)
        assert content["system"] == "Moorage worker"
        content = problem(await bob.ask(later, key="k"), 503)
        assert content["detail"] == f"{NO_WORKER}, so nothing was started: ask again in a while."
        problem(await bob.http.get(f"/environments/{later}"), 404)
    finally:
        await stack.start(Part.WORKER)
    answer = await bob.ask(later, key="k")
    assert answer.json()["kind"] == "created", "a request that was refused cannot be repeated"
    view = await bob.until(later, lambda view: view.phase == "ready")
    assert view.life == answer.json()["life"]
    assert (await bob.ask(later, key="k")).json()["kind"] == "created"
    for each in (name, later):
        await bob.http.delete(f"/environments/{each}")
        await bob.until(each, lambda view: view.ended)


async def test_without_temporal(stack: Stack, bob: Caller) -> None:
    """Ensures that every call is answered with 503 and Temporal's name, and all is well when it is back."""
    name = unique()
    await bob.ready(name)
    await stack.kill(Part.TEMPORAL)

    async def is_missed() -> bool:
        return (await bob.http.get(f"/environments/{name}")).status_code == 503

    try:
        # For a moment, what was just read is shown again.
        await until(is_missed, "Temporal is missed")
        calls = [
            bob.http.get("/environments"),
            bob.http.get(f"/environments/{name}"),
            bob.http.get(f"/environments/{name}/events"),
            bob.http.get(f"/environments/{name}/kubeconfig"),
            bob.http.delete(f"/environments/{name}"),
            bob.ask(unique()),
        ]
        for answer in await asyncio.gather(*calls):
            content = problem(answer, 503)
            assert content["system"] == "Temporal"
            assert answer.headers["Retry-After"]
        assert (await bob.http.get("/templates")).status_code == 200
        ready = await bob.http.get(f"{stack.api_url}/readyz")
        assert "Temporal" in problem(ready, 503)["detail"]
        assert (await bob.http.get(f"{stack.api_url}/healthz")).status_code == 200
    finally:
        await stack.start(Part.TEMPORAL)
    await bob.until(name, lambda view: view.phase == "ready" and not view.remark)
    await bob.gone(name)


async def test_a_stop_while_an_environment_is_watched(stack: Stack, bob: Caller) -> None:
    """Ensures that the API stops at once despite a watcher, and serves the next watcher again."""
    name = unique()
    await bob.ready(name)
    seen = []
    try:
        async for event, _ in bob.events(name):
            seen.append(event)
            await stack.stop(Part.API)
    except httpx.TransportError:
        pytest.fail("the stream was cut instead of ended")
    finally:
        await stack.start(Part.API)
    assert seen == ["status"]
    # It says so when it has waited for open requests as long as it may, and cuts the rest.
    assert "graceful shutdown exceeded" not in (stack.folder / "logs" / "API.log").read_text()
    async for event, view in bob.events(name):
        assert (event, view.phase) == ("status", "ready")
        break
    await bob.gone(name)


def test_a_bad_file_stops_the_start(stack: Stack, tmp_path: Path) -> None:
    """Ensures that the API does not start with a file of tokens that it cannot trust, and says why."""

    tokens = tmp_path / "tokens.yaml"
    tokens.write_text("tokens: []")
    tokens.chmod(0o666)
    env = stack.env | {"MOORAGE_API__TOKENS_FILE": str(tokens), "MOORAGE_API__PORT": "1"}
    ended = run_module("moorage", ["api"], env)
    assert ended.code == 2
    assert f"{tokens}:1:1: cannot be read: all users can write it (mode 0666): chmod o-w" in ended.err
