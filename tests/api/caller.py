"""Calls the API of a running stack as one of its people, and waits for what comes about there."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from embedded.stack.stack import Part, Stack
from starter.environments.schemas import EnvironmentView
from tests.support.deadline import HANG, pauses
from tests.support.stand_ins import TLS

#: Longest wait for what takes a second or two on an idle machine.
MAX_WAIT = HANG
#: Pauses between two looks at an environment, in seconds; the second is the longest where what is waited for
#: stays once it has come.
PAUSE, LONGEST_PAUSE = 0.1, 0.4


class Caller:
    """One person's way to the API."""

    def __init__(self, base_url: str, token: str | None, email: str = "") -> None:
        self.email = email
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.AsyncClient(
            base_url=f"{base_url}/api/v1", headers=headers, timeout=HANG, trust_env=False, verify=TLS
        )

    async def ask(self, name: str, *, key: str | None = None, **fields: Any) -> httpx.Response:
        """Ask for an environment, of `small` unless said otherwise."""
        headers = {"Idempotency-Key": key} if key else {}
        body = {"name": name, "template": "small", **fields}
        return await self.http.post("/environments", json=body, headers=headers)

    async def show(self, name: str) -> EnvironmentView:
        """How it stands."""
        answer = await self.http.get(f"/environments/{name}")
        assert answer.status_code == 200, answer.text
        return EnvironmentView.model_validate(answer.json())

    async def until(
        self,
        name: str,
        condition: Callable[[EnvironmentView], bool],
        *,
        looks: Iterator[float] | None = None,
    ) -> EnvironmentView:
        """How it stands once the condition holds; `looks` are the pauses between two looks."""
        looks = looks or itertools.repeat(PAUSE)
        deadline = time.monotonic() + MAX_WAIT
        while not condition(view := await self._look(name, deadline)):
            assert time.monotonic() < deadline, view.model_dump_json(indent=2)
            await asyncio.sleep(next(looks))
        return view

    async def _look(self, name: str, deadline: float) -> EnvironmentView:
        """How it stands, as soon as a Temporal of a busy machine answers in time."""
        while (answer := await self.http.get(f"/environments/{name}")).status_code == 503:
            assert "ask again" in answer.text, answer.text
            assert time.monotonic() < deadline, answer.text
            await asyncio.sleep(0.5)
        assert answer.status_code == 200, answer.text
        return EnvironmentView.model_validate(answer.json())

    async def accepted(self, name: str, **fields: Any) -> None:
        """Ask for an environment, as soon as a host of a new stack has reported."""
        deadline = time.monotonic() + MAX_WAIT
        # The short timeouts of the tests may pass before a host answers for the first time on a busy machine.
        while (answer := await self.ask(name, **fields)).status_code == 503 and time.monotonic() < deadline:
            assert "has not reported yet" in answer.text, answer.text
            await asyncio.sleep(0.5)
        assert answer.status_code == 202, answer.text

    async def ready(self, name: str, **fields: Any) -> EnvironmentView:
        """A new environment that is ready."""
        await self.accepted(name, **fields)
        return await self.until(name, lambda view: view.phase == "ready", looks=pauses(PAUSE, LONGEST_PAUSE))

    async def gone(self, name: str) -> EnvironmentView:
        """Delete it and wait until nothing is left."""
        answer = await self.http.delete(f"/environments/{name}")
        assert answer.status_code == 202, answer.text
        return await self.until(name, lambda view: view.ended, looks=pauses(PAUSE, LONGEST_PAUSE))

    async def events(self, name: str) -> AsyncIterator[tuple[str, EnvironmentView]]:
        """The events of its stream, until the API ends it."""
        async with self.http.stream("GET", f"/environments/{name}/events", timeout=MAX_WAIT) as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            event = ""
            async for line in answer.aiter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    event = value
                elif field == "data":
                    yield event, EnvironmentView.model_validate(json.loads(value))


@asynccontextmanager
async def calling(stack: Stack, email: str | None, token: str | None = None) -> AsyncIterator[Caller]:
    """A caller who is one of the stack's people, with this token or their own, or one without a token."""
    token = token or (stack.token_of(email) if email else None)
    caller = Caller(stack.url(Part.API), token, email or "")
    async with caller.http:
        yield caller


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem details of an answer, which must be well-formed."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    content: dict[str, Any] = answer.json()
    assert content["status"] == status
    assert content["type"].startswith("urn:moorage:problem:")
    assert content["title"]
    assert content["detail"]
    return content


def fields_of(content: dict[str, Any]) -> dict[str, str]:
    """The fields of a problem, and what is wrong with each."""
    return {error["field"]: error["message"] for error in content["errors"]}
