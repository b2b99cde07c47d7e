"""Reads at the same time: both results or the first error, and no call that goes on afterwards."""

import asyncio

import pytest

from activities.parts.concurrent_reads import read_together


async def result(what: str, *, after: asyncio.Event | None = None, done: asyncio.Event | None = None) -> str:
    if after:
        await after.wait()
    if done:
        done.set()
    return what


async def error(what: str) -> str:
    raise ValueError(what)


async def test_both_are_read_at_the_same_time() -> None:
    done = asyncio.Event()
    assert await read_together(result("one", after=done), result("two", done=done)) == ("one", "two")


async def test_the_error_of_the_first_is_raised_when_both_fail() -> None:
    with pytest.raises(ValueError, match="one"):
        await read_together(error("one"), error("two"))
    with pytest.raises(ValueError, match="two"):
        await read_together(result("one"), error("two"))


async def test_an_error_is_raised_when_the_other_is_over() -> None:
    over = asyncio.Event()
    with pytest.raises(ValueError, match="one"):
        await read_together(error("one"), result("two", done=over))
    assert over.is_set()
