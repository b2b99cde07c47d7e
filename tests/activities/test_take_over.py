"""A standby and the environments that want it: one owner at any moment, and nothing left of any of them."""

import asyncio
from typing import Any

import pytest

from activities.changes.sleep import Sleep
from activities.standby_offer import StandbyOffer
from clients.errors import Denied, NotYet
from clients.simulated_host.host import SimulatedHost
from contracts.activities.vcluster import SleepInput
from contracts.environment.models import Environment, StepName
from contracts.standby import StandbyInput, WithdrawResult
from contracts.types.naming import ANNOTATION_LIFE, ANNOTATION_STANDBY, OFFERED, OwnerMark
from embedded.faults import Fault, FaultKind
from tests.activities.activity_runs import Running, details
from tests.activities.conftest import HOST, INSTALLATION, Bench, an_environment, fresh

ON_HOST = (StepName.NAMESPACE, StepName.VCLUSTER, StepName.KUBECONFIG)


def a_standby(**more: Any) -> Environment:
    """A standby, as the pool asks for one: without people."""
    made = an_environment(f"standby-{fresh()}", owner="", collaborators=(), identity=False, **more)
    return made.model_copy(update={"is_standby": True})


def given(standby: Environment, *, life: str = "request-1", **more: Any) -> Environment:
    """An environment that was given the standby."""
    return an_environment(fresh(), life=life, **more).model_copy(update={"standby": standby.mark})


async def offer(bench: Bench, standby: Environment, *, attempt: int = 1) -> None:
    """Make the offer, as the standby's workflow does."""
    await Running(
        StandbyOffer(bench.clients.hosts).offer, StandbyInput(environment=standby), attempt=attempt
    ).result()


async def withdraw(bench: Bench, standby: Environment) -> OwnerMark | None:
    """End the offer; return who has the standby."""
    withdrawing = Running(StandbyOffer(bench.clients.hosts).withdraw, StandbyInput(environment=standby))
    result = await withdrawing.result()
    assert isinstance(result, WithdrawResult)
    return result.taken_by


async def an_offered_standby(bench: Bench, **more: Any) -> Environment:
    """A standby that is complete and offered."""
    standby = a_standby(**more)
    for step in ON_HOST:
        await bench.ensure(step, standby)
    await offer(bench, standby)
    return standby


async def undo(bench: Bench, environment: Environment) -> None:
    """Undo the steps on the host, and see that the inspection finds nothing."""
    for step in (StepName.VCLUSTER, StepName.NAMESPACE):
        await bench.remove(step, environment)
    for step in (StepName.VCLUSTER, StepName.NAMESPACE):
        assert await bench.inspect(step, environment) == ()


def rows_at(bench: Bench, name: str) -> dict[str, int]:
    """How much there is under a name on the host, by kind."""
    return {kind: len(found) for kind, found in bench.systems.rows(name).items() if found}


async def namespace_at(bench: Bench, name: str) -> Any:
    return await bench.clients.hosts[HOST].get_namespace(name)


async def test_an_environment_takes_its_standby_over_with_all_that_is_in_it(bench: Bench) -> None:
    standby = await an_offered_standby(bench)
    before = rows_at(bench, standby.host_name)
    environment = given(standby)
    await bench.make(environment, before=StepName.IMPORT)
    assert rows_at(bench, standby.host_name) == before, "it was made again, or beside it"
    assert not (rows_at(bench, environment.derived_name).keys() & {"namespace", "release"})
    namespace = await namespace_at(bench, standby.host_name)
    assert environment.mark.matches_labels(namespace.labels)
    assert ANNOTATION_STANDBY not in namespace.annotations
    guards = await bench.clients.hosts[HOST].list_guards(standby.host_name)
    assert all(environment.mark.matches_labels(each["metadata"]["labels"]) for each in guards)
    await bench.ensure(StepName.IMPORT, environment)
    for step in reversed(StepName):
        if step is not StepName.KUBECONFIG:
            await bench.remove(step, environment)
            assert await bench.inspect(step, environment) == ()
    assert rows_at(bench, standby.host_name) == {}


async def test_what_the_template_says_now_is_applied_at_the_take_over(bench: Bench) -> None:
    standby = await an_offered_standby(bench)
    environment = given(standby)
    size = environment.template.size.model_copy(update={"pods": 33})
    # The same release: the size counts in the guards alone.
    template = environment.template.model_copy(update={"size": size})
    environment = environment.model_copy(update={"template": template})
    await bench.ensure(StepName.NAMESPACE, environment)
    guards = await bench.clients.hosts[HOST].list_guards(standby.host_name)
    [quota] = [each for each in guards if each["kind"] == "ResourceQuota"]
    assert quota["spec"]["hard"]["pods"] == str(33 + 4)


