"""Sleep and waking through the API and the command: answered, refused, shown, and heard of by who waits."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from temporalio.client import WorkflowHandle

from contracts.types.naming import workflow_id
from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from starter.environments.credentials.certificate_request import make_request
from tests.api.caller import Caller, fields_of, problem
from tests.cli.test_commands import cli_of
from tests.support.stack import BOB, DAVE, client_of, unique
from tests.support.stand_ins import set_faults
from workflows.environment.workflow import EnvironmentWorkflow

pytestmark = pytest.mark.slow


async def test_it_sleeps_and_wakes_through_the_api(bob: Caller, dave: Caller) -> None:
    """Ensures that its owner puts it to sleep, and a collaborator wakes it; a repeat is answered."""
    view = await bob.ready(unique("sleeper"), collaborators=[DAVE.email])
    path, key = f"/environments/{view.name}", {"Idempotency-Key": "once"}
    answer = await bob.http.post(f"{path}/sleep", headers=key)
    assert answer.status_code == 202, answer.text
    assert answer.json()["kind"] == "accepted"
    assert answer.json()["environment"]["phase"] in ("falling_asleep", "asleep")
    view = await bob.until(view.name, lambda now: now.phase == "asleep")
    assert view.sleep
    assert (view.sleep.actor, view.sleep.problem) == (BOB.email, None)
    again = await bob.http.post(f"{path}/sleep", headers=key)
    assert again.json()["message"] == answer.json()["message"], "the repeat was done again"
    assert (await bob.http.post(f"{path}/sleep")).json()["kind"] == "nothing_to_do"
    for _ in range(50):  # visibility follows
        listed = (await bob.http.get("/environments", params={"phase": "asleep"})).json()["environments"]
        if [row["phase"] for row in listed if row["name"] == view.name] == ["asleep"]:
            break
        await asyncio.sleep(0.1)
    else:
        pytest.fail("it is not listed as asleep")
    assert (await dave.http.get(f"{path}/kubeconfig")).status_code == 200
    request, _ = make_request(DAVE.email)
    asleep = problem(await dave.http.post(f"{path}/credential", json={"request": request}), 409)
    assert asleep["type"] == "urn:moorage:problem:asleep"
    assert asleep["detail"] == f"{view.name} is asleep. Wake it with: moorage wake {view.name}"
    woken = await asyncio.gather(*(dave.http.post(f"{path}/wake") for _ in range(20)))
    assert {each.json()["kind"] for each in woken} <= {"accepted", "nothing_to_do"}
    view = await bob.until(view.name, lambda now: now.phase == "ready")
    assert view.sleep is None
    assert [line.actor for line in view.audit_log if line.action == "woke it"] == [DAVE.email]
    other = problem(await bob.http.post(f"{path}/sleep", params={"life": "0" * 20}), 409)
    assert other["reason"] == "other_life"
    await bob.gone(view.name)
    for what in ("sleep", "wake"):
        assert "is gone" in problem(await bob.http.post(f"{path}/{what}"), 409)["detail"]


async def test_it_sleeps_and_wakes_by_the_command(stack: Stack, bob: Caller, tmp_path: Path) -> None:
    view = await bob.ready(unique("sleeper"))
    name, moorage = view.name, cli_of(stack, tmp_path, BOB.email)
    slept = await moorage("sleep", name)
    assert (slept.code, slept.out) == (0, f"{name} is asleep.\n"), slept.err
    assert f"{name} is falling asleep; its volumes and its end stay." in slept.err
    shown = await moorage("show", name)
    assert re.search(
        rf"^phase: +asleep$\n^asleep: +\S+ ago, by {BOB.email}; wake it: moorage wake {name}$",
        shown.out,
        re.M,
    )
    watched = await moorage("watch", name)
    assert watched.code == 0, watched.err
    asked = await moorage("request", name, "small")
    assert (asked.code, f"moorage wake {name}" in asked.err) == (0, True)
    woken = await moorage("wake", name, "--output", "json")
    assert woken.code == 0, woken.err
    assert woken.json["phase"] == "ready"
    again = await moorage("wake", name)
    assert (again.code, again.out) == (0, f"{name} is awake.\n")
    await bob.gone(name)
    refused = await moorage("sleep", name)
    assert refused.code == 1
    assert "is gone: there is nothing to put to sleep" in refused.err


async def test_one_that_does_not_start_is_put_to_sleep_again_and_says_why(
    stack: Stack, bob: Caller, tmp_path: Path
) -> None:
    view = await bob.ready(unique("sleeper"))
    name, moorage = view.name, cli_of(stack, tmp_path, BOB.email)
    assert (await moorage("sleep", name)).code == 0
    set_faults(stack.url(Part.HOST), Fault(operation="startup.get", kind=FaultKind.STATUS, status=403))
    try:
        woken = await moorage("wake", name)
    finally:
        set_faults(stack.url(Part.HOST))
    assert woken.code == 1
    assert f"{name} could not be woken. " in woken.err
    view = await bob.until(name, lambda now: now.phase == "asleep")
    assert view.sleep
    assert view.sleep.problem
    assert (await moorage("wake", name)).code == 0
    await bob.gone(name)


async def test_a_credential_wakes_it_and_kubectl_goes_on(stack: Stack, bob: Caller, tmp_path: Path) -> None:
    """Ensures that many plugins at once wake it once, and that one with a kept certificate wakes it, too."""
    view = await bob.ready(unique("sleeper"))
    name, moorage = view.name, cli_of(stack, tmp_path, BOB.email)
    written = await moorage("kubeconfig", name, "--file", str(tmp_path / "config"))
    assert written.code == 0, written.err
    [user] = yaml.safe_load((tmp_path / "config").read_text())["users"]
    arguments = user["user"]["exec"]["args"]
    arguments = arguments[arguments.index("credential") :]
    kept = await moorage(*arguments)
    assert kept.code == 0, kept.err
    assert kept.err == "", "it was not asleep"
    assert (await moorage("sleep", name)).code == 0
    many = await asyncio.gather(*(moorage(*arguments) for _ in range(3)))
    for each in many:
        assert each.code == 0, each.err
        assert each.json["kind"] == "ExecCredential"
    assert {each.err for each in many} <= {f"waking {name} …\n", ""}
    assert many[0].err or many[1].err or many[2].err
    view = await bob.show(name)
    assert view.phase == "ready"
    assert [line.action for line in view.audit_log].count("woke it") == 1
    await bob.gone(name)


async def test_its_people_say_when_it_sleeps(stack: Stack, bob: Caller, tmp_path: Path) -> None:
    view = await bob.ready(unique("sleeper"))
    path, moorage = f"/environments/{view.name}/sleep-policy", cli_of(stack, tmp_path, BOB.email)
    wrong = problem(await bob.http.put(path, json={"after": "5m", "schedule": "weekdays"}), 422)
    assert set(fields_of(wrong)) == {"after", "schedule"}
    assert "is too short" in fields_of(wrong)["after"]
    set_by_command = await moorage("sleep", view.name, "--after", "2h")
    assert (set_by_command.code, set_by_command.out) == (
        0, f"{view.name} falls asleep after 2h without a credential.\n"
    )  # fmt: skip
    shown = await moorage("show", view.name)
    assert re.search(r"^sleeps: +after 2h without a credential$", shown.out, re.MULTILINE)
    view = await bob.show(view.name)
    assert view.phase == "ready"
    assert view.sleep_policy
    request, _ = make_request(BOB.email)
    before = await bob.show(view.name)
    answer = await bob.http.post(f"/environments/{view.name}/credential", json={"request": request})
    assert answer.status_code == 200, answer.text
    client = await client_of(stack)
    handle: WorkflowHandle[EnvironmentWorkflow, Any] = client.get_workflow_handle_for(
        EnvironmentWorkflow.run, workflow_id(view.name)
    )
    for _ in range(50):
        status = await handle.query(EnvironmentWorkflow.status)
        if status.used_at:
            break
        await asyncio.sleep(0.1)
    else:
        pytest.fail("the environment was not notified of its use")
    assert before.ready_at
    assert status.used_at > before.ready_at
    reset = await moorage("sleep", view.name, "--as-template", "--output", "json")
    assert reset.json["message"] == f"{view.name} falls asleep only when a person puts it to sleep."
    assert (await moorage("sleep", view.name, "--as-template", "--after", "2h")).code == 2
    await bob.gone(view.name)
