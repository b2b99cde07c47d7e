"""Records one history for every path a life can take: `python -m tests.replay.record` adds what is missing.

When the replay test fails on histories that are there already, the workflow has
changed in a way that running environments cannot follow: guard the change with `workflow.patched`, do not
record over it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from temporalio import activity
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowHistory,
    WorkflowUpdateFailedError,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from contracts.bookings import BookingMark
from contracts.capacity import reconciliation
from contracts.capacity.models import CAPACITY_ID, Amount, PlacementDecision, ReservationRequest
from contracts.capacity.workflow_input import CapacityStart
from contracts.environment.models import Phase, StepName, System
from contracts.environment_workflow import (
    ActorInput,
    Answer,
    AnswerKind,
    ChangeTemplateInput,
    CollaboratorAction,
    CollaboratorInput,
    EnvironmentStart,
    ExtendInput,
    LifeInput,
    RestoreInput,
    SleepChangeInput,
    TransferInput,
)
from contracts.errors import ErrorType, Refusal, RefusalReason, StepErrorDetails
from contracts.host_requests import HOST_REQUEST_ID, HostRequest, HostRequestKind
from contracts.phases import DriftKind
from contracts.reconcile.drift import UPDATE_DRIFT, Deviation, DriftInput
from contracts.reconcile.models import (
    Orphan,
    ReconcileInput,
    SettledLine,
    SettleInput,
    SettleResult,
    Survey,
    SurveyInput,
    Verdict,
)
from contracts.recovery_starts import forced_start
from contracts.rollout import RolloutOutcome, UpgradeInput, UpgradeResult
from contracts.standby import STANDBY_OFFER, STANDBY_WITHDRAW, STANDBY_WORKFLOW, WithdrawInput
from contracts.sweeps.leavers import (
    ApplyInput,
    ApplyResult,
    LeaverAction,
    LeaverInput,
    LeaverSweepInput,
    LookInput,
    LookResult,
)
from contracts.templates.sleep import SleepPolicy
from contracts.types.naming import OwnerMark, workflow_id
from tests.contracts.test_rollout import a_rollout
from tests.support.seeding import ready_status, seed
from tests.support.temporal_server import running_temporal_server
from tests.support.workers import serving_system, working
from tests.workflows.booking import PIA, BookingBench
from tests.workflows.conftest import HURRY, LIFE, Bench, Life, a_bench, a_start, until
from tests.workflows.house import SHORT_RUNS, CapacityBench, a_house, most, team
from tests.workflows.scripted_activities import (
    Outcome,
    Script,
    deaf,
    fails,
    fails_first,
    fails_for_good,
    waits,
)
from tests.workflows.sweeping import SWEPT, is_listed, lives_by, seeded, sweeper
from tests.workflows.test_pools import LostStarts, a_pool, until_ready, want
from worker.runner import workflow_runner
from workflows.capacity import warm_pools as pools_module
from workflows.capacity.workflow import CapacityWorkflow
from workflows.environment.workflow import EnvironmentWorkflow
from workflows.host_request import HostRequestWorkflow
from workflows.registry import HOST_WORKFLOWS
from workflows.rollout import RolloutWorkflow
from workflows.standby import StandbyWorkflow
from workflows.sweeps.leavers import LeaverSweepWorkflow
from workflows.sweeps.reconcile import ReconcileWorkflow

HISTORIES = Path(__file__).parent / "histories"
BY_ALICE = ActorInput(actor="alice@example.com", life=LIFE)

#: The activity that takes a snapshot.
TAKE = "snapshot.take"
#: Those that put one back, and take the access of removed people away.
RESTORE, SETTLE = "snapshot.restore", "snapshot.settle"
ASKED_BY_ALICE = SleepChangeInput(actor="alice@example.com", life=LIFE)

KURS = BookingMark(event="kurs", life="f" * 20, ends_at=datetime(2030, 1, 31, 17, tzinfo=UTC))

LifePath = Callable[[Bench, str], Awaitable[Life | WorkflowHandle[Any, Any]]]


async def _ready(life: Life) -> None:
    async def there() -> bool:
        return (await life.status()).phase is Phase.READY

    await until(there, "it became ready")


async def _deleted(bench: Bench, name: str) -> Life:
    life = await bench.begin(a_start(name))
    await _ready(life)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return life


async def _without_identity_provider(bench: Bench, name: str) -> Life:
    life = await bench.begin(a_start(name, identity=False))
    await _ready(life)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return life


async def _cancelled_in_temporal_when_ready(bench: Bench, name: str) -> Life:
    life = await bench.begin(a_start(name))
    await _ready(life)
    await life.handle.cancel()
    return life


def _failed(step: StepName) -> LifePath:
    async def path(bench: Bench, name: str) -> Life:
        bench.script.after[f"{step}.ensure"] = fails_for_good()
        return await bench.begin(a_start(name))

    return path


def _cancelled(step: StepName) -> LifePath:
    async def path(bench: Bench, name: str) -> Life:
        bench.script.before[f"{step}.ensure"] = waits
        life = await bench.begin(a_start(name))
        await bench.script.started[f"{step}.ensure"].wait()
        await life.handle.execute_update(EnvironmentWorkflow.cancel, BY_ALICE)
        return life

    return path


def _on_own_queues(known: bool, *, served: bool = True) -> LifePath:
    """All systems have task queues, as the environment knows from its start or learns from an error.

    If these are not served, the settings do not have them any more.
    """

    async def path(bench: Bench, name: str) -> Life:
        start = a_start(name, timeouts=HURRY.model_copy(update={"queue_timeout": timedelta(seconds=0.2)}))
        own = tuple(System) if known else ()
        environment = start.environment.model_copy(update={"own_queues": own})
        bench.script.own_queues = tuple(System) if served else ()
        async with AsyncExitStack() as workers:
            for system in System:
                serving = serving_system(
                    bench.client, bench.task_queue, system, environment.host, bench.script.activities()
                )
                if served:
                    await workers.enter_async_context(serving)
            life = await bench.begin(
                start.model_copy(update={"environment": environment, "people_are_checked": False})
            )
            await _ready(life)
            await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
            await life.handle.result()
        return life

    return path


async def _host_request(bench: Bench, name: str) -> WorkflowHandle[Any, Any]:
    """The API has asked the worker beside a host."""
    queue = f"{bench.task_queue}-host"
    request = HostRequest(
        kind=HostRequestKind.CERTIFICATE,
        host="one",
        mark=a_start(name).environment.mark,
        derived_name=f"t-{name}",
        person="alice@example.com",
    )
    async with Worker(
        bench.client,
        task_queue=queue,
        workflows=HOST_WORKFLOWS,
        workflow_runner=workflow_runner(),
        activities=bench.script.activities(),
    ):
        handle = await bench.client.start_workflow(
            HostRequestWorkflow.run, request, id=f"{HOST_REQUEST_ID}/{name}", task_queue=queue
        )
        await handle.result()
    return handle


async def _torn_down_in_passes(bench: Bench, name: str) -> Life:
    bench.script.before["import.remove"] = fails_first(bench.script, "import.remove")
    life = await bench.begin(a_start(name))
    await _ready(life)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return life


async def _resumed(bench: Bench, name: str, *, cancelled: bool = False) -> Life:
    bench.script.before["identity.remove"] = fails_for_good()
    timeouts = HURRY.model_copy(update={"give_up_after": HURRY.first_pause * 5})
    life = await bench.begin(a_start(name, timeouts=timeouts))
    await _ready(life)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)

    async def stuck() -> bool:
        return (await life.status()).phase is Phase.TEARDOWN_INCOMPLETE

    await until(stuck, "it gave up the teardown")
    if cancelled:
        await life.handle.cancel()
    del bench.script.before["identity.remove"]
    await life.handle.execute_update(EnvironmentWorkflow.resume_teardown, BY_ALICE)
    return life


async def _next_pass_at_once(bench: Bench, name: str) -> Life:
    """The pause before the second pass of its teardown is an hour, and a person ends it."""
    bench.script.before["identity.remove"] = fails_for_good()
    hour = timedelta(hours=1)
    timeouts = HURRY.model_copy(
        update={"first_pause": hour, "longest_pause": hour, "give_up_after": 2 * hour}
    )
    life = await bench.begin(a_start(name, timeouts=timeouts))
    await _ready(life)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)

    async def pauses() -> bool:
        return (await life.status()).next_pass_at is not None

    await until(pauses, "it pauses before the next pass")
    del bench.script.before["identity.remove"]
    await life.handle.execute_update(EnvironmentWorkflow.resume_teardown, BY_ALICE)
    return life


async def _forced(bench: Bench, name: str) -> Life:
    """What is left of a life whose workflow was terminated is torn down in a run that starts with it."""
    life = await bench.begin(a_start(name))
    await _ready(life)
    status = await life.status()
    await life.handle.terminate()
    start = forced_start(
        life.start, status, "alice@example.com", timeouts=HURRY, requested_at=status.requested_at
    )
    handle = await bench.client.start_workflow(
        EnvironmentWorkflow.run, start, id=life.handle.id, task_queue=bench.task_queue
    )
    return Life(start, bench.script, handle, life.answer)


async def _cancelled_while_incomplete(bench: Bench, name: str) -> Life:
    return await _resumed(bench, name, cancelled=True)


async def _change(life: Life, action: CollaboratorAction) -> None:
    ask = CollaboratorInput(actor=BY_ALICE.actor, life=LIFE, action=action, person="grace@example.com")
    await life.handle.execute_update(EnvironmentWorkflow.change_collaborators, ask)


async def _access_settled(life: Life) -> None:
    async def settled() -> bool:
        return not (await life.status()).access.is_pending

    await until(settled, "all systems have the change")


def _collaborators(cause: Outcome | None = None, *, ends: bool = False) -> LifePath:
    """One person comes and goes, with calls as `cause`; or it ends while a call is under way."""

    async def path(bench: Bench, name: str) -> Life:
        life = await bench.begin(a_start(name))
        await _ready(life)
        if cause:
            bench.script.before["access.group"] = cause
        await _change(life, CollaboratorAction.ADD)
        if ends:
            await bench.script.started["access.group"].wait()
        else:
            await _access_settled(life)
            await _change(life, CollaboratorAction.REMOVE)
            await _access_settled(life)
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
        return life

    return path


async def _overtaken(bench: Bench, name: str) -> Life:
    """A removal comes while the addition hangs, and is done again when no late response can come."""
    life = await bench.begin(a_start(name))
    await _ready(life)
    bench.script.before["access.group"] = waits
    await _change(life, CollaboratorAction.ADD)
    await bench.script.started["access.group"].wait()
    del bench.script.before["access.group"]
    await _change(life, CollaboratorAction.REMOVE)
    await _access_settled(life)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return life


async def _transferred(bench: Bench, name: str) -> Life:
    life = await bench.begin(a_start(name))
    await _ready(life)
    ask = TransferInput(actor=BY_ALICE.actor, life=LIFE, person="grace@example.com")
    await life.handle.execute_update(EnvironmentWorkflow.transfer, ask)
    await _access_settled(life)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return life


async def _left(bench: Bench, name: str) -> Life:
    """Its owner leaves, comes back and leaves again; then a team mate takes it."""
    life = await bench.begin(a_start(name))
    await _ready(life)
    for action in (LeaverAction.LEFT, LeaverAction.RETURNED, LeaverAction.LEFT):
        leaver = LeaverInput(life=LIFE, actor="the leaver sweep", person=BY_ALICE.actor, action=action)
        await life.handle.execute_update(EnvironmentWorkflow.person_left, leaver)
        await _access_settled(life)
    ask = TransferInput(actor=BY_ALICE.actor, life=LIFE, person="grace@example.com")
    await life.handle.execute_update(EnvironmentWorkflow.transfer, ask)
    await _access_settled(life)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return life


def _slept(cause: str = "") -> LifePath:
    """It falls asleep and wakes; with `cause`, the first call of that activity fails for good."""

    async def path(bench: Bench, name: str) -> Life:
        life = await bench.begin(a_start(name))
        await _ready(life)
        if cause:
            bench.script.before[cause] = fails_first(bench.script, cause)
        await life.handle.execute_update(EnvironmentWorkflow.sleep, ASKED_BY_ALICE)
        await _in_phase(life, Phase.ASLEEP)
        await _change(life, CollaboratorAction.ADD)
        await life.handle.execute_update(EnvironmentWorkflow.wake, BY_ALICE)
        if cause == "sleep.resume":
            await _in_phase(life, Phase.ASLEEP)
            await life.handle.execute_update(EnvironmentWorkflow.wake, BY_ALICE)
        await _ready(life)
        await _access_settled(life)
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
        return life

    return path


async def _ended_asleep(bench: Bench, name: str) -> Life:
    """It is woken while its pause hangs, put to sleep again, and deleted while it is being woken."""
    life = await bench.begin(a_start(name))
    await _ready(life)
    bench.script.before["sleep.pause"] = waits
    await life.handle.execute_update(EnvironmentWorkflow.sleep, ASKED_BY_ALICE)
    await bench.script.started["sleep.pause"].wait()
    await life.handle.execute_update(EnvironmentWorkflow.wake, BY_ALICE)
    await _ready(life)
    del bench.script.before["sleep.pause"]
    await life.handle.execute_update(EnvironmentWorkflow.sleep, ASKED_BY_ALICE)
    await _in_phase(life, Phase.ASLEEP)
    bench.script.before["sleep.resume"] = waits
    bench.script.started["sleep.resume"].clear()
    await life.handle.execute_update(EnvironmentWorkflow.wake, BY_ALICE)
    await bench.script.started["sleep.resume"].wait()
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return life


async def _slept_by_policy(bench: Bench, name: str) -> Life:
    """It falls asleep by its idle time, is woken and used, and gets another policy."""
    start = a_start(name)
    template = start.environment.template.model_copy(
        update={"sleep": SleepPolicy(after=timedelta(seconds=1))}
    )
    environment = start.environment.model_copy(update={"template": template})
    life = await bench.begin(start.model_copy(update={"environment": environment}))
    await _in_phase(life, Phase.ASLEEP)
    await life.handle.execute_update(EnvironmentWorkflow.wake, BY_ALICE)
    await _ready(life)
    await life.handle.signal(EnvironmentWorkflow.used, LifeInput(life=LIFE))
    policy = SleepPolicy(schedule="Mon-Sun 00:00-24:00")
    ask = ASKED_BY_ALICE.model_copy(update={"changes_policy": True, "policy": policy})
    await life.handle.execute_update(EnvironmentWorkflow.sleep, ask)
    await _in_phase(life, Phase.ASLEEP)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return life


async def _in_phase(life: Life, phase: Phase) -> None:
    async def there() -> bool:
        return (await life.status()).phase is phase

    await until(there, f"it is {phase}")


def _leavers(*, missing: int, back: bool = False, batches: int = 1) -> LifePath:
    """A sweep of leavers, whose directory misses so many of ten people, at the second look too or not.

    Of more than one batch, each has the ten people.
    """

    async def path(bench: Bench, name: str) -> WorkflowHandle[Any, Any]:
        people = tuple(f"p{number}@example.com" for number in range(10))
        looks: list[LookResult] = []
        for batch in range(batches):
            last = people[-1] if batch + 1 < batches else ""
            first = LookResult(asked=10, missing=people[:missing], last=last)
            looks += [first, LookResult() if back else first]

        @activity.defn(name="leavers.look")
        async def look(input: LookInput) -> LookResult:
            return looks.pop(0)

        @activity.defn(name="leavers.apply")
        async def apply(input: ApplyInput) -> ApplyResult:
            return ApplyResult()

        queue = f"{bench.task_queue}-leavers"
        async with working(bench.client, queue, [look, apply]):
            handle = await bench.client.start_workflow(
                LeaverSweepWorkflow.run,
                LeaverSweepInput(second_look_after=timedelta(milliseconds=10)),
                id=name,
                task_queue=queue,
            )
            await handle.result()
        return handle

    return path


def _repaired(*, ends: bool = False) -> LifePath:
    """Its group is missing and is made again; or it ends while that is under way."""

    async def path(bench: Bench, name: str) -> Life:
        life = await bench.begin(a_start(name))
        await _ready(life)
        if ends:
            bench.script.before["group.ensure"] = waits
        bench.script.started["group.ensure"].clear()
        missing = Deviation(step=StepName.GROUP, what="group x is missing")
        ask = DriftInput(life=LIFE, actor="the sweep", found=(missing,), repair=(StepName.GROUP,))
        await life.handle.execute_update(UPDATE_DRIFT, ask)
        await bench.script.started["group.ensure"].wait()

        async def is_repaired() -> bool:
            return not (await life.status()).drift

        if not ends:
            await until(is_repaired, "it is repaired")
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
        return life

    return path


async def _members_repaired(bench: Bench, name: str) -> Life:
    """A person is missing in its group and another is extra; its group in the control plane is missing."""
    life = await bench.begin(a_start(name))
    await _ready(life)
    found = (
        Deviation(step=StepName.GROUP, what="group x is missing"),
        Deviation(step=StepName.IDENTITY, what="bob is missing", members=DriftKind.MEMBERS, repairs=True),
        Deviation(
            step=StepName.IDENTITY,
            what="user 7 is extra",
            members=DriftKind.EXTRA_MEMBERS,
            extra=("7",),
            repairs=True,
        ),
    )
    ask = DriftInput(life=LIFE, actor="the sweep", found=found, repair=(StepName.GROUP,))
    await life.handle.execute_update(UPDATE_DRIFT, ask)

    async def is_repaired() -> bool:
        return not (await life.status()).drift

    await until(is_repaired, "it is repaired")
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return life


def _reconcile(*, orphans: int, dry_run: bool = False, confirmed: int = 0) -> LifePath:
    """A reconcile sweep that finds so many orphans, of which a person has confirmed some."""

    async def path(bench: Bench, name: str) -> WorkflowHandle[Any, Any]:
        lives = [f"{number:020d}" for number in range(orphans)]

        @activity.defn(name="reconcile.survey")
        async def survey(input: SurveyInput) -> Survey:
            found = [
                Orphan(name="demo", life=life, verdict=Verdict.ADOPT, reason="", first_seen=input.now)
                for life in lives
            ]
            return Survey(open=100, orphans=tuple(found))

        @activity.defn(name="reconcile.settle")
        async def settle(input: SettleInput) -> SettleResult:
            return SettleResult(
                lines=tuple(
                    SettledLine(name=one.name, life=one.life, result="adopted", verdict=one.verdict)
                    for one in input.orphans
                )
            )

        queue = f"{bench.task_queue}-reconcile"
        async with working(bench.client, queue, [survey, settle]):
            handle = await bench.client.start_workflow(
                ReconcileWorkflow.run,
                ReconcileInput(dry_run=dry_run, confirmed=tuple(lives[:confirmed])),
                id=name,
                task_queue=queue,
            )
            await handle.result()
        return handle

    return path


async def _rolled_out(bench: Bench, name: str) -> WorkflowHandle[Any, Any]:
    """A rollout that stops after its second wave, in which one goes back and one activity fails."""

    @activity.defn(name="rollout.upgrade")
    async def upgrade(input: UpgradeInput) -> UpgradeResult:
        if input.item.name == "env-2":
            raise ApplicationError("no words", non_retryable=True)
        is_back = input.item.name == "env-1"
        return UpgradeResult(outcome=RolloutOutcome.ROLLED_BACK if is_back else RolloutOutcome.UPGRADED)

    queue = f"{bench.task_queue}-rollout"
    async with working(bench.client, queue, [upgrade]):
        rollout = a_rollout(5).model_copy(update={"wave": 2})
        handle = await bench.client.start_workflow(RolloutWorkflow.run, rollout, id=name, task_queue=queue)
        await handle.result()
    return handle


async def _access_fails(bench: Bench, name: str) -> Life:
    life = await bench.begin(a_start(name))
    await _ready(life)
    bench.script.before["access.group"] = fails_first(bench.script, "access.group")
    await _change(life, CollaboratorAction.ADD)
    await _access_settled(life)
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return life


async def _extended(bench: Bench, name: str) -> Life:
    life = await bench.begin(_living(name, timedelta(hours=8)))
    await _ready(life)
    for hours in (1, 2):
        await life.handle.execute_update(
            EnvironmentWorkflow.extend,
            ExtendInput(actor=BY_ALICE.actor, life=LIFE, by=timedelta(hours=hours)),
        )
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return life


async def _warned_and_expired(bench: Bench, name: str) -> Life:
    life = await bench.begin(
        _living(
            name, timedelta(seconds=1), warnings=[timedelta(milliseconds=500), timedelta(milliseconds=200)]
        )
    )
    await _ready(life)
    await asyncio.sleep(1)
    await life.handle.execute_update(EnvironmentWorkflow.warn, SWEPT)
    await asyncio.sleep(0.5)
    await life.handle.execute_update(EnvironmentWorkflow.expire, SWEPT)
    return life


async def _expired_in_its_turn(bench: Bench, name: str) -> Life:
    life = await bench.begin(_living(name, timedelta(milliseconds=1), warnings=[]))
    await _ready(life)
    swept = SWEPT.model_copy(update={"teardown_delay": timedelta(milliseconds=200)})
    await life.handle.execute_update(EnvironmentWorkflow.expire, swept)
    return life


async def _expired_while_provisioning(bench: Bench, name: str) -> Life:
    bench.script.before["vcluster.ensure"] = waits
    life = await bench.begin(_living(name, timedelta(milliseconds=1)))
    await bench.script.started["vcluster.ensure"].wait()
    await life.handle.execute_update(EnvironmentWorkflow.expire, SWEPT)
    return life


def _ends_without_steps(unknown: bool) -> LifePath:
    async def path(bench: Bench, name: str) -> Life:
        bench.script.before["people.check"] = fails_for_good(ErrorType.UNKNOWN_PERSON) if unknown else waits
        life = await bench.begin(a_start(name).model_copy(update={"people_are_checked": False}))
        if not unknown:
            await bench.script.started["people.check"].wait()
            await life.handle.execute_update(EnvironmentWorkflow.cancel, BY_ALICE)
        return life

    return path


def _cancelled_in_temporal(activity: str, cause: Outcome | None = None) -> LifePath:
    """Cancelled while that activity runs: in `cause`'s rollback, or else in the teardown after a deletion."""

    async def path(bench: Bench, name: str) -> Life:
        bench.script.before[activity] = deaf(0.5)
        if cause:
            bench.script.after["import.ensure"] = cause
        life = await bench.begin(a_start(name))
        if not cause:
            await _ready(life)
            await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
        await bench.script.started[activity].wait()
        await life.handle.cancel()
        return life

    return path


