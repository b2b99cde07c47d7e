"""Ensures that each activity runs in the task queue of its system, also after the settings have changed."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pytest

from contracts.environment.models import Environment, Outcome, Phase, StepName, StepState, System
from contracts.environment_workflow import ActorInput, CollaboratorAction, CollaboratorInput, EnvironmentStart
from contracts.temporal.task_queues import OwnQueues, is_system_queue, system_queue
from tests.support.workers import serving_system
from tests.workflows.conftest import HURRY, LIFE, Bench, Life, a_start, until
from workflows.environment.workflow import EnvironmentWorkflow

pytestmark = pytest.mark.slow

ALICE = ActorInput(actor="alice@example.com", life=LIFE)
#: The step's first activity waits this long for a worker in its own queue.
QUEUE_TIMEOUT = timedelta(milliseconds=300)


def _start(name: str, *own_queues: System, **timeouts: timedelta) -> EnvironmentStart:
    start = a_start(name, timeouts=HURRY.model_copy(update={"queue_timeout": QUEUE_TIMEOUT, **timeouts}))
    environment = start.environment.model_copy(update={"own_queues": own_queues})
    return start.model_copy(update={"environment": environment})


async def _until_phase(life: Life, phase: Phase) -> None:
    async def is_there() -> bool:
        return (await life.status()).phase is phase

    await until(is_there, f"it became {phase}")


async def _delete(life: Life) -> None:
    await life.handle.execute_update(EnvironmentWorkflow.delete, ALICE)
    await life.handle.result()


@asynccontextmanager
async def _beside(bench: Bench, environment: Environment, *systems: System) -> AsyncIterator[None]:
    """Workers in the queues of these systems."""
    activities = bench.script.activities()
    async with AsyncExitStack() as stack:
        for system in systems:
            serving = serving_system(bench.client, bench.task_queue, system, environment.host, activities)
            await stack.enter_async_context(serving)
        yield


ON_HOST = ("namespace", "vcluster", "kubeconfig")


async def test_steps_on_a_host_run_in_its_queue_and_no_others(bench: Bench) -> None:
    start = _start("beside", System.HOST_CLUSTER)
    bench.script.own_queues = (System.HOST_CLUSTER,)
    async with _beside(bench, start.environment, System.HOST_CLUSTER):
        life = await bench.begin(start)
        await _until_phase(life, Phase.READY)
        await _delete(life)
    base, undo, queues = bench.task_queue, f"{bench.task_queue}-undo", bench.script.queues
    for step in StepName:
        suffix = "-host-one" if step in ON_HOST else ""
        assert queues[f"{step}.ensure"] == [f"{base}{suffix}"]
        if step is not StepName.KUBECONFIG:
            assert queues[f"{step}.remove"] == [f"{undo}{suffix}"]
            assert set(queues[f"{step}.inspect"]) == {f"{undo}{suffix}"}
    assert (queues["import.key"], queues["import.bootstrap"]) == ([f"{base}-host-one"],) * 2
    assert queues["import.register"] == [base]


async def test_limited_systems_have_queues_too(bench: Bench) -> None:
    limited = (System.CONTROL_PLANE, System.IDENTITY_PROVIDER)
    start = _start("limited", *limited).model_copy(update={"people_are_checked": False})
    bench.script.own_queues = limited
    async with _beside(bench, start.environment, *limited):
        life = await bench.begin(start)
        await _until_phase(life, Phase.READY)
        bob = CollaboratorInput(
            actor=ALICE.actor, life=LIFE, action=CollaboratorAction.ADD, person="bob@example.com"
        )
        await life.handle.execute_update(EnvironmentWorkflow.change_collaborators, bob)

        async def has_access() -> bool:
            return not (await life.status()).access.is_pending

        await until(has_access, "bob has access")
        await _delete(life)
    base, undo, queues = bench.task_queue, f"{bench.task_queue}-undo", bench.script.queues
    assert queues["people.check"] == [f"{base}-identity-provider"]
    assert queues["identity.ensure"] == [f"{base}-identity-provider"]
    assert queues["access.group"] == [f"{undo}-identity-provider"]
    assert queues["access.virtual-cluster"] == [undo]
    assert queues["project.ensure"] == queues["import.ensure"] == [f"{base}-control-plane"]
    assert queues["project.remove"] == [f"{undo}-control-plane"]
    assert queues["namespace.ensure"] == [base]
    assert "import.key" not in queues


@pytest.mark.parametrize("since", ["the request", "the deletion"])
async def test_an_environment_follows_a_host_that_gets_its_own_worker(bench: Bench, since: str) -> None:
    start = _start("switched-on")
    async with _beside(bench, start.environment, System.HOST_CLUSTER):
        if since == "the request":
            bench.script.own_queues = (System.HOST_CLUSTER,)
        life = await bench.begin(start)
        await _until_phase(life, Phase.READY)
        bench.script.own_queues = (System.HOST_CLUSTER,)
        await _delete(life)
    queues = bench.script.queues
    assert set(queues["vcluster.remove"]) == {f"{bench.task_queue}-undo-host-one"}
    expected = f"{bench.task_queue}-host-one" if since == "the request" else bench.task_queue
    assert queues["vcluster.ensure"] == [expected]
    assert (await life.status()).environment.own_queues == (System.HOST_CLUSTER,)


async def test_an_environment_follows_a_host_that_has_no_worker_any_more(bench: Bench) -> None:
    life = await bench.begin(_start("switched-off", System.HOST_CLUSTER))
    await _until_phase(life, Phase.READY)
    await _delete(life)
    assert bench.script.queues["namespace.ensure"] == [bench.task_queue]
    assert set(bench.script.queues["namespace.remove"]) == {f"{bench.task_queue}-undo"}
    assert (await life.status()).environment.own_queues == ()
    assert bench.script.world == set()


async def test_a_step_waits_for_the_worker_of_its_host_and_says_so(bench: Bench) -> None:
    start = _start("waiting", System.HOST_CLUSTER)
    bench.script.own_queues = (System.HOST_CLUSTER,)
    life = await bench.begin(start)

    async def says_so() -> bool:
        step = next(one for one in (await life.status()).steps if one.step is StepName.NAMESPACE)
        assert step.state in (StepState.WAITING, StepState.RUNNING)
        return f"task queue {bench.task_queue}-host-one" in step.note

    await until(says_so, "the step says that no worker takes it up")
    async with _beside(bench, start.environment, System.HOST_CLUSTER):
        await _until_phase(life, Phase.READY)
    await life.handle.execute_update(EnvironmentWorkflow.delete, ALICE)

    async def is_left() -> bool:
        # Its undo is tried again and again, and what is elsewhere is undone meanwhile.
        return any("no worker took it up" in one.cause for one in (await life.status()).unfinished)

    await until(is_left, "the teardown says that no worker takes it up")
    async with _beside(bench, start.environment, System.HOST_CLUSTER):
        status = await life.handle.result()
    assert status.outcome is Outcome.DELETED
    assert bench.script.world == set()


async def test_a_step_without_a_worker_fails_in_its_time_with_what_is_missing(bench: Bench) -> None:
    start = _start("unserved", System.HOST_CLUSTER, step_timeout=timedelta(seconds=2))
    bench.script.own_queues = (System.HOST_CLUSTER,)
    life = await bench.begin(start)
    await _until_phase(life, Phase.TEARING_DOWN)
    problem = (await life.status()).problem
    assert problem
    assert problem.step == StepName.NAMESPACE
    assert problem.cause == "no worker took it up."
    assert "has no worker" in problem.remedy
    async with _beside(bench, start.environment, System.HOST_CLUSTER):
        await until(lambda: _is_closed(life), "it is undone")


async def test_a_step_that_waits_for_a_worker_is_cancelled_at_once(bench: Bench) -> None:
    start = _start("given-up", System.HOST_CLUSTER, queue_timeout=timedelta(hours=1))
    bench.script.own_queues = (System.HOST_CLUSTER,)
    life = await bench.begin(start)
    await bench.script.started["identity.ensure"].wait()
    await life.handle.execute_update(EnvironmentWorkflow.cancel, ALICE)
    await _until_phase(life, Phase.TEARING_DOWN)
    async with _beside(bench, start.environment, System.HOST_CLUSTER):
        assert (await life.handle.result()).outcome is Outcome.CANCELLED
    assert "namespace.ensure" not in bench.script.calls


async def _is_closed(life: Life) -> bool:
    return (await life.handle.describe()).close_time is not None


def test_no_two_queues_have_one_name() -> None:
    bases = ("moorage", "moorage-undo")
    hosts = ("undo", "eu", "eu-undo", "host-eu", "control-plane")
    names = [system_queue(base, System.HOST_CLUSTER, host) for base in bases for host in hosts]
    names += [system_queue(base, system, "eu") for base in bases for system in list(System)[:2]]
    assert len({*names, *bases}) == len(names) + len(bases)


def test_own_queues_are_those_of_the_environments_host() -> None:
    own = OwnQueues(hosts=frozenset({"eu"}), systems=frozenset({System.CONTROL_PLANE}))
    assert own.of("eu") == (System.CONTROL_PLANE, System.HOST_CLUSTER)
    assert own.of("us") == (System.CONTROL_PLANE,)
    assert is_system_queue("moorage-undo-host-eu", System.HOST_CLUSTER, "eu")
    assert not is_system_queue("moorage-undo", System.HOST_CLUSTER, "eu")
    assert not is_system_queue("moorage-host-eu", System.HOST_CLUSTER, "u")
