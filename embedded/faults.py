"""Injects faults and latency into a stand-in of the embedded stack, while it runs.

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
    """The kinds of faults."""

    STATUS = "status"  #: respond with `status` and do nothing
    STATUS_AFTER = "status_after"  #: do it, and respond with `status` after `seconds`, as a gateway does
    HTML = "html"  #: respond with `status` and a page of HTML, as a proxy does; do nothing
    DELAY_BEFORE = "delay_before"  #: wait `seconds`, then do it, even if the caller has disconnected
    DELAY_AFTER = "delay_after"  #: do it, then wait `seconds` with the response
    CUT_BEFORE = "cut_before"  #: cut the connection without doing it
    CUT_AFTER = "cut_after"  #: do it, then cut the connection
    TRUNCATE = "truncate"  #: do it, respond with half of the body, well-formed as HTTP


class Fault(BaseModel):
    """One fault: the operations that it affects, its kind, and how often.

    `operation` is a shell pattern ("project.create", "group.*", "*"). `times` is how many of the next
    matching calls it affects (None: all); `share` is the probability that it affects a matching call.
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
    """Passes calls to `app`, except those that a fault affects.

    `operation_of(method, path)` returns the operation of a call; a call without one (None) is never affected.
    `injected` is the number of affected calls.
    """

    def __init__(self, app: App, operation_of: Callable[[str, str], str | None]) -> None:
        self._app = app
        self._operation_of = operation_of
        self.faults: list[Fault] = []
        self.injected = 0
        self._calls: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the controls, inject a fault, or pass the call on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] == CONTROL_PATH:
            await self._control(scope, receive, send)
            return
        if scope["path"] == CALLS_PATH:
            await _respond(send, 200, json.dumps(self._calls).encode())
            return
        operation = self._operation_of(scope["method"], scope["path"])
        if operation:
            self._calls[operation] += 1
        fault = self._next_fault(operation) if operation else None
        if fault is None:
            await self._app(scope, receive, send)
        else:
            self.injected += 1
            await self._inject(fault, scope, receive, send)

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

    async def _inject(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        match fault.kind:
            case FaultKind.STATUS:
                await _respond(send, fault.status, b'{"injected": "fault"}', retry_after=fault.retry_after)
            case FaultKind.HTML:
                page = b"<html><body><h1>Bad Gateway</h1></body></html>"
                await _respond(send, fault.status, page, content_type=b"text/html")
            case FaultKind.STATUS_AFTER:
                await self._handle(scope, receive)
                await asyncio.sleep(fault.seconds)
                await _respond(send, fault.status, b'{"injected": "fault"}', retry_after=fault.retry_after)
            case FaultKind.DELAY_BEFORE:
                # Read now: the server does not return the request once the caller has disconnected.
                request = await _whole_request(receive)
                await asyncio.sleep(fault.seconds)
                await self._app(scope, request, send)
            case FaultKind.DELAY_AFTER:
                messages = await self._handle(scope, receive)
                await asyncio.sleep(fault.seconds)
                for message in messages:
                    await send(message)
            case FaultKind.CUT_BEFORE:
                await _cut(send)
            case FaultKind.CUT_AFTER:
                await self._handle(scope, receive)
                await _cut(send)
            case FaultKind.TRUNCATE:
                messages = await self._handle(scope, receive)
                body = b"".join(message.get("body", b"") for message in messages)
                await _respond(send, messages[0]["status"], body[: len(body) // 2])

    async def _handle(self, scope: Scope, receive: Receive) -> list[dict[str, Any]]:
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
                await _respond(send, 422, json.dumps({"detail": str(error)}).encode())
                return
        await _respond(send, 200, _FAULTS.dump_json(self.faults))


async def _whole_request(receive: Receive) -> Receive:
    """Read the request to its end; return a `receive` that replays it."""
    messages: list[dict[str, Any]] = []
    while not messages or messages[-1].get("more_body"):
        messages.append(await receive())

    async def replay() -> dict[str, Any]:
        return messages.pop(0) if messages else await receive()

    return replay


async def _respond(
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
    # The body is shorter than its content-length: the server closes the connection after half a response.
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
    await send({"type": "http.response.body", "body": b"{", "more_body": True})
