"""One stand-in for all tests of the client; each test makes objects under its own names."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from clients.rafay import Rafay
from tests.support.stand_ins import RafayStandIn


@pytest.fixture(scope="package")
def running_stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RafayStandIn]:
    with RafayStandIn(tmp_path_factory.mktemp("rafay")) as stand_in:
        yield stand_in


@pytest.fixture
def stand_in(running_stand_in: RafayStandIn) -> Iterator[RafayStandIn]:
    yield running_stand_in
    running_stand_in.reset()


@pytest.fixture
async def rafay(stand_in: RafayStandIn) -> AsyncIterator[Rafay]:
    async with stand_in.client() as client:
        yield client


@pytest.fixture
def name() -> str:
    """A name that nothing has yet, and of which no other is a part."""
    return f"t-{uuid4().hex[:12]}"
