"""Ensures that looks at environments ask for the freeze once in a while, and show a change at once."""

import asyncio
import time
from typing import Any, cast

import pytest

from starter.environments.schemas import FreezeView
from starter.expiry import freeze
from starter.expiry.freeze import ExpiryFreeze
from worker.settings.groups.expiry import Sweep


class Temporal:
    """The schedule of the sweep, as a client has it: `frozen` is how it is."""

    def __init__(self) -> None:
        self.frozen: str | None = None
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def get_schedule_handle(self, _: str) -> "Temporal":
        return self

    async def describe(self, **_: Any) -> Any:
        self.asked += 1
        note = self.frozen
        await self.gate.wait()
        state = type("State", (), {"paused": note is not None, "note": note})
        return type("Found", (), {"schedule": type("Schedule", (), {"state": state})})

    async def pause(self, *, note: str, **_: Any) -> None:
        self.frozen = note

    async def unpause(self, **_: Any) -> None:
        self.frozen = None


class Alone(ExpiryFreeze):
    """Without sweeps."""

    async def _stop_sweeps(self) -> bool:
        return True


async def test_many_looks_ask_once_and_see_a_change_at_once() -> None:
    temporal = Temporal()
    freezer = Alone(cast(Any, temporal), Sweep())
    assert await asyncio.gather(*(freezer.cached_state() for _ in range(100))) == [None] * 100
    assert temporal.asked <= 2
    asked = temporal.asked
    for _ in range(100):
        await freezer.cached_state()
    assert temporal.asked == asked
    await freezer.freeze("alice@example.com", "a fair")
    assert _reason(await freezer.cached_state()) == "a fair"
    await freezer.thaw("alice@example.com")
    assert await freezer.cached_state() is None


async def test_a_look_from_before_a_change_is_not_kept() -> None:
    temporal = Temporal()
    freezer = Alone(cast(Any, temporal), Sweep())
    temporal.gate.clear()
    slow = asyncio.create_task(freezer.cached_state())
    for _ in range(10):
        await asyncio.sleep(0)
    assert temporal.asked == 1
    temporal.gate.set()
    await freezer.freeze("alice@example.com", "a fair")
    await slow
    assert _reason(await freezer.cached_state()) == "a fair"


async def test_what_others_change_is_seen_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    temporal = Temporal()
    freezer = Alone(cast(Any, temporal), Sweep())
    assert await freezer.cached_state() is None
    temporal.frozen = "paused in the Web UI"
    now[0] += freeze.USABLE_SECONDS
    assert _reason(await freezer.cached_state()) == "paused in the Web UI"


def _reason(view: FreezeView | None) -> str:
    return view.reason if view else ""
