"""Faults and latency on purpose, for a server of the embedded stack, set while it runs.

`FaultInjector` wraps an ASGI application. The faults are read and set over HTTP at `/-/faults`:
GET lists them, PUT replaces them all (a JSON list of `Fault`), DELETE clears them. It counts the calls of
each operation as well: GET `/-/calls`.
"""

import asyncio
import fnmatch
import json
import random
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

Scope = dict[str, Any]
Receive = Callable[[], Any]
Send = Callable[[dict[str, Any]], Any]
App = Callable[[Scope, Receive, Send], Any]

CONTROL_PATH = "/-/faults"
CALLS_PATH = "/-/calls"


class FaultKind(StrEnum):
    """What goes wrong with a call."""

    STATUS = "status"  #: answer with `status` and do nothing
    STATUS_AFTER = "status_after"  #: do it, and after `seconds` answer `status`, as a gateway that gave up
    HTML = "html"  #: answer with `status` and a page of HTML, as a proxy does; do nothing
    DELAY_BEFORE = "delay_before"  #: wait `seconds`, then do it, even if the caller is gone by then
    DELAY_AFTER = "delay_after"  #: do it, then wait `seconds` with the answer
    CUT_BEFORE = "cut_before"  #: cut the connection without doing it
    CUT_AFTER = "cut_after"  #: do it, then cut the connection
    TRUNCATE = "truncate"  #: do it, answer with half of the body, well-formed as HTTP


class Fault(BaseModel):
    """One fault: for which operations, what, and how often.

    `operation` is a shell pattern ("project.create", "group.*", "*"). `times` is how many of the next
    matching calls it strikes (None: all); `share` is the probability that it strikes a matching call.
    """

    model_config = ConfigDict(extra="forbid")

    operation: str = "*"
    kind: FaultKind
    status: int = Field(default=500, ge=200, le=599)
    retry_after: int | None = Field(default=None, ge=0, description="seconds, sent as Retry-After")
    seconds: float = Field(default=0.0, ge=0, le=600)
    times: int | None = Field(default=None, ge=1)
    share: float = Field(default=1.0, ge=0, le=1)


_FAULTS = TypeAdapter(list[Fault])


class FaultInjector:
    """Passes calls on to `app`, except those that a fault strikes.

    `operation_of(method, path)` names the operation of a call; calls that it gives no name (None) are
    never struck. Counts what it did in `struck`.
    """

    def __init__(self, app: App, operation_of: Callable[[str, str], str | None]) -> None:
        self._app = app
        self._operation_of = operation_of
        self.faults: list[Fault] = []
        self.struck = 0
        self._calls: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] == CONTROL_PATH:
            await self._control(scope, receive, send)
            return
        if scope["path"] == CALLS_PATH:
            await _answer(send, 200, json.dumps(self._calls).encode())
            return
        operation = self._operation_of(scope["method"], scope["path"])
        if operation:
            self._calls[operation] += 1
        fault = self._next_fault(operation) if operation else None
        if fault is None:
            await self._app(scope, receive, send)
        else:
            self.struck += 1
            await self._strike(fault, scope, receive, send)

    def _next_fault(self, operation: str) -> Fault | None:
        for index, fault in enumerate(self.faults):
            if not fnmatch.fnmatchcase(operation, fault.operation) or random.random() >= fault.share:  # noqa: S311
                continue
            if fault.times == 1:
                del self.faults[index]
            elif fault.times is not None:
                self.faults[index] = fault.model_copy(update={"times": fault.times - 1})
            return fault
        return None

    async def _strike(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        match fault.kind:
            case FaultKind.STATUS:
                await _answer(send, fault.status, b'{"injected": "fault"}', retry_after=fault.retry_after)
            case FaultKind.HTML:
                page = b"<html><body><h1>Bad Gateway</h1></body></html>"
                await _answer(send, fault.status, page, content_type=b"text/html")
            case FaultKind.STATUS_AFTER:
                await self._do(scope, receive)
                await asyncio.sleep(fault.seconds)
                await _answer(send, fault.status, b'{"injected": "fault"}', retry_after=fault.retry_after)
            case FaultKind.DELAY_BEFORE:
                # Read now: when the caller has gone, the server does not hand out the request any more.
                request = await _whole_request(receive)
                await asyncio.sleep(fault.seconds)
                await self._app(scope, request, send)
            case FaultKind.DELAY_AFTER:
                messages = await self._do(scope, receive)
                await asyncio.sleep(fault.seconds)
                for message in messages:
                    await send(message)
            case FaultKind.CUT_BEFORE:
                await _cut(send)
            case FaultKind.CUT_AFTER:
                await self._do(scope, receive)
                await _cut(send)
            case FaultKind.TRUNCATE:
                messages = await self._do(scope, receive)
                body = b"".join(message.get("body", b"") for message in messages)
                await _answer(send, messages[0]["status"], body[: len(body) // 2])

    async def _do(self, scope: Scope, receive: Receive) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []

        async def keep(message: dict[str, Any]) -> None:
            messages.append(message)

        await self._app(scope, receive, keep)
        return messages

    async def _control(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "DELETE":
            self.faults = []
        elif scope["method"] == "PUT":
            body = b""
            while True:
                message = await receive()
                body += message.get("body", b"")
                if not message.get("more_body"):
                    break
            try:
                self.faults = _FAULTS.validate_json(body)
            except ValidationError as error:
                await _answer(send, 422, json.dumps({"detail": str(error)}).encode())
                return
        await _answer(send, 200, _FAULTS.dump_json(self.faults))


async def _whole_request(receive: Receive) -> Receive:
    """What gives the request again, read to its end; after it, what `receive` gives."""
    messages: list[dict[str, Any]] = []
    while not messages or messages[-1].get("more_body"):
        messages.append(await receive())

    async def again() -> dict[str, Any]:
        return messages.pop(0) if messages else await receive()

    return again


async def _answer(
    send: Send,
    status: int,
    body: bytes,
    *,
    content_type: bytes = b"application/json",
    retry_after: int | None = None,
) -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    if retry_after is not None:
        headers.append((b"retry-after", str(retry_after).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _cut(send: Send) -> None:
    # A promised body that never comes: the server closes the connection, and the caller has half an answer.
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
    await send({"type": "http.response.body", "body": b"{", "more_body": True})
