"""Which versions of the workers new runs get, by Temporal's Worker Versioning."""

from datetime import timedelta

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from contracts.temporal.worker_versions import NO_DEPLOYMENT, describe_request


async def wanted_versions(client: Client, timeout: timedelta) -> frozenset[str]:
    """Return the build ids that new runs get: the current one and the one that is ramped up, where set.

    A run on one of them need not move: of a ramp, Temporal decides for each workflow.
    """
    request = describe_request(client.namespace)
    try:
        found = await client.workflow_service.describe_worker_deployment(request, timeout=timeout)
    except RPCError as error:
        if error.status in NO_DEPLOYMENT:
            return frozenset()
        if error.status in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.RESOURCE_EXHAUSTED):
            # The audit has more to do: the doctor names a missing right, and a busy Temporal answers later.
            return frozenset()
        raise
    routing = found.worker_deployment_info.routing_config
    wanted = (routing.current_deployment_version, routing.ramping_deployment_version)
    return frozenset(version.build_id for version in wanted if version.build_id)
