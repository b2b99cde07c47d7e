"""Ensures that a repair of a ready environment ends nothing, gives no access back, and stands in no way."""

import asyncio

import pytest
from temporalio.client import WorkflowUpdateFailedError

from contracts.activities.steps import MemberRepair
from contracts.environment.models import Phase
from contracts.environment.pending_access import AccessChanges
from contracts.environment_workflow import ActorInput, SleepChangeInput
from contracts.phases import DriftKind, StepName
from contracts.reconcile.drift import UPDATE_DRIFT, Deviation, DriftInput, steps_to_repair
from tests.workflows.conftest import LIFE, Bench, Life, until
from tests.workflows.scripted_activities import deaf, fails_for_good, waits
from tests.workflows.test_people import ALICE, GRACE, change, reach, ready
from workflows.environment.workflow import EnvironmentWorkflow

BY_ALICE = ActorInput(actor=ALICE, life=LIFE)
GROUP = Deviation(step=StepName.GROUP, what="group mrg-x is missing")
IDENTITY = Deviation(step=StepName.IDENTITY, what="group mrg-x is missing in the identity provider")
MISSING = Deviation(
    step=StepName.IDENTITY, what="bob is missing in group mrg-x", members=DriftKind.MEMBERS, repairs=True
)
EXTRA = Deviation(
    step=StepName.IDENTITY, what="users 7, 8 are in group mrg-x", members=DriftKind.EXTRA_MEMBERS,
    extra=("7", "8"), repairs=True,
)  # fmt: skip
NAMESPACE = Deviation(step=StepName.NAMESPACE, what="namespace mrg-x is missing")
GUARDS = Deviation(step=StepName.NAMESPACE, what="quota requests.cpu is 32 and should be 4", guards=True)


async def tell(life: Life, *found: Deviation, repair: tuple[StepName, ...] = (), of: str = LIFE) -> str:
    ask = DriftInput(life=of, actor="the reconcile sweep", found=found, repair=repair)
    answer: str = await life.handle.execute_update(UPDATE_DRIFT, ask, result_type=str)
    return answer


async def mended(life: Life) -> None:
    await reach(life, lambda status: not status.drift, "it is repaired")


@pytest.mark.parametrize(
    ("drifted", "steps"),
    [
        ({DriftKind.GROUP}, ["group", "role-binding"]),
        ({DriftKind.PROJECT}, ["project", "role-binding", "import"]),
        ({DriftKind.IDENTITY}, ["identity"]),
        ({DriftKind.NAMESPACE}, ["namespace", "vcluster", "kubeconfig", "import"]),
        ({DriftKind.GUARDS}, ["namespace"]),
        ({DriftKind.IMPORT, DriftKind.ROLE_BINDING}, ["role-binding", "import"]),
        ({DriftKind.MEMBERS, DriftKind.EXTRA_MEMBERS}, []),
        (set[DriftKind](), []),
    ],
)
def test_what_builds_on_a_step_is_done_again_after_it(drifted: set[DriftKind], steps: list[str]) -> None:
    assert [step.value for step in steps_to_repair(drifted)] == steps


@pytest.mark.slow
async def test_a_repair_does_the_step_and_what_builds_on_it(bench: Bench) -> None:
    life = await ready(bench, "drift-group")
    bench.script.calls.clear()
    assert await tell(life, GROUP, repair=(StepName.GROUP,)) == "repairs group"
    await mended(life)
    assert bench.script.calls == ["group.ensure", "role-binding.ensure"]
    status = await life.status()
    assert status.phase is Phase.READY
    assert [entry.action for entry in status.audit_log][-2:] == ["found it altered", "repaired it"]


async def test_what_is_only_reported_is_shown_until_it_is_as_it_should_be(bench: Bench) -> None:
    life = await ready(bench, "drift-reported")
    bench.script.calls.clear()
    assert await tell(life, NAMESPACE) == "reported"
    [first] = (await life.status()).drift
    assert await tell(life, NAMESPACE) == "reported"
    assert (await life.status()).drift == (first,)
    assert await tell(life) == "as it should be"
    status = await life.status()
    assert status.drift == ()
    assert bench.script.calls == []
    actions = [entry.action for entry in status.audit_log]
    assert actions[-2:] == ["found it altered", "found it as it should be"]


async def test_a_repair_of_guards_does_only_the_namespace_and_never_replaces_it(bench: Bench) -> None:
    life = await ready(bench, "drift-guards")
    bench.script.calls.clear()
    assert await tell(life, GUARDS, repair=(StepName.NAMESPACE,)) == "repairs namespace"
    await mended(life)
    assert bench.script.calls == ["namespace.ensure"]
    assert [step for step, _ in bench.script.in_place] == ["namespace"]


@pytest.mark.parametrize(
    ("found", "repair"),
    [
        ((MISSING,), MemberRepair(adds=True)),
        ((EXTRA,), MemberRepair(extra=("7", "8"))),
        ((MISSING, EXTRA), MemberRepair(adds=True, extra=("7", "8"))),
        ((MISSING, EXTRA.model_copy(update={"repairs": False})), MemberRepair(adds=True)),
    ],
    ids=["missing", "extra", "both", "extra ones are reported"],
)
async def test_a_repair_of_members_does_nothing_else_of_the_step(
    bench: Bench, found: tuple[Deviation, ...], repair: MemberRepair
) -> None:
    life = await ready(bench, f"drift-members-{len(found)}{len(repair.extra)}{int(repair.adds)}")
    bench.script.calls.clear()
    assert await tell(life, *found) == "repairs members of identity"
    await reach(life, lambda now: not any(one.repairs for one in now.drift), "they are repaired")
    assert bench.script.calls == ["identity.ensure"]
    assert bench.script.member_repairs == [("identity", repair)]
    status = await life.status()
    assert [one.what for one in status.drift] == [one.what for one in found if not one.repairs]
    altered, repaired = status.audit_log[-2:]
    assert (altered.action, altered.result) == ("found it altered", "; ".join(one.what for one in found))
    assert (repaired.action, repaired.result) == ("repaired it", "members of identity")


