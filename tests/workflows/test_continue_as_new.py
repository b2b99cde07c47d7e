"""Ensures that an environment that has lived through very many updates goes on in a new run as it was."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.contrib.pydantic import pydantic_data_converter

from contracts.environment.models import Outcome, Phase
from contracts.environment_workflow import ActorInput, AnswerKind, RequestInput
from tests.support.temporal_server import running_temporal_server
from tests.support.workers import working
from tests.workflows.conftest import HURRY, LIFE, Bench, a_start, until
from tests.workflows.house import SHORT_RUNS
from tests.workflows.scripted_activities import Script, fails_for_good
from workflows.environment.workflow import EnvironmentWorkflow

#: Temporal lets a run have ten updates under way.
AT_ONCE = 10
#: Far more than it takes on this server.
MOST = 500


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Of a server that has runs continue as new long before they have their two thousand updates."""
    async with running_temporal_server(pydantic_data_converter, SHORT_RUNS) as server:
        yield server.client


@pytest.mark.slow
async def test_the_record_and_the_answers_survive(client: Client) -> None:
    script = Script()
    bench = Bench(client, "continued", script)
    async with working(client, bench.task_queue, script.activities()):
        life = await bench.begin(a_start("long-lived"))

        async def ready() -> bool:
            return (await life.status()).phase is Phase.READY

        await until(ready, "it became ready")
        before = await life.status()
        first_run = (await life.handle.describe()).run_id
        ask = RequestInput(
            owner=before.environment.owner, spec=before.environment.spec, request_id=life.start.request_id
        )
        for first in range(0, MOST, AT_ONCE):
            numbers = range(first, first + AT_ONCE)
            answers = await asyncio.gather(
                *(bench.ask(life.start, ask, id=f"join-{number}") for number in numbers)
            )
            assert {answer.kind for answer in answers} <= {AnswerKind.CREATED, AnswerKind.JOINED}
            number, answer = numbers[-1], answers[-1]
            if (await life.handle.describe()).run_id != first_run:
                break
        else:
            raise AssertionError(f"it did not continue as new in {MOST} updates")
        again = await bench.ask(life.start, ask, id=f"join-{number}")
        assert again == answer, "the new run does not know the answers of the one before"
        after = await life.status()
        assert after.steps == before.steps
        assert after.receipts == before.receipts
        assert after.expires_at == before.expires_at, "the new run moved the end"
        assert (await life.handle.describe()).status is WorkflowExecutionStatus.RUNNING

        answer = await life.handle.execute_update(
            EnvironmentWorkflow.delete, ActorInput(actor="alice@example.com", life=LIFE)
        )
        assert answer.kind is AnswerKind.ACCEPTED
        status = await life.handle.result()
        assert status.outcome is Outcome.DELETED
        assert not script.world


@pytest.mark.slow
async def test_a_teardown_that_waits_for_a_person_does_not_grow_without_end(client: Client) -> None:
    """Ensures that one whose history is long waits in a new run, and is resumed there as it was."""
    script = Script()
    bench = Bench(client, "given-up", script)
    script.before["identity.remove"] = fails_for_good()
    async with working(client, bench.task_queue, script.activities()):
        timeouts = HURRY.model_copy(update={"give_up_after": HURRY.first_pause * 3})
        life = await bench.begin(a_start("given-up", timeouts=timeouts))

        async def ready() -> bool:
            return (await life.status()).phase is Phase.READY

        await until(ready, "it became ready")
        await life.handle.execute_update(
            EnvironmentWorkflow.delete, ActorInput(actor="alice@example.com", life=LIFE)
        )
        torn_down_in = (await life.handle.describe()).run_id

        async def goes_on() -> bool:
            return (await life.handle.describe()).run_id != torn_down_in

        await until(goes_on, "it waited in a new run", 30)
        status = await life.status()
        assert status.phase is Phase.TEARDOWN_INCOMPLETE, f"in the new run it is {status.phase}"
        assert [problem.step for problem in status.unfinished] == ["identity"]
        assert status.audit_log[0].action == "asked for it", "the trail was left behind"

        await life.handle.cancel()
        calls = len(script.calls)
        del script.before["identity.remove"]
        resume = EnvironmentWorkflow.resume_teardown
        await life.handle.execute_update(resume, ActorInput(actor="carol@example.com", life=LIFE))
        status = await life.handle.result()
        assert status.outcome is Outcome.DELETED, f"it ended as {status.outcome}"
        assert status.certificate, "it gave no certificate"
        assert not script.world, f"left behind: {script.world}"
        removed = {call for call in script.calls[calls:] if call.endswith(".remove")}
        assert removed == {"identity.remove"}, f"undone once more than needed: {removed}"
