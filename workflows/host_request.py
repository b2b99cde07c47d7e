"""A request of the API to the worker beside a host: one activity, and its answer.

The worker beside the host runs the workflow too, so the answer needs no other worker.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from contracts.activities.host import HostActivities
    from contracts.host_requests import HOST_REQUEST_WORKFLOW, HostAnswer, HostRequest

from workflows.activity_failures import require_genuine

#: A person waits for the answer: a few calls to the host and to a vCluster, which take a second together.
ANSWER_TIMEOUT = timedelta(seconds=15)
#: The API decides whether it asks again; one retry is for an answer that was lost.
MAX_ATTEMPTS = 2


@workflow.defn(name=HOST_REQUEST_WORKFLOW)
class HostRequestWorkflow:
    """Completes with the answer; fails with the error of the activity."""

    @workflow.run
    async def run(self, request: HostRequest) -> HostAnswer:
        """Have the request answered."""
        return require_genuine(
            await workflow.execute_activity_method(
                HostActivities.answer,
                request,
                schedule_to_close_timeout=ANSWER_TIMEOUT,
                retry_policy=RetryPolicy(
                    initial_interval=timedelta(milliseconds=200), maximum_attempts=MAX_ATTEMPTS
                ),
                summary=request.kind,
            )
        )