async def _cancelled_in_temporal_in_a_step(bench: Bench, name: str) -> Life:
    bench.script.before["vcluster.ensure"] = waits
    life = await bench.begin(a_start(name))
    await bench.script.started["vcluster.ensure"].wait()
    await life.handle.cancel()
    return life


async def _looked_at_again(bench: Bench, name: str) -> Life:
    """Something had no answer: it looks once more when no late answer can come, and finds something."""
    bench.script.before["group.ensure"] = fails(1, in_doubt=True)
    bench.script.after["namespace.ensure"] = fails_for_good()

    async def late_answer() -> None:
        del bench.script.after["project.inspect"]
        bench.script.world.add(StepName.GROUP)

    bench.script.after["project.inspect"] = late_answer
    return await bench.begin(a_start(name))


async def _looked_too_soon(bench: Bench, name: str) -> Life:
    """An inspection that began while a late answer could come, and ended after that."""
    bench.script.before["group.ensure"] = fails(1, in_doubt=True)
    bench.script.after["namespace.ensure"] = fails_for_good()

    async def long_look() -> None:
        del bench.script.before["project.inspect"]
        await deaf(1.2)()

    bench.script.before["project.inspect"] = long_look
    timeouts = HURRY.model_copy(update={"late_response_window": timedelta(seconds=1)})
    return await bench.begin(a_start(name, timeouts=timeouts))


