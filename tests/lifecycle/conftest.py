"""A stack with an identity provider and one without, each emptied of faults after every test."""

from collections.abc import AsyncIterator

import pytest

from embedded.stack.stack import Part, Stack
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.fault_points import no_faults
from tests.support.stack import hurried
from tests.support.worker_processes import with_workers


@pytest.fixture(scope="package")
async def plain_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A whole stack without an identity provider."""
    options = hurried(parts=frozenset(Part) - {Part.DIRECTORY})
    async with Stack(tmp_path_factory.mktemp("plain-stack"), options) as stack, with_workers(stack):
        yield stack


@pytest.fixture
async def asking(stack: Stack) -> AsyncIterator[Asking]:
    """Alice, at the API of the shared stack; afterwards no stand-in has faults."""
    async with Asking(stack) as asking:
        yield asking
    no_faults(stack)


@pytest.fixture
def systems(stack: Stack) -> Systems:
    """What the shared stack's systems really hold."""
    return Systems(stack)
