"""Routes that take snapshots of an environment and restore them."""

from http import HTTPStatus

from fastapi import APIRouter

from starter.api.dependencies import CallerDep, CommandsDep
from starter.api.request_models import RestoreRequest
from starter.api.routes.environments import IdempotencyKey, OnlyLife
from starter.environments.schemas import Done

router = APIRouter(tags=["environments"])


@router.post("/environments/{name}/snapshots", status_code=HTTPStatus.ACCEPTED)
async def take_snapshot(
    name: str,
    commands: CommandsDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
) -> Done:
    """Take a snapshot of the objects in it. The volumes of its workloads are left out.

    `snapshots` of the environment shows how it goes. 409 with a sentence if its vCluster takes none, or not
    now.
    """
    return await commands.take_snapshot(name, caller, idempotency_key, life)


@router.post("/environments/{name}/restore", status_code=HTTPStatus.ACCEPTED)
async def restore_snapshot(
    name: str,
    commands: CommandsDep,
    caller: CallerDep,
    body: RestoreRequest | None = None,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
) -> Done:
    """Restore a snapshot, the last one unless the body names another. Volumes are left out.

    The present state becomes a snapshot first. If the restore fails, it goes back to that: `restore_problem`
    of the environment says why.
    """
    return await commands.restore(name, caller, body.snapshot if body else None, idempotency_key, life)
