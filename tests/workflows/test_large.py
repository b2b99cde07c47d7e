"""Ensures that an environment whose everything is as large as it may be lives and ends like any other."""

import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from contracts.environment.models import EnvironmentStatus, Outcome, Phase
from contracts.environment.payload_limits import MAX_EXTENSIONS, MAX_TEMPLATE_BYTES, template_size
from contracts.environment_workflow import ActorInput, CarriedState, EnvironmentStart, ExtendInput
from contracts.errors import ErrorType
from contracts.expiry import GrantedExtension
from tests.support.stack import unique
from tests.support.temporal_server import running_temporal_server
from tests.support.workers import working
from tests.workflows.conftest import HURRY, LIFE, Bench, a_start, until
from tests.workflows.house import SHORT_RUNS
from tests.workflows.scripted_activities import Script
from worker.codec import Keyring
from worker.data_converter import converter_at, data_converter
from workflows.environment.workflow import EnvironmentWorkflow

pytestmark = pytest.mark.slow

#: Temporal's own limit of one payload, `limit.blobSize.error`.
BLOB = 2 * 1024 * 1024
#: From here on it suggests a new run; a history of 50 MB is ended by the server.
HISTORY = 8 * 1024 * 1024
KEYS = Keyring.parse(base64.b64encode(bytes([7]) * 32).decode())
LONG = "€" * 10_000


def large(name: str, **more: Any) -> EnvironmentStart:
    """A request for an environment of the largest template that there may be."""
    start = a_start(name, **more)
    template = start.environment.template
    room = MAX_TEMPLATE_BYTES - template_size(template.model_copy(update={"values": {"a": ""}}))
    template = template.model_copy(update={"values": {"a": "x" * room}})
    return start.model_copy(
        update={"environment": start.environment.model_copy(update={"template": template})}
    )


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of a separate server, on which runs continue as new early."""
    async with running_temporal_server(data_converter(KEYS), SHORT_RUNS) as server:
        yield server.client


async def test_the_largest_template_and_the_longest_words(client: Client) -> None:
    script = Script(says=LONG, lines=tuple(f"{number}-{LONG}" for number in range(5)))
    passes = 0

    async def fails() -> None:
        nonlocal passes
        passes += 1
        if passes <= 6:
            raise ApplicationError(LONG, type=ErrorType.ACCESS_DENIED, non_retryable=True)

    script.before["identity.remove"] = fails
    bench = Bench(client, "large", script)
    async with working(client, bench.task_queue, script.activities()):
        life = await bench.begin(large(unique(), timeouts=HURRY))

        async def is_ready() -> bool:
            return (await life.status()).phase is Phase.READY

        await until(is_ready, "it is ready", 60)
        for number in range(10):
            ask = ExtendInput(
                actor=LONG, life=LIFE, by=timedelta(minutes=1), override=True, reason=f"{number} {LONG}"
            )
            await life.handle.execute_update(EnvironmentWorkflow.extend, ask, id=f"extend-{number}")
        await life.handle.execute_update(EnvironmentWorkflow.delete, ActorInput(actor=LONG, life=LIFE))
        status = await life.handle.result()
        assert status.outcome is Outcome.DELETED
        assert status.certificate
        assert passes > 6
        described = (await client.get_workflow_handle(life.handle.id).describe()).raw_description
        assert described.workflow_execution_info.history_size_bytes < HISTORY
        assert not script.world


async def test_a_record_that_is_full_fits_into_the_next_run(client: Client) -> None:
    """Ensures that with everything at its bound the next run's argument stays far below Temporal's limit."""
    script = Script(says=LONG)
    bench = Bench(client, "full", script)
    async with working(client, bench.task_queue, script.activities()):
        start = large(unique())
        life = await bench.begin(start)

        async def is_ready() -> bool:
            return (await life.status()).phase is Phase.READY

        await until(is_ready, "it is ready", 60)
        status = await life.status()
        await life.handle.execute_update(
            EnvironmentWorkflow.delete, ActorInput(actor="alice@example.com", life=LIFE)
        )
        ended: EnvironmentStatus = await life.handle.result()
    assert ended.certificate
    [entry] = status.audit_log[-1:]
    full_entry = entry.model_copy(update={"actor": "€" * 100, "action": "€" * 100, "result": "€" * 333})
    finding = ended.certificate.findings[0]
    many = tuple("€" * 100 for _ in range(50))
    findings = tuple(
        finding.model_copy(update={"left": many, "kept": many, "forced": many}) for _ in range(10)
    )
    extension = GrantedExtension(at=status.requested_at, by=timedelta(1), override=True)
    full = status.model_copy(
        update={
            "audit_log": (full_entry,) * 200,
            "certificate": ended.certificate.model_copy(update={"findings": findings}),
            "extensions": (extension,) * MAX_EXTENSIONS,
        }
    )
    answer = life.answer.model_copy(update={"message": "€" * 333})
    answers = {f"{'k' * 90}-{number}": answer for number in range(100)}
    carried = start.model_copy(update={"carried": CarriedState(status=full, answers=answers)})
    for value in (carried, full):
        [payload] = await converter_at(client, life.handle.id).encode([value])
        assert payload.ByteSize() < BLOB * 3 / 4, f"{payload.ByteSize()} bytes"