async def _carried(bench: Bench, name: str) -> Life:
    """The run after one that has continued as new."""
    start = a_start(name)
    status = ready_status(start, datetime.now(UTC) + timedelta(hours=1))
    handle = await seed(bench.client, start, status, task_queue=bench.task_queue)
    await handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    answer = Answer(kind=AnswerKind.CREATED, message="", life=start.environment.mark.life)
    return Life(start, bench.script, handle, answer)


async def _with_place(bench: Bench, name: str) -> Life:
    """Record with a capacity workflow that takes the reservation back."""
    capacity = await bench.client.start_workflow(
        CapacityWorkflow.run,
        CapacityStart(first_audit_delay=timedelta(days=1)),
        id=CAPACITY_ID,
        task_queue=bench.task_queue,
    )
    life = await _deleted(bench, name)
    await life.handle.result()
    await capacity.terminate()
    return life


async def _capacity(house: CapacityBench) -> dict[str, WorkflowHistory]:
    """Two runs of the capacity's: a fresh one, until it goes on in a new one; and that one."""
    first = await _run_id(house, "")
    lives = [await house.begin(f"env-{number}") for number in range(3)]
    await house.reservations.reserve(house.ask("never"))
    await house.reservations.withdraw("never", house.ask("never").life)
    await lives[0].handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    await lives[0].handle.result()
    await lives[1].handle.terminate()
    await house.until_held("env-2")
    last = await _run_id(house, first)
    await _ready(lives[2])
    await lives[2].handle.execute_update(EnvironmentWorkflow.sleep, ASKED_BY_ALICE)
    await _in_phase(lives[2], Phase.ASLEEP)
    await lives[2].handle.execute_update(EnvironmentWorkflow.wake, BY_ALICE)
    await _ready(lives[2])
    assert (await house.reservations.reassign(house.ask("env-2", owner="bob@example.com"))).host
    refused = await house.reservations.reserve(house.ask("refused", quotas=team(most(1))))
    assert refused.refusal, "there is no refusal in it"
    await house.reservations.reserve(house.ask("last"))
    runs = {"capacity-fresh": first, "capacity-carried": last}
    return {
        name: await house.client.get_workflow_handle(CAPACITY_ID, run_id=run_id).fetch_history()
        for name, run_id in runs.items()
    }


