"""Whether the API is alive, and whether it can do its work: for those who run it. Needs no token."""

import asyncio
from http import HTTPStatus

from fastapi import APIRouter
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.service import RPCError

from contracts.base import Frozen
from starter.api.parts import TheParts
from starter.api.problems import ApiProblem
from starter.temporal import CALL_PATIENCE, TemporalUnavailable, told

router = APIRouter(tags=["health"])


class Health(Frozen):
    """All is well."""

    status: str = "ok"


@router.get("/healthz")
async def alive() -> Health:
    """The process answers."""
    return Health()


@router.get("/readyz")
async def ready(parts: TheParts) -> Health:
    """Temporal answers, and the catalogue and the tokens are as they should be."""
    await asyncio.to_thread(parts.catalogue.current)
    await asyncio.to_thread(parts.tokens.current)
    problems = []
    try:
        with told():
            await parts.client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=parts.client.namespace), timeout=CALL_PATIENCE
            )
    except (TemporalUnavailable, RPCError) as error:
        problems.append(str(error))
    # Not the problems themselves: they quote files, and anybody may ask here. The log has them.
    if parts.catalogue.problems:
        problems.append("The catalogue has changed and cannot be read; the last good one is in force.")
    if parts.tokens.problems:
        problems.append("The file of tokens has changed and cannot be read; the last good one is in force.")
    if problems:
        raise ApiProblem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", " ".join(problems))
    return Health()
