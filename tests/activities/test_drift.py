"""Ensures that each difference of a ready environment is found at its step, and no other one is."""

from collections.abc import Awaitable, Callable

import pytest

from activities.reconcile.drift import deviations_of
from activities.reconcile.inventory import MarkedSystems
from contracts.environment import Environment, StepName
from embedded.faults import Fault, FaultKind
from tests.activities.conftest import HOST, INSTALLATION, Bench, an_environment, fresh
from tests.activities.test_reconcile import make_with_life_mark
from tests.workflows.conftest import until

pytestmark = pytest.mark.slow


@pytest.fixture
def marked(bench: Bench) -> MarkedSystems:
    clients = bench.clients
    return MarkedSystems(INSTALLATION, "moor", clients.rafay, clients.directory, clients.hosts)


Deed = Callable[[Bench, Environment], Awaitable[None]]


async def delete_group(bench: Bench, environment: Environment) -> None:
    group = await bench.clients.rafay.find_group(environment.derived_name)
    assert group
    await bench.clients.rafay.delete_group(group.id)


async def change_role(bench: Bench, environment: Environment) -> None:
    rafay, name = bench.clients.rafay, environment.derived_name
    project, group = await rafay.find_project(name), await rafay.find_group(name)
    assert project
    assert group
    await rafay.unbind(group.id, project.id)
    await rafay.bind_role(group.id, project.id, "PROJECT_READ_ONLY")


async def delete_directory_group(bench: Bench, environment: Environment) -> None:
    assert bench.clients.directory
    [group] = await bench.clients.directory.groups_by_name(environment.derived_name)
    await bench.clients.directory.delete_group(group.id)


async def delete_namespace(bench: Bench, environment: Environment) -> None:
    host, name = bench.clients.hosts[HOST], environment.derived_name
    namespace = await host.get_namespace(name)
    assert namespace
    await host.delete_namespace(name, namespace.uid)

    async def is_gone() -> bool:
        return await host.get_namespace(name) is None

    await until(is_gone, "the namespace is gone")


async def uninstall(bench: Bench, environment: Environment) -> None:
    await bench.clients.hosts[HOST].uninstall_release(environment.derived_name, environment.derived_name)


async def delete_cluster(bench: Bench, environment: Environment) -> None:
    rafay, name = bench.clients.rafay, environment.derived_name
    project = await rafay.find_project(name)
    assert project
    cluster = await rafay.find_cluster(project.id, name)
    assert cluster
    await rafay.delete_cluster(project.id, cluster.id, force=True)

    async def is_gone() -> bool:
        return await rafay.find_cluster(project.id, name) is None

    await until(is_gone, "the cluster is deregistered")


@pytest.mark.parametrize(
    ("deed", "step", "what"),
    [
        (delete_group, StepName.GROUP, "is missing in the control plane"),
        (
            change_role,
            StepName.ROLE_BINDING,
            "instead of PROJECT_ADMIN",
        ),
        (delete_directory_group, StepName.IDENTITY, "is missing in the identity provider"),
        (delete_namespace, StepName.NAMESPACE, "is missing on host one"),
        (uninstall, StepName.VCLUSTER, "is missing"),
        (delete_cluster, StepName.IMPORT, "is missing in the control plane"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_difference_is_found_at_its_step(
    bench: Bench, marked: MarkedSystems, environment: Environment, deed: Deed, step: StepName, what: str
) -> None:
    await make_with_life_mark(bench, environment)
    assert await deviations_of(marked, environment.mark, HOST) == ()
    await deed(bench, environment)
    [found] = await deviations_of(marked, environment.mark, HOST)
    assert (found.step, found.what.endswith(what)) == (step, True), found


async def test_a_group_that_was_listed_costs_no_call_to_the_directory(
    bench: Bench, marked: MarkedSystems, environment: Environment
) -> None:
    await make_with_life_mark(bench, environment)
    inventory = await marked.list_all()
    assert environment.mark.text in inventory.in_directory
    bench.systems.faults(Fault(operation="group.find", kind=FaultKind.STATUS, status=429))
    found = await deviations_of(marked, environment.mark, HOST, in_directory=inventory.in_directory)
    assert found == ()


async def test_an_environment_without_an_identity_provider_misses_no_group_there(
    bench: Bench, marked: MarkedSystems
) -> None:
    alone = an_environment(fresh(), identity=False)
    await make_with_life_mark(bench, alone)
    assert await deviations_of(marked, alone.mark, HOST) == ()