async def _bookings(house: CapacityBench) -> dict[str, WorkflowHistory]:
    """Seats are taken, codes are made again, and two bookings end."""
    bench = BookingBench(house)
    made = await bench.book(2)
    await bench.redeem(made.codes[0].code, "ann")
    await bench.until_ready("kurs-01")
    await bench.service.renew_codes("kurs", PIA)
    renewed = (await bench.handle().describe()).run_id
    await bench.handle().signal("renew")

    async def another_run() -> bool:
        return (await bench.handle().describe()).run_id != renewed

    await until(another_run, "it goes on in another run")
    house.script.before["vcluster.ensure"] = waits
    lab = await bench.book(1, "lab", ends_in=timedelta(seconds=3))
    await bench.redeem(lab.codes[0].code, "ben")
    await bench.handle("lab").result()
    await bench.service.end("kurs", PIA)
    await bench.handle().result()
    capacity = await house.client.get_workflow_handle(CAPACITY_ID).fetch_history()
    first = house.client.get_workflow_handle(bench.handle().id, run_id=renewed)
    return {
        "booking-renewed": await first.fetch_history(),
        "booking-carried": await bench.handle().fetch_history(),
        "booking-at-its-time": await bench.handle("lab").fetch_history(),
        "capacity-bookings": capacity,
    }