async def test_of_two_environments_with_one_standby_one_has_it_and_the_other_makes_its_own(
    bench: Bench,
) -> None:
    standby = await an_offered_standby(bench)
    both = [given(standby), given(standby)]
    await asyncio.gather(*(bench.ensure(StepName.NAMESPACE, each) for each in both))
    for step in ON_HOST:
        for each in both:
            await bench.ensure(step, each)
    mark = OwnerMark.parse((await namespace_at(bench, standby.host_name)).annotations["moorage.dev/owner"])
    [winner] = [each for each in both if each.mark == mark]
    [loser] = [each for each in both if each.mark != mark]
    assert await namespace_at(bench, winner.derived_name) is None
    assert loser.mark.matches_labels((await namespace_at(bench, loser.derived_name)).labels)
    assert await withdraw(bench, standby) == winner.mark
    before = rows_at(bench, standby.host_name)
    await undo(bench, loser)
    assert rows_at(bench, standby.host_name) == before, "the undo of one has touched the other"
    assert rows_at(bench, loser.derived_name) == {}
    await undo(bench, winner)
    assert rows_at(bench, standby.host_name) == {}


@pytest.mark.parametrize("times", range(8))
async def test_a_race_of_many_has_one_owner(bench: Bench, times: int) -> None:
    standby = a_standby()
    for step in ON_HOST:
        await bench.ensure(step, standby)
    await offer(bench, standby)
    many = [given(standby, life=f"request-{times}-{number}") for number in range(4)]
    results: list[Any] = await asyncio.gather(
        withdraw(bench, standby), *(bench.ensure(StepName.NAMESPACE, each) for each in many)
    )
    there = await namespace_at(bench, standby.host_name)
    owners = [each for each in many if each.mark.matches_labels(there.labels)]
    assert len(owners) == (1 if results[0] else 0)
    assert results[0] == (owners[0].mark if owners else None)
    for each in many:
        has_its_own = await namespace_at(bench, each.derived_name) is not None
        assert has_its_own is (each not in owners), "it has two, or none"


@pytest.mark.parametrize("what", ["never offered", "withdrawn", "gone", "broken", "other values", "asleep"])
async def test_a_standby_that_cannot_be_had_goes_unnoticed(bench: Bench, what: str) -> None:
    standby = a_standby()
    if what != "gone":
        for step in ON_HOST:
            await bench.ensure(step, standby)
    if what not in ("gone", "never offered"):
        await offer(bench, standby)
    environment = given(standby, values={"experimental": {}} if what == "other values" else None)
    if what == "withdrawn":
        assert await withdraw(bench, standby) is None
    if what == "broken":
        bench.systems.leave_release(standby, "failed")
    if what == "asleep":
        await Running(Sleep(bench.clients.hosts).pause, SleepInput(environment=standby)).result()
    for step in ON_HOST:
        await bench.ensure(step, environment)
    assert environment.mark.matches_labels((await namespace_at(bench, environment.derived_name)).labels)
    if what != "gone":
        there = await namespace_at(bench, standby.host_name)
        assert standby.mark.matches_labels(there.labels)
        if what != "never offered":
            assert there.annotations[ANNOTATION_STANDBY] != OFFERED, "another could take it"
    await undo(bench, environment)
    await undo(bench, standby)
    assert rows_at(bench, environment.derived_name) == rows_at(bench, standby.host_name) == {}


@pytest.mark.parametrize("kind", [FaultKind.CUT_AFTER, FaultKind.CUT_BEFORE])
async def test_a_lost_answer_to_the_take_over_is_found_on_retry(bench: Bench, kind: FaultKind) -> None:
    standby = await an_offered_standby(bench)
    environment = given(standby)
    bench.systems.faults(Fault(operation="namespace.patch", kind=kind, times=1))
    failure = await bench.ensuring(StepName.NAMESPACE, environment).failure()
    assert not failure.non_retryable
    assert details(failure).in_doubt
    await bench.ensure(StepName.NAMESPACE, environment, attempt=2)
    assert environment.mark.matches_labels((await namespace_at(bench, standby.host_name)).labels)
    assert await namespace_at(bench, environment.derived_name) is None


