"""Set-up as a whole: once, again, after something was broken, and in front of systems that refuse."""

from typing import Any

import pytest

from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part
from starter.setup.areas import Area
from starter.setup.check import Result, State
from tests.starter.setup.conftest import Ground, states
from tests.support.stack import client_of
from tests.support.stand_ins import RafayStandIn, set_faults

pytestmark = pytest.mark.slow

MADE = {"host project", "chart repositories", "schedules"}


async def test_once_and_again(ground: Ground) -> None:
    """Ensures that the first time makes what is missing, and the second changes nothing and says so."""
    reported: list[Result] = []
    first = await ground.see_to(tell=reported.append)
    assert {name for name, state in states(first).items() if state is State.DONE} == MADE
    assert all(result.well for result in first.values()), first
    assert [one.part for one in reported] == list(first), "results were not reported in order"
    writes = {
        name: count for name, count in ground.rafay.calls().items() if "create" in name or "apply" in name
    }
    again = await ground.see_to()
    assert set(states(again).values()) == {State.OK}
    later = ground.rafay.calls()
    # The throw-away group is all that a second run makes, and it is gone.
    assert {name for name, count in writes.items() if later[name] > count} == {
        "group.create",
        "binding.create",
    }
    assert ground.groups() == []
    assert await ground.directory_groups() == []


async def test_a_dry_run_changes_nothing(ground: Ground) -> None:
    """Ensures that what would be done is said, and that no call that changes anything is made."""
    before = ground.rafay.calls()
    results = await ground.see_to(repair=False)
    assert results["host project"].state is State.WOULD_DO
    assert results["host project"].remedy == "make it"
    assert results["chart repositories"].state is State.WAITS
    assert results["schedules"].state is State.WOULD_DO
    assert "no environment ends" in results["schedules"].detail
    called = {name for name, count in ground.rafay.calls().items() if count > before.get(name, 0)}
    assert not [name for name in called if not name.endswith((".list", ".get", ".find", ".profile"))]
    assert ground.rafay.rows("SELECT name FROM projects WHERE builtin = 0") == []


@pytest.mark.parametrize(
    ("broken", "part", "expected"),
    [
        ("DELETE FROM repositories", "chart repositories", State.DONE),
        (
            "UPDATE repositories SET endpoint = 'https://elsewhere.example'",
            "chart repositories",
            State.REPAIRED,
        ),
    ],
    ids=["repository deleted", "repository changed"],
)
async def test_the_part_that_was_broken_is_repaired(
    ground: Ground, broken: str, part: str, expected: State
) -> None:
    """Ensures that a broken part is repaired, that it alone is named, and that doctor saw it first."""
    await ground.see_to()
    ground.execute(broken)
    seen = await ground.see_to(repair=False)
    assert {name for name, result in seen.items() if not result.well} == {part}
    repaired = await ground.see_to()
    assert {name for name, state in states(repaired).items() if state is not State.OK} == {part}
    assert repaired[part].state is expected
    [(endpoint,)] = ground.rafay.rows("SELECT endpoint FROM repositories")
    assert endpoint == "https://charts.loft.sh"


async def test_a_wrong_key(ground: Ground) -> None:
    """Ensures that a rejected key is reported once, and that the other parts of its system wait for it."""
    results = await ground.see_to(Area.CONTROL_PLANE, CONTROL_PLANE__API_KEY="wrong")
    assert results["API key"].state is State.FAILED
    assert "refuses our credentials" in results["API key"].detail
    assert "MOORAGE_CONTROL_PLANE__API_KEY" in results["API key"].remedy
    waiting = {name for name, state in states(results).items() if state is State.WAITS}
    assert waiting == {"host project", "chart repositories", "roles", "blueprints"}


async def test_a_key_that_may_not(ground: Ground) -> None:
    """Ensures that the error for a read-only key names its role and the required one."""
    results = await ground.see_to(Area.CONTROL_PLANE, CONTROL_PLANE__API_KEY=RafayStandIn.READ_ONLY_KEY)
    assert results["API key"].state is State.FAILED
    assert "auditor@example.com (ADMINISTRATOR_READ_ONLY)" in results["API key"].detail
    assert "ADMIN" in results["API key"].remedy


@pytest.mark.parametrize(
    ("operation", "part", "deed"),
    [
        ("project.create", "host project", "create project moorage-hosts"),
        ("repository.apply", "chart repositories", "apply repository moorage-charts-loft-sh"),
        ("group.create", "group mapping", "create group mrg-0-setup-check"),
        ("binding.create", "group mapping", "bind role PROJECT_ADMIN"),
        ("role.list", "roles", "list roles"),
    ],
)
async def test_the_missing_right_is_named(ground: Ground, operation: str, part: str, deed: str) -> None:
    """Ensures that a refusal in the middle says what may not be done and how to get the right."""
    ground.rafay.faults(Fault(operation=operation, kind=FaultKind.STATUS, status=403))
    result = (await ground.see_to(Area.CONTROL_PLANE, Area.IDENTITY))[part]
    assert result.state is State.FAILED
    assert deed in result.detail
    assert result.remedy
    assert ground.groups() == [], "the throw-away group is removed whatever happens"
    assert await ground.directory_groups() == []
    ground.rafay.faults()
    assert all(one.well for one in (await ground.see_to()).values()), "afterwards it goes on where it was"


