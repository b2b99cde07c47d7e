"""Ensures that who reaches Temporal without our keys makes no environment do anything, and stalls none.

The attacker has a client of the same server and namespace: they send values in clear, and copy what they find
encrypted to where they want it. What they can do all the same (cancel, terminate) is in
`docs/explanation/security.md`.
"""

import asyncio
import base64
import dataclasses
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio import workflow
from temporalio.api.common.v1 import (
    ActivityType,
    Payload,
    Payloads,
    RetryPolicy,
    WorkflowExecution,
    WorkflowType,
)
from temporalio.api.enums.v1 import EventType, UpdateWorkflowExecutionLifecycleStage
from temporalio.api.enums.v1 import TimeoutType as TimeoutTypeValue
from temporalio.api.failure.v1 import Failure, TimeoutFailureInfo
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.update.v1 import Input, Meta, Request, WaitPolicy
from temporalio.api.workflowservice.v1 import (
    QueryWorkflowRequest,
    RecordActivityTaskHeartbeatByIdRequest,
    ResetWorkflowExecutionRequest,
    RespondActivityTaskCompletedByIdRequest,
    SignalWorkflowExecutionRequest,
    StartActivityExecutionRequest,
    StartWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)
from temporalio.client import (
    ActivityFailureError,
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.converter import WorkflowSerializationContext
from temporalio.exceptions import ApplicationError, TimeoutError
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer

from activities.interceptor import ActivityInterceptor
from contracts.capacity.audit import ReservationList
from contracts.capacity.ledger import to_epoch_seconds
from contracts.capacity.models import (
    Amount,
    ReleaseInput,
    Reservation,
    ReservationRequest,
)
from contracts.capacity.workflow_input import CapacityStart, CarriedCapacity
from contracts.environment.models import EnvironmentStatus, Outcome, Phase
from contracts.environment_workflow import ActorInput
from contracts.errors import ErrorType
from contracts.reconcile.drift import UPDATE_DRIFT
from contracts.sweeps.expiry import SWEEP_SCHEDULED, SweepInput
from contracts.types.naming import life_id, workflow_id
from tests.support.stack import unique
from tests.support.workers import working
from tests.workflows.conftest import LIFE, REQUEST_ID, Bench, Life, a_start, until
from tests.workflows.scripted_activities import Script
from worker.codec import Keyring, PayloadContext
from worker.data_converter import PLAIN, data_converter
from workflows.environment.workflow import EnvironmentWorkflow
from workflows.registry import WORKFLOWS

KEYS, OTHERS = (Keyring.parse(base64.b64encode(bytes([number]) * 32).decode()) for number in (3, 4))
BY = {"actor": "mallory@example.com"}
EXTEND = {"actor": "mallory@example.com", "by": "PT8H"}
PERSON = BY | {"person": "mallory@example.com"}
LARGER = a_start("larger").environment
CHANGE = BY | {
    "template": LARGER.template.model_copy(update={"version": 2}).model_dump(mode="json"),
    "spec": LARGER.spec.model_dump(mode="json"),
    "request": ReservationRequest(
        name="larger",
        life=LARGER.mark.life,
        owner=LARGER.owner,
        team="blue",
        template="small",
        size=Amount(),
        hosts=("one",),
        ends_at=datetime(2100, 1, 1, tzinfo=UTC),
    ).model_dump(mode="json"),
}
SWEEP = BY | {"valid_until": "2100-01-01T00:00:00Z"}
#: All updates that change an environment that is there, each as it could be accepted.
CHANGES: dict[str, dict[str, Any]] = {
    "delete": BY,
    "cancel": BY,
    "extend": EXTEND,
    "resume_teardown": BY,
    "reindex": BY,
    "warn": SWEEP,
    "expire": SWEEP,
    "change_collaborators": PERSON | {"action": "add"},
    "transfer": PERSON,
    "change_template": CHANGE,
    "snapshot": BY,
    "restore": BY,
    "person_left": PERSON,
    "sleep": BY,
    "wake": BY,
    UPDATE_DRIFT: BY | {"found": [], "repair": []},
}


@dataclass(frozen=True)
class Attacker:
    """Has a way to Temporal, and no key."""

    client: Client

    async def clear(self, *values: Any) -> list[Payload]:
        """Values as anybody writes them."""
        return await PLAIN.encode(values)

    async def start(self, id: str, task_queue: str, input: Sequence[Payload], kind: str) -> None:
        await self.client.workflow_service.start_workflow_execution(
            StartWorkflowExecutionRequest(
                namespace=self.client.namespace,
                workflow_id=id,
                workflow_type=WorkflowType(name=kind),
                task_queue=TaskQueue(name=task_queue),
                input=Payloads(payloads=input),
                request_id=unique("request"),
            )
        )

    async def update(self, id: str, name: str, input: Sequence[Payload]) -> str:
        """Why it was refused; "" if it was not."""
        answer = await self.client.workflow_service.update_workflow_execution(
            UpdateWorkflowExecutionRequest(
                namespace=self.client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=id),
                wait_policy=WaitPolicy(lifecycle_stage=UpdateWorkflowExecutionLifecycleStage.ValueType(3)),
                request=Request(
                    meta=Meta(update_id=unique("update")),
                    input=Input(name=name, args=Payloads(payloads=input)),
                ),
            ),
            timeout=timedelta(seconds=20),
        )
        if not answer.outcome.HasField("failure"):
            return ""
        failure = await self.client.data_converter.with_context(
            WorkflowSerializationContext(self.client.namespace, id)
        ).decode_failure(answer.outcome.failure)
        return str(failure)

    async def signal(self, id: str, name: str, input: Sequence[Payload]) -> None:
        await self.client.workflow_service.signal_workflow_execution(
            SignalWorkflowExecutionRequest(
                namespace=self.client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=id),
                signal_name=name,
                input=Payloads(payloads=input),
                request_id=unique("request"),
            )
        )

    async def query(self, id: str, name: str, input: Sequence[Payload]) -> None:
        await self.client.workflow_service.query_workflow(
            QueryWorkflowRequest(
                namespace=self.client.namespace,
                execution=WorkflowExecution(workflow_id=id),
                query=WorkflowQuery(query_type=name, query_args=Payloads(payloads=input)),
            )
        )

    async def found(
        self, id: str, event: EventType.ValueType, of: Callable[[Any], Payloads], nth: int = 0
    ) -> Payload:
        """A payload as the attacker finds it in a history."""
        events = self.client.get_workflow_handle(id).fetch_history_events()
        return [of(one).payloads[0] async for one in events if one.event_type == event][nth]


