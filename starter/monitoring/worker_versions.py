"""Finds which versions of the workers still run something, by Temporal's Worker Versioning."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from temporalio.client import Client
from temporalio.service import RPCError

from contracts.temporal.worker_versions import NO_DEPLOYMENT, describe_request, open_runs_query
from starter.temporal.errors import CALL_TIMEOUT


@dataclass(frozen=True)
class Versions:
    """The current version, "" if none is, and the number of open runs of each version by build id."""

    current: str
    open_runs: Mapping[str, int]


async def versions_in_use(client: Client) -> Versions | None:
    """Return the versions; None if no worker has registered with one. Raise RPCError if Temporal fails."""
    request = describe_request(client.namespace)
    try:
        # Temporal answers few of these a second, and says so of the others.
        found = await client.workflow_service.describe_worker_deployment(
            request, retry=True, timeout=CALL_TIMEOUT
        )
    except RPCError as error:
        if error.status in NO_DEPLOYMENT:
            return None
        raise
    deployment = found.worker_deployment_info
    build_ids = [summary.deployment_version.build_id for summary in deployment.version_summaries]
    counts = await asyncio.gather(*(_open_runs(client, build_id) for build_id in build_ids))
    current = deployment.routing_config.current_deployment_version.build_id
    return Versions(current, dict(zip(build_ids, counts, strict=True)))


async def _open_runs(client: Client, build_id: str) -> int:
    return (await client.count_workflows(open_runs_query(build_id), rpc_timeout=CALL_TIMEOUT)).count