async def test_a_whole_step_and_the_members_of_another_are_repaired_in_order(bench: Bench) -> None:
    life = await ready(bench, "drift-members-and-group")
    bench.script.calls.clear()
    await tell(life, GROUP, MISSING, repair=(StepName.GROUP,))
    await mended(life)
    assert bench.script.calls == ["group.ensure", "role-binding.ensure", "identity.ensure"]
    assert bench.script.member_repairs == [("identity", MemberRepair(adds=True))]


async def test_a_repair_of_members_that_fails_is_tried_again_by_the_next_sweep(bench: Bench) -> None:
    life = await ready(bench, "drift-members-fail")
    bench.script.before["identity.ensure"] = fails_for_good()
    await tell(life, MISSING, EXTRA.model_copy(update={"repairs": False}))
    status = await reach(life, lambda now: bool(now.drift and now.drift[0].problem), "it has failed")
    assert status.phase is Phase.READY
    assert status.drift[1].problem is None, "the other kind was not tried"
    del bench.script.before["identity.ensure"]
    await tell(life, MISSING)
    await mended(life)


async def test_the_time_of_guards_is_not_that_of_a_missing_namespace(bench: Bench) -> None:
    life = await ready(bench, "drift-guards-first")
    await tell(life, GUARDS)
    [first] = (await life.status()).drift
    await tell(life, NAMESPACE)
    [then] = (await life.status()).drift
    assert then.since > first.since
    assert (first.guards, then.guards) == (True, False)


async def test_a_repair_that_fails_ends_nothing_and_is_tried_again_by_the_next_sweep(bench: Bench) -> None:
    life = await ready(bench, "drift-fails")
    bench.script.before["group.ensure"] = fails_for_good()
    await tell(life, GROUP, repair=(StepName.GROUP,))
    status = await reach(life, lambda now: bool(now.drift and now.drift[0].problem), "it has failed")
    assert status.phase is Phase.READY
    del bench.script.before["group.ensure"]
    await tell(life, GROUP, repair=(StepName.GROUP,))
    await mended(life)


async def test_a_person_who_is_removed_during_a_repair_has_no_access_afterwards(bench: Bench) -> None:
    life = await ready(bench, "drift-people")
    await change(life, "add")
    await reach(life, lambda status: not status.access.is_pending, "she is in")
    free = asyncio.Event()
    bench.script.before["identity.ensure"] = deaf(30, until=free)
    bench.script.started["identity.ensure"].clear()
    await tell(life, IDENTITY, repair=(StepName.IDENTITY,))
    await bench.script.started["identity.ensure"].wait()
    await change(life, "remove")
    await reach(life, lambda status: status.access == AccessChanges(), "she is out")
    # The step, which has started with her among the people, adds her again.
    bench.script.members.add(GRACE)
    free.set()
    await mended(life)
    await reach(life, lambda status: not status.access.is_pending, "all systems agree")
    assert GRACE not in bench.script.members
    assert GRACE not in (await life.status()).environment.people


@pytest.mark.parametrize("how", ["delete", "cancel in Temporal"])
async def test_a_teardown_waits_for_the_end_of_a_repair(bench: Bench, how: str) -> None:
    life = await ready(bench, f"drift-{how.split()[0]}")
    bench.script.before["identity.ensure"] = waits
    bench.script.started["identity.ensure"].clear()
    await tell(life, IDENTITY, repair=(StepName.IDENTITY,))
    await bench.script.started["identity.ensure"].wait()
    if how == "delete":
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    else:
        await life.handle.cancel()
    status = await life.handle.result()
    assert status.certificate
    assert status.certificate.nothing_left
    assert bench.script.world == set()


async def test_a_repair_goes_on_in_the_next_run(bench: Bench) -> None:
    life = await ready(bench, "drift-carried")
    bench.script.before["identity.ensure"] = waits
    bench.script.started["identity.ensure"].clear()
    await tell(life, IDENTITY, repair=(StepName.IDENTITY,))
    await bench.script.started["identity.ensure"].wait()
    first = (await life.handle.describe()).run_id
    del bench.script.before["identity.ensure"]
    await life.handle.signal(EnvironmentWorkflow.renew)

    async def another() -> bool:
        return (await life.handle.describe()).run_id != first

    await until(another, "it goes on in a new run")
    await mended(life)


async def test_only_a_ready_environment_of_this_life_is_notified(bench: Bench) -> None:
    life = await ready(bench, "drift-refused")
    with pytest.raises(WorkflowUpdateFailedError):
        await tell(life, GROUP, of="0" * 20)
    await life.handle.execute_update(EnvironmentWorkflow.sleep, SleepChangeInput(actor=ALICE, life=LIFE))
    await reach(life, lambda status: status.phase is Phase.ASLEEP, "it is asleep")
    with pytest.raises(WorkflowUpdateFailedError):
        await tell(life, GROUP, repair=(StepName.GROUP,))
    assert (await life.status()).drift == ()