@pytest.fixture
async def sealed(server: WorkflowEnvironment) -> AsyncIterator[Bench]:
    """A worker that has our keys, on a server that others reach as well."""
    client = await Client.connect(
        server.client.service_client.config.target_host, data_converter=data_converter(KEYS)
    )
    bench = Bench(client, unique("queue"), Script())
    edge = [ActivityInterceptor()]
    async with working(client, bench.task_queue, bench.script.activities(), interceptors=edge):
        yield bench


@pytest.fixture
def attacker(sealed: Bench) -> Attacker:
    return Attacker(sealed.client)


async def ready(bench: Bench, name: str = "", *, request_id: str = REQUEST_ID) -> Life:
    life = await bench.begin(a_start(name or unique(), request_id=request_id))

    async def is_ready() -> bool:
        return (await life.status()).phase is Phase.READY

    await until(is_ready, "it is ready")
    return life


async def is_unharmed(life: Life) -> None:
    """It is ready as before, no task of its has failed, and its owner ends it as ever."""
    status = await life.status()
    assert (status.phase, status.outcome, len(status.term.extensions)) == (Phase.READY, None, 0)
    assert not [entry for entry in status.audit_log if "mallory" in entry.actor]
    assert not await task_failures(life.handle)
    by_alice = ActorInput(actor="alice@example.com", life=status.environment.mark.life)
    await life.handle.execute_update(EnvironmentWorkflow.delete, by_alice)
    assert (await life.handle.result()).outcome is Outcome.DELETED


