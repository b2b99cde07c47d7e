"""Ensures that programs get a notice of each environment that is ready or could not be created, once."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.testing import WorkflowEnvironment

from contracts.environment.models import EnvironmentStatus, Phase
from contracts.environment_workflow import ActorInput, EnvironmentStart
from contracts.notifications import NotificationKind
from contracts.recovery_starts import forced_start
from tests.support.workers import working
from tests.workflows.conftest import HURRY, LIFE, Bench, Life, a_start, until
from tests.workflows.scripted_activities import Script, fails_for_good, waits, waits_for
from tests.workflows.sweeping import SWEPT, lives_by
from workflows.environment.workflow import EnvironmentWorkflow

pytestmark = pytest.mark.slow

ALICE, GRACE = "alice@example.com", "grace@example.com"
BY_ALICE = ActorInput(actor=ALICE, life=LIFE)


def with_grace(name: str) -> EnvironmentStart:
    start = a_start(name)
    spec = start.environment.spec.model_copy(update={"collaborators": (GRACE,)})
    return start.model_copy(update={"environment": start.environment.model_copy(update={"spec": spec})})


def kinds(bench: Bench) -> list[NotificationKind]:
    return [notice.kind for notice in bench.script.notices]


async def reaches(life: Life, phase: Phase) -> None:
    async def there() -> bool:
        return (await life.status()).phase is phase

    await until(there, f"it became {phase}")


async def sent(bench: Bench, count: int) -> None:
    async def there() -> bool:
        return len(bench.script.notices) >= count

    await until(there, f"{count} notices were sent")


async def delete(life: Life) -> EnvironmentStatus:
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return await life.handle.result()


async def failure(life: Life) -> None:
    with pytest.raises(WorkflowFailureError):
        await life.handle.result()


async def renew(life: Life) -> None:
    """Have it go on in a new run."""
    before = (await life.handle.describe()).run_id
    await life.handle.signal(EnvironmentWorkflow.renew)

    async def goes_on() -> bool:
        return (await life.handle.describe()).run_id != before

    await until(goes_on, "it went on in a new run")


async def test_one_that_is_ready_sends_one_notice_for_all_its_people(bench: Bench) -> None:
    life = await bench.begin(with_grace("ready-once"))
    await reaches(life, Phase.READY)
    await sent(bench, 1)
    await renew(life)
    status = await delete(life)
    [notice] = bench.script.notices
    assert (notice.kind, notice.people) == (NotificationKind.READY, (ALICE, GRACE))
    assert (notice.name, notice.life, notice.problem) == ("ready-once", LIFE, None)
    assert notice.at == status.ready_at
    said = [entry.action for entry in status.audit_log]
    assert not [action for action in said if "notified" in action], "the trail is of what people got"


async def test_one_that_could_not_be_created_sends_one_notice_with_the_reason(bench: Bench) -> None:
    bench.script.after["import.ensure"] = fails_for_good()
    bench.script.before["identity.remove"] = fails_for_good()
    timeouts = HURRY.model_copy(update={"give_up_after": HURRY.first_pause * 3})
    start = with_grace("failed-once").model_copy(update={"timeouts": timeouts})
    life = await bench.begin(start)
    await reaches(life, Phase.TEARDOWN_INCOMPLETE)
    await renew(life)
    del bench.script.before["identity.remove"]
    await life.handle.execute_update(EnvironmentWorkflow.resume_teardown, BY_ALICE)
    await failure(life)
    [notice] = bench.script.notices
    assert (notice.kind, notice.people) == (NotificationKind.FAILED, (ALICE, GRACE))
    [account] = bench.script.accounts
    assert notice.problem
    assert notice.problem == account.problem
    assert (notice.problem.step, notice.problem.system) == ("import", "Rafay")


@pytest.mark.parametrize("how", ["cancel", "delete", "expire", "temporal"])
async def test_one_that_is_ended_before_it_is_ready_sends_neither(bench: Bench, how: str) -> None:
    bench.script.before["vcluster.ensure"] = waits
    life = await bench.begin(lives_by(f"neither-{how}", timedelta(milliseconds=1)))
    await bench.script.started["vcluster.ensure"].wait()
    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "cancel": lambda: life.handle.execute_update(EnvironmentWorkflow.cancel, BY_ALICE),
        "delete": lambda: life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE),
        "expire": lambda: life.handle.execute_update(EnvironmentWorkflow.expire, SWEPT),
        "temporal": life.handle.cancel,
    }
    await ways[how]()
    await life.handle.result()
    assert kinds(bench) == ([NotificationKind.ENDED] if how == "expire" else [])


@pytest.mark.parametrize("how", ["delete", "temporal"])
async def test_one_that_has_failed_is_not_changed_by_an_end_that_comes_later(bench: Bench, how: str) -> None:
    bench.script.after["import.ensure"] = fails_for_good()
    bench.script.before["project.remove"] = waits_for(asked := asyncio.Event())
    life = await bench.begin()
    await bench.script.started["project.remove"].wait()
    if how == "delete":
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    else:
        await life.handle.cancel()
    asked.set()
    await failure(life)
    assert kinds(bench) == [NotificationKind.FAILED]


async def test_a_forced_teardown_of_one_that_has_failed_sends_no_second_notice(bench: Bench) -> None:
    bench.script.after["import.ensure"] = fails_for_good()
    bench.script.before["project.remove"] = fails_for_good()
    life = await bench.begin()
    await bench.script.started["project.remove"].wait()
    await sent(bench, 1)
    status = await life.status()
    await life.handle.terminate()
    del bench.script.before["project.remove"]
    start = forced_start(life.start, status, ALICE, timeouts=HURRY, requested_at=status.requested_at)
    handle = await bench.client.start_workflow(
        EnvironmentWorkflow.run, start, id=life.handle.id, task_queue=bench.task_queue
    )
    await handle.result()
    assert kinds(bench) == [NotificationKind.FAILED]


@pytest.mark.parametrize("is_made", [True, False])
async def test_a_webhook_that_never_answers_delays_neither_making_nor_undoing(
    bench: Bench, is_made: bool
) -> None:
    bench.script.before["notification.send"] = waits_for(answers := asyncio.Event())
    if not is_made:
        bench.script.after["import.ensure"] = fails_for_good()
    life = await bench.begin()
    if is_made:
        await reaches(life, Phase.READY)
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)

    async def undone() -> bool:
        return (await life.status()).certificate is not None

    await until(undone, "it was undone")
    assert not answers.is_set()
    assert not bench.script.world
    answers.set()
    await (life.handle.result() if is_made else failure(life))
    assert len(bench.script.notices) == 1


async def test_a_webhook_that_refuses_is_in_the_trail_and_changes_nothing_else(bench: Bench) -> None:
    bench.script.before["notification.send"] = fails_for_good()
    life = await bench.begin()
    await reaches(life, Phase.READY)

    async def said() -> bool:
        return "could not tell the webhook" in [line.action for line in (await life.status()).audit_log]

    await until(said, "the trail said that the webhook refused")
    status = await delete(life)
    assert status.certificate
    assert kinds(bench) == [NotificationKind.READY]


async def test_a_lost_worker_repeats_the_same_notice(server: WorkflowEnvironment) -> None:
    """Ensures that a receiver can drop the repeat: it has the same id and the same content."""
    bench = Bench(server.client, "notice-lost", Script())
    bench.script.before["notification.send"] = waits
    async with working(server.client, bench.task_queue, bench.script.activities(), max_cached_workflows=0):
        life = await bench.begin(a_start("notice-lost"))
        await bench.script.started["notification.send"].wait()
    del bench.script.before["notification.send"]
    async with working(server.client, bench.task_queue, bench.script.activities(), max_cached_workflows=0):
        await sent(bench, 2)
        await delete(life)
    first, second = bench.script.notices
    assert first == second
    assert first.kind is NotificationKind.READY