async def test_a_control_plane_that_is_down(ground: Ground) -> None:
    """Ensures that one system that is down keeps no other from being set up."""
    ground.rafay.stop()
    results = await ground.see_to()
    assert results["API key"].detail.startswith("cannot connect")
    assert (results["group mapping"].state, results["schedules"].state) == (State.WAITS, State.DONE)
    assert (results["directory"].state, results["cluster"].state) == (State.OK, State.OK)


async def test_throttled(ground: Ground) -> None:
    """Ensures that throttling is waited out, as long as the control plane asks for."""
    fault = Fault(operation="project.*", kind=FaultKind.STATUS, status=429, retry_after=1, times=2)
    ground.rafay.faults(fault)
    results = await ground.see_to(Area.CONTROL_PLANE)
    assert results["host project"].state is State.DONE
    for_ever = Fault(operation="project.list", kind=FaultKind.STATUS, status=429, retry_after=3000)
    ground.rafay.faults(for_ever)
    gone_on = await ground.see_to(Area.CONTROL_PLANE)
    assert gone_on["API key"].detail.startswith("throttled")


@pytest.mark.parametrize("kind", [FaultKind.CUT_AFTER, FaultKind.STATUS_AFTER])
async def test_a_lost_answer(ground: Ground, kind: FaultKind) -> None:
    """Ensures that what was made although its answer was lost counts as made, once."""
    ground.rafay.faults(
        Fault(operation="project.create", kind=kind, status=504, times=1),
        Fault(operation="repository.apply", kind=kind, status=504, times=1),
    )
    results = await ground.see_to(Area.CONTROL_PLANE)
    assert (results["host project"].state, results["chart repositories"].state) == (State.DONE, State.DONE)
    assert len(ground.rafay.rows("SELECT name FROM projects WHERE builtin = 0")) == 1


async def test_without_an_identity_provider(ground: Ground) -> None:
    """Ensures that then local users are looked up in the control plane, and groups are tried there alone."""
    results = await ground.see_to(IDENTITY__URL=None, IDENTITY__TOKEN=None, IDENTITY__TIMEOUT=None)
    assert "directory" not in results
    assert results["groups"].state is State.OK
    assert "local users" in results["look-up of people"].detail
    ground.execute("UPDATE users SET username = 'x-' || username")
    try:
        unknown = await ground.see_to(
            Area.IDENTITY, IDENTITY__URL=None, IDENTITY__TOKEN=None, IDENTITY__TIMEOUT=None
        )
    finally:
        ground.execute("UPDATE users SET username = substr(username, 3)")
    assert unknown["look-up of people"].state is State.BY_HAND
    assert "alice@example.com" in unknown["look-up of people"].detail


async def test_a_directory_that_refuses(ground: Ground) -> None:
    """Ensures that a read-only token is reported when groups are tried, and that nothing is left."""
    set_faults(
        ground.stack.url(Part.DIRECTORY), Fault(operation="group.create", kind=FaultKind.STATUS, status=403)
    )
    result = (await ground.see_to(Area.IDENTITY))["group mapping"]
    assert result.state is State.FAILED
    assert "a right is lacking: create group" in result.detail
    assert ground.groups() == []


async def test_a_host_that_refuses(ground: Ground) -> None:
    """Ensures that a host's refusal is reported with the host's name and a remedy."""
    results = await ground.see_to(Area.HOSTS, HOSTS__LOCAL__TOKEN="wrong")
    assert (results["cluster"].state, results["cluster"].where) == (State.FAILED, "local")
    assert "deploy/rbac.yaml" in results["cluster"].remedy
    assert results["charts"].state is State.WAITS


async def test_nothing_of_it_holds_a_secret(ground: Ground) -> None:
    """Ensures that no result holds a key or a token, refused or not."""
    client = await client_of(ground.stack)
    tried: list[dict[str, Any]] = [
        {}, {"CONTROL_PLANE__API_KEY": "planted-key"}, {"IDENTITY__TOKEN": "planted-token"}
    ]  # fmt: skip
    for changes in tried:
        results = await ground.see_to(**changes)
        text = " ".join(result.model_dump_json() for result in results.values())
        secrets = [
            value for name, value in ground.variables.items() if name.endswith(("KEY", "KEYS", "TOKEN"))
        ]
        assert len(secrets) >= 4
        assert not [one for one in (*secrets, "planted") if one in text]
    assert client