@pytest.mark.parametrize("kind", [FaultKind.CUT_AFTER, FaultKind.CUT_BEFORE])
async def test_a_take_over_in_doubt_is_undone_with_the_vcluster(bench: Bench, kind: FaultKind) -> None:
    standby = await an_offered_standby(bench)
    environment = given(standby)
    bench.systems.faults(Fault(operation="namespace.patch", kind=kind, times=1))
    await bench.ensuring(StepName.NAMESPACE, environment).failure()
    await undo(bench, environment)
    assert await withdraw(bench, standby) is None
    await undo(bench, standby)
    assert rows_at(bench, standby.host_name) == {}


async def test_the_undo_of_a_standby_leaves_one_that_was_taken_over(bench: Bench) -> None:
    standby = await an_offered_standby(bench)
    environment = given(standby)
    await bench.make(environment, before=StepName.IMPORT)
    before = rows_at(bench, standby.host_name)
    await undo(bench, standby)
    assert rows_at(bench, standby.host_name) == before


async def test_the_undo_of_a_standby_withdraws_it_first(bench: Bench) -> None:
    standby = await an_offered_standby(bench)
    environment = given(standby)
    await bench.remove(StepName.VCLUSTER, standby)
    await bench.ensure(StepName.NAMESPACE, environment)
    assert await namespace_at(bench, environment.derived_name) is not None
    await bench.remove(StepName.NAMESPACE, standby)
    assert rows_at(bench, standby.host_name) == {}


async def test_an_offer_is_made_once_and_not_after_its_end(bench: Bench) -> None:
    standby = await an_offered_standby(bench)
    await offer(bench, standby, attempt=2)
    assert await withdraw(bench, standby) is None
    assert await withdraw(bench, standby) is None
    await offer(bench, standby)
    assert (await namespace_at(bench, standby.host_name)).annotations[ANNOTATION_STANDBY] != OFFERED


async def test_a_life_mark_of_the_standby_is_replaced(bench: Bench) -> None:
    standby = await an_offered_standby(bench)
    environment = given(standby)
    await bench.ensure(StepName.NAMESPACE, environment)
    namespace = await namespace_at(bench, standby.host_name)
    assert standby.mark.life not in namespace.annotations.get(ANNOTATION_LIFE, "")
    assert namespace.labels["moorage.dev/installation"] == INSTALLATION


async def test_a_standby_lets_no_person_in(bench: Bench) -> None:
    standby = await an_offered_standby(bench)
    host = bench.clients.hosts[HOST]
    kubeconfig = await host.kubeconfig(standby.host_name, standby.host_name)
    assert kubeconfig
    async with host.virtual_cluster(kubeconfig) as virtual:
        assert await virtual.list_people(standby.mark.labels) == []
    assert "cluster" not in rows_at(bench, standby.host_name)


async def test_no_vcluster_is_made_for_a_standby_that_none_could_take_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that the namespace step of a standby misses the right, and that of an environment does not."""

    async def denied(_: object, namespace: str) -> None:
        raise Denied("host cluster", f"change {namespace}", "our account lacks the right")

    monkeypatch.setattr(SimulatedHost, "require_swap_permission", denied)
    await bench.ensure(StepName.NAMESPACE, an_environment(fresh()))
    standby = a_standby()
    failure = await bench.ensuring(StepName.NAMESPACE, standby).failure()
    assert failure.non_retryable
    assert "lacks the right" in failure.message
    await undo(bench, standby)


@pytest.mark.slow
async def test_a_standby_that_cannot_be_reached_is_not_taken_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that an environment makes its own when the Service before its standby was deleted."""
    standby = await an_offered_standby(bench)
    environment = given(standby)
    overlay = SimulatedHost.overlay

    async def without_port(self: SimulatedHost, namespace: str, release: str) -> Any:
        if namespace == standby.host_name:
            raise NotYet("host cluster", f"read the port of {namespace}", "it has no node port yet")
        return await overlay(self, namespace, release)

    monkeypatch.setattr(SimulatedHost, "overlay", without_port)
    await bench.make(environment, before=StepName.IMPORT)
    assert environment.mark.matches_labels((await namespace_at(bench, environment.derived_name)).labels)
    there = await namespace_at(bench, standby.host_name)
    assert "it has no node port yet" in there.annotations[ANNOTATION_STANDBY]
    await undo(bench, environment)
    await undo(bench, standby)
