"""Updates that Temporal or a worker turns away: what no run took is sent again, and nothing else is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from contracts.capacity.models import Amount, PlacementDecision, ReservationRequest, ReserveResult
from contracts.environment_workflow import Answer, AnswerKind
from contracts.errors import RefusalReason
from starter.environments.commands import send_update
from starter.placement import reservations
from starter.placement.reservations import Reservations
from starter.temporal import updates
from starter.temporal.errors import NoWorker, TemporalUnavailable
from starter.temporal.updates import Refused, WorkflowClosed, map_update_errors

ANSWER = Answer(kind=AnswerKind.JOINED, message="joined", life="x")


def limit(message: str) -> RPCError:
    return RPCError(message, RPCStatusCode.RESOURCE_EXHAUSTED, b"")


def failure(message: str, type: str) -> WorkflowUpdateFailedError:
    return WorkflowUpdateFailedError(ApplicationError(message, type=type))


UNPROCESSED = failure("Workflow Update is rejected: it wasn't processed by worker.", "UnprocessedUpdate")
NOT_TAKEN = (
    limit("limit on number of concurrent in-flight updates has been reached (10)"),
    limit("workflow operation can not be applied because workflow is closing"),
    limit("Workflow is busy."),
    UNPROCESSED,
)


class Client:
    """A client whose run turns the first calls away, each with an error."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.ids = list(errors), list[str]()

    def get_workflow_handle_for(self, *args: Any, **more: Any) -> "Client":
        return self

    async def execute_update(self, update: Any, input: Any, *, id: str) -> Answer:
        self.ids.append(id)
        if self.errors:
            raise self.errors.pop(0)
        return ANSWER


async def _sent(client: Any) -> Answer:
    return await send_update(client, None, None, name="demo", first_run_id="r", id="u-1")


async def test_an_update_that_was_not_taken_is_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(updates, "RETRY_SECONDS", 0)
    client = Client(*NOT_TAKEN)
    assert await _sent(client) == ANSWER
    assert client.ids == ["u-1"] * (len(NOT_TAKEN) + 1)


async def test_another_limit_is_reported_to_the_caller() -> None:
    client = Client(limit("namespace rate limit exceeded"))
    with pytest.raises(TemporalUnavailable, match="ask again"):
        await _sent(client)
    assert client.ids == ["u-1"]


@pytest.mark.parametrize(
    "closed",
    [
        RPCError("workflow update was aborted by closing workflow", RPCStatusCode.NOT_FOUND, b""),
        RPCError("workflow execution already completed", RPCStatusCode.NOT_FOUND, b""),
        failure("the Workflow completed before the Update completed", "AcceptedUpdateCompletedWorkflow"),
    ],
)
async def test_an_update_of_a_run_that_closes_is_not_sent_again(closed: Exception) -> None:
    client = Client(closed)
    with pytest.raises(WorkflowClosed):
        await _sent(client)
    assert client.ids == ["u-1"]


async def test_an_update_that_the_worker_does_not_have_is_refused() -> None:
    """Ensures that a change that came with an upgrade is not reported as a fault while old workers serve."""
    unknown = failure("Update handler for 'sleep' expected but not found, and ...", "RuntimeError")
    with pytest.raises(Refused, match="another version than this API") as refused:
        await _sent(Client(unknown))
    assert refused.value.refusal.reason is RefusalReason.NOT_NOW


async def test_a_reservation_that_was_not_taken_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "RETRY_SECONDS", 0)
    errors: list[Exception] = list(NOT_TAKEN)
    decision = PlacementDecision(host="house")

    async def ask(*args: Any) -> ReserveResult:
        if errors:
            raise errors.pop()
        return ReserveResult(decisions=(decision,))

    monkeypatch.setattr(reservations, "update_with_start", ask)
    client: Any = None
    request = ReservationRequest(
        name="demo",
        life="x",
        owner="alice@example.com",
        team="payments",
        template="small",
        size=Amount(),
        hosts=("house",),
        ends_at=datetime.now(UTC),
    )
    assert await Reservations(client).reassign(request) == decision
    assert errors == []


async def test_an_update_that_is_never_taken_ends_with_its_time() -> None:
    async def send() -> None:
        raise UNPROCESSED

    with pytest.raises(NoWorker):
        async with map_update_errors(timedelta(0)):
            await updates.send_until_taken(send)
