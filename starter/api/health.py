"""Liveness and readiness of the API, for its operators. Needs no token.

The API is ready if Temporal answers. Other problems (no worker polls, no sweep runs, a file has problems) are
reported in `remark`, and do not take the API out of service: that would repair none of them, and would remove
what still works.
"""

import asyncio

from fastapi import APIRouter
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.service import RPCError

from contracts.types.models import Frozen
from starter.api.dependencies import (
    CATALOGUE_IS_BROKEN,
    AttentionDep,
    CatalogueDep,
    ClientDep,
    IssuersDep,
    TokensDep,
)
from starter.temporal.errors import CALL_TIMEOUT, TemporalUnavailable, map_rpc_errors

router = APIRouter(tags=["health"])


class Health(Frozen):
    """The API is ready. `degraded`: something else needs attention, as `remark` says."""

    status: str = "ok"
    remark: str | None = None


@router.get("/healthz", response_model_exclude_none=True)
async def alive() -> Health:
    """Answer 200: the process is alive."""
    return Health()


@router.get("/readyz", response_model_exclude_none=True)
async def ready(
    client: ClientDep,
    attention: AttentionDep,
    catalogue: CatalogueDep,
    tokens: TokensDep,
    issuers: IssuersDep,
) -> Health:
    """Answer 200 if Temporal answers. `remark` says what else needs attention."""
    await asyncio.to_thread(catalogue.current)
    await asyncio.to_thread(tokens.current)
    if issuers is not None:
        await asyncio.to_thread(issuers.current)
    try:
        with map_rpc_errors():
            await client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=client.namespace), timeout=CALL_TIMEOUT
            )
            found = await attention.warnings()
    except RPCError as error:
        raise TemporalUnavailable(str(error)) from error
    remarks = list(found)
    # Do not include the problems themselves: they quote files, and anyone can call this route. The log has
    # them.
    if catalogue.problems:
        remarks.append(CATALOGUE_IS_BROKEN)
    if tokens.problems:
        remarks.append("The file of tokens has changed and cannot be read; the last good one is in force.")
    if issuers is not None and issuers.problems:
        remarks.append("The file of issuers has changed and cannot be read; the last good one is in force.")
    return Health(status="degraded" if found else "ok", remark=" ".join(remarks) or None)
