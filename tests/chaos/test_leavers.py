"""Ensures that a person who is disabled in a real directory loses access, whatever befalls the sweep."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.chaos.test_people import members
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import called, calls, no_faults
from tests.support.stack import ALICE, BOB, CAROL, DAVE, hurried, unique
from tests.support.stand_ins import TLS, set_faults

pytestmark = pytest.mark.chaos

#: From the answer of the sweep to the end of the access: far below the five minutes that are promised.
SOON = 60.0
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


@pytest.fixture
async def office(tmp_path: Any) -> Any:
    """Yield a separate stack whose people leave; only the test runs its sweeps."""
    settings = {"MOORAGE_SWEEP__LEAVERS_INTERVAL": "30d", "MOORAGE_SWEEP__LEAVERS_SECOND_LOOK": "1s"}
    async with Stack(tmp_path / "stack", hurried(environment=settings)) as stack:
        yield stack
        no_faults(stack)


def set_active(stack: Stack, person: str, active: bool) -> None:
    """Disable or enable a person, as an administrator of the directory does."""
    headers = {"Authorization": f"Bearer {stack.env['MOORAGE_IDENTITY__TOKEN']}"}
    base = f"{stack.url(Part.DIRECTORY)}/v2/Users"
    with httpx.Client(headers=headers, trust_env=False, verify=TLS, timeout=10) as directory:
        found = directory.get(base, params={"filter": f'userName eq "{person}"'}).json()["Resources"]
        change = {"op": "replace", "path": "active", "value": active}
        body = {"schemas": [PATCH], "Operations": [change]}
        headers = {"Content-Type": "application/scim+json"}
        directory.patch(f"{base}/{found[0]['id']}", json=body, headers=headers).raise_for_status()


async def sweep(asking: Asking, **body: Any) -> dict[str, Any]:
    answer = await asking.call("POST", "/leavers", json=body)
    while answer.status_code == 202:
        answer = await asking.call("GET", f"/leavers/{answer.json()['id']}")
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()["result"]
    return result


async def with_people(asking: Asking) -> str:
    name, people = unique("left"), [BOB.email, CAROL.email, DAVE.email]
    # The worker of a stack that has just started may not answer yet.
    for _ in range(60):
        answer = await asking.request(name, key=name, collaborators=people)
        if answer.status_code != 503:
            break
        await asyncio.sleep(0.5)
    assert answer.status_code in (200, 202), answer.text
    await asking.until_phase(name, "ready")
    return name


@pytest.mark.guarantee("1. Killed anywhere")
async def test_who_is_disabled_loses_access_though_the_worker_is_killed(office: Stack) -> None:
    async with Asking(office) as asking:
        name = await with_people(asking)
        set_active(office, BOB.email, False)
        set_faults(
            office.url(Part.DIRECTORY),
            Fault(operation="user.find", kind=FaultKind.DELAY_AFTER, seconds=1.5, times=2),
        )
        before = calls(office, Part.DIRECTORY, "user.find")
        sweeping = asyncio.create_task(sweep(asking))
        await called(office, Part.DIRECTORY, "user.find", before)
        await office.kill(Part.WORKER)
        no_faults(office)
        await office.start(Part.WORKER)
        result = await sweeping
        assert (result["left"], result["brake"]) == ([BOB.email], "")
        began = time.monotonic()
        await asking.until(name, lambda now: bool(now["steps"]) and now["access"] is None, "the same people")
        assert time.monotonic() - began < SOON
        assert members(office, name) == {ALICE.email, CAROL.email, DAVE.email}

        # The owner as well: the brake counts one of four, which is more than 5 %, and one may always leave.
        set_active(office, ALICE.email, False)
        result = await sweep(asking)
        assert [line["result"] for line in result["lines"]] == ["offered to team blue"]
        shown = await asking.until(name, lambda now: bool(now["steps"]) and now["access"] is None, "the same")
        assert shown["owner_left_at"]
        assert members(office, name) == {CAROL.email, DAVE.email}
        set_active(office, ALICE.email, True)
        result = await sweep(asking)
        shown = await asking.until(name, lambda now: bool(now["steps"]) and now["access"] is None, "the same")
        assert shown["owner_left_at"] is None
        assert members(office, name) == {ALICE.email, CAROL.email, DAVE.email}
        await asking.delete(name)
        await asking.until_phase(name, "gone")
        assert Systems(office).holds(name) == {}


@pytest.mark.guarantee("2. Fails anywhere")
@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
async def test_a_directory_that_is_out_of_order_ends_no_access(office: Stack, status: int) -> None:
    async with Asking(office) as asking:
        name = await with_people(asking)
        set_active(office, BOB.email, False)
        set_faults(
            office.url(Part.DIRECTORY),
            Fault(operation="user.find", kind=FaultKind.STATUS, status=status, share=0.9),
        )
        answer = await asking.call("POST", "/leavers", json={})
        for _ in range(2):
            if answer.status_code != 202:
                break
            answer = await asking.call("GET", f"/leavers/{answer.json()['id']}")
        no_faults(office)
        shown = await asking.show(name)
        assert set(shown["collaborators"]) >= {CAROL.email, DAVE.email}, answer.text
        assert {ALICE.email, CAROL.email, DAVE.email} <= members(office, name)


@pytest.mark.guarantee("2. Fails anywhere")
async def test_a_directory_whose_people_are_all_disabled_waits_for_a_person(office: Stack) -> None:
    async with Asking(office) as asking:
        name = await with_people(asking)
        everybody = (ALICE.email, BOB.email, CAROL.email, DAVE.email)
        for person in everybody:
            set_active(office, person, False)
        result = await sweep(asking)
        assert result["brake"]
        assert set(result["waiting"]) == set(everybody)
        assert members(office, name) == set(everybody)
        set_active(office, ALICE.email, True)
        result = await sweep(asking, confirmed=list(everybody))
        assert result["waiting"] == []
        shown = await asking.until(name, lambda now: bool(now["steps"]) and now["access"] is None, "the same")
        assert shown["collaborators"] == []
        assert members(office, name) == {ALICE.email}
