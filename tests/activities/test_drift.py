"""Ensures that each difference of a ready environment is found at its step, and no other one is."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from activities.reconcile.drift import GuardLook, deviations_of
from activities.reconcile.guards import GuardReader
from activities.reconcile.inventory import MarkedSystems
from clients.errors import ClientError
from contracts.activities import EnsureInput
from contracts.environment import Environment, StepName
from contracts.reconcile.drift import Deviation
from embedded.faults import Fault, FaultKind
from tests.activities.activity_runs import LIFE_START, Running
from tests.activities.conftest import HOST, INSTALLATION, Bench, an_environment, fresh
from tests.activities.test_reconcile import make_with_life_mark
from tests.support.stand_ins import control
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


class Guarded:
    """The guards of one environment, as a sweep compares them and as people change them by hand."""

    def __init__(self, bench: Bench, marked: MarkedSystems, environment: Environment) -> None:
        self._bench = bench
        self._marked = marked
        self.host = bench.clients.hosts[HOST]
        self.name = environment.derived_name
        self.environment = environment
        self.now: Environment | None = environment
        self.asked = 0

    async def _current(self) -> Environment | None:
        self.asked += 1
        return self.now

    async def look(self, template: str = "small") -> tuple[Deviation, ...]:
        """Compare it, as listed with a template of this name."""
        guards = GuardLook(GuardReader(), template, self._current)
        return await deviations_of(self._marked, self.environment.mark, HOST, guards=guards)

    async def alter(self, kind: str, name: str, **spec: Any) -> None:
        """Change fields of a guard by hand."""
        [found] = [one for one in await self.host.list_guards(self.name) if self._is(one, kind, name)]
        await self.host.apply(self.name, [{**found, "spec": {**found["spec"], **spec}}])

    def delete(self, kind: str, name: str) -> None:
        """Delete a guard by hand."""
        path = f"/-/namespaces/{self.name}/objects/{kind}/{name}"
        control(self._bench.systems.host, "DELETE", path)

    def set_pod_security(self, level: str) -> None:
        """Change the pod security of the namespace by hand."""
        labels = {"pod-security.kubernetes.io/enforce": level}
        control(self._bench.systems.host, "PUT", f"/-/namespaces/{self.name}/labels", labels)

    async def repair(self) -> None:
        """Do the step of the namespace in place, as a repair does."""
        input = EnsureInput(
            environment=self.now or self.environment,
            request_id="request-1",
            requested_at=LIFE_START,
            in_place=True,
        )
        await Running(self._bench.steps[StepName.NAMESPACE].ensure, input).result()

    async def guards(self) -> dict[str, Any]:
        """Return the specs of all guards by kind and name."""
        found = await self.host.list_guards(self.name)
        return {f"{one['kind']} {one['metadata']['name']}": one["spec"] for one in found}

    @staticmethod
    def _is(found: Any, kind: str, name: str) -> bool:
        return (found["kind"], found["metadata"]["name"]) == (kind, name)


@pytest.fixture
async def guarded(bench: Bench, marked: MarkedSystems, environment: Environment) -> Guarded:
    await make_with_life_mark(bench, environment)
    return Guarded(bench, marked, environment)


async def test_altered_guards_are_named_and_restored_by_the_same_step(guarded: Guarded) -> None:
    """Ensures that all kinds are compared, and that what others have put beside them stays as it is."""
    whole = await guarded.guards()
    assert await guarded.look() == ()
    assert guarded.asked == 0, "an environment that is as it was requested was asked"
    host = guarded.host
    everything = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}
    theirs = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "team"},
        "spec": everything,
    }
    await host.apply(guarded.name, [theirs])
    assert await guarded.look() == ()
    hard = whole["ResourceQuota moorage"]["hard"]
    await guarded.alter("ResourceQuota", "moorage", hard={**hard, "requests.cpu": "32"})
    [found] = await guarded.look()
    where = f"in namespace {guarded.name} on host {HOST}"
    sentence = f"quota requests.cpu is 32 and should be 5, {where}"
    assert found == Deviation(step=StepName.NAMESPACE, what=sentence, guards=True)
    guarded.delete("NetworkPolicy", "moorage-deny")
    guarded.delete("LimitRange", "moorage")
    guarded.set_pod_security("restricted")
    [found] = await guarded.look()
    assert found.what == (
        "pod security enforce is restricted and should be baseline; "
        f"quota requests.cpu is 32 and should be 5; limit range moorage is missing; and 1 more, {where}"
    )
    assert found.guards
    await guarded.repair()
    [left] = await guarded.look()
    sentence = f"pod security enforce is restricted and should be baseline, {where}"
    assert left == Deviation(step=StepName.NAMESPACE, what=sentence), "it is only reported"
    guarded.set_pod_security("baseline")
    assert await guarded.look() == ()
    assert await guarded.guards() == {**whole, "NetworkPolicy team": everything}


async def test_guards_are_those_of_the_template_that_it_has_now(guarded: Guarded) -> None:
    larger = guarded.environment.template.model_copy(
        update={"name": "medium", "size": guarded.environment.template.size.model_copy(update={"pods": 40})}
    )
    guarded.now = guarded.environment.model_copy(update={"template": larger})
    await guarded.repair()
    assert await guarded.look("medium") == ()
    guarded.now = guarded.environment
    [found] = await guarded.look("medium")
    assert "quota pods is 44 and should be 24" in found.what
    guarded.now = None
    assert await guarded.look("medium") == (), "guards were compared during a change"


async def test_a_newer_version_of_the_template_is_no_difference(guarded: Guarded) -> None:
    """Ensures that the environment is asked before its guards are called altered."""
    newer = guarded.environment.template.model_copy(
        update={"version": 2, "size": guarded.environment.template.size.model_copy(update={"cpu": "3"})}
    )
    guarded.now = guarded.environment.model_copy(update={"template": newer})
    await guarded.repair()
    assert await guarded.look() == ()
    assert guarded.asked == 1


async def test_a_repair_never_makes_a_namespace(bench: Bench, guarded: Guarded) -> None:
    await delete_namespace(bench, guarded.environment)
    failure = await Running(
        bench.steps[StepName.NAMESPACE].ensure,
        EnsureInput(environment=guarded.environment, request_id="r", requested_at=LIFE_START, in_place=True),
    ).failure()
    assert f"Namespace {guarded.name} is not to be found on host {HOST}" in failure.message
    assert await bench.clients.hosts[HOST].get_namespace(guarded.name) is None


async def test_guards_that_cannot_be_read_are_not_taken_for_missing(bench: Bench, guarded: Guarded) -> None:
    bench.systems.faults(Fault(operation="guard.list", kind=FaultKind.STATUS, status=503))
    with pytest.raises(ClientError):
        await guarded.look()