async def task_failures(handle: WorkflowHandle[Any, Any]) -> int:
    """How many tasks of the workflow have failed, but for those that a busy machine took too long for."""
    client = handle._client
    converter = client.data_converter.with_context(WorkflowSerializationContext(client.namespace, handle.id))
    failures = [
        await converter.decode_failure(event.workflow_task_failed_event_attributes.failure)
        async for event in handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    ]
    return len([one for one in failures if "Potential deadlock detected" not in str(one)])


def holding(name: str, life: str) -> CarriedCapacity:
    """What a capacity carries that holds a place for one life."""
    now = datetime.now(UTC)
    held = Reservation(
        name=name,
        owner="alice@example.com",
        team="blue",
        template="small",
        host="one",
        size=Amount(environments=1),
        ends=to_epoch_seconds(now),
        claims=((life, to_epoch_seconds(now)),),
    )
    return CarriedCapacity(
        reservations=(held,), hosts=(), audited_at=now, next_audit=now + timedelta(hours=1)
    )


REFERENCE = Payload(metadata={"encoding": b"json/external-storage-reference"}, data=b"{}")
MARKED = Payload(metadata={"encoding": b"binary/encrypted", "encryption-key-id": b"\xff\xfe"}, data=b"x")
#: Names a key that the worker does not have; it looks like a payload from before or after a key rotation.
UNKNOWN = Payload(
    metadata={"encoding": b"binary/encrypted", "encryption-key-id": OTHERS.first.encode()}, data=b"x" * 40
)


@pytest.mark.slow
async def test_an_update_in_clear(sealed: Bench, attacker: Attacker) -> None:
    """Ensures it for each update; one that were carried out would end the life, or change it."""
    life = await ready(sealed)
    for name, value in {"request": BY, **CHANGES}.items():
        refused = await attacker.update(life.handle.id, name, await attacker.clear(value))
        assert "it was not written by Moorage" in refused, name
    await is_unharmed(life)


@pytest.mark.slow
async def test_odd_payloads(sealed: Bench, attacker: Attacker) -> None:
    """Ensures that no shape of a payload reaches what the SDK does with a whole workflow task."""
    life = await ready(sealed)
    place = PayloadContext(sealed.client.namespace, life.handle.id)
    [clear] = await attacker.clear(BY)
    reference = Payload()
    reference.CopyFrom(REFERENCE)
    message = Payload(
        metadata={
            "encoding": b"json/protobuf",
            "messageType": b"temporal.api.sdk.v1.ExternalStorageReference",
        },
        data=b"{}",
    )
    damaged = KEYS.encrypt(clear, place)
    damaged.data = damaged.data[:-1]
    moved = KEYS.encrypt(clear, PayloadContext(place.namespace, "environment/other"))
    moved.metadata["encryption-workflow-id"] = place.workflow_id.encode()
    old = Payload(
        metadata={"encoding": b"binary/encrypted", "encryption-key-id": KEYS.first.encode()}, data=b"x" * 40
    )
    odd = [reference, message, damaged, moved, old, MARKED, Payload(), OTHERS.encrypt(clear, place)]
    for payload in odd:
        assert await attacker.update(life.handle.id, "delete", [payload])
        await attacker.signal(life.handle.id, "renew", [payload])
        with pytest.raises(RPCError):
            await attacker.query(life.handle.id, "due", [payload])
    assert await attacker.update(life.handle.id, "delete", []), "without any argument"
    await is_unharmed(life)


