"""Ensures that what is missing or altered under a ready environment is shown, and repaired as set."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from contracts.phases import DriftKind
from contracts.reconcile.drift import DEFAULT_REPAIR
from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.lifecycle.databases import PREFIX, Systems
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import called, calls, no_faults
from tests.support.reconcile import host_of, rafay_of, scim_of, sweep
from tests.support.stack import hurried, unique
from tests.support.stand_ins import control, set_faults
from tests.workflows.conftest import until

BOB, CAROL = "bob@example.com", "carol@example.com"

pytestmark = [pytest.mark.chaos, pytest.mark.guarantee("9. Reconciled")]


@pytest.fixture(scope="module")
async def lonely(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A separate stack: a sweep sees everything of an installation."""
    # Extra members are only reported unless the settings say otherwise.
    repair = " ".join((*DEFAULT_REPAIR, DriftKind.EXTRA_MEMBERS))
    settings = {"MOORAGE_RECONCILE__REPAIR": repair}
    async with Stack(tmp_path_factory.mktemp("drifted"), hurried(environment=settings)) as stack:
        yield stack


@pytest.fixture
async def asking(lonely: Stack) -> AsyncIterator[Asking]:
    async with Asking(lonely) as asking:
        yield asking
    no_faults(lonely)


@pytest.fixture
def systems(lonely: Stack) -> Systems:
    return Systems(lonely)


async def drifted(asking: Asking, name: str, **body: Any) -> dict[str, Any]:
    """Return what a sweep says of a ready environment."""
    result = await sweep(asking, **body)
    return next((one for one in result["drifted"] if one["name"] == name), {"found": [], "repair": []})


async def is_mended(asking: Asking, systems: Systems, name: str, whole: dict[str, int]) -> None:
    """Wait until everything is there again, and the diff is gone."""

    async def is_whole() -> bool:
        # What is shown may be some seconds old.
        shown = await asking.show(name)
        is_repaired = "repaired it" in {entry["action"] for entry in shown["audit_log"]}
        return is_repaired and not shown["drift"] and systems.holds(name) == whole

    await until(is_whole, f"{name} is repaired")
    assert (await drifted(asking, name, dry_run=True))["found"] == []


@pytest.mark.parametrize("gone", ["group", "IdP group", "role", "cluster"])
async def test_what_is_missing_under_a_ready_environment_is_shown_and_repaired(
    lonely: Stack, asking: Asking, systems: Systems, gone: str
) -> None:
    """Ensures that the same steps mend it for its present people, and that a teardown finds everything."""
    name = unique("drift")
    await asking.request(name, collaborators=["bob@example.com"])
    await asking.until_phase(name, "ready")
    await asking.call("DELETE", f"/environments/{name}/collaborators/bob@example.com")
    await asking.until(name, lambda now: now["access"] is None, "bob is out")
    whole = systems.holds(name)
    derived = f"{PREFIX}-{name}"
    rafay, scim = rafay_of(lonely), scim_of(lonely)
    project, group = await rafay.find_project(derived), await rafay.find_group(derived)
    assert project
    assert group
    [directory_group] = await scim.groups_by_name(derived)
    step = {"group": "group", "IdP group": "identity", "role": "role-binding", "cluster": "import"}[gone]
    if gone == "group":
        await rafay.delete_group(group.id)
    elif gone == "IdP group":
        await scim.delete_group(directory_group.id)
    elif gone == "role":
        await rafay.unbind(group.id, project.id)
    else:
        cluster = await rafay.find_cluster(project.id, derived)
        assert cluster
        await rafay.delete_cluster(project.id, cluster.id, force=True)

        async def is_deregistered() -> bool:
            return await rafay.find_cluster(project.id, derived) is None

        await until(is_deregistered, "the cluster record is gone")
    dry = await drifted(asking, name, dry_run=True)
    assert step in dry["repair"]
    assert (await asking.show(name))["drift"] == [], "the dry run has notified the environment"
    assert step in (await drifted(asking, name))["repair"]
    await is_mended(asking, systems, name, whole)
    shown = await asking.show(name)
    actions = [entry["action"] for entry in shown["audit_log"]]
    assert actions.count("found it altered") == 1
    if gone == "IdP group":
        [again] = await scim.groups_by_name(derived)
        assert again.id != directory_group.id
        assert len(await scim.members(again.id)) == 1, "a repair has given access back to bob"
    await rafay.close()
    await scim.close()
    await asking.delete(name)
    assert (await asking.until_phase(name, "gone"))["certificate"]["nothing_left"]
    assert systems.holds(name) == {}


