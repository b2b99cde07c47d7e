"""Each part that has more to it than being there: groups, sign-in, roles and blueprints, Temporal."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import ScheduleHandle

from contracts.templates.supported_charts import NEWEST_TESTED
from embedded.faults import Fault, FaultKind
from embedded.rafay.app import SIGN_INS_PATH
from embedded.stack.stack import Part
from starter.catalogue.loader import STARTER_TEMPLATES
from starter.expiry.freeze import ExpiryFreeze
from starter.setup.areas import Area
from starter.setup.check import Result, State
from starter.setup.control_plane import repository_name
from tests.starter.setup.conftest import Ground, states
from tests.support.deadline import soon
from tests.support.stack import client_of, unique
from tests.support.stand_ins import control, set_faults
from worker.settings.groups.expiry import Sweep

pytestmark = pytest.mark.slow

SSO: dict[str, Any] = {"SSO__DOMAIN": "Example.com", "SSO__METADATA_URL": "https://idp.example.com/metadata"}
INCOMPLETE = {"name": "corp", "domain": "example.com", "group_attribute_name": "groups"}


async def sweep_of(ground: Ground) -> ScheduleHandle:
    client = await client_of(ground.stack)
    return client.get_schedule_handle("moorage/expiry-sweep")


# Groups


async def test_what_an_interruption_left_is_found_and_removed(ground: Ground) -> None:
    """Ensures that doctor reports a leftover group, and that the next setup removes it and no other."""
    await ground.see_to(Area.CONTROL_PLANE)
    set_faults(
        ground.stack.url(Part.DIRECTORY), Fault(operation="group.delete", kind=FaultKind.STATUS, status=500)
    )
    ground.rafay.faults(Fault(operation="group.delete", kind=FaultKind.STATUS, status=500))
    failed = (await ground.see_to(Area.IDENTITY))["group mapping"]
    assert failed.state is State.FAILED
    name = f"mrg-0-setup-check-{ground.variables['MOORAGE_INSTALLATION']}"
    assert (ground.groups(), await ground.directory_groups()) == ([name], [name])
    set_faults(ground.stack.url(Part.DIRECTORY))
    ground.rafay.faults()
    ground.execute("INSERT INTO groups VALUES ('strange', ?, 'of another owner', '')", f"{name}-2")
    seen = (await ground.see_to(Area.IDENTITY, repair=False))["group mapping"]
    assert seen.state is State.WOULD_DO
    assert "in the control plane" in seen.detail
    assert "in the identity provider" in seen.detail
    mended = (await ground.see_to(Area.IDENTITY))["group mapping"]
    assert mended.state is State.REPAIRED
    assert (ground.groups(), await ground.directory_groups()) == ([f"{name}-2"], [])


async def test_a_group_of_another_owner_is_left_alone(ground: Ground) -> None:
    """Ensures that a group of the very name without our mark is neither used nor removed."""
    await ground.see_to(Area.CONTROL_PLANE)
    name = f"mrg-0-setup-check-{ground.variables['MOORAGE_INSTALLATION']}"
    ground.execute("INSERT INTO groups VALUES ('strange', ?, 'of another owner', '')", name)
    result = (await ground.see_to(Area.IDENTITY))["group mapping"]
    assert result.state is State.BY_HAND
    assert "setup did not make" in result.detail
    assert ground.groups() == [name]


async def test_cancelled_in_the_middle(ground: Ground) -> None:
    """Ensures that a setup that is interrupted while its group is there takes the group away first."""
    await ground.see_to(Area.CONTROL_PLANE)
    set_faults(
        ground.stack.url(Part.DIRECTORY),
        Fault(operation="group.create", kind=FaultKind.DELAY_AFTER, seconds=10),
    )
    setting_up = asyncio.create_task(
        ground.see_to(Area.IDENTITY, IDENTITY__TIMEOUT="60s", TIMEOUTS__LATE_RESPONSE_WINDOW="2m")
    )
    async with soon("it has made no group"):
        while not ground.groups():
            assert not setting_up.done(), "it ended before it was in the middle of its trial"
            await asyncio.sleep(0.02)
    setting_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await setting_up
    assert (ground.groups(), await ground.directory_groups()) == ([], [])


# Signing in


async def test_signing_in_from_nothing_to_done(ground: Ground) -> None:
    """Ensures that each step by hand is said with the values for both sides, and that it is seen to take."""

    async def sign_in(*providers: dict[str, str], **changes: Any) -> Result:
        control(ground.rafay.base_url, "PUT", SIGN_INS_PATH, list(providers))
        return (await ground.see_to(Area.IDENTITY, **SSO, **changes))["sign-in"]

    nothing = await sign_in()
    assert nothing.state is State.BY_HAND
    assert "  Domain                Example.com" in nothing.steps
    assert "  Group Attribute Name  groups" in nothing.steps
    incomplete = await sign_in(INCOMPLETE)
    assert incomplete.state is State.BY_HAND
    text = "\n".join(incomplete.steps)
    for value in ("/auth/v1/sso/acs/", "Audience (SP Entity ID)", "https://idp.example.com/metadata"):
        assert value in text
    other = await sign_in(INCOMPLETE | {"group_attribute_name": "memberOf"})
    assert other.state is State.BY_HAND
    assert "memberOf" in other.detail
    done = await sign_in(INCOMPLETE | {"metadata_url": SSO["SSO__METADATA_URL"]})
    assert (done.state, "corp" in done.detail) == (State.OK, True)
    ground.rafay.switch(sign_ins="not_served")
    unserved = await sign_in()
    assert unserved.state is State.BY_HAND
    assert "MOORAGE_SSO__CONFIRMED=true" in unserved.remedy
    assert len(unserved.steps) > len(incomplete.steps)
    assert (await sign_in(SSO__CONFIRMED="true")).state is State.OK


# What templates name


async def template(folder: Path, **changes: str) -> str:
    text = (STARTER_TEMPLATES / "small.yaml").read_text()
    for name, value in changes.items():
        text, times = re.subn(rf"(?m)^{name}: .*$", f"{name}: {value}", text)
        assert times == 1, f"the template has {times} lines of {name}"
    (folder / "small.yaml").write_text(text)
    return str(folder)


@pytest.mark.parametrize(
    ("changes", "part", "words"),
    [
        ({"role": "PROJECT_ADMN"}, "roles", "no role PROJECT_ADMN; those for projects are CLUSTER_ADMIN"),
        ({"role": "ADMIN"}, "roles", "one of the whole organisation"),
        ({"role": "NAMESPACE_ADMIN"}, "roles", "one of namespaces"),
        ({"blueprint": "minimum"}, "blueprints", 'no blueprint minimum: did you mean "minimal"?'),
        ({"blueprint": "draft"}, "blueprints", "blueprint draft is not published"),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else None,
)
async def test_what_templates_name_and_is_not_there(
    ground: Ground, tmp_path: Path, changes: dict[str, str], part: str, words: str
) -> None:
    """Ensures that the error for an unusable role or blueprint names the template and a suggestion."""
    ground.execute("DELETE FROM blueprints WHERE name = 'draft'")
    ground.execute("INSERT INTO blueprints VALUES ('draft', NULL, 0)")
    results = await ground.see_to(Area.CONTROL_PLANE, TEMPLATES=await template(tmp_path, **changes))
    assert results[part].state is State.FAILED
    assert results[part].detail.startswith("template small: ")
    assert words in results[part].detail


async def test_a_role_that_was_renamed(ground: Ground) -> None:
    """Ensures that a role renamed in the control plane is reported for every template that names it."""
    await ground.see_to()
    ground.execute("UPDATE roles SET name = 'PROJECT_OWNER' WHERE name = 'PROJECT_ADMIN'")
    try:
        results = await ground.see_to()
    finally:
        ground.execute("UPDATE roles SET name = 'PROJECT_ADMIN' WHERE name = 'PROJECT_OWNER'")
    assert {name for name, one in results.items() if not one.well} == {"roles", "group mapping"}
    assert "templates medium, small, throwaway: there is no role PROJECT_ADMIN" in results["roles"].detail
    assert "PROJECT_OWNER" in results["roles"].detail
    assert results["group mapping"].state is State.WAITS


async def test_broken_templates(ground: Ground, tmp_path: Path) -> None:
    """Ensures that an unreadable template is reported with file and line, and that its readers wait."""
    results = await ground.see_to(TEMPLATES=await template(tmp_path, kubernetes="[]"))
    assert results["catalogue"].state is State.FAILED
    assert "small.yaml:" in results["catalogue"].detail
    waiting = {name for name, state in states(results).items() if state is State.WAITS}
    assert {"roles", "blueprints", "chart repositories", "charts"} <= waiting


async def test_doctor_warns_of_a_chart_that_is_not_shown_to_work(ground: Ground, tmp_path: Path) -> None:
    """Ensures that the template and the reason are named, and that the part is well all the same."""
    text = (STARTER_TEMPLATES / "small.yaml").read_text()
    (tmp_path / "small.yaml").write_text(text.replace(f"version: {NEWEST_TESTED}", "version: 0.30.0"))
    charts = (await ground.see_to(Area.HOSTS, repair=False, TEMPLATES=str(tmp_path)))["charts"]
    assert charts.state is State.OK
    assert "; warning: template small: chart 0.30.0 is older than what is shown to work: " in charts.detail


async def test_a_repository_of_another_owner(ground: Ground) -> None:
    """Ensures that a repository of our name that leads elsewhere and is not ours is left as it is."""
    await ground.see_to(Area.CONTROL_PLANE)
    ground.execute("UPDATE repositories SET description = 'theirs', endpoint = 'https://theirs.example'")
    result = (await ground.see_to(Area.CONTROL_PLANE))["chart repositories"]
    assert result.state is State.BY_HAND
    assert ground.rafay.rows("SELECT endpoint FROM repositories") == [("https://theirs.example",)]
    ground.execute("UPDATE repositories SET endpoint = 'https://charts.loft.sh/'")
    same = (await ground.see_to(Area.CONTROL_PLANE))["chart repositories"]
    assert same.state is State.OK, "who made it does not matter as long as charts come from the same place"


def test_names_of_repositories() -> None:
    """Ensures that a place has one name, another one another, and that none is too long."""
    assert repository_name("https://charts.loft.sh") == "moorage-charts-loft-sh"
    assert repository_name("oci://ghcr.io/loft-sh") == "moorage-oci-ghcr-io-loft-sh"
    long = [repository_name(f"https://charts.example.com/{'a' * 80}/{end}") for end in "xy"]
    assert len(set(long)) == 2
    assert all(len(one) <= 63 for one in long)


# Temporal


async def test_a_namespace_that_is_not_there(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that namespace, search attributes and schedules are made, one after the other, from nothing."""
    name = unique("namespace")
    monkeypatch.setenv("TEMPORAL_NAMESPACE", name)
    seen = await ground.see_to(Area.TEMPORAL, repair=False)
    assert (seen["namespace"].state, seen["search attributes"].state) == (State.WOULD_DO, State.WAITS)
    made = await ground.see_to(Area.TEMPORAL)
    assert states(made) == {
        "server": State.OK,
        "namespace": State.DONE,
        "search attributes": State.DONE,
        "schedules": State.DONE,
        "environments": State.OK,
    }, made
    again = await ground.see_to(Area.TEMPORAL)
    assert set(states(again).values()) == {State.OK}
    assert "keeps what has ended for 30d" in again["namespace"].detail


