"""What every step guarantees, shown for each of them on the real stand-ins."""

import pytest

from clients.host.models import Chart
from contracts.environment.models import Environment, StepName
from contracts.errors import ErrorType
from tests.activities.activity_runs import details
from tests.activities.conftest import INSTALLATION, OTHER_INSTALLATION, Bench, an_environment, fresh

STEPS = tuple(StepName)
UNDONE = tuple(step for step in StepName if step is not StepName.KUBECONFIG)

#: The kinds of which a step makes something, and how many of each.
MAKES: dict[StepName, dict[str, int]] = {
    StepName.PROJECT: {"project": 1},
    StepName.GROUP: {"group": 1},
    StepName.ROLE_BINDING: {"binding": 1},
    StepName.IDENTITY: {"directory group": 1},
    StepName.NAMESPACE: {"namespace": 1, "object": 8},
    StepName.VCLUSTER: {"release": 1, "pod": 1, "volume": 1},
    StepName.KUBECONFIG: {},
    StepName.IMPORT: {"cluster": 1, "inner object": 6},
}

#: The calls of each step that change something.
CHANGES = [
    (StepName.PROJECT, "project.create"),
    (StepName.GROUP, "group.create"),
    (StepName.ROLE_BINDING, "binding.create"),
    (StepName.IDENTITY, "group.create"),
    (StepName.IDENTITY, "group.patch"),
    (StepName.NAMESPACE, "namespace.create"),
    (StepName.NAMESPACE, "namespace.apply"),
    (StepName.VCLUSTER, "release.install"),
    (StepName.IMPORT, "cluster.create"),
]
#: The calls of each step that take something away.
REMOVALS = [
    (StepName.PROJECT, "project.delete"),
    (StepName.GROUP, "group.delete"),
    (StepName.ROLE_BINDING, "binding.delete"),
    (StepName.IDENTITY, "group.patch"),
    (StepName.IDENTITY, "group.delete"),
    (StepName.NAMESPACE, "namespace.delete"),
    (StepName.NAMESPACE, "namespace.force_delete"),
    (StepName.VCLUSTER, "release.uninstall"),
    (StepName.VCLUSTER, "namespace.force_delete"),
    (StepName.VCLUSTER, "volume.delete"),
    (StepName.IMPORT, "cluster.delete"),
]


def made_by(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """How many more of each kind there are after the step."""
    return {kind: after[kind] - before.get(kind, 0) for kind in after if after[kind] != before.get(kind, 0)}


@pytest.mark.parametrize("step", STEPS)
async def test_ensure_twice_is_ensure_once(bench: Bench, environment: Environment, step: StepName) -> None:
    await bench.make(environment, before=step)
    before = bench.systems.counts(environment)
    first = await bench.ensure(step, environment)
    assert made_by(before, bench.systems.counts(environment)) == MAKES[step]
    rows = bench.systems.rows(environment.derived_name)
    assert await bench.ensure(step, environment) == first, "the second time gives another receipt"
    assert bench.systems.rows(environment.derived_name) == rows, "the second time has changed something"
    again = await bench.ensure(step, environment, attempt=2)
    assert again == first.model_copy(update={"in_doubt": True})


@pytest.mark.parametrize("step", UNDONE)
async def test_what_ensure_makes_inspect_finds_and_remove_takes_away(
    bench: Bench, environment: Environment, step: StepName
) -> None:
    await bench.make(environment, before=step)
    before = bench.systems.counts(environment)
    await bench.ensure(step, environment)
    assert await bench.inspect(step, environment), "it does not find what is there"
    await bench.remove(step, environment)
    assert await bench.inspect(step, environment) == (), "it finds what is not there any more"
    left = made_by(before, bench.systems.counts(environment))
    # What was applied inside goes with the vCluster: the agent there has its own undo.
    left.pop("inner object", None)
    assert left == {}, f"left behind: {left}"


@pytest.mark.parametrize("step", UNDONE)
@pytest.mark.parametrize("force", [False, True], ids=["", "by force"])
async def test_to_remove_nothing_is_a_success(
    bench: Bench, environment: Environment, step: StepName, force: bool
) -> None:
    assert await bench.inspect(step, environment) == ()
    assert (await bench.remove(step, environment, force=force)).note == "nothing was there"


@pytest.mark.parametrize("step", UNDONE)
async def test_to_remove_it_twice_is_a_success(
    bench: Bench, environment: Environment, step: StepName
) -> None:
    await bench.make(environment, before=step)
    await bench.ensure(step, environment)
    await bench.remove(step, environment)
    again = await bench.remove(step, environment, attempt=2)
    assert again.note, "it does not say what it found"


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("life", "installation"),
    [("request-2", None), ("request-1", OTHER_INSTALLATION)],
    ids=["another life", "another installation"],
)
async def test_what_is_not_ours_is_never_touched(
    bench: Bench, step: StepName, life: str, installation: str | None
) -> None:
    environment = an_environment(fresh())
    theirs = an_environment(environment.name, life=life, installation=installation or INSTALLATION)
    for each in StepName:
        await bench.ensure(each, theirs)
    rows = bench.systems.rows(environment.derived_name)

    for attempt in (1, 2):
        failure = await bench.ensuring(step, environment, attempt=attempt).failure()
        assert failure.type == ErrorType.CONFLICT.value, f"{failure.type}: {failure.message}"
        assert failure.non_retryable
        expected = installation if installation else "another life"
        assert expected in failure.message, f"it does not say whose it is: {failure.message}"
        assert bench.systems.rows(environment.derived_name) == rows, "ensure has touched it"
    if step is not StepName.KUBECONFIG:
        assert await bench.inspect(step, environment) == (), "it takes a stranger's for its own"
        for force in (False, True):
            await bench.remove(step, environment, force=force)
            assert bench.systems.rows(environment.derived_name) == rows, "remove has touched it"