@pytest.mark.parametrize("trouble", ["none", "refused", "killed", "lost"])
async def test_members_that_were_changed_by_hand_are_shown_and_mended(
    lonely: Stack, asking: Asking, systems: Systems, trouble: str
) -> None:
    """Ensures that the missing person is in again and the stranger out, also after a failed or lost call."""
    name = unique("member")
    await asking.request(name, collaborators=[BOB])
    await asking.until_phase(name, "ready")
    whole = systems.holds(name)
    scim = scim_of(lonely)
    [group] = await scim.groups_by_name(f"{PREFIX}-{name}")
    bob, carol = await scim.find_user(BOB), await scim.find_user(CAROL)
    assert bob
    assert carol
    members = set(await scim.members(group.id))
    await scim.remove_member(group.id, bob.id)
    await scim.add_members(group.id, [carol.id])
    dry = await drifted(asking, name, dry_run=True)
    assert [one["members"] for one in dry["found"]] == ["members", "extra-members"]
    assert dry["repair"] == []
    assert bob.id not in await scim.members(group.id), "a dry run has changed something"
    before = calls(lonely, Part.DIRECTORY, "group.patch")
    if trouble == "refused":
        refused = Fault(operation="group.patch", kind=FaultKind.STATUS, status=403)
        set_faults(lonely.url(Part.DIRECTORY), refused)
    elif trouble == "killed":
        slow = Fault(operation="group.patch", kind=FaultKind.DELAY_BEFORE, seconds=1.5, times=1)
        set_faults(lonely.url(Part.DIRECTORY), slow)
    elif trouble == "lost":
        cut = Fault(operation="group.patch", kind=FaultKind.CUT_AFTER, times=2)
        set_faults(lonely.url(Part.DIRECTORY), cut)
    found = await drifted(asking, name)
    assert [one["repairs"] for one in found["found"]] == [True, True]
    if trouble == "refused":
        await asking.until(
            name, lambda now: bool(now["drift"]) and bool(now["drift"][0]["problem"]), "it has failed"
        )
        assert carol.id in await scim.members(group.id)
        no_faults(lonely)
        await sweep(asking)
    elif trouble == "killed":
        await called(lonely, Part.DIRECTORY, "group.patch", before)
        await lonely.kill(Part.WORKER)
        no_faults(lonely)
        await lonely.start(Part.WORKER)
    await is_mended(asking, systems, name, whole)
    assert set(await scim.members(group.id)) == members
    trail = [(entry["action"], entry["result"]) for entry in (await asking.show(name))["audit_log"]]
    [(_, altered)] = [one for one in trail if one[0] == "found it altered"]
    assert f"{BOB} is missing in group {group.display_name}" in altered
    assert f"user {carol.id} is in group {group.display_name}" in altered
    assert ("repaired it", "members of identity") in trail
    await scim.close()
    await asking.delete(name)
    assert (await asking.until_phase(name, "gone"))["certificate"]["nothing_left"]
    assert systems.holds(name) == {}


@pytest.mark.parametrize("trouble", ["none", "refused", "killed"])
async def test_guards_that_are_changed_by_hand_are_shown_and_restored(
    lonely: Stack, asking: Asking, systems: Systems, trouble: str
) -> None:
    """Ensures that a refused or killed repair is done by the next sweep or worker, and strangers stay."""
    name = unique("guard")
    await asking.request(name)
    await asking.until_phase(name, "ready")
    host, derived = host_of(lonely), f"{PREFIX}-{name}"
    before = await host.list_guards(derived)
    [quota] = [one for one in before if one["kind"] == "ResourceQuota"]
    theirs = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "team"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]},
    }
    widened = {**quota, "spec": {"hard": {**quota["spec"]["hard"], "requests.cpu": "320"}}}
    await host.apply(derived, [theirs, widened])
    policy = f"/-/namespaces/{derived}/objects/NetworkPolicy/moorage-deny"
    control(lonely.url(Part.HOST), "DELETE", policy)
    altered = await host.list_guards(derived)
    dry = await drifted(asking, name, dry_run=True)
    [found] = dry["found"]
    assert found["what"].startswith("quota requests.cpu is 320 and should be ")
    assert f"network policy moorage-deny is missing, in namespace {derived}" in found["what"]
    assert dry["repair"] == ["namespace"]
    assert await host.list_guards(derived) == altered, "a dry run has changed something"
    calls_before = calls(lonely, Part.HOST, "namespace.apply")
    if trouble == "refused":
        refused = Fault(operation="namespace.apply", kind=FaultKind.STATUS, status=422)
        set_faults(lonely.url(Part.HOST), refused)
    elif trouble == "killed":
        slow = Fault(operation="namespace.apply", kind=FaultKind.DELAY_BEFORE, seconds=1.5, times=1)
        set_faults(lonely.url(Part.HOST), slow)
    assert (await drifted(asking, name))["repair"] == ["namespace"]
    if trouble == "refused":
        [one] = (
            await asking.until(
                name, lambda now: bool(now["drift"]) and bool(now["drift"][0]["problem"]), "it has failed"
            )
        )["drift"]
        assert one["what"] == found["what"]
        assert await host.list_guards(derived) == altered
        no_faults(lonely)
        assert (await drifted(asking, name))["repair"] == ["namespace"]
    elif trouble == "killed":
        await called(lonely, Part.HOST, "namespace.apply", calls_before)
        await lonely.kill(Part.WORKER)
        await lonely.start(Part.WORKER)

    async def is_restored() -> bool:
        actions = [entry["action"] for entry in (await asking.show(name))["audit_log"]]
        return "repaired it" in actions

    await until(is_restored, f"the guards of {name} are restored")
    kept = [one for one in await host.list_guards(derived) if one["metadata"]["name"] != "team"]
    assert kept == before
    assert [one["spec"] for one in await host.list_guards(derived) if one not in kept] == [theirs["spec"]]
    assert (await drifted(asking, name, dry_run=True))["found"] == []
    await host.close()
    await asking.delete(name)
    assert (await asking.until_phase(name, "gone"))["certificate"]["nothing_left"]
    assert systems.holds(name) == {}


