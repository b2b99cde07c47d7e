"""Whether the API is alive, and whether it can do its work: for those who run it. Needs no token."""

import asyncio
from http import HTTPStatus

from fastapi import APIRouter
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.service import RPCError

from contracts.base import Frozen
from starter.api.parts import CATALOGUE_IS_BROKEN, TheParts
from starter.api.problems import ApiProblem
from starter.temporal import CALL_PATIENCE, TemporalUnavailable, told

router = APIRouter(tags=["health"])


class Health(Frozen):
    """It can do its work. `remark` says what the platform team should mend all the same."""

    status: str = "ok"
    remark: str | None = None


@router.get("/healthz", response_model_exclude_none=True)
async def alive() -> Health:
    """The process answers."""
    return Health()


@router.get("/readyz", response_model_exclude_none=True)
async def ready(parts: TheParts) -> Health:
    """Temporal answers. Files that cannot be read are remarked only: the last good ones are in force."""
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
    if problems:
        raise ApiProblem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", " ".join(problems))
    # Not the problems themselves: they quote files, and anybody may ask here. The log has them.
    remarks = []
    if parts.catalogue.problems:
        remarks.append(CATALOGUE_IS_BROKEN)
    if parts.tokens.problems:
        remarks.append("The file of tokens has changed and cannot be read; the last good one is in force.")
    return Health(remark=" ".join(remarks) or None)
