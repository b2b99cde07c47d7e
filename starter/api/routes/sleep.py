"""Routes that put an environment to sleep and wake it."""

from http import HTTPStatus

from fastapi import APIRouter

from starter.api.dependencies import CallerDep, SleepDep
from starter.api.request_models import SleepPolicyRequest
from starter.api.routes.environments import IdempotencyKey, OnlyLife
from starter.environments.schemas import Done

router = APIRouter(tags=["environments"])


@router.post("/environments/{name}/sleep", status_code=HTTPStatus.ACCEPTED)
async def put_to_sleep(
    name: str,
    sleep: SleepDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
) -> Done:
    """Scale it to nothing and give its CPU and memory back. Its volumes and its end stay."""
    return await sleep.sleep(name, caller, idempotency_key, life)


@router.put("/environments/{name}/sleep-policy", status_code=HTTPStatus.ACCEPTED)
async def change_sleep_policy(
    name: str,
    body: SleepPolicyRequest,
    sleep: SleepDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
) -> Done:
    """Say when it falls asleep by itself, within what its template says; without fields as that says."""
    return await sleep.change_policy(name, body.policy(), caller, idempotency_key, life)


@router.post("/environments/{name}/wake", status_code=HTTPStatus.ACCEPTED)
async def wake_environment(
    name: str,
    sleep: SleepDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
) -> Done:
    """Reserve its CPU and memory again and start it. 409 with a sentence if there is no room."""
    return await sleep.wake(name, caller, idempotency_key, life)
