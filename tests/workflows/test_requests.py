"""Ensures that one name is one environment, for all callers, repeats and times of requests."""

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from contracts.environment.models import Phase
from contracts.environment_workflow import ActorInput, Answer, AnswerKind, RequestInput
from contracts.errors import ErrorType, Refusal, RefusalReason
from tests.workflows.conftest import LIFE, Bench, a_start, until
from tests.workflows.scripted_activities import deaf, waits_for
from workflows.environment.workflow import EnvironmentWorkflow

BY_ALICE = ActorInput(actor="alice@example.com", life=LIFE)


async def refusal_of(bench: Bench, name: str, ask: RequestInput) -> Refusal:
    with pytest.raises(WorkflowUpdateFailedError) as failure:
        await bench.ask(a_start(name, request_id=ask.request_id), ask)
    cause = failure.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == ErrorType.REQUEST_REFUSED
    return Refusal.model_validate(cause.details[0])


def asks(name: str, **changes: object) -> RequestInput:
    environment = a_start(name).environment
    ask = RequestInput(owner=environment.owner, spec=environment.spec, request_id="r-2")
    return ask.model_copy(update=changes)


async def test_the_same_request_again_joins(bench: Bench) -> None:
    life = await bench.begin(a_start("joined"))
    answer = await bench.ask(a_start("joined"), asks("joined"))
    assert answer.kind is AnswerKind.JOINED
    assert answer.life == life.start.environment.mark.life, "the second request started another life"
    assert bench.script.calls.count("project.ensure") <= 1


async def test_another_person_is_refused_without_details(bench: Bench) -> None:
    await bench.begin(a_start("taken"))
    refusal = await refusal_of(bench, "taken", asks("taken", owner="bob@example.com"))
    assert refusal.reason is RefusalReason.OTHER_OWNER
    assert "alice" not in refusal.message, "it tells whose the name is"


async def test_another_spec_is_refused_with_the_fields(bench: Bench) -> None:
    life = await bench.begin(a_start("different"))
    other = life.start.environment.spec.model_copy(update={"template": "medium", "team": "red"})
    refusal = await refusal_of(bench, "different", asks("different", spec=other))
    assert refusal.reason is RefusalReason.OTHER_SPEC
    assert set(refusal.fields) == {"template", "team"}


async def test_a_request_during_the_teardown_is_refused_and_after_it_starts_a_new_life(bench: Bench) -> None:
    bench.script.before["namespace.remove"] = deaf(0.5)
    life = await bench.begin(a_start("again"))
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    refusal = await refusal_of(bench, "again", asks("again"))
    assert refusal.reason is RefusalReason.BEING_TORN_DOWN
    await life.handle.result()

    second = await bench.begin(a_start("again", request_id="r-2"))
    assert second.answer.kind is AnswerKind.CREATED
    assert second.answer.life != life.answer.life, "two lives have one id"


async def test_a_name_is_free_as_soon_as_it_is_said_to_be_gone(bench: Bench) -> None:
    """Ensures that no status says "gone" while a request for the name would still be refused."""
    taken = asyncio.Event()
    bench.script.before["audit_log.write"] = waits_for(taken)
    life = await bench.begin(a_start("free"))
    await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE)
    await bench.script.started["audit_log.write"].wait()
    assert (await life.status()).phase is Phase.TEARING_DOWN, "it says more than it keeps"
    assert (await refusal_of(bench, "free", asks("free"))).reason is RefusalReason.BEING_TORN_DOWN
    taken.set()

    async def gone() -> bool:
        return (await life.status()).phase is Phase.GONE

    await until(gone, "it is gone")
    second = await bench.begin(a_start("free", request_id="r-2"))
    assert second.answer.kind is AnswerKind.CREATED


async def test_twenty_who_ask_at_once_get_one_environment(bench: Bench) -> None:
    start = a_start("crowd")

    async def ask(number: int) -> Answer:
        return await bench.ask(
            start,
            RequestInput(
                owner=start.environment.owner, spec=start.environment.spec, request_id=f"r-{number}"
            ),
        )

    answers = await asyncio.gather(*(ask(number) for number in range(1, 21)))
    assert len({answer.life for answer in answers}) == 1
    kinds = [answer.kind for answer in answers]
    assert kinds.count(AnswerKind.CREATED) == 1, f"not one who created it, but {kinds}"
    handle: WorkflowHandle[EnvironmentWorkflow, Any] = bench.client.get_workflow_handle_for(
        EnvironmentWorkflow.run, "environment/crowd"
    )

    async def ready() -> bool:
        return (await handle.query(EnvironmentWorkflow.status)).phase is Phase.READY

    await until(ready, "it became ready")
    assert bench.script.calls.count("project.ensure") == 1, "it was made more than once"


async def test_a_repeated_update_is_answered_and_not_repeated(bench: Bench) -> None:
    life = await bench.begin()
    first = await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE, id="d-1")
    again = await life.handle.execute_update(EnvironmentWorkflow.delete, BY_ALICE, id="d-1")
    assert again == first
    status = await life.handle.result()
    assert len([line for line in status.audit_log if line.action == "asked to delete it"]) == 1
