"""Reads of outside systems at the same time: a step may need several, and each may take a while."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_A = TypeVar("_A")
_B = TypeVar("_B")


async def read_together(first: Awaitable[_A], second: Awaitable[_B]) -> tuple[_A, _B]:
    """Return the results of both; if both fail, raise the error of the first.

    Both are over when this returns or raises, so that no call of a step outlasts it.
    """
    one, two = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(two, BaseException):
        raise two
    return one, two
