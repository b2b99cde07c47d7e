"""Environments that run and lack search attributes, and how they get them again.

Temporal forgets the values of an attribute that was removed and made again: then who owns an environment does
not find it in lists, nor does the sweep.
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
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError

from contracts import search_attributes, workflow_memo
from contracts.environment import Phase
from contracts.environment_workflow import ENVIRONMENT_WORKFLOW, TASK_QUEUE, ActorInput
from contracts.naming import life_of
from starter.environments.reader import attribute
from starter.expiry.schedules import CALL_PATIENCE
from starter.temporal.errors import UPDATE_PATIENCE
from worker.codec import CannotDecode
from workflows.environment import EnvironmentWorkflow

#: Who asks, for the history.
BY = "moorage setup"
#: Asked at once: an answer costs a worker some milliseconds, and there may be thousands.
AT_ONCE = 20
_PAGE_SIZE = 1000
#: The SDK's types of an update do not admit an `async def` to mypy.
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
    """The environments that run and lack an attribute that they must have."""
    runs = client.list_workflows(_RUNNING, page_size=_PAGE_SIZE, rpc_timeout=CALL_PATIENCE)
    return [run async for run in runs if await _lacks_some(run)]


async def index_again(client: Client, runs: Sequence[WorkflowExecution]) -> int:
    """Have them set their search attributes; how many have. The others have no worker, or are just gone."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(run: WorkflowExecution) -> bool:
        handle = client.get_workflow_handle_for(EnvironmentWorkflow.run, run.id, run_id=run.run_id)
        async with gate:
            try:
                async with asyncio.timeout(UPDATE_PATIENCE.total_seconds()):
                    request_id = await run.memo_value(workflow_memo.REQUEST_ID, "", type_hint=str)
                    await handle.execute_update(_REINDEX, ActorInput(who=BY, life=life_of(request_id)))
            except (
                CannotDecode,
                TimeoutError,
                RPCError,
                WorkflowUpdateFailedError,
                WorkflowUpdateRPCTimeoutOrCancelledError,
            ):
                return False
        return True

    return sum(await asyncio.gather(*map(ask, runs)))


async def has_worker(client: Client, task_queue: str = TASK_QUEUE) -> bool:
    """Whether a worker has asked for workflow tasks within the last minutes."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    answer = await client.workflow_service.describe_task_queue(request, timeout=CALL_PATIENCE)
    return bool(answer.pollers)


async def _lacks_some(run: WorkflowExecution) -> bool:
    there = run.typed_search_attributes
    if any(not attribute(run, key) for key in _ALWAYS_THERE):
        return True
    # Its first task sets its times: without a worker there has been none.
    if (
        attribute(run, search_attributes.PHASE) != Phase.PROVISIONING.value
        and there.get(search_attributes.EXPIRES_AT) is None
    ):
        return True
    try:
        collaborators = await run.memo_value(workflow_memo.COLLABORATORS, (), type_hint=list[str])
    except CannotDecode:
        return False
    return set(collaborators) != set(there.get(search_attributes.COLLABORATORS) or ())
