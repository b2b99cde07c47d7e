"""Finds which versions of the workers still run something, by Temporal's Worker Versioning."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from contracts.temporal.worker_versions import DEPLOYMENT, RUN_VERSION
from starter.temporal.errors import CALL_TIMEOUT

#: No worker has registered with a version, or the server knows no deployments at all.
_NO_DEPLOYMENT = frozenset({RPCStatusCode.NOT_FOUND, RPCStatusCode.UNIMPLEMENTED})


@dataclass(frozen=True)
class Versions:
    """The current version, "" if none is, and the number of open runs of each version by build id."""

    current: str
    open_runs: Mapping[str, int]


async def versions_in_use(client: Client) -> Versions | None:
    """Return the versions; None if no worker has registered with one. Raise RPCError if Temporal fails."""
    request = DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=DEPLOYMENT)
    try:
        found = await client.workflow_service.describe_worker_deployment(request, timeout=CALL_TIMEOUT)
    except RPCError as error:
        if error.status in _NO_DEPLOYMENT:
            return None
        raise
    deployment = found.worker_deployment_info
    build_ids = [summary.deployment_version.build_id for summary in deployment.version_summaries]
    counts = await asyncio.gather(*(_open_runs(client, build_id) for build_id in build_ids))
    current = deployment.routing_config.current_deployment_version.build_id
    return Versions(current, dict(zip(build_ids, counts, strict=True)))


async def _open_runs(client: Client, build_id: str) -> int:
    query = f"ExecutionStatus = 'Running' AND {RUN_VERSION.name} = '{DEPLOYMENT}:{build_id}'"
    return (await client.count_workflows(query, rpc_timeout=CALL_TIMEOUT)).count
