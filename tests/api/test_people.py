"""The people of an environment through the API: added, removed, refused, and what each of them may do."""

import asyncio
from pathlib import Path

import pytest

from contracts.types.naming import workflow_id
from embedded.stack.stack import Stack
from tests.api.caller import Caller, fields_of, problem
from tests.cli.test_commands import cli_of
from tests.lifecycle.databases import Systems
from tests.support.stack import ALICE, BOB, CAROL, DAVE, client_of, unique

pytestmark = pytest.mark.slow


async def test_a_collaborator_comes_and_goes(stack: Stack, bob: Caller, dave: Caller) -> None:
    """Ensures that access is given and taken at the door at once, and in the systems soon after."""
    view = await bob.ready(unique("people"))
    name, path = view.name, f"/environments/{view.name}/collaborators/{DAVE.email}"
    assert (await dave.http.get(f"/environments/{name}")).status_code == 404
    key = {"Idempotency-Key": "once"}
    added = await bob.http.put(path, headers=key)
    assert added.status_code == 202, added.text
    assert added.json()["kind"] == "accepted"
    assert (await dave.http.get(f"/environments/{name}")).status_code == 200
    view = await bob.until(name, lambda now: now.access is None)
    assert view.collaborators == (DAVE.email,)
    mine = (await dave.http.get("/environments")).json()["environments"]
    for _ in range(50):  # visibility follows
        if name in {row["name"] for row in mine}:
            break
        mine = (await dave.http.get("/environments")).json()["environments"]
    assert (await dave.http.get(f"/environments/{name}/kubeconfig")).status_code == 200
    run = await (await client_of(stack)).get_workflow_handle(workflow_id(name)).describe()
    memo = run.raw_description.workflow_execution_info.memo.fields["collaborators"]
    assert memo.metadata["encoding"] == b"binary/encrypted", "who may use it stands in clear in Temporal"
    again = await bob.http.put(path, headers=key)
    assert again.json()["message"] == added.json()["message"], "the repeat is another change"

    assert (await bob.http.delete(path)).status_code == 202
    assert (await dave.http.get(f"/environments/{name}")).status_code == 404
    assert (await dave.http.get(f"/environments/{name}/kubeconfig")).status_code == 404
    view = await bob.until(name, lambda now: now.access is None)
    assert view.collaborators == ()
    assert (await bob.http.delete(path)).json()["kind"] == "nothing_to_do"
    [life] = (await bob.http.get(f"/environments/{name}/history")).json()["lives"]
    audited = [(line["actor"], line["action"]) for line in life["audit_log"]]
    assert (BOB.email, f"added {DAVE.email}") in audited
    assert (BOB.email, f"removed {DAVE.email}") in audited
    await bob.gone(name)
    assert "is gone" in problem(await bob.http.delete(path), 409)["detail"]


async def test_only_the_owner_and_the_platform_team_change_people(
    alice: Caller, bob: Caller, carol: Caller, dave: Caller
) -> None:
    view = await bob.ready(unique("people"), collaborators=[DAVE.email])
    path = f"/environments/{view.name}/collaborators/{CAROL.email}"
    for caller in (carol, dave):
        for method in ("PUT", "DELETE"):
            refused = problem(await caller.http.request(method, path), 403)
            you = "in its team" if caller is carol else "one of its collaborators"
            assert refused["detail"] == (
                f'"collaborators" of {view.name} is for its owner and the platform team, and you are {you}: '
                f"ask {BOB.email}"
            )
    assert (await alice.http.put(path)).status_code == 202
    assert (await bob.show(view.name)).collaborators == (CAROL.email, DAVE.email)
    await bob.gone(view.name)


@pytest.mark.parametrize(
    ("person", "message"),
    [
        ("no-one@example.com", "the directory does not know no-one@example.com"),
        ("grace", "is not an e-mail address"),
        ("%20", "is not an e-mail address"),
    ],
)
async def test_a_person_who_cannot_be_added(bob: Caller, person: str, message: str) -> None:
    view = await bob.ready(unique("people"))
    answer = await bob.http.put(f"/environments/{view.name}/collaborators/{person}")
    assert message in fields_of(problem(answer, 422))["person"]
    assert (await bob.show(view.name)).collaborators == ()
    await bob.gone(view.name)


async def test_it_is_refused_with_a_reason_before_it_is_ready_and_needless_for_its_owner(bob: Caller) -> None:
    name = unique("people")
    assert (await bob.ask(name)).status_code == 202
    refused = problem(await bob.http.put(f"/environments/{name}/collaborators/{DAVE.email}"), 409)
    if refused["reason"] == "not_now":
        assert "once it is ready" in refused["detail"]
    await bob.until(name, lambda now: now.phase == "ready")
    done = (await bob.http.put(f"/environments/{name}/collaborators/{BOB.email}")).json()
    assert done["kind"] == "nothing_to_do"
    assert done["message"] == f"{BOB.email} owns {name} and has access already."
    await bob.gone(name)


