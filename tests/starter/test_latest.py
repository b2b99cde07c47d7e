"""Ensures that concurrent callers share one read, and that no caller gets an outdated value."""

import asyncio
import time

import pytest

from starter.shared_reads import CachedReads, SharedReads
from tests.support.deadline import HANG


class Looked:
    """A thing that changes, and looks at it that end when the test says so."""

    def __init__(self) -> None:
        self.value = 0
        self.looks = 0
        self.gates: list[asyncio.Event] = []

    async def look(self, name: str) -> tuple[str, int]:
        self.looks += 1
        seen, gate = self.value, asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        if seen < 0:
            raise ValueError(name)
        return name, seen


async def late_response_window() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_after_a_change_sees_it() -> None:
    looked = Looked()
    shared = SharedReads(looked.look)
    first = asyncio.create_task(shared.read("a"))
    await late_response_window()
    looked.value = 1
    later = [asyncio.create_task(shared.read("a")) for _ in range(100)]
    await late_response_window()
    assert looked.looks == 1
    looked.gates[0].set()
    assert await first == ("a", 0)
    await late_response_window()
    looked.value = 2
    latest = asyncio.create_task(shared.read("a"))
    await late_response_window()
    looked.gates[1].set()
    assert [await one for one in later] == [("a", 1)] * 100
    await late_response_window()
    looked.gates[2].set()
    assert await latest == ("a", 2)
    assert looked.looks == 3
    assert not shared._turns


async def test_names_do_not_wait_for_each_other_and_errors_are_everybody_s() -> None:
    looked = Looked()
    looked.value = -1
    shared = SharedReads(looked.look)
    asked = [asyncio.create_task(shared.read(name)) for name in ("a", "a", "b")]
    await late_response_window()
    assert looked.looks == 2
    asked[1].cancel()
    asked.append(asyncio.create_task(shared.read("a")))
    for _ in range(3):
        for gate in looked.gates:
            gate.set()
        await late_response_window()
    for one in (asked[0], asked[2], asked[3]):
        with pytest.raises(ValueError, match=r"[ab]"):
            await one
    assert asked[1].cancelled()
    assert looked.looks == 3
    assert not shared._turns


async def test_what_was_read_a_moment_ago_is_returned_and_read_again_in_the_background(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ensures that no caller waits while a result is usable, and that a change invalidates it."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    looked = Looked()
    cached = CachedReads(looked.look, fresh_seconds=1, usable_seconds=5, max_kept=1)

    async def read(gate: int | None = None, key: str = "a") -> tuple[str, int]:
        reading = asyncio.create_task(cached.read(key))
        await late_response_window()
        if gate is not None:
            looked.gates[gate].set()
        return await reading

    assert await read(0) == ("a", 0)
    looked.value = 1
    now[0] += 0.9
    assert await read() == ("a", 0)
    assert looked.looks == 1
    now[0] += 0.1
    assert await read() == ("a", 0)
    assert await read() == ("a", 0)
    assert looked.looks == 2, "it is not read again, or by each caller"
    looked.gates[1].set()
    await late_response_window()
    assert await read() == ("a", 1)
    looked.value = 2
    cached.invalidate()
    assert await read(2) == ("a", 2)
    looked.value = 3
    now[0] += 5
    assert await read(3) == ("a", 3), "a result that is too old is returned"
    looked.value = -1
    now[0] += 2
    assert await read() == ("a", 3)
    await late_response_window()
    looked.gates[4].set()
    await late_response_window()
    assert await read() == ("a", 3), "a failure in the background is a caller's"
    looked.gates[5].set()
    await late_response_window()
    looked.value = 4
    assert await read(6, "b") == ("b", 4)
    assert len(cached._kept) == 1


async def test_a_caller_waits_a_moment_for_a_newer_result_and_no_longer() -> None:
    looked = Looked()
    cached = CachedReads(looked.look, fresh_seconds=0, usable_seconds=1000, max_wait_seconds=0.01)

    async def read(gate: int) -> tuple[str, int]:
        reading = asyncio.create_task(cached.read("a"))
        await late_response_window()
        looked.gates[gate].set()
        return await reading

    assert await read(0) == ("a", 0)
    looked.value = 1
    assert await cached.read("a") == ("a", 0), "the source does not answer within the longest wait"
    cached._max_wait_seconds = HANG
    assert await read(1) == ("a", 1), "the source has answered, and the older result is returned"
    # A change meanwhile: the result of before must not be returned, though it is there.
    looked.value = 2
    asked = asyncio.create_task(cached.read("a"))
    await late_response_window()
    cached.invalidate()
    for _ in range(2):
        looked.gates[-1].set()
        await late_response_window()
    assert await asked == ("a", 2)


async def test_who_comes_when_the_source_is_known_to_be_slow_does_not_wait() -> None:
    """Ensures that the longest wait counts from the start of the read, and not for each caller again."""
    looked = Looked()
    cached = CachedReads(looked.look, fresh_seconds=0, usable_seconds=1000, max_wait_seconds=0.01)
    reading = asyncio.create_task(cached.read("a"))
    await late_response_window()
    looked.gates[0].set()
    await reading
    looked.value = 1
    assert await cached.read("a") == ("a", 0)
    assert looked.looks == 2, "the first caller has waited for this look, which has not ended"
    later = asyncio.create_task(cached.read("a"))
    await late_response_window()
    assert later.done(), "a later caller waits for it as well"
    assert await later == ("a", 0)
    looked.gates[1].set()
    await late_response_window()
    # The next look has another wait.
    cached._max_wait_seconds = HANG
    looked.value = 2
    reading = asyncio.create_task(cached.read("a"))
    await late_response_window()
    looked.gates[2].set()
    assert await reading == ("a", 2)


async def test_what_is_about_to_expire_is_read_again_before_a_caller_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ensures that steady callers do not wait, and that no result is returned for longer because of it."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    looked = Looked()
    cached = CachedReads(looked.look, fresh_seconds=1, usable_seconds=5, max_wait_seconds=HANG)

    async def read() -> tuple[str, int]:
        reading = asyncio.create_task(cached.read("a"))
        await late_response_window()
        assert reading.done(), "the caller waits"
        return await reading

    first = asyncio.create_task(cached.read("a"))
    await late_response_window()
    looked.gates[0].set()
    assert await first == ("a", 0)
    looked.value = 1
    now[0] += 0.5
    assert await read() == ("a", 0)
    assert looked.looks == 1
    now[0] += 0.35
    for _ in range(3):
        assert await read() == ("a", 0)
    assert looked.looks == 2, "it is not read again before it expires, or by each caller"
    looked.gates[1].set()
    await late_response_window()
    looked.value = 2
    now[0] += 0.5
    assert await read() == ("a", 1)
    cached.invalidate()
    last = asyncio.create_task(cached.read("a"))
    await late_response_window()
    assert not last.done(), "a result from before the change is returned"
    looked.gates[2].set()
    assert await last == ("a", 2)
