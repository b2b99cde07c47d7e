"""Liveness and readiness of the API, for its operators. Needs no token.

The API is ready if Temporal answers. Other problems (no worker polls, no sweep runs, a file has problems) are
reported in `remark`, and do not take the API out of service: that would repair none of them, and would remove
what still works.
"""

import asyncio
from http import HTTPStatus

from fastapi import APIRouter
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.service import RPCError

from contracts.models import Frozen
from starter.api.dependencies import CATALOGUE_IS_BROKEN, TheParts
from starter.api.problem_details import ApiProblem
from starter.temporal.errors import CALL_PATIENCE, TemporalUnavailable, map_rpc_errors

router = APIRouter(tags=["health"])


class Health(Frozen):
    """The API is ready. `degraded`: something else needs attention, as `remark` says."""

    status: str = "ok"
    remark: str | None = None


@router.get("/healthz", response_model_exclude_none=True)
async def alive() -> Health:
    """The process answers."""
    return Health()


@router.get("/readyz", response_model_exclude_none=True)
async def ready(parts: TheParts) -> Health:
    """Temporal answers. What needs attention is told beside, and counts not against it."""
    await asyncio.to_thread(parts.catalogue.current)
    await asyncio.to_thread(parts.tokens.current)
    try:
        with map_rpc_errors():
            await parts.client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=parts.client.namespace), timeout=CALL_PATIENCE
            )
            found = await parts.attention.warnings()
    except (TemporalUnavailable, RPCError) as error:
        raise ApiProblem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", str(error)) from error
    remarks = list(found)
    # Do not include the problems themselves: they quote files, and anyone can call this route. The log has
    # them.
    if parts.catalogue.problems:
        remarks.append(CATALOGUE_IS_BROKEN)
    if parts.tokens.problems:
        remarks.append("The file of tokens has changed and cannot be read; the last good one is in force.")
    return Health(status="degraded" if found else "ok", remark=" ".join(remarks) or None)
