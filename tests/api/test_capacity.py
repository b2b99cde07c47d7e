"""Room on hosts, as people meet it: by API and command line, on a stack that has little of it."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.templates.supported_charts import NEWEST_TESTED
from embedded.stack.stack import Part, Stack
from tests.api.caller import Caller, problem
from tests.cli.test_commands import Cli
from tests.support.stack import ALICE, BOB, DAVE, hurried, unique

pytestmark = pytest.mark.slow

TEMPLATE = f"""\
version: 1
description: For a test.
chart:
  version: {NEWEST_TESTED}
kubernetes: v1.36.0
size:
  cpu: {{cpu}}
  memory: 1Gi
  storage: 1Gi
  pods: 10
ttl:
  default: 8h
  maximum: 3d
"""
#: What one holds is this, and on top the vCluster's own 3 CPU.
TEMPLATES = {
    "small": TEMPLATE.format(cpu='"2"'),
    "tiny": TEMPLATE.format(cpu="300m") + "quota:\n  per_person: 1\n",
    "far": TEMPLATE.format(cpu='"2"') + "hosts:\n  zone: us\n",
}
ROOM = {
    "MOORAGE_HOSTS__LOCAL__CAPACITY": '{"cpu": 24, "environments": 9}',
    "MOORAGE_HOSTS__LOCAL__LABELS": "zone=eu",
    "MOORAGE_QUOTAS__TEAMS": '{"blue": {"cpu": 16}}',
    "MOORAGE_QUOTAS__PERSON__ENVIRONMENTS": "3",
    "MOORAGE_CAPACITY__AUDIT": "1s",
}


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack with room for four small ones, three of them team blue's."""
    templates = tmp_path_factory.mktemp("templates")
    for name, text in TEMPLATES.items():
        (templates / f"{name}.yaml").write_text(text)
    environment = ROOM | {"MOORAGE_TEMPLATES": str(templates)}
    async with Stack(tmp_path_factory.mktemp("room"), hurried(environment=environment)) as stack:
        yield stack


def cli(stack: Stack, home: Path, email: str) -> Cli:
    """Return the command as the person with this address runs it."""
    return Cli(home, MOORAGE_URL=stack.api_url, MOORAGE_TOKEN=stack.token_of(email))


async def delete_when_ready(caller: Caller, name: str) -> None:
    await caller.until(name, lambda view: view.phase == "ready")
    await caller.gone(name)


async def test_what_does_not_fit(
    stack: Stack, bob: Caller, carol: Caller, dave: Caller, tmp_path: Path
) -> None:
    """Ensures that only what fits is started, and that a refusal has its numbers and says what would help.

    A dry run says the same and reserves nothing, and what was given back can be had again.
    """
    names = [unique() for _ in range(6)]
    for _ in range(2):
        dry = await bob.http.post("/environments?dry_run=true", json={"name": names[0], "template": "small"})
        assert "would be made from small on local" in dry.json()["message"], dry.text
    answers = await asyncio.gather(*((bob, carol)[i % 2].ask(name) for i, name in enumerate(names)))
    assert Counter(answer.status_code for answer in answers) == {202: 3, 409: 3}
    refused = problem(next(answer for answer in answers if answer.status_code == 409), 409)
    assert refused["type"] == "urn:moorage:problem:no-capacity"
    assert refused["reason"] == "over_quota"
    assert re.match(r"\S+ asks for 5 CPU; team blue has 1 of 16 CPU left\. ", refused["detail"])
    assert "The next one that is in the way ends 20" in refused["detail"]
    assert refused["next_end"].startswith("20")
    started = [name for name, answer in zip(names, answers, strict=True) if answer.status_code == 202]

    other = unique()
    assert (await dave.ask(other)).status_code == 202
    full = problem(await dave.ask(unique()), 409)
    assert full["reason"] == "no_room"
    assert "asks for 5 CPU; host local has 4 of 24 CPU left. tiny would fit." in full["detail"]
    assert full["fits"] == ["tiny"]
    dry = await dave.http.post("/environments?dry_run=true", json={"name": unique(), "template": "small"})
    assert problem(dry, 409)["reason"] == "no_room"
    asked = await cli(stack, tmp_path, DAVE.email)("request", unique(), "small")
    assert asked.code == 1
    assert "host local has 4 of 24 CPU left. tiny would fit." in asked.err

    shown = await cli(stack, tmp_path, BOB.email)("capacity")
    assert shown.code == 0, shown.err
    rows = [r"^local +5 of 9 left +4 of 24 left +\S+ of \S+ left +zone=eu$"]
    rows += [r"^team blue +3 held, no limit +1 of 16 left +\S+ held, no limit$"]
    for row in rows:
        assert re.search(row, shown.out, re.M), shown.out
    assert (await cli(stack, tmp_path, BOB.email)("capacity", "--holdings")).code == 4
    all_of_it = await cli(stack, tmp_path, ALICE.email)("capacity", "--holdings", "--output", "json")
    held = {one["name"]: one["owner"] for one in json.loads(all_of_it.out)["holdings"]}
    assert set(held) == {*started, other}
    assert held[other] == DAVE.email
    table = await cli(stack, tmp_path, ALICE.email)("capacity", "--holdings")
    assert re.search(rf"^{other} +{DAVE.email} +green +small +local +5 ", table.out, re.M), table.out

    one_more = unique()
    assert (await dave.ask(one_more, template="tiny")).status_code == 202
    other_tiny = problem(await dave.ask(unique(), template="tiny"), 409)
    assert "you have 0 of 1 environment from tiny left" in other_tiny["detail"]

    await bob.gone(started[0])
    again = unique()
    assert (await carol.ask(again)).status_code == 202
    left = ((bob, started[1]), (bob, started[2]), (bob, again), (dave, other), (dave, one_more))
    await asyncio.gather(*(delete_when_ready(caller, name) for caller, name in left))


async def test_the_worker_is_killed_in_between(stack: Stack, bob: Caller) -> None:
    """Ensures that places that were promised are still held when another worker takes over."""
    names = [unique() for _ in range(3)]
    assert (await bob.ask(names[0])).status_code == 202
    await stack.kill(Part.WORKER)
    await stack.start(Part.WORKER)
    statuses = [(await bob.ask(name)).status_code for name in names]
    assert statuses == [200, 202, 202], "the first one is there already: it is joined"
    assert problem(await bob.ask(unique()), 409)["reason"] == "over_quota"
    await asyncio.gather(*(delete_when_ready(bob, name) for name in names))


async def test_a_host_that_bears_the_labels(stack: Stack, bob: Caller) -> None:
    """Ensures that a template whose labels no host bears is refused at its field, and says what it wants."""
    content = problem(await bob.ask(unique(), template="far"), 422)
    assert content["errors"] == [
        {
            "field": "template",
            "message": '"far" wants a host with zone=us, and there is none: tell the platform team',
        }
    ]


async def test_pools_are_shown_to_everybody(stack: Stack, bob: Caller, tmp_path: Path) -> None:
    assert (await bob.http.get("/pools")).json() == {"pools": []}
    shown = await cli(stack, tmp_path, BOB.email)("pools")
    assert (shown.code, shown.out.strip()) == (0, "No template keeps a warm pool."), shown.err
