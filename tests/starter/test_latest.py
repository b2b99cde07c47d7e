"""Ensures that those who ask together share a look, and that nobody sees what was so before."""

import asyncio

import pytest

from starter.environments.shared_reads import SharedReads


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


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_after_a_change_sees_it() -> None:
    looked = Looked()
    shared = SharedReads(looked.look)
    first = asyncio.create_task(shared.at("a"))
    await settle()
    looked.value = 1
    later = [asyncio.create_task(shared.at("a")) for _ in range(100)]
    await settle()
    assert looked.looks == 1
    looked.gates[0].set()
    assert await first == ("a", 0)
    await settle()
    looked.value = 2
    latest = asyncio.create_task(shared.at("a"))
    await settle()
    looked.gates[1].set()
    assert [await one for one in later] == [("a", 1)] * 100
    await settle()
    looked.gates[2].set()
    assert await latest == ("a", 2)
    assert looked.looks == 3
    assert not shared._turns


async def test_names_do_not_wait_for_each_other_and_errors_are_everybody_s() -> None:
    looked = Looked()
    looked.value = -1
    shared = SharedReads(looked.look)
    asked = [asyncio.create_task(shared.at(name)) for name in ("a", "a", "b")]
    await settle()
    assert looked.looks == 2
    asked[1].cancel()
    asked.append(asyncio.create_task(shared.at("a")))
    for _ in range(3):
        for gate in looked.gates:
            gate.set()
        await settle()
    for one in (asked[0], asked[2], asked[3]):
        with pytest.raises(ValueError, match=r"[ab]"):
            await one
    assert asked[1].cancelled()
    assert looked.looks == 3
    assert not shared._turns