async def test_broken_schedules_are_repaired(ground: Ground) -> None:
    """Ensures that a missing, changed or former schedule is repaired, and that the result says so."""
    await ground.see_to(Area.TEMPORAL)
    await (await sweep_of(ground)).delete()
    gone = (await ground.see_to(Area.TEMPORAL))["schedules"]
    assert (gone.state, gone.detail) == (State.DONE, "made moorage/expiry-sweep")
    changed = (await ground.see_to(Area.TEMPORAL, SWEEP__CONCURRENCY="7"))["schedules"]
    assert (changed.state, changed.detail) == (State.REPAIRED, "corrected moorage/expiry-sweep")
    slower = (await ground.see_to(Area.TEMPORAL, SWEEP__CONCURRENCY="7", SWEEP__INTERVAL="1h"))["schedules"]
    assert slower.state is State.REPAIRED
    assert (await ground.see_to(Area.TEMPORAL))["schedules"].state is State.REPAIRED
    assert (await ground.see_to(Area.TEMPORAL))["schedules"].state is State.OK


async def test_ends_that_are_frozen_stay_so(ground: Ground) -> None:
    """Ensures that a freeze is reported and kept, and that a pause by other means is left to people."""
    await ground.see_to(Area.TEMPORAL)
    client = await client_of(ground.stack)
    freezer = ExpiryFreeze(client, Sweep())
    await freezer.freeze("alice@example.com", "a fair")
    frozen = (await ground.see_to(Area.TEMPORAL))["schedules"]
    assert (frozen.state, "FROZEN by alice@example.com: a fair" in frozen.detail) == (State.OK, True)
    await freezer.thaw("alice@example.com")
    await (await sweep_of(ground)).pause(note="oops")
    paused = (await ground.see_to(Area.TEMPORAL))["schedules"]
    assert (paused.state, "oops" in paused.detail) == (State.BY_HAND, True)
    assert "moorage thaw" in paused.remedy
    assert (await (await sweep_of(ground)).describe()).schedule.state.paused
    await freezer.thaw("alice@example.com")


async def test_no_temporal(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that the error for a server that does not answer has a remedy, and that the rest goes on."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    results = await ground.see_to(Area.TEMPORAL, Area.CONTROL_PLANE)
    assert results["server"].state is State.FAILED
    assert "TEMPORAL_ADDRESS" in results["server"].remedy
    assert results["schedules"].state is State.WAITS
    assert results["host project"].state is State.DONE
