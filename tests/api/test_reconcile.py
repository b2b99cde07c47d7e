"""The reconcile sweep through the API and the command: who may, what it shows, what it adopts."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.types.naming import workflow_id
from embedded.stack.stack import Stack
from tests.api.caller import Caller, problem
from tests.cli.test_commands import cli_of
from tests.support.stack import ALICE, BOB, client_of, hurried, unique
from tests.support.worker_processes import with_workers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A separate stack: a sweep looks at all environments, also at those of other tests."""
    async with Stack(tmp_path_factory.mktemp("reconcile"), hurried()) as stack, with_workers(stack):
        yield stack


async def test_only_the_platform_team_reconciles(bob: Caller, alice: Caller) -> None:
    calls: tuple[tuple[str, str, object], ...] = (
        ("GET", "/reconcile", None),
        ("POST", "/reconcile", {"dry_run": True}),
        ("GET", "/reconcile/x", None),
    )
    for method, path, body in calls:
        assert "platform" in problem(await bob.http.request(method, path, json=body), 403)["detail"]
    problem(await alice.http.get("/reconcile/x"), 404)
    problem(await alice.http.post("/reconcile", json={"confirmed": ["demo"]}), 422)


@pytest.mark.timeout(240)
async def test_the_command_shows_and_adopts_an_environment_whose_workflow_was_terminated(
    stack: Stack, alice: Caller, bob: Caller, tmp_path: Path
) -> None:
    """Ensures that a dry run changes nothing, and that the owner has the same environment afterwards."""
    view = await bob.ready(unique("adopt"))
    cli, bobs = (cli_of(stack, tmp_path, person.email) for person in (ALICE, BOB))
    await (await client_of(stack)).get_workflow_handle(workflow_id(view.name)).terminate()
    dry = await cli("reconcile", "--dry-run", "--output", "json")
    assert dry.code == 0, dry.err
    result = json.loads(dry.out)["result"]
    [orphan] = [one for one in result["orphans"] if one["name"] == view.name]
    assert (orphan["life"], orphan["owner"], orphan["verdict"]) == (view.life, BOB.email, "adopt")
    shown = await cli("reconcile", "--dry-run")
    assert "adopt: it is complete, and its workflow was closed from outside" in shown.out
    # It is shown as orphaned, perhaps after a moment, and stays so: the dry run has not adopted it.
    await alice.until(view.name, lambda now: now.phase == "orphaned")
    done = await cli("reconcile")
    assert done.code == 0, done.err
    assert "adopted: it is complete" in done.out
    now = await alice.show(view.name)
    assert (now.phase, now.life, now.owner, now.expires_at) == (
        "ready",
        view.life,
        BOB.email,
        view.expires_at,
    )
    history = await bobs("history", view.name)
    assert "the reconcile sweep adopted it" in history.out, history.out
    nothing = await cli("reconcile", "--confirm", "--yes")
    assert (nothing.code, "nothing waits" in nothing.err) == (1, True), nothing.err
    both = await cli("reconcile", "--confirm", "--dry-run")
    assert both.code == 2
    await bob.gone(view.name)
