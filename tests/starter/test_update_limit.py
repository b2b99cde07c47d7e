"""More updates at once than one run accepts: those above the limit are sent again, and nothing else is."""

from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode

from contracts.environment_workflow import Answer, AnswerKind
from starter.environments import commands
from starter.environments.commands import send_update
from starter.temporal.errors import TemporalUnavailable

LIMIT = "limit on number of concurrent in-flight updates has been reached (10)"
ANSWER = Answer(kind=AnswerKind.JOINED, message="joined", life="x")


class Client:
    """A client whose run refuses the first calls with an error."""

    def __init__(self, refusals: int, message: str) -> None:
        self.left, self.message, self.ids = refusals, message, list[str]()

    def get_workflow_handle_for(self, *args: Any, **more: Any) -> "Client":
        return self

    async def execute_update(self, update: Any, input: Any, *, id: str) -> Answer:
        self.ids.append(id)
        if self.left:
            self.left -= 1
            raise RPCError(self.message, RPCStatusCode.RESOURCE_EXHAUSTED, b"")
        return ANSWER


async def _sent(client: Any) -> Answer:
    return await send_update(client, None, None, name="demo", first_run_id="r", id="u-1")


async def test_an_update_above_the_limit_is_sent_again_with_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "RETRY_SECONDS", 0)
    client = Client(3, LIMIT)
    assert await _sent(client) == ANSWER
    assert client.ids == ["u-1"] * 4


async def test_another_limit_is_reported_to_the_caller() -> None:
    client = Client(3, "namespace rate limit exceeded")
    with pytest.raises(TemporalUnavailable, match="ask again"):
        await _sent(client)
    assert client.ids == ["u-1"]
