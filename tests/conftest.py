"""Servers that tests share for the whole session; how to use them is written in `tests.support.stack`."""

from collections.abc import AsyncIterator

import pytest
from temporalio.testing import WorkflowEnvironment

from embedded.stack import Stack
from embedded.temporal_server import extra_arguments, find_server
from tests.support.stack import hurried
from worker.converter import PLAIN


@pytest.fixture(scope="session")
async def temporal_server() -> AsyncIterator[WorkflowEnvironment]:
    """A Temporal server as the product runs it, in memory."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=find_server(),
        dev_server_extra_args=extra_arguments(),
        data_converter=PLAIN,
    ) as environment:
        yield environment


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A whole stack, in a hurry."""
    async with Stack(tmp_path_factory.mktemp("stack"), hurried()) as stack:
        yield stack