async def plant(bench: Bench, step: StepName, environment: Environment) -> None:
    """Make by hand what the step would make, without any mark."""
    name, host = environment.derived_name, next(iter(bench.clients.hosts.values()))
    assert bench.clients.directory
    match step:
        case StepName.PROJECT:
            await bench.clients.rafay.create_project(name, "made by hand")
        case StepName.GROUP | StepName.ROLE_BINDING:
            await bench.clients.rafay.create_group(name, "made by hand")
        case StepName.IDENTITY:
            await bench.clients.directory.create_group(name, "made by hand")
        case StepName.NAMESPACE:
            await host.create_namespace(name, {"made": "by-hand"}, {})
        case StepName.VCLUSTER | StepName.KUBECONFIG:
            chart = environment.template.chart
            await host.install_release(name, name, Chart(None, chart.name, chart.version), {}, {})
        case StepName.IMPORT:
            project = await bench.clients.rafay.find_project(name)
            assert project
            await bench.clients.rafay.create_cluster(project.id, name, {}, "minimal")


@pytest.mark.parametrize("step", STEPS)
async def test_what_bears_no_mark_is_never_touched(
    bench: Bench, environment: Environment, step: StepName
) -> None:
    first = {StepName.ROLE_BINDING: StepName.GROUP, StepName.KUBECONFIG: StepName.VCLUSTER}.get(step, step)
    await bench.make(environment, before=first)
    await plant(bench, step, environment)
    rows = bench.systems.rows(environment.derived_name)

    failure = await bench.ensuring(step, environment).failure()
    assert failure.type == ErrorType.CONFLICT.value, f"{failure.type}: {failure.message}"
    assert "was not made by Moorage" in failure.message
    assert details(failure).remedy
    assert bench.systems.rows(environment.derived_name) == rows, "ensure has touched it"
    if step is not StepName.KUBECONFIG:
        assert await bench.inspect(step, environment) == ()
        await bench.remove(step, environment, force=True)
        assert bench.systems.rows(environment.derived_name) == rows, "remove has touched it"


@pytest.mark.parametrize(("step", "operation"), CHANGES)
async def test_what_a_lost_answer_had_made_is_found_on_retry(
    bench: Bench, environment: Environment, step: StepName, operation: str
) -> None:
    await bench.make(environment, before=step)
    before = bench.systems.counts(environment)
    bench.systems.lose_the_answer(operation)
    failure = await bench.ensuring(step, environment).failure()
    assert not failure.non_retryable, f"Temporal does not retry a {failure.type}"
    assert details(failure).in_doubt, "it may have been done"
    receipt = await bench.ensure(step, environment, attempt=2)
    assert receipt.in_doubt
    assert made_by(before, bench.systems.counts(environment)) == MAKES[step]


async def test_the_import_goes_on_where_the_answer_to_an_apply_was_lost(
    bench: Bench, environment: Environment
) -> None:
    await bench.make(environment, before=StepName.IMPORT)
    before = bench.systems.counts(environment)
    bench.systems.lose_the_answer("virtual.apply")
    await bench.ensure(StepName.IMPORT, environment)
    assert made_by(before, bench.systems.counts(environment)) == MAKES[StepName.IMPORT]


@pytest.mark.parametrize(("step", "operation"), REMOVALS)
async def test_a_removal_whose_answer_is_lost_ends_well_on_retry(
    bench: Bench, environment: Environment, step: StepName, operation: str
) -> None:
    await bench.make(environment, before=step)
    before = bench.systems.counts(environment)
    await bench.ensure(step, environment)
    bench.systems.lose_the_answer(operation)
    failure = await bench.removing(step, environment).failure()
    assert not failure.non_retryable, f"Temporal does not retry a {failure.type}"
    await bench.remove(step, environment, attempt=2)
    left = made_by(before, bench.systems.counts(environment))
    left.pop("inner object", None)
    assert left == {}, f"left behind: {left}"


async def test_all_steps_without_an_identity_provider(bench: Bench) -> None:
    environment = an_environment(fresh(), identity=False)
    for step in STEPS:
        if step is not StepName.IDENTITY:
            await bench.ensure(step, environment)
    assert bench.systems.counts(environment)["member"] == 2, "owner and collaborator are local members"
    for step in reversed(UNDONE):
        if step is not StepName.IDENTITY:
            await bench.remove(step, environment)
    assert bench.systems.counts(environment) == {}, "something is left"


async def test_all_steps_and_their_undo_leave_nothing(bench: Bench, environment: Environment) -> None:
    for step in STEPS:
        await bench.ensure(step, environment)
    for step in reversed(UNDONE):
        await bench.remove(step, environment)
    assert bench.systems.counts(environment) == {}, "something is left"
