"""The shared stack of the chaos tests; no stand-in of it has faults after a test."""

from collections.abc import AsyncIterator

import pytest

from embedded.stack.stack import Stack
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import no_faults
from tests.support.stack import hurried

#: Those that take longest, the longest first.
_LONGEST = ("test_storm", "test_bookings", "test_fuzz", "test_state_machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest tests first, each in its own process and stack; the others run beside them."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    return next((place for place, name in enumerate(_LONGEST) if name in item.nodeid), len(_LONGEST))


@pytest.fixture(scope="package")
async def battered(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Yield a separate stack, so that faults injected there do not affect other tests."""
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