async def _ended_booking(house: CapacityBench) -> dict[str, WorkflowHistory]:
    """A booking ends while its standbys wait: they hold their places until they are gone."""
    bench = BookingBench(house)
    await bench.book(2)
    await bench.until_standbys(2)
    await bench.end()
    await bench.handle().result()
    await house.until_held()
    return {"capacity-ended-booking": await house.client.get_workflow_handle(CAPACITY_ID).fetch_history()}


async def _lost_start(house: CapacityBench) -> dict[str, WorkflowHistory]:
    """The start of a booking's standby is given up, although it was done: it keeps its place."""
    bench, capacity = BookingBench(house), house.client.get_workflow_handle(CAPACITY_ID)
    losing = LostStarts(True, None).wrap(Client.start_workflow)
    with (
        patch.object(Client, "start_workflow", losing),
        patch.object(pools_module, "START_TIMEOUT", timedelta(seconds=2)),
    ):
        await bench.book(1)

        async def is_given_up() -> bool:
            history = (await capacity.fetch_history()).to_json()
            return "ACTIVITY_TASK_TIMED_OUT" in history or "ACTIVITY_TASK_FAILED" in history

        await until(is_given_up, "its start is given up")
    await bench.until_standbys(1)
    await bench.end()
    await bench.handle().result()
    await house.until_held()
    return {"capacity-lost-start": await capacity.fetch_history()}


async def _lost_life(house: CapacityBench) -> dict[str, WorkflowHistory]:
    """A life that was given a standby never starts: an audit takes its place back."""
    await want(house, a_pool())
    await until_ready(house, 1)
    with patch.object(reconciliation, "START_GRACE", timedelta(seconds=1)):
        assert (await house.reservations.reserve(house.ask("never", pool="k"))).standby

        async def is_taken_back() -> bool:
            return "never" not in await house.held()

        await until(is_taken_back, "its place is taken back")
    await want(house)
    await house.until_held()
    return {"capacity-lost-life": await house.client.get_workflow_handle(CAPACITY_ID).fetch_history()}


async def _pools(house: CapacityBench) -> dict[str, WorkflowHistory]:
    """A pool is filled, a standby is handed out, and the pool is emptied."""
    await want(house, a_pool(ready=2))
    await until_ready(house, 2)
    assert (await house.reservations.reserve(house.ask("demo", pool="k"))).standby
    await house.reservations.withdraw("demo", house.ask("demo").life)
    await until_ready(house, 2)
    await want(house)
    await house.until_held()
    return {"capacity-pools": await house.client.get_workflow_handle(CAPACITY_ID).fetch_history()}


async def _run_id(house: CapacityBench, other_than: str) -> str:
    await house.reservations.ensure_started()

    async def another() -> bool:
        return (await house.client.get_workflow_handle(CAPACITY_ID).describe()).run_id != other_than

    await until(another, "it goes on in a new run")
    return (await house.client.get_workflow_handle(CAPACITY_ID).describe()).run_id


