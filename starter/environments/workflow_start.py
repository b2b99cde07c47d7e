"""Starts the workflow of an environment."""

from datetime import timedelta

from temporalio.client import Client

from contracts.environment_workflow import TASK_QUEUE, EnvironmentStart
from contracts.temporal.environment_start import start_options
from starter.temporal.errors import map_rpc_errors
from workflows.environment.workflow import EnvironmentWorkflow

#: Timeout of a start, which needs no worker. It is longer than that of other calls, because hundreds can
#: start at the same moment, and a caller cannot know whether a start without an answer has happened.
START_TIMEOUT = timedelta(seconds=20)


async def start_environment(client: Client, start: EnvironmentStart) -> None:
    """Start the workflow; the server starts it only if the name has no open run.

    Raises:
        WorkflowAlreadyStartedError: The name has an open run.
        TemporalUnavailable: Temporal does not answer, or refuses the call.
    """
    with map_rpc_errors():
        await client.start_workflow(
            EnvironmentWorkflow.run,
            start,
            task_queue=TASK_QUEUE,
            rpc_timeout=START_TIMEOUT,
            **start_options(start),
        )
