"""Leavers through the API and the command: shown, confirmed, and what an owner who has left may do."""

import json
from pathlib import Path

import pytest

from embedded.stack.stack import Stack
from starter.auth.policy import Principal
from starter.environments.access import relations_to
from starter.environments.reader import EnvironmentReader
from tests.api.caller import Caller, calling, problem
from tests.cli.test_commands import cli_of
from tests.support.leavers import report_left
from tests.support.stack import ALICE, BOB, CAROL, DAVE, client_of, unique
from tests.workflows.conftest import until

pytestmark = pytest.mark.slow


async def test_an_owner_who_has_left_is_out_and_a_team_mate_takes_it(
    stack: Stack, bob: Caller, carol: Caller, dave: Caller, tmp_path: Path
) -> None:
    view = await bob.ready(unique("offer"), collaborators=[DAVE.email])
    name, path = view.name, f"/environments/{view.name}"
    refused = problem(await carol.http.post(f"{path}/transfer", json={"to": CAROL.email}), 403)
    assert "has an owner" in refused["detail"]
    await report_left(stack, name, view.life, BOB.email)
    now = await carol.until(name, lambda now: now.owner_left_at is not None and now.access is None)
    assert now.expires_at
    assert view.expires_at
    assert now.expires_at <= view.expires_at
    for what, method in (("kubeconfig", "GET"), (f"collaborators/{CAROL.email}", "PUT")):
        answer = await bob.http.request(method, f"{path}/{what}")
        assert answer.status_code == 403, "the owner has access"
    shown = await cli_of(stack, tmp_path, CAROL.email)("show", name)
    assert "who has left; a member of the team can take it" in shown.out

    async def is_offered_in_the_list() -> bool:
        rows = (await carol.http.get("/environments")).json()["environments"]
        return any(row["name"] == name and row["owner_left_at"] for row in rows)

    await until(is_offered_in_the_list, "the list offers it")
    listed = await cli_of(stack, tmp_path, CAROL.email)("list")
    assert f"{BOB.email}, who has left" in listed.out
    assert (await dave.http.post(f"{path}/transfer", json={"to": DAVE.email})).status_code == 403
    other = problem(await carol.http.post(f"{path}/transfer", json={"to": ALICE.email}), 403)
    assert '"transfer" of' in other["detail"], "a team mate gives it away"
    answer = await carol.http.post(f"{path}/transfer", json={"to": CAROL.email})
    assert answer.status_code == 202, answer.text
    now = await carol.until(name, lambda now: now.access is None)
    assert (now.owner, now.owner_left_at, now.expires_at) == (CAROL.email, None, view.expires_at)
    await carol.gone(name)


async def test_without_a_worker_the_owner_who_has_left_stays_out(stack: Stack, bob: Caller) -> None:
    """Ensures that what decides about access is known from Temporal alone."""
    view = await bob.ready(unique("offer"))
    await report_left(stack, view.name, view.life, BOB.email)
    reader = EnvironmentReader(await client_of(stack))

    async def no_status(id: str, run_id: str) -> tuple[None, str]:
        return None, "no worker"

    reader._query_status = no_status  # type: ignore[method-assign]
    snapshot = await reader.read(view.name)
    assert snapshot
    assert snapshot.status is None
    bob_himself = Principal(person="Bob", email=BOB.email, teams=("other",))
    assert relations_to(snapshot, bob_himself) == {"stranger"}
    async with calling(stack, ALICE.email) as alice:
        await alice.gone(view.name)


async def test_only_the_platform_team_sees_and_confirms_leavers(bob: Caller, alice: Caller) -> None:
    calls: tuple[tuple[str, str, object], ...] = (
        ("GET", "/leavers", None),
        ("POST", "/leavers", {}),
        ("GET", "/leavers/x", None),
    )
    for method, path, body in calls:
        assert "platform" in problem(await bob.http.request(method, path, json=body), 403)["detail"]
    problem(await alice.http.get("/leavers/x"), 404)
    problem(await alice.http.post("/leavers", json={"confirmed": "all"}), 422)


@pytest.mark.timeout(240)
async def test_the_command_asks_the_directory_and_shows_who_has_left(
    stack: Stack, alice: Caller, tmp_path: Path
) -> None:
    """Ensures that a sweep on request goes through the real directory, and that nothing waits there."""
    cli = cli_of(stack, tmp_path, ALICE.email)
    asked = await cli("leavers", "--now")
    assert asked.code == 0, asked.err
    assert "0 have left" in asked.out
    shown = await cli("leavers", "--output", "json")
    assert json.loads(shown.out)["result"]["left"] == []
    confirmed = await cli("leavers", "--confirm", "--yes")
    assert (confirmed.code, "no person waits" in confirmed.err) == (1, True), confirmed.err
    both = await cli("leavers", "--confirm", "--now")
    assert both.code == 2