async def _given_up(house: CapacityBench) -> dict[str, WorkflowHistory]:
    """Two runs of an environment's: until its teardown waits for a person, and the one it waits in."""
    bench = Bench(house.client, "given-up", Script())
    bench.script.before["identity.remove"] = fails_for_good()
    timeouts = HURRY.model_copy(update={"give_up_after": HURRY.first_pause * 3})
    async with working(house.client, bench.task_queue, bench.script.activities()):
        life = await bench.begin(a_start("given-up", timeouts=timeouts))
        await _ready(life)
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
        first = (await life.handle.describe()).run_id

        async def waits_in_another() -> bool:
            return (await life.handle.describe()).run_id != first

        await until(waits_in_another, "it waits in a new run", 30)
        del bench.script.before["identity.remove"]
        await life.handle.execute_update(EnvironmentWorkflow.resume_teardown, BY_ALICE)
        await life.handle.result()
        last = (await life.handle.describe()).run_id
    handles = {
        name: house.client.get_workflow_handle(life.handle.id, run_id=run_id)
        for name, run_id in (("given-up", first), ("given-up-carried", last))
    }
    return {name: await handle.fetch_history() for name, handle in handles.items()}


async def _swept(bench: Bench, name: str) -> WorkflowHandle[Any, Any]:
    async with sweeper(bench.client) as sweep:
        over = await seeded(bench.client, bench.task_queue, -5, name=f"{name}-1")
        await is_listed(bench.client, over)
        handle = await sweep.begin()
        await handle.result()
        await over.result()
    return handle


def _living(name: str, ttl: timedelta, **policy: Any) -> EnvironmentStart:
    return lives_by(name, ttl, extension={"times": 3, "total": "3d"}, **policy)


MEDIUM = a_start("a").environment.template.model_copy(update={"name": "medium", "version": 2})


async def _begin_change(bench: Bench, name: str, *, with_snapshot: bool = False) -> Life:
    """Make an environment ready, and ask for another template."""
    life = await bench.begin(a_start(name))
    await _ready(life)
    environment = life.start.environment
    request = ReservationRequest(
        name=name,
        life=LIFE,
        owner=environment.owner,
        team="blue",
        template="medium",
        size=Amount(environments=1, cpu=1000, memory=1),
        hosts=("one",),
        ends_at=datetime.now(UTC),
    )
    spec = environment.spec.model_copy(update={"template": "medium"})
    ask = ChangeTemplateInput(
        life=LIFE,
        actor="alice@example.com",
        template=MEDIUM,
        spec=spec,
        request=request,
        with_snapshot=with_snapshot,
    )
    update: Any = EnvironmentWorkflow.change_template
    await life.handle.execute_update(update, ask)
    return life


def _template_changed(*, with_snapshot: bool = False) -> LifePath:
    """The run that ends with the change."""

    async def path(bench: Bench, name: str) -> WorkflowHandle[Any, Any]:
        life = await _begin_change(bench, name, with_snapshot=with_snapshot)
        first = (await life.handle.describe()).raw_description.workflow_execution_info.first_run_id

        async def goes_on() -> bool:
            return (await life.handle.describe()).run_id != first

        await until(goes_on, "the next run began")
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
        await life.handle.result()
        return bench.client.get_workflow_handle(life.handle.id, run_id=first)

    return path


def _template_rolled_back(outcome: Outcome) -> LifePath:
    async def path(bench: Bench, name: str) -> Life:
        bench.script.of_template = {"medium": outcome}
        life = await _begin_change(bench, name)

        async def is_over() -> bool:
            return (await life.status()).change is None

        await until(is_over, "it went back")
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
        return life

    return path


async def _template_refused(bench: Bench, name: str) -> Life:
    """There is no room for the other template."""
    refusal = Refusal(reason=RefusalReason.NO_ROOM, message="no room")
    bench.script.decision = PlacementDecision(refusal=refusal)
    with suppress(WorkflowUpdateFailedError):
        await _begin_change(bench, name)
    handle: WorkflowHandle[EnvironmentWorkflow, Any] = bench.client.get_workflow_handle_for(
        EnvironmentWorkflow.run, f"environment/{name}"
    )
    await handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return Life(a_start(name), bench.script, handle, Answer(kind=AnswerKind.ACCEPTED, message="", life=LIFE))


async def _template_ends(bench: Bench, name: str) -> Life:
    """It is deleted in the middle of a change."""
    bench.script.of_template = {"medium": waits}
    life = await _begin_change(bench, name)

    async def waits_there() -> bool:
        return ("vcluster", "medium") in bench.script.in_place

    await until(waits_there, "the change waits")
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    return life


def _standby(
    *,
    taken: bool = False,
    failing: str = "",
    cancelled_in: str = "",
    silent: bool = False,
    booking: BookingMark | None = None,
) -> LifePath:
    """A standby that ends, is taken over, fails, is cancelled, or whose host is silent at its end."""

    async def path(bench: Bench, name: str) -> WorkflowHandle[Any, Any]:
        start = a_start(name, identity=False)
        environment = start.environment.model_copy(
            update={"is_standby": True, "owner": "", "booking": booking}
        )
        if taken:
            bench.script.takers[name] = a_start("taker").environment.mark
        if failing:
            bench.script.before[failing] = fails_for_good()
        if cancelled_in:
            bench.script.before[cancelled_in] = waits
        if silent:
            bench.script.before[STANDBY_WITHDRAW] = fails(10_000)
        handle: WorkflowHandle[Any, Any] = await bench.client.start_workflow(
            STANDBY_WORKFLOW,
            start.model_copy(update={"environment": environment}),
            id=workflow_id(name),
            task_queue=bench.task_queue,
        )
        if cancelled_in:
            await bench.script.started[cancelled_in].wait()
            await handle.cancel()
        elif not failing:
            await bench.script.started[STANDBY_OFFER].wait()
            given = WithdrawInput(reason="given", after=timedelta(milliseconds=300))
            await handle.signal(StandbyWorkflow.withdraw, given)
        if silent:
            await bench.script.started[STANDBY_WITHDRAW].wait()

            async def has_failed() -> bool:
                return (await handle.query(StandbyWorkflow.status)).unfinished != ()

            await until(has_failed, "a withdrawal has failed", 30)
            del bench.script.before[STANDBY_WITHDRAW]
        await handle.result()
        return handle

    return path