@pytest.mark.slow
async def test_ones_own_delete_in_the_workflow_of_another(sealed: Bench, attacker: Attacker) -> None:
    mine, other = await ready(sealed), await ready(sealed)
    by_mallory = ActorInput(actor="mallory@example.com", life=LIFE)
    await mine.handle.execute_update(EnvironmentWorkflow.delete, by_mallory)
    await mine.handle.result()
    found = await attacker.found(
        mine.handle.id,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED,
        lambda event: event.workflow_execution_update_accepted_event_attributes.accepted_request.input.args,
    )
    assert "for another workflow" in await attacker.update(other.handle.id, "delete", [found])
    await is_unharmed(other)


@pytest.mark.slow
async def test_a_delete_in_a_later_life_of_the_name(sealed: Bench, attacker: Attacker) -> None:
    """Ensures that what ended one life of a name does not end the next one, which is the same workflow."""
    name = unique()
    first = await ready(sealed, name)
    await first.handle.execute_update(
        EnvironmentWorkflow.delete, ActorInput(actor="alice@example.com", life=LIFE)
    )
    await first.handle.result()
    found = await attacker.found(
        first.handle.id,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED,
        lambda event: event.workflow_execution_update_accepted_event_attributes.accepted_request.input.args,
        nth=1,
    )
    later = await ready(sealed, name, request_id="r-2")
    assert "meant for another life" in await attacker.update(later.handle.id, "delete", [found])
    await is_unharmed(later)


@pytest.mark.slow
async def test_changes_that_do_not_mean_this_life(sealed: Bench, attacker: Attacker) -> None:
    life = await ready(sealed)
    place = PayloadContext(sealed.client.namespace, life.handle.id)
    lives: list[dict[str, str]] = [{"life": life_id("r-0")}, {"life": ""}, {}]
    for (name, value), said in product(CHANGES.items(), lives):
        [clear] = await attacker.clear(value | said)
        refused = await attacker.update(life.handle.id, name, [KEYS.encrypt(clear, place)])
        assert "meant for another life" in refused, (name, said)
    await is_unharmed(life)


def test_all_changes_are_known_here() -> None:
    """Ensures that an update that is added is held against another life as well."""
    definition = workflow._Definition.must_from_class(EnvironmentWorkflow)
    # A part of the workflow sets the handler of the drift.
    assert {*definition.updates, UPDATE_DRIFT} == {*CHANGES, "request"}


async def test_what_was_written_for_another_namespace(sealed: Bench, attacker: Attacker) -> None:
    life = await ready(sealed)
    [clear] = await attacker.clear(BY)
    elsewhere = KEYS.encrypt(clear, PayloadContext("staging", life.handle.id))
    assert "for another workflow" in await attacker.update(life.handle.id, "delete", [elsewhere])
    await is_unharmed(life)


@pytest.mark.parametrize("replayed", [False, True])
async def test_a_start(sealed: Bench, attacker: Attacker, replayed: bool) -> None:
    """Ensures that a run that others start does nothing, and leaves its name free."""
    start = a_start(unique())
    payloads = await attacker.clear(start)
    if replayed:
        life = await ready(sealed)
        payloads = [
            await attacker.found(
                life.handle.id,
                EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
                lambda event: event.workflow_execution_started_event_attributes.input,
            )
        ]
    before = list(sealed.script.calls)
    await attacker.start(
        workflow_id(start.environment.name), sealed.task_queue, payloads, "EnvironmentWorkflow"
    )
    with pytest.raises(WorkflowFailureError) as failed:
        await sealed.client.get_workflow_handle(workflow_id(start.environment.name)).result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == ErrorType.TAMPERED
    assert sealed.script.calls == before, "something was made"
    again = await sealed.begin(start)
    assert again.answer.kind == "created"


