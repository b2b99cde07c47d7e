"""Ensures that each difference of a ready environment is found at its step, and no other one is."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from activities.reconcile.drift import GuardLook, MemberLook, deviations_of
from activities.reconcile.inventory import MarkedSystems
from activities.reconcile.members import ExpectedPeople, MemberReader, describe_members
from activities.reconcile.namespace_guards import GuardReader
from clients.errors import ClientError
from contracts.activities.steps import EnsureInput, MemberRepair
from contracts.environment.models import Environment, StepName
from contracts.phases import DriftKind
from contracts.reconcile.drift import Deviation
from embedded.faults import Fault, FaultKind
from tests.activities.activity_runs import LIFE_START, Running
from tests.activities.conftest import HOST, INSTALLATION, Bench, an_environment, fresh
from tests.activities.test_reconcile import make_with_life_mark
from tests.support.stand_ins import control
from tests.workflows.conftest import until

pytestmark = pytest.mark.slow

ALICE, BOB = "alice@example.com", "bob@example.com"
CAROL, DAVE = "carol@example.com", "dave@example.com"


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


class Membered:
    """The members of the groups of one environment, as a sweep compares them and people change them."""

    def __init__(self, bench: Bench, marked: MarkedSystems, environment: Environment) -> None:
        self._bench = bench
        self._marked = marked
        self.environment = environment
        people, has_provider = environment.people, environment.has_identity_provider
        self.now: ExpectedPeople | None = ExpectedPeople(people, has_provider)
        #: What the environment answers one after another, if it changes meanwhile.
        self.answers: list[ExpectedPeople | None] = []
        self.asked = 0

    async def _current(self) -> ExpectedPeople | None:
        self.asked += 1
        return self.answers.pop(0) if self.answers else self.now

    async def look(self) -> tuple[Deviation, ...]:
        """Compare them as a sweep does, with what was listed."""
        inventory = await self._marked.list_all()
        reader = MemberReader(self._marked.rafay, self._marked.directory)
        return await deviations_of(
            self._marked,
            self.environment.mark,
            HOST,
            in_directory=inventory.in_directory,
            members=MemberLook(reader, self._current),
        )

    async def change_directory(self, *, add: str = "", remove: str = "") -> str:
        """Add a person to the group in the identity provider by hand, or remove one; return their id."""
        directory = self._bench.clients.directory
        assert directory
        [group] = await directory.groups_by_name(self.environment.derived_name)
        user = await directory.find_user(add or remove)
        assert user
        if add:
            await directory.add_members(group.id, [user.id])
        else:
            await directory.remove_member(group.id, user.id)
        return user.id

    async def change_control_plane(self, *, add: str = "", remove: str = "") -> str:
        """The same for the group in the control plane."""
        rafay = self._bench.clients.rafay
        group, user = (
            await rafay.find_group(self.environment.derived_name),
            await rafay.find_user(add or remove),
        )
        assert group
        assert user
        if add:
            await rafay.add_member(group.id, user.id)
        else:
            await rafay.remove_member(group.id, user.id)
        return user.id

    async def repair(self, step: StepName, *, people: tuple[str, ...] = (), **repair: Any) -> None:
        """Do what a repair of members does, with these collaborators meanwhile."""
        environment = self.environment
        if people:
            environment = environment.model_copy(update={"changed_collaborators": people})
        input = EnsureInput(environment=environment, members=MemberRepair(**repair))
        receipt = await Running(self._bench.steps[step].ensure, input).result()
        assert receipt.name == environment.derived_name


async def membered_of(bench: Bench, marked: MarkedSystems, *, identity: bool) -> Membered:
    environment = an_environment(fresh(), identity=identity)
    await make_with_life_mark(bench, environment)
    return Membered(bench, marked, environment)


@pytest.mark.parametrize("identity", [True, False], ids=["identity provider", "local users"])
async def test_a_missing_member_is_found_and_added(
    bench: Bench, marked: MarkedSystems, identity: bool
) -> None:
    members = await membered_of(bench, marked, identity=identity)
    assert await members.look() == ()
    assert members.asked == 0, "an environment that is as it was requested was asked"
    change = members.change_directory if identity else members.change_control_plane
    await change(remove=BOB)
    step = StepName.IDENTITY if identity else StepName.ROLE_BINDING
    system = "identity provider" if identity else "control plane"
    what = f"{BOB} is missing in group {members.environment.derived_name} in the {system}"
    assert await members.look() == (Deviation(step=step, what=what, members=DriftKind.MEMBERS),)
    await members.repair(step, extra=())
    assert await members.look() != (), "a repair of extra members has added one"
    for _ in range(2):
        await members.repair(step, adds=True)
    assert await members.look() == ()


@pytest.mark.parametrize("identity", [True, False], ids=["identity provider", "local users"])
async def test_an_extra_member_is_found_and_only_who_was_named_is_taken_out(
    bench: Bench, marked: MarkedSystems, identity: bool
) -> None:
    members = await membered_of(bench, marked, identity=identity)
    change = members.change_directory if identity else members.change_control_plane
    carol = await change(add=CAROL)
    [found] = await members.look()
    step = StepName.IDENTITY if identity else StepName.ROLE_BINDING
    who = f"user {carol}" if identity else CAROL
    assert (found.step, found.kind, found.extra) == (step, DriftKind.EXTRA_MEMBERS, (carol,))
    assert found.what.startswith(f"{who} is in group {members.environment.derived_name} in the ")
    assert found.what.endswith(", and is none of its people")
    await members.repair(step, adds=True)
    assert await members.look() == (found,), "who was added by hand went silently"
    dave = await change(add=DAVE)
    await members.repair(step, extra=(carol,))
    [left] = await members.look()
    assert left.extra == (dave,)
    await members.repair(step, people=(BOB, DAVE), extra=(dave,))
    assert await members.look() == (left,), "who has become one of its people was taken out"
    await members.repair(step, extra=(dave,))
    assert await members.look() == ()


async def test_a_local_member_beside_an_identity_provider_is_extra(
    bench: Bench, marked: MarkedSystems
) -> None:
    """Ensures that a way in which passes by the identity provider is found, also for one of its people."""
    members = await membered_of(bench, marked, identity=True)
    bob = await members.change_control_plane(add=BOB)
    [found] = await members.look()
    assert (found.step, found.extra) == (StepName.ROLE_BINDING, (bob,))
    await members.repair(StepName.ROLE_BINDING, adds=True, extra=(bob,))
    assert await members.look() == ()


async def test_members_are_those_that_it_has_now(bench: Bench, marked: MarkedSystems) -> None:
    members = await membered_of(bench, marked, identity=True)
    await members.change_directory(add=CAROL)
    await members.change_directory(remove=BOB)
    members.now = ExpectedPeople((ALICE, CAROL), True)
    assert await members.look() == ()
    assert members.asked == 1
    members.now = ExpectedPeople((ALICE, BOB, CAROL), True, left=(BOB,))
    assert await members.look() == (), "who has left is neither missing nor extra"
    members.now = None
    assert await members.look() == (), "members were compared while access is changed"
    members.answers = [ExpectedPeople((ALICE, BOB), True), ExpectedPeople((ALICE, CAROL), True)]
    assert await members.look() == (), "a change between two looks was taken for a difference"
    members.answers = [ExpectedPeople((ALICE, BOB), True)] * 2
    assert [one.kind for one in await members.look()] == [DriftKind.MEMBERS, DriftKind.EXTRA_MEMBERS]


async def test_a_person_whom_the_directory_does_not_know_is_not_missing(
    bench: Bench, marked: MarkedSystems
) -> None:
    members = await membered_of(bench, marked, identity=True)
    members.environment = members.environment.model_copy(
        update={"changed_collaborators": (BOB, "unknown@example.com")}
    )
    members.now = ExpectedPeople(members.environment.people, True)
    await members.change_directory(remove=BOB)
    [found] = await members.look()
    assert found.what.startswith(f"{BOB} is missing in")
    await members.repair(StepName.IDENTITY, people=(BOB, "unknown@example.com"), adds=True)
    assert await members.look() == ()


async def test_a_missing_group_has_no_missing_members(bench: Bench, marked: MarkedSystems) -> None:
    members = await membered_of(bench, marked, identity=True)
    await delete_directory_group(bench, members.environment)
    [found] = await members.look()
    assert found.kind is DriftKind.IDENTITY
    input = EnsureInput(environment=members.environment, members=MemberRepair(adds=True))
    failure = await Running(bench.steps[StepName.IDENTITY].ensure, input).failure()
    assert f"Group {members.environment.derived_name} is not to be found" in failure.message
    assert [one.kind for one in await members.look()] == [DriftKind.IDENTITY], "a repair has made a group"


@pytest.mark.parametrize("operation", ["group.get", "user.find"])
async def test_members_that_cannot_be_read_are_not_taken_for_missing(
    bench: Bench, marked: MarkedSystems, operation: str
) -> None:
    members = await membered_of(bench, marked, identity=True)
    inventory = await marked.list_all()
    bench.systems.faults(Fault(operation=operation, kind=FaultKind.STATUS, status=503))
    reader = MemberReader(marked.rafay, marked.directory)
    with pytest.raises(ClientError):
        await deviations_of(
            marked,
            members.environment.mark,
            HOST,
            in_directory=inventory.in_directory,
            members=MemberLook(reader, members._current),
        )


@pytest.mark.parametrize(
    ("names", "extra", "sentence"),
    [
        (["a"], False, "a is missing in group x"),
        (["a", "b"], False, "a, b are missing in group x"),
        (["a", "b", "c", "d", "e"], True, "a, b, c and 2 more are in group x, and are none of its people"),
    ],
)
def test_members_are_named(names: list[str], extra: bool, sentence: str) -> None:
    assert describe_members(names, "group x", extra=extra) == sentence


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