def _given_a_standby(*, fails_at: str = "") -> LifePath:
    """An environment that was given a standby: ready and deleted, or undone after its take-over failed."""

    async def path(bench: Bench, name: str) -> Life:
        start = a_start(name)
        standby = OwnerMark.for_request(start.environment.mark.installation, "standby-1", "r-2")
        environment = start.environment.model_copy(update={"standby": standby})
        if fails_at:
            bench.script.before[fails_at] = fails_for_good()
        life = await bench.begin(start.model_copy(update={"environment": environment}))
        if not fails_at:
            await _ready(life)
            await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
        return life

    return path


def _snapped(*, fails_first_time: bool = False, ends: bool = False) -> LifePath:
    """Snapshots are taken; the first one fails, or the environment is deleted while one is taken."""

    async def path(bench: Bench, name: str) -> Life:
        life = await bench.begin(a_start(name))
        await _ready(life)
        if fails_first_time:
            bench.script.before[TAKE] = fails_first(bench.script, TAKE)
        if ends:
            bench.script.before[TAKE] = waits
        for number in () if ends else (1, 2):
            await life.handle.execute_update(EnvironmentWorkflow.snapshot, BY_ALICE)

            async def is_over(number: int = number) -> bool:
                snapshots = (await life.status()).snapshots
                return len(snapshots) == number and not snapshots[-1].is_in_progress

            await until(is_over, f"snapshot {number} is over")
        if ends:
            await life.handle.execute_update(EnvironmentWorkflow.snapshot, BY_ALICE)
            await bench.script.started[TAKE].wait()
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
        return life

    return path


async def _begin_restore(bench: Bench, name: str) -> Life:
    """Make an environment ready, take a snapshot, and ask for its restore."""
    life = await bench.begin(a_start(name))
    await _ready(life)
    await life.handle.execute_update(EnvironmentWorkflow.snapshot, BY_ALICE)

    async def is_taken() -> bool:
        return any(one.taken_at for one in (await life.status()).snapshots)

    await until(is_taken, "the snapshot is taken")
    ask = RestoreInput(actor="alice@example.com", life=LIFE)
    await life.handle.execute_update(EnvironmentWorkflow.restore, ask)
    return life


def _restored(outcome: Outcome | None = None, *, call: str = RESTORE) -> LifePath:
    """A snapshot is restored; a call of it has this outcome the first time."""

    async def path(bench: Bench, name: str) -> Life:
        if outcome:
            bench.script.before[call] = _once(bench.script, call, outcome)
        life = await _begin_restore(bench, name)

        async def is_over() -> bool:
            return (await life.status()).restore is None

        await until(is_over, "the restore is over")
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
        return life

    return path


def _once(script: Script, call: str, outcome: Outcome) -> Outcome:
    async def play() -> None:
        del script.before[call]
        await outcome()

    return play


def _restore_ends(call: str) -> LifePath:
    """The environment is deleted in a call of a restore."""

    async def path(bench: Bench, name: str) -> Life:
        bench.script.before[call] = waits
        life = await _begin_restore(bench, name)
        await bench.script.started[call].wait()
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
        return life

    return path


def _restore_renewed(call: str, *, second_run: bool) -> LifePath:
    """A call of a restore fails until the next run, which goes on with it."""

    async def path(bench: Bench, name: str) -> WorkflowHandle[Any, Any]:
        bench.script.before[call] = fails_for_good()
        life = await _begin_restore(bench, name)

        async def has_failed() -> bool:
            restore = (await life.status()).restore
            return restore is not None and restore.obstacle is not None

        await until(has_failed, "it has failed")
        first = (await life.handle.describe()).run_id
        await life.handle.signal(EnvironmentWorkflow.renew)

        async def goes_on() -> bool:
            return (await life.handle.describe()).run_id != first

        await until(goes_on, "the next run began")
        del bench.script.before[call]

        async def is_over() -> bool:
            return (await life.status()).restore is None

        await until(is_over, "the restore is over")
        second = (await life.handle.describe()).run_id
        await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
        await life.handle.result()
        return bench.client.get_workflow_handle(life.handle.id, run_id=second if second_run else first)

    return path


async def _loses_the_answer() -> None:
    details = StepErrorDetails(system="Rafay", remedy="", in_doubt=True)
    raise ApplicationError("no answer", details, type=ErrorType.UNAVAILABLE, non_retryable=True)


