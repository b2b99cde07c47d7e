"""An end for what a test waits for, which says what it means that it has not come."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

#: Seconds after which what a test waits for is taken to hang. An end for a test that fails, and no measure of
#: anything: no test may depend on how fast a machine is. What must not be waited for takes longer than this.
HANG = 120.0
#: Longer than any test: for what must not be waited for.
NEVER = 10 * HANG
#: Each pause between two looks is so much longer than the last.
_GROWTH = 1.5


def pauses(first: float, longest: float) -> Iterator[float]:
    """Yield pauses between looks at what stays once it has come, in seconds: each longer than the last.

    A look keeps an API, a Temporal server and a worker busy, which have to make what is waited for.
    """
    while True:
        yield first
        first = min(first * _GROWTH, longest)


@asynccontextmanager
async def soon(otherwise: str) -> AsyncIterator[None]:
    """Fail with `otherwise` if what is within takes longer than `HANG`."""
    try:
        async with asyncio.timeout(HANG) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise pytest.fail.Exception(otherwise) from None
