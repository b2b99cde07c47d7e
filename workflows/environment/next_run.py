"""The next run of an environment, which goes on with its state and starts with a short history."""

from typing import NoReturn

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from contracts.environment_workflow import EnvironmentStart
    from contracts.temporal.workflow_memo import build_memo

from workflows.record.state import EnvironmentState
from workflows.version_upgrade import next_version


def start_next_run(start: EnvironmentStart, state: EnvironmentState) -> NoReturn:
    """End this run, which began with `start`, and start the next one."""
    carried = state.carried_state()
    start = start.model_copy(update={"carried": carried, "environment": state.status.environment})
    # Create the memo again: Temporal would copy the old memo, which may be encrypted with a former key.
    workflow.continue_as_new(start, memo=build_memo(start), initial_versioning_behavior=next_version())
