"""An end for what a test waits for, which says what it means that it has not come."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

#: What a test waits for on a busy machine.
SOON = 20.0


@asynccontextmanager
async def soon(otherwise: str) -> AsyncIterator[None]:
    """Fail with `otherwise` if what is within takes longer than `SOON`."""
    try:
        async with asyncio.timeout(SOON) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise pytest.fail.Exception(otherwise) from None