async def test_a_namespace_deleted_by_hand_under_a_ready_environment_is_reported(
    lonely: Stack, asking: Asking, systems: Systems
) -> None:
    """Ensures that lost data is shown and not hidden under an empty new environment."""
    name = unique("lost")
    await asking.request(name)
    await asking.until_phase(name, "ready")
    host = host_of(lonely)
    namespace = await host.get_namespace(f"{PREFIX}-{name}")
    assert namespace
    await host.delete_namespace(namespace.name, namespace.uid)

    async def is_gone() -> bool:
        return await host.get_namespace(namespace.name) is None

    await until(is_gone, "the namespace is gone")
    await host.close()
    assert (await drifted(asking, name))["repair"] == []
    [one] = (await asking.until(name, lambda now: bool(now["drift"]), "shown as altered"))["drift"]
    assert one["what"] == f"namespace {namespace.name} is missing on host local"
    assert not one["repairs"]
    since = one["since"]
    await sweep(asking)
    [one] = (await asking.show(name))["drift"]
    assert one["since"] == since
    await asking.delete(name)
    assert (await asking.until_phase(name, "gone"))["drift"] == []
    assert systems.holds(name) == {}


async def test_many_that_are_altered_at_once_wait_for_a_person(
    lonely: Stack, asking: Asking, systems: Systems
) -> None:
    """Ensures that a directory that has lost its groups is reported, and repaired when it is confirmed."""
    names = [unique("many") for _ in range(3)]
    for name in names:
        await asking.request(name)
    for name in names:
        await asking.until_phase(name, "ready")
    whole = {name: systems.holds(name) for name in names}
    scim = scim_of(lonely)
    for name in names:
        [group] = await scim.groups_by_name(f"{PREFIX}-{name}")
        await scim.delete_group(group.id)
    await scim.close()
    result = await sweep(asking)
    assert "3 of 3" in result["brake"]
    assert len(result["waiting"]) == 3
    for name in names:
        [one] = (await asking.until(name, lambda now: bool(now["drift"]), "shown as altered"))["drift"]
        assert not one["repairs"]
        assert "IdP group" not in systems.holds(name)
    await sweep(asking, confirmed=result["waiting"])
    for name in names:
        await is_mended(asking, systems, name, whole[name])
        await asking.delete(name)
    for name in names:
        await asking.until_phase(name, "gone")
        assert systems.holds(name) == {}


@pytest.mark.parametrize("end", ["deleted", "killed", "asleep"])
async def test_a_repair_that_is_cut_off_leaves_nothing(
    lonely: Stack, asking: Asking, systems: Systems, end: str
) -> None:
    """Ensures that a teardown waits for a repair, a killed worker continues it, and sleep stops it."""
    name = unique("cut")
    await asking.request(name)
    await asking.until_phase(name, "ready")
    whole = systems.holds(name)
    scim = scim_of(lonely)
    [group] = await scim.groups_by_name(f"{PREFIX}-{name}")
    await scim.delete_group(group.id)
    await scim.close()
    fault = Fault(operation="group.create", kind=FaultKind.DELAY_AFTER, seconds=1.5, times=1)
    before = calls(lonely, Part.DIRECTORY, "group.create")
    set_faults(lonely.url(Part.DIRECTORY), fault)
    await sweep(asking)
    await called(lonely, Part.DIRECTORY, "group.create", before)
    if end == "killed":
        await lonely.kill(Part.WORKER)
        await lonely.start(Part.WORKER)
        await is_mended(asking, systems, name, whole)
    elif end == "asleep":
        assert (await asking.call("POST", f"/environments/{name}/sleep")).status_code == 202
        await asking.until_phase(name, "asleep")
    await asking.delete(name)
    assert (await asking.until_phase(name, "gone"))["certificate"]["nothing_left"]
    assert systems.holds(name) == {}
