"""The floor: a bare Temporal workflow with as many activities.

Nothing can be faster with the same number of durable steps and the same outside calls: no
models, no records, no names, no errors that mean anything, no heartbeats, no undo.
"""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow

TASK_QUEUE = "floor"
ACTIVITY = "step"
STEP_TIMEOUT = timedelta(minutes=5)


@dataclass(frozen=True)
class Calls:
    """The plain HTTP calls of one activity: so many, to this address, with the headers called `headers`."""

    url: str = ""
    count: int = 0
    headers: str = ""


@workflow.defn
class BareUpdates:
    """Answers updates, each at once and with nothing."""

    @workflow.run
    async def run(self) -> None:
        """Until its server is gone."""
        await workflow.wait_condition(lambda: False)

    @workflow.update
    async def nothing(self, number: int) -> int:
        """The same number."""
        return number


@workflow.defn
class BareWorkflow:
    """One activity after the other."""

    @workflow.run
    async def run(self, steps: list[Calls]) -> None:
        """Do as many steps as there are entries."""
        for step in steps:
            await workflow.execute_activity(ACTIVITY, step, start_to_close_timeout=STEP_TIMEOUT)
