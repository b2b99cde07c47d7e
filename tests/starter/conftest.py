"""People who call the shared stack."""

from collections.abc import AsyncIterator

import pytest

from embedded.stack.stack import Stack
from tests.starter.calling import Caller, calling
from tests.support.stack import ALICE, BOB, CAROL, DAVE


@pytest.fixture
async def alice(stack: Stack) -> AsyncIterator[Caller]:
    """Of the platform team; team blue."""
    async with calling(stack, ALICE.email) as caller:
        yield caller


@pytest.fixture
async def bob(stack: Stack) -> AsyncIterator[Caller]:
    """A developer of team blue."""
    async with calling(stack, BOB.email) as caller:
        yield caller


@pytest.fixture
async def carol(stack: Stack) -> AsyncIterator[Caller]:
    """A developer of team blue."""
    async with calling(stack, CAROL.email) as caller:
        yield caller


@pytest.fixture
async def dave(stack: Stack) -> AsyncIterator[Caller]:
    """A developer of team green."""
    async with calling(stack, DAVE.email) as caller:
        yield caller


@pytest.fixture
async def nobody(stack: Stack) -> AsyncIterator[Caller]:
    """Somebody without a token."""
    async with calling(stack, None) as caller:
        yield caller