async def test_the_command(stack: Stack, tmp_path: Path, bob: Caller) -> None:
    """Ensures that the command changes people, waits for the systems, and shows them."""
    view = await bob.ready(unique("people"))
    cli = cli_of(stack, tmp_path, BOB.email)
    added = await cli("collaborators", view.name, "add", DAVE.email.upper())
    assert added.code == 0, added.err
    assert f"{DAVE.email} is a collaborator of {view.name} now." in added.out
    assert "IdP group" in Systems(stack).holds(view.name)
    shown = await cli("collaborators", view.name)
    assert [line.split() for line in shown.out.splitlines()[1:]] == [
        [BOB.email, "owner"],
        [DAVE.email, "collaborator"],
    ]
    for arguments, code, said in (
        (("add",), 2, "first the environment, then the action and the person"),
        (("promote", DAVE.email), 2, "is not one of"),
        (("list",), 2, "first the environment"),
        (("add", "no-one@example.com"), 2, "the directory does not know no-one@example.com"),
        (("remove", BOB.email), 1, "owns"),
    ):
        result = await cli("collaborators", view.name, *arguments)
        assert (result.code, said in result.err) == (code, True), result.err
    removed = await cli("collaborators", view.name, "remove", DAVE.email, "--output", "json")
    assert removed.code == 0
    assert '"collaborators": []' in removed.out
    await bob.gone(view.name)


async def test_a_transfer_to_a_team_mate(bob: Caller, carol: Caller) -> None:
    view = await bob.ready(unique("given"))
    path = f"/environments/{view.name}"
    assert (await carol.http.get(f"{path}/kubeconfig")).status_code == 403
    answer = await bob.http.post(f"{path}/transfer", json={"to": CAROL.email})
    assert answer.status_code == 202, answer.text
    assert answer.json()["environment"]["owner"] == CAROL.email
    assert (await carol.http.get(f"{path}/kubeconfig")).status_code == 200
    assert (await bob.http.get(f"{path}/kubeconfig")).status_code == 403
    again = problem(await bob.http.post(f"{path}/transfer", json={"to": BOB.email}), 403)
    assert "is for its owner and the platform team" in again["detail"]
    held = (await carol.http.get("/capacity")).json()
    assert held
    await carol.until(view.name, lambda now: now.access is None)
    repeat = problem(await bob.ask(view.name), 409)
    assert "taken" in repeat["detail"]
    await carol.gone(view.name)


@pytest.mark.parametrize(
    ("to", "message"),
    [
        (DAVE.email, "is not in team blue"),
        ("no-one@example.com", "the directory does not know no-one@example.com"),
        # Known to the directory, which does not say of which teams; they have never signed in here.
        ("erin@example.com", "does not know the teams of erin@example.com now"),
        ("no-one", "is not an e-mail address"),
    ],
)
async def test_who_cannot_be_given_an_environment(bob: Caller, to: str, message: str) -> None:
    view = await bob.ready(unique("given"))
    answer = await bob.http.post(f"/environments/{view.name}/transfer", json={"to": to})
    assert message in fields_of(problem(answer, 422))["person"]
    assert (await bob.show(view.name)).owner == BOB.email
    await bob.gone(view.name)


async def test_of_two_transfers_at_once_one_counts_and_has_the_place(bob: Caller, carol: Caller) -> None:
    view = await bob.ready(unique("given"))
    path = f"/environments/{view.name}/transfer"
    answers = await asyncio.gather(
        *(bob.http.post(path, json={"to": person}) for person in (CAROL.email, ALICE.email))
    )
    owner = (await carol.show(view.name)).owner
    for answer, person in zip(answers, (CAROL.email, ALICE.email), strict=True):
        assert (answer.status_code == 202) is (person == owner), answer.text
    await (carol if owner == CAROL.email else bob).until(view.name, lambda now: now.access is None)


async def test_the_command_to_transfer(stack: Stack, tmp_path: Path, bob: Caller) -> None:
    view = await bob.ready(unique("given"))
    cli = cli_of(stack, tmp_path, BOB.email)
    unsure = await cli("transfer", view.name, "--to", CAROL.email)
    assert (unsure.code, "confirm with --yes" in unsure.err) == (2, True), unsure.err
    given = await cli("transfer", view.name, "--to", CAROL.email, "--yes")
    assert given.code == 0, given.err
    assert f"{view.name} belongs to {CAROL.email} now." in given.out
    assert (await bob.show(view.name)).owner == CAROL.email
    await bob.gone(view.name)
