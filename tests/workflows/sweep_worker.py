"""`python -m tests.workflows.sweep_worker ADDRESS QUEUE`: sweeps until it is killed; its clock is wrong."""

import asyncio
import sys
import time
from datetime import timedelta

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from tests.workflows.sweeping import sweeping

#: How far this process's clock is ahead: nothing may depend on it.
WRONG_BY = timedelta(minutes=10)


async def main() -> None:
    client = await Client.connect(sys.argv[1], data_converter=pydantic_data_converter)
    async with sweeping(client, sys.argv[2]):
        await asyncio.Event().wait()


if __name__ == "__main__":
    right = time.time
    time.time = lambda: right() + WRONG_BY.total_seconds()
    asyncio.run(main())