async def test_a_signal_to_the_capacity(sealed: Bench, attacker: Attacker) -> None:
    """Ensures that a forged signal releases no reservation, and does not block the capacity workflow."""
    id = unique("capacity")
    capacity = await sealed.client.start_workflow(
        "CapacityWorkflow",
        CapacityStart(first_audit_delay=timedelta(hours=1), carried=holding("held", "a-life")),
        id=id,
        task_queue=sealed.task_queue,
    )
    release = ReleaseInput(name="held", life="a-life")
    for payloads in ([], [REFERENCE], await attacker.clear(release), await attacker.clear(release, release)):
        await attacker.signal(id, "release", payloads)
    held = await capacity.query("reservations", result_type=ReservationList)
    assert [one.name for one in held.reservations] == ["held"]
    assert not await task_failures(capacity)
    await capacity.signal("release", release)
    held = await capacity.query("reservations", result_type=ReservationList)
    assert not held.reservations, "its own signal is not taken any more"
    await capacity.terminate()


async def test_the_result_of_an_activity(sealed: Bench, attacker: Attacker) -> None:
    """Ensures that a step that others call done is a failed one, and is undone."""
    entered, leave = asyncio.Event(), asyncio.Event()

    async def held() -> None:
        entered.set()
        await leave.wait()

    sealed.script.before["namespace.ensure"] = held
    life = await sealed.begin(a_start(unique()))
    await asyncio.wait_for(entered.wait(), 20)
    pending = (await life.handle.describe()).raw_description.pending_activities
    await attacker.client.workflow_service.respond_activity_task_completed_by_id(
        RespondActivityTaskCompletedByIdRequest(
            namespace=attacker.client.namespace,
            workflow_id=life.handle.id,
            run_id=life.handle.result_run_id or "",
            activity_id=pending[0].activity_id,
            result=Payloads(payloads=await attacker.clear({"name": "mallory", "in_doubt": False})),
        )
    )
    leave.set()
    with pytest.raises(WorkflowFailureError) as failed:
        await life.handle.result()
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == ErrorType.PROVISIONING_FAILED
    status = EnvironmentStatus.model_validate(cause.details[0])
    assert status.problem
    assert (status.problem.step, status.problem.type) == ("namespace", ErrorType.TAMPERED)
    assert sealed.script.world == set(), "something is left"
    assert "namespace.remove" in sealed.script.calls


@pytest.mark.parametrize("is_unknown_key", [False, True])
async def test_the_heartbeat_of_an_activity(sealed: Bench, attacker: Attacker, is_unknown_key: bool) -> None:
    """Ensures that what others keep for the next try is not believed, and does not end the step."""
    entered, again = asyncio.Event(), asyncio.Event()

    async def fails_once() -> None:
        if not entered.is_set():
            entered.set()
            await again.wait()
            raise ApplicationError("once more", type=ErrorType.NOT_YET)

    sealed.script.before["project.ensure"] = fails_once
    life = await sealed.begin(a_start(unique()))
    await asyncio.wait_for(entered.wait(), 20)
    pending = (await life.handle.describe()).raw_description.pending_activities
    await attacker.client.workflow_service.record_activity_task_heartbeat_by_id(
        RecordActivityTaskHeartbeatByIdRequest(
            namespace=attacker.client.namespace,
            workflow_id=life.handle.id,
            activity_id=pending[0].activity_id,
            details=Payloads(
                payloads=[UNKNOWN]
                if is_unknown_key
                else await attacker.clear({"waiting_for": "", "checkpoint": "mallory"})
            ),
        )
    )
    again.set()

    async def is_ready() -> bool:
        return (await life.status()).phase is Phase.READY

    await until(is_ready, "it is ready")
    await is_unharmed(life)


