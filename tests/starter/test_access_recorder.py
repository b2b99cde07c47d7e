"""The security log has an access before the caller has the answer, and has it once."""

from contextlib import suppress
from typing import Any

import pytest
import structlog
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from starter.api.access_recorder import AccessRecorder
from starter.auth.policy import Principal

BOB = Principal(person="Bob", email="bob@example.com", teams=("blue",))


async def _recorded(app: ASGIApp, method: str = "POST") -> tuple[list[Any], list[int]]:
    """Return the lines of one call, and how many there were as each message was sent."""
    scope: Scope = {"type": "http", "method": method, "path": "/x", "headers": [], "client": ("127.0.0.1", 1)}
    counts: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    with structlog.testing.capture_logs() as lines:

        async def send(message: Message) -> None:
            counts.append(len(lines))

        with suppress(LookupError):
            await AccessRecorder(app).call(BOB, scope, receive, send)
    return lines, counts


@pytest.mark.parametrize(
    ("status", "verdict"), [(200, "allowed"), (403, "denied"), (409, "refused"), (503, "failed")]
)
async def test_a_change_is_in_the_log_before_its_answer_is_sent(status: int, verdict: str) -> None:
    lines, counts = await _recorded(PlainTextResponse("done", status))
    assert [(line["verdict"], line["status"]) for line in lines] == [(verdict, status)]
    assert counts == [1, 1]


async def test_a_change_that_ends_without_an_answer_is_in_the_log_as_failed() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("a fault of the application")

    lines, counts = await _recorded(app)
    assert [(line["verdict"], line["status"]) for line in lines] == [("failed", 500)]
    assert counts == []


async def test_a_read_is_in_the_log_only_if_it_is_denied() -> None:
    assert await _recorded(PlainTextResponse("yes"), "GET") == ([], [0, 0])
    denied, _ = await _recorded(PlainTextResponse("no", 403), "GET")
    assert [line["verdict"] for line in denied] == ["denied"]
