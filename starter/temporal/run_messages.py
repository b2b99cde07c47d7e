"""Temporal's messages about runs, which are decoded only if a caller needs it: most runs have not changed.

The client's `describe` and `list_workflows` decode every run. The SDK has no public way from a message to its
classes, so the private one is used here, and nowhere else.
"""

from temporalio.api.common.v1 import WorkflowExecution as ExecutionId
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
)
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription

from starter.temporal.errors import CALL_TIMEOUT, map_rpc_errors


async def describe_latest_run(client: Client, workflow_id: str) -> DescribeWorkflowExecutionResponse:
    """Return Temporal's description of the latest run of a workflow.

    Raises:
        RPCError: There is none.
        TemporalUnavailable: Temporal does not answer, or refuses the call.
    """
    request = DescribeWorkflowExecutionRequest(
        namespace=client.namespace, execution=ExecutionId(workflow_id=workflow_id)
    )
    with map_rpc_errors():
        return await client.workflow_service.describe_workflow_execution(
            request, retry=True, timeout=CALL_TIMEOUT
        )


async def list_runs(
    client: Client, query: str, *, limit: int, token: bytes
) -> ListWorkflowExecutionsResponse:
    """Return a page of the runs that match; raise TemporalUnavailable."""
    request = ListWorkflowExecutionsRequest(
        namespace=client.namespace, query=query, page_size=limit, next_page_token=token
    )
    with map_rpc_errors():
        return await client.workflow_service.list_workflow_executions(
            request, retry=True, timeout=CALL_TIMEOUT
        )


def decode_description(
    client: Client, described: DescribeWorkflowExecutionResponse
) -> WorkflowExecutionDescription:
    """Return the run of a description."""
    return WorkflowExecutionDescription._from_raw_info(
        described.workflow_execution_info,
        namespace=client.namespace,
        converter=client.data_converter,
        raw_description=described,
    )


def decode_listed_run(client: Client, info: WorkflowExecutionInfo) -> WorkflowExecution:
    """Return a run of a list."""
    return WorkflowExecution._from_raw_info(info, client.namespace, client.data_converter)
