"""Finds running environments that lack search attributes, and has their workflows set them again.

Temporal loses the values of a search attribute that was removed and registered again: then the owner does not
find the environment in lists, and the sweep does not find it either.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError

from contracts.environment.models import Phase
from contracts.environment_workflow import ENVIRONMENT_WORKFLOW, TASK_QUEUE, ActorInput
from contracts.temporal import search_attributes, workflow_memo
from contracts.types.naming import life_id
from starter.environments.run_description import attribute
from starter.expiry.schedules import CALL_TIMEOUT
from starter.temporal.errors import UPDATE_TIMEOUT
from worker.codec import DecodeError
from workflows.environment.workflow import EnvironmentWorkflow

#: The actor of the update, for the history.
BY = "moorage setup"
#: Concurrent updates: one costs a worker some milliseconds, and there may be thousands of environments.
AT_ONCE = 20
_PAGE_SIZE = 1000
#: Typed as Any because mypy rejects an `async def` update against the SDK's types.
_REINDEX: Any = EnvironmentWorkflow.reindex
_RUNNING = f"WorkflowType = '{ENVIRONMENT_WORKFLOW}' AND ExecutionStatus = 'Running'"
_ALWAYS_THERE = (
    search_attributes.OWNER,
    search_attributes.TEAM,
    search_attributes.PHASE,
    search_attributes.TEMPLATE,
    search_attributes.HOST,
)


async def find_unindexed(client: Client) -> list[WorkflowExecution]:
    """Return the running environments that lack a required search attribute."""
    runs = client.list_workflows(_RUNNING, page_size=_PAGE_SIZE, rpc_timeout=CALL_TIMEOUT)
    return [run async for run in runs if await _lacks_some(run)]


async def index_again(client: Client, runs: Sequence[WorkflowExecution]) -> int:
    """Request that the workflows set their search attributes; return how many have done so.

    For the others no worker answers, or their runs have just ended.
    """
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(run: WorkflowExecution) -> bool:
        handle: WorkflowHandle[EnvironmentWorkflow, Any] = client.get_workflow_handle_for(
            EnvironmentWorkflow.run, run.id, run_id=run.run_id
        )
        async with gate:
            try:
                async with asyncio.timeout(UPDATE_TIMEOUT.total_seconds()):
                    request_id = await run.memo_value(workflow_memo.REQUEST_ID, "", type_hint=str)
                    await handle.execute_update(_REINDEX, ActorInput(actor=BY, life=life_id(request_id)))
            except (
                DecodeError,
                TimeoutError,
                RPCError,
                WorkflowUpdateFailedError,
                WorkflowUpdateRPCTimeoutOrCancelledError,
            ):
                return False
        return True

    return sum(await asyncio.gather(*map(ask, runs)))


async def has_worker(client: Client, task_queue: str = TASK_QUEUE) -> bool:
    """Return whether a worker has polled for workflow tasks within the last minutes."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    answer = await client.workflow_service.describe_task_queue(request, timeout=CALL_TIMEOUT)
    return bool(answer.pollers)


async def _lacks_some(run: WorkflowExecution) -> bool:
    there = run.typed_search_attributes
    if any(not attribute(run, key) for key in _ALWAYS_THERE):
        return True
    # The first workflow task sets EXPIRES_AT, so it is missing while no worker has executed that task.
    if (
        attribute(run, search_attributes.PHASE) != Phase.PROVISIONING.value
        and there.get(search_attributes.EXPIRES_AT) is None
    ):
        return True
    try:
        collaborators = await run.memo_value(workflow_memo.COLLABORATORS, (), type_hint=list[str])
    except DecodeError:
        return False
    return set(collaborators) != set(there.get(search_attributes.COLLABORATORS) or ())
