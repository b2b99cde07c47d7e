"""Asks the API of a stack for environments, as a developer's program would."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Self

import httpx
import pytest

from embedded.stack.stack import Person, Stack
from tests.support.deadline import HANG, pauses
from tests.support.stack import ALICE
from tests.support.stand_ins import TLS

#: No environment of a stack in a hurry takes a third of it for anything; busy machines take longer.
MAX_WAIT = HANG
#: Phases that an environment leaves only when someone asks, or after many seconds.
_LASTING = ("ready", "asleep", "teardown_incomplete", "gone")
#: Longest pause between two looks at what becomes one of them, in seconds.
_LONGEST_PAUSE = 0.4


class Asking:
    """One person's way to the API of a stack, or to another one at `url` that has its tokens."""

    def __init__(
        self,
        stack: Stack,
        person: Person = ALICE,
        *,
        max_wait: float = MAX_WAIT,
        look_every: float = 0.1,
        url: str = "",
    ) -> None:
        self._max_wait = max_wait
        self._look_every = look_every
        self._http = httpx.AsyncClient(
            base_url=f"{url or stack.api_url}/api/v1",
            headers={"Authorization": f"Bearer {stack.token_of(person.email)}"},
            timeout=HANG,
            trust_env=False,
            verify=TLS,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Any call."""
        return await self._http.request(method, path, **more)

    async def request(self, name: str, *, key: str | None = None, **body: Any) -> httpx.Response:
        """Ask for an environment from the template small, or as `body` says.

        A stack that has just started on a busy machine answers that its hosts have not reported yet.
        """
        headers = {"Idempotency-Key": key} if key else {}
        wanted = {"name": name, "template": "small"} | body
        ends = asyncio.get_running_loop().time() + self._max_wait
        while True:
            answer = await self.call("POST", "/environments", json=wanted, headers=headers)
            is_early = answer.status_code == 503 and "has not reported yet" in answer.text
            if not is_early or asyncio.get_running_loop().time() > ends:
                return answer
            await asyncio.sleep(_LONGEST_PAUSE)

    async def delete(self, name: str) -> httpx.Response:
        """Ask for its end."""
        return await self.call("DELETE", f"/environments/{name}")

    async def cancel(self, name: str) -> httpx.Response:
        """Cancel its making."""
        return await self.call("POST", f"/environments/{name}/cancel")

    async def show(self, name: str) -> dict[str, Any]:
        """How it stands. A busy machine may answer that it is to be asked again, as a developer then does."""
        ends = asyncio.get_running_loop().time() + self._max_wait
        answer = await self.call("GET", f"/environments/{name}")
        while answer.status_code == 503 and asyncio.get_running_loop().time() < ends:
            await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
            answer = await self.call("GET", f"/environments/{name}")
        assert answer.status_code == 200, f"showing {name}: {answer.status_code} {answer.text}"
        shown: dict[str, Any] = answer.json()
        return shown

    async def until(
        self,
        name: str,
        condition: Callable[[dict[str, Any]], bool],
        what: str,
        *,
        looks: Iterator[float] | None = None,
    ) -> dict[str, Any]:
        """Wait until what is shown of it is as `condition` says; fail if `what` does not happen.

        `looks` are the pauses between two looks.
        """
        looks = looks or itertools.repeat(self._look_every)
        ends = asyncio.get_running_loop().time() + self._max_wait
        while True:
            shown = await self.show(name)
            if condition(shown):
                return shown
            if asyncio.get_running_loop().time() > ends:
                steps = [f"{row['step']}: {row['state']} {row.get('note')}" for row in shown["steps"]]
                stands = f"{shown['phase']}: {steps}, {shown['unfinished']}"
                pytest.fail(f"{name}: not {what} in {self._max_wait} s but {stands}")
            await asyncio.sleep(next(looks))

    async def until_phase(self, name: str, phase: str) -> dict[str, Any]:
        """Wait until it is in `phase`; fail when it is gone instead."""
        looks = pauses(self._look_every, max(self._look_every, _LONGEST_PAUSE)) if phase in _LASTING else None
        shown = await self.until(name, lambda now: now["phase"] in (phase, "gone"), phase, looks=looks)
        assert shown["phase"] == phase, f"{name} is {shown['phase']} and not {phase}: {shown.get('problem')}"
        return shown

    async def until_step(self, name: str, step: str, state: str) -> None:
        """Wait until one of its steps is in `state`."""

        def reached(shown: dict[str, Any]) -> bool:
            return any(row["step"] == step and row["state"] == state for row in shown["steps"])

        await self.until(name, reached, f"{state} in step {step}")