@pytest.mark.slow
async def test_signals_and_updates_under_an_unknown_key_when_the_run_is_replayed(
    sealed: Bench, attacker: Attacker
) -> None:
    """Ensures that a run goes on with such signals in its history, also on a worker that replays it."""
    life = await ready(sealed)
    for _ in range(3):
        await attacker.signal(life.handle.id, "renew", [UNKNOWN])
        await attacker.signal(life.handle.id, "no-such-signal", [UNKNOWN])
        for name in CHANGES:
            assert "Failed decoding" in await attacker.update(life.handle.id, name, [UNKNOWN])
    replayer = Replayer(
        workflows=WORKFLOWS, data_converter=data_converter(KEYS), namespace=sealed.client.namespace
    )
    replayed = await replayer.replay_workflow(await life.handle.fetch_history())
    assert replayed.replay_failure is None
    await is_unharmed(life)


async def test_the_last_heartbeat_of_an_activity_that_times_out(sealed: Bench) -> None:
    """Ensures that a forged heartbeat does not stall the run that reads it in the timeout's failure."""
    failure = Failure(
        message="timed out",
        timeout_failure_info=TimeoutFailureInfo(
            timeout_type=TimeoutTypeValue.TIMEOUT_TYPE_HEARTBEAT,
            last_heartbeat_details=Payloads(payloads=[UNKNOWN]),
        ),
    )
    converter = sealed.client.data_converter.with_context(
        WorkflowSerializationContext(sealed.client.namespace, "environment/any")
    )
    error = await converter.decode_failure(failure)
    assert isinstance(error, TimeoutError)
    assert not error.last_heartbeat_details


async def test_the_result_of_an_activity_under_an_unknown_key(sealed: Bench, attacker: Attacker) -> None:
    """Ensures that such a result is not believed, that it names its key, and that a reset repairs the run.

    It may be a genuine result, from a worker with a newer key, so the run waits for the key.
    """
    entered, leave = asyncio.Event(), asyncio.Event()

    async def held() -> None:
        entered.set()
        await leave.wait()

    sealed.script.before["namespace.ensure"] = held
    life = await sealed.begin(a_start(unique()))
    await asyncio.wait_for(entered.wait(), 20)
    described = await life.handle.describe()
    await attacker.client.workflow_service.respond_activity_task_completed_by_id(
        RespondActivityTaskCompletedByIdRequest(
            namespace=attacker.client.namespace,
            workflow_id=life.handle.id,
            activity_id=described.raw_description.pending_activities[0].activity_id,
            result=Payloads(payloads=[UNKNOWN]),
        )
    )
    leave.set()
    failed: list[HistoryEvent] = []

    async def has_failed() -> bool:
        events = life.handle.fetch_history_events()
        failed.extend(
            [one async for one in events if one.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED]
        )
        return bool(failed)

    await until(has_failed, "the workflow task fails")
    reason = await sealed.client.data_converter.with_context(
        WorkflowSerializationContext(sealed.client.namespace, life.handle.id)
    ).decode_failure(failed[0].workflow_task_failed_event_attributes.failure)
    assert f'the key "{OTHERS.first}"' in f"{reason} {reason.__cause__}"
    events = [one async for one in life.handle.fetch_history_events()]
    completed = [one for one in events if one.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
    await sealed.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=sealed.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=life.handle.id, run_id=described.run_id),
            reason="a forged result",
            workflow_task_finish_event_id=completed[-1].event_id,
            request_id=unique("request"),
        )
    )
    again = dataclasses.replace(
        life, handle=sealed.client.get_workflow_handle_for(EnvironmentWorkflow.run, life.handle.id)
    )

    async def is_ready() -> bool:
        return (await again.status()).phase is Phase.READY

    await until(is_ready, "it is ready")
    by_alice = ActorInput(actor="alice@example.com", life=LIFE)
    await again.handle.execute_update(EnvironmentWorkflow.delete, by_alice)
    assert (await again.handle.result()).outcome is Outcome.DELETED
    assert sealed.script.world == set(), "something is left"


@pytest.mark.parametrize("kind", WORKFLOWS)
def test_no_message_without_its_arguments_reaches_a_handler(kind: type) -> None:
    """Ensures that each update has a validator, which refuses it, and that each signal can do without."""
    definition = workflow._Definition.must_from_class(kind)
    for name, update in definition.updates.items():
        assert update.validator, f"{name} without its argument would fail the whole task, for ever"
    for name, signal in definition.signals.items():
        needed = list(inspect.signature(signal.fn).parameters.values())[1:]
        assert all(one.default is not one.empty for one in needed), f"{name} without its argument would, too"


