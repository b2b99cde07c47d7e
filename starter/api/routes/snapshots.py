"""The route that takes snapshots of an environment."""

from http import HTTPStatus

from fastapi import APIRouter

from starter.api.dependencies import CallerDep, CommandsDep
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
