"""The shared stack of the chaos tests; no stand-in of it has faults after a test."""

from collections.abc import AsyncIterator

import pytest

from embedded.stack import Stack
from tests.environment.asking import Asking
from tests.environment.systems import Systems
from tests.support.deeds import no_faults
from tests.support.stack import hurried


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The storm first: it takes longest, and what else is done is done beside it."""
    items.sort(key=lambda item: "test_storm" not in item.nodeid)


@pytest.fixture(scope="package")
async def battered(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack of its own: what is done to it must not be felt by other tests."""
    async with Stack(tmp_path_factory.mktemp("battered"), hurried()) as stack:
        yield stack


@pytest.fixture
async def asking(battered: Stack) -> AsyncIterator[Asking]:
    """Alice, at the API of the stack."""
    async with Asking(battered) as asking:
        yield asking
    no_faults(battered)


@pytest.fixture
def systems(battered: Stack) -> Systems:
    """What the systems really hold."""
    return Systems(battered)
