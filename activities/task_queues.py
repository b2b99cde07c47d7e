"""The task queues of outside systems by this worker's settings, and the check that a step is in its own.

An environment knows from its start which systems have task queues. The settings may change while it lives, so
a worker hands back a step that waits in the wrong queue, and its workflow takes the right one.
"""

from collections.abc import Iterable

from temporalio import activity

from activities.errors import StepError
from contracts.activities.host import QueueActivities, QueuesInput, QueuesResult
from contracts.environment.models import Environment, System
from contracts.errors import ErrorType
from contracts.temporal.task_queues import OwnQueues, is_system_queue


class OtherQueue(StepError):
    """The step belongs into the task queue of a system; nothing was called."""

    type = ErrorType.OTHER_QUEUE


def ensure_right_queue(own_queues: OwnQueues, environment: Environment, systems: Iterable[System]) -> None:
    """Raise OtherQueue if one of the systems has task queues, and the activity runs in another."""
    host = environment.host
    for system in systems:
        if not own_queues.has(system, host):
            continue
        if not is_system_queue(activity.info().task_queue, system, host):
            what = f"host {host}" if system is System.HOST_CLUSTER else f"the {system}"
            raise OtherQueue(
                system,
                f"The worker's settings give {what} a task queue",
                "Nothing: the workflow puts the step into that queue",
            )


class Queues(QueueActivities):
    """Tells workflows what the settings of this worker say."""

    def __init__(self, own_queues: OwnQueues) -> None:
        self._own_queues = own_queues

    @activity.defn(name="queues.read")
    async def read(self, input: QueuesInput) -> QueuesResult:
        """Return the systems that have a task queue now."""
        return QueuesResult(own_queues=self._own_queues.of(input.host))