async def test_an_activity_of_no_workflow(sealed: Bench, attacker: Attacker) -> None:
    """Ensures that an activity that others start by itself, which Temporal allows, does nothing."""
    life = await ready(sealed)
    found = await attacker.found(
        life.handle.id,
        EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
        lambda event: event.activity_task_scheduled_event_attributes.input,
    )
    before = list(sealed.script.calls)
    for payload in (found, *await attacker.clear(BY)):
        id = unique("activity")
        await attacker.client.workflow_service.start_activity_execution(
            StartActivityExecutionRequest(
                namespace=attacker.client.namespace,
                activity_id=id,
                activity_type=ActivityType(name="namespace.remove"),
                task_queue=TaskQueue(name=sealed.task_queue),
                input=Payloads(payloads=[payload]),
                schedule_to_close_timeout=Duration(seconds=20),
                retry_policy=RetryPolicy(maximum_attempts=1),
                request_id=id,
            )
        )
        with pytest.raises(ActivityFailureError):
            await attacker.client.get_activity_handle(id).result()
    assert sealed.script.calls == before, "it was done"


async def test_a_schedule_that_was_edited(sealed: Bench, attacker: Attacker) -> None:
    """Ensures that a schedule starts nothing with what others put into it, and starts what we put there."""
    clear = SweepInput(dry_run=True)
    for id, input, place in (
        (unique("forged"), clear, ""),
        (SWEEP_SCHEDULED, clear, ""),
        (unique("other"), clear, SWEEP_SCHEDULED),
    ):
        [payload] = await attacker.clear(input)
        if place:
            payload = KEYS.encrypt(payload, PayloadContext(sealed.client.namespace, place))
        schedule = await attacker.client.create_schedule(
            unique("schedule"),
            Schedule(
                action=ScheduleActionStartWorkflow(
                    "ExpirySweepWorkflow", args=[payload], id=id, task_queue=sealed.task_queue
                ),
                spec=ScheduleSpec(),
            ),
            trigger_immediately=True,
        )
        run_id = await started_by(schedule)
        with pytest.raises(WorkflowFailureError) as failed:
            await sealed.client.get_workflow_handle(run_id).result()
        assert isinstance(failed.value.cause, ApplicationError)
        assert failed.value.cause.type == ErrorType.TAMPERED
        await schedule.delete()


async def test_a_scheduled_run_takes_what_was_written_for_its_schedule() -> None:
    ours = PayloadContext("default", SWEEP_SCHEDULED)
    assert ours.is_accepted_at(PayloadContext("default", f"{SWEEP_SCHEDULED}-2026-11-26T16:00:00Z"))
    for other in (
        PayloadContext("staging", f"{SWEEP_SCHEDULED}-2026-11-26T16:00:00Z"),
        PayloadContext("default", f"{SWEEP_SCHEDULED}-other"),
        PayloadContext("default", f"x{SWEEP_SCHEDULED}-2026-11-26T16:00:00Z"),
        PayloadContext("default", "-2026-11-26T16:00:00Z"),
    ):
        assert not ours.is_accepted_at(other)
    start = PayloadContext("default", workflow_id("a"))
    assert not start.is_accepted_at(PayloadContext("default", f"{workflow_id('a')}-2026-11-26T16:00:00Z"))


async def started_by(schedule: Any) -> str:
    """The workflow id of what a schedule has started."""
    found: list[str] = []

    async def has_started() -> bool:
        actions = (await schedule.describe()).info.recent_actions
        found.extend(action.action.workflow_id for action in actions)
        return bool(actions)

    await until(has_started, "the schedule starts something")
    return found[0]
