"""Ensures that an environment that has lived through very many updates goes on in a new run as it was."""

import asyncio

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from contracts.environment import Outcome, Phase
from contracts.messages import AnswerKind, ByPerson, RequestInput
from tests.workflows.conftest import Bench, a_start, until
from tests.workflows.scripted import Script
from worker.run import workflow_runner
from workflows.environment import EnvironmentWorkflow
from workflows.registry import WORKFLOWS

#: Temporal lets a run have ten updates under way.
AT_ONCE = 10


@pytest.mark.slow
async def test_the_record_and_the_answers_survive(server: WorkflowEnvironment) -> None:
    client: Client = server.client
    script = Script()
    bench = Bench(client, "continued", script)
    async with Worker(
        client,
        task_queue="continued",
        workflows=WORKFLOWS,
        workflow_runner=workflow_runner(),
        activities=script.activities(),
    ):
        life = await bench.begin(a_start("long-lived"))

        async def ready() -> bool:
            return (await life.status()).phase is Phase.READY

        await until(ready, "it became ready")
        before = await life.status()
        first_run = (await life.handle.describe()).run_id
        ask = RequestInput(
            owner=before.environment.owner, spec=before.environment.spec, request_id=life.start.request_id
        )
        # A run may have 2,000 updates at most; the server suggests to continue before that.
        for first in range(0, 2000, AT_ONCE):
            numbers = range(first, first + AT_ONCE)
            answers = await asyncio.gather(
                *(bench.ask(life.start, ask, id=f"join-{number}") for number in numbers)
            )
            assert {answer.kind for answer in answers} <= {AnswerKind.CREATED, AnswerKind.JOINED}
            number, answer = numbers[-1], answers[-1]
            if (await life.handle.describe()).run_id != first_run:
                break
        else:
            raise AssertionError("it did not continue as new in 2,000 updates")
        again = await bench.ask(life.start, ask, id=f"join-{number}")
        assert again == answer, "the new run does not know the answers of the one before"
        after = await life.status()
        assert after.steps == before.steps
        assert after.receipts == before.receipts
        assert after.expires_at == before.expires_at, "the new run moved the end"
        assert (await life.handle.describe()).status is WorkflowExecutionStatus.RUNNING

        answer = await life.handle.execute_update(
            EnvironmentWorkflow.delete, ByPerson(who="alice@example.com")
        )
        assert answer.kind is AnswerKind.ACCEPTED
        status = await life.handle.result()
        assert status.outcome is Outcome.DELETED
        assert not script.world