PATHS: dict[str, LifePath] = {
    "restored": _restored(),
    "restore-not-paused": _restored(fails_for_good(), call="sleep.pause"),
    "restore-fails": _restored(fails_for_good()),
    "restore-in-doubt": _restored(_loses_the_answer),
    "restore-settled-later": _restored(fails_for_good(), call=SETTLE),
    "restore-ends": _restore_ends(RESTORE),
    "restore-ends-running": _restore_ends(SETTLE),
    "restore-renewed": _restore_renewed(RESTORE, second_run=False),
    "restore-carried": _restore_renewed(RESTORE, second_run=True),
    "restore-settled-in-the-next-run": _restore_renewed(SETTLE, second_run=True),
    "snapshots": _snapped(),
    "snapshot-fails": _snapped(fails_first_time=True),
    "snapshot-ends": _snapped(ends=True),
    "standby-ended": _standby(),
    "standby-taken": _standby(taken=True),
    "standby-taken-by-a-seat": _standby(taken=True, booking=KURS),
    "standby-failed": _standby(failing="vcluster.ensure"),
    "standby-not-offered": _standby(failing=STANDBY_OFFER),
    "standby-cancelled": _standby(cancelled_in="vcluster.ensure"),
    "standby-silent-host": _standby(silent=True),
    "given-a-standby": _given_a_standby(),
    "failed-namespace-with-a-standby": _given_a_standby(fails_at="namespace.ensure"),
    "deleted-with-capacity": _with_place,
    "extended": _extended,
    "collaborators": _collaborators(),
    "collaborators-in-doubt": _collaborators(fails(1, in_doubt=True)),
    "collaborators-ends": _collaborators(deaf(0.5), ends=True),
    "collaborators-overtaken": _overtaken,
    "collaborators-fails": _access_fails,
    "transferred": _transferred,
    "owner-left": _left,
    "slept": _slept(),
    "slept-after-a-failure": _slept("sleep.pause"),
    "slept-when-it-could-not-wake": _slept("sleep.resume"),
    "ended-asleep": _ended_asleep,
    "slept-by-policy": _slept_by_policy,
    "leavers-none": _leavers(missing=0),
    "leavers-one": _leavers(missing=1),
    "leavers-back": _leavers(missing=1, back=True),
    "leavers-braked": _leavers(missing=9),
    "leavers-batches": _leavers(missing=1, batches=2),
    "repaired": _repaired(),
    "deleted-in-a-repair": _repaired(ends=True),
    "members-repaired": _members_repaired,
    "reconcile-none": _reconcile(orphans=0),
    "reconcile-settled": _reconcile(orphans=2),
    "reconcile-dry-run": _reconcile(orphans=2, dry_run=True),
    "reconcile-braked": _reconcile(orphans=9),
    "reconcile-confirmed": _reconcile(orphans=9, confirmed=3),
    "rolled-out": _rolled_out,
    "warned-and-expired": _warned_and_expired,
    "unknown-person": _ends_without_steps(unknown=True),
    "cancelled-before-the-first-step": _ends_without_steps(unknown=False),
    "cancelled-in-temporal-in-a-step": _cancelled_in_temporal_in_a_step,
    "cancelled-in-temporal-in-a-rollback": _cancelled_in_temporal("vcluster.remove", fails_for_good()),
    "cancelled-in-temporal-in-a-teardown": _cancelled_in_temporal("vcluster.remove"),
    "cancelled-in-temporal-while-incomplete": _cancelled_while_incomplete,
    "looked-at-again": _looked_at_again,
    "looked-too-soon": _looked_too_soon,
    "carried": _carried,
    "next-pass-at-once": _next_pass_at_once,
    "forced": _forced,
    "swept": _swept,
    "expired-while-provisioning": _expired_while_provisioning,
    "expired-in-its-turn": _expired_in_its_turn,
    "template-changed": _template_changed(),
    "template-changed-after-a-snapshot": _template_changed(with_snapshot=True),
    "template-rolled-back": _template_rolled_back(fails_for_good()),
    "template-in-doubt": _template_rolled_back(fails(10_000, in_doubt=True)),
    "template-refused": _template_refused,
    "template-ends": _template_ends,
    "deleted": _deleted,
    "without-identity-provider": _without_identity_provider,
    "cancelled-in-temporal-when-ready": _cancelled_in_temporal_when_ready,
    "torn-down-in-passes": _torn_down_in_passes,
    "host-request": _host_request,
    "on-own-queues": _on_own_queues(known=True),
    "moved-to-own-queues": _on_own_queues(known=False),
    "left-own-queues": _on_own_queues(known=True, served=False),
    "resumed": _resumed,
    **{f"failed-{step}": _failed(step) for step in StepName},
    **{f"cancelled-{step}": _cancelled(step) for step in StepName},
}


#: Runs of the workflow of the capacity, which never ends.
OF_THE_CAPACITY = ("capacity-fresh", "capacity-carried")
#: A run of the workflow of the capacity that keeps a warm pool.
OF_THE_POOLS = ("capacity-pools",)
#: A booking that goes on in a new run and is ended by a person, one that ends at its time in the middle of
#: provisioning, and the workflow of the capacity that holds their room.
OF_THE_BOOKINGS = ("booking-renewed", "booking-carried", "booking-at-its-time", "capacity-bookings")
#: The workflow of the capacity when a booking ends whose standbys wait.
OF_ENDED_BOOKING = ("capacity-ended-booking",)
#: The workflow of the capacity when the start of a booking's standby is not answered.
OF_LOST_START = ("capacity-lost-start",)
#: The workflow of the capacity when a life that was given a standby never starts.
OF_LOST_LIFE = ("capacity-lost-life",)
#: Runs of an environment that goes on in a new run.
OF_GIVEN_UP = ("given-up", "given-up-carried")
AUDIT = timedelta(milliseconds=300)

#: Paths that end with a failure, besides those that are named so.
_FAILING = ("unknown-person", "cancelled-in-temporal-in-a-rollback", "looked-at-again", "looked-too-soon")


def _without_machine(history: str) -> str:
    """The history as one line, without the names and paths of the machine on which it was made."""

    def scrubbed(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("kind") == "TASK_QUEUE_KIND_STICKY":
                value = value | {"name": "sticky"}  # it is named after the process and its machine
            return {k: scrubbed(v) for k, v in value.items() if k not in ("identity", "stackTrace")}
        return [scrubbed(item) for item in value] if isinstance(value, list) else value

    return json.dumps(scrubbed(json.loads(history)), separators=(",", ":")) + "\n"


async def record() -> None:
    """Live every path of which there is no history yet on a real server, and write it down."""
    HISTORIES.mkdir(exist_ok=True)
    for names, live, arguments in (
        (OF_THE_CAPACITY, _capacity, SHORT_RUNS),
        (OF_THE_POOLS, _pools, ()),
        (OF_THE_BOOKINGS, _bookings, ()),
        (OF_ENDED_BOOKING, _ended_booking, ()),
        (OF_LOST_START, _lost_start, ()),
        (OF_LOST_LIFE, _lost_life, ()),
        (OF_GIVEN_UP, _given_up, SHORT_RUNS),
    ):
        if all((HISTORIES / f"{name}.json").exists() for name in names):
            continue
        hosts = {"one": most(9), "two": most(2)}
        async with a_house(hosts, arguments=arguments, audit=AUDIT) as house, house.worker():
            for name, history in (await live(house)).items():
                (HISTORIES / f"{name}.json").write_text(_without_machine(history.to_json()))
    async with running_temporal_server(pydantic_data_converter) as server:
        for name, path in PATHS.items():
            if (HISTORIES / f"{name}.json").exists():
                continue
            async with a_bench(server) as bench:
                lived = await path(bench, f"r-{name}"[:28].rstrip("-"))
                handle = lived.handle if isinstance(lived, Life) else lived
                try:
                    await handle.result()
                except WorkflowFailureError:
                    assert name in _FAILING or name.startswith("failed-"), f"{name} failed"
                history = await handle.fetch_history()
                (HISTORIES / f"{name}.json").write_text(_without_machine(history.to_json()))


if __name__ == "__main__":
    asyncio.run(record())
