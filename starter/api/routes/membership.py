"""Routes of the people of an environment."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path

from contracts.environment_workflow import CollaboratorAction
from starter.api.dependencies import CallerDep, MembershipDep
from starter.api.request_models import TransferRequest
from starter.api.routes.environments import IdempotencyKey, OnlyLife
from starter.environments.schemas import Done

router = APIRouter(tags=["people"])

Person = Annotated[str, Path(max_length=254, description="an e-mail address")]


@router.put("/environments/{name}/collaborators/{person}", status_code=HTTPStatus.ACCEPTED)
async def add_collaborator(
    name: str,
    person: Person,
    membership: MembershipDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
) -> Done:
    """Let a person use it. For its owner and the platform team; `access` shows when all systems know it."""
    return await membership.change(CollaboratorAction.ADD, name, person, caller, idempotency_key, life)


@router.delete("/environments/{name}/collaborators/{person}", status_code=HTTPStatus.ACCEPTED)
async def remove_collaborator(
    name: str,
    person: Person,
    membership: MembershipDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
) -> Done:
    """Take a person's access away. For its owner and the platform team."""
    return await membership.change(CollaboratorAction.REMOVE, name, person, caller, idempotency_key, life)


@router.post("/environments/{name}/transfer", status_code=HTTPStatus.ACCEPTED)
async def transfer_environment(
    name: str,
    body: TransferRequest,
    membership: MembershipDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
) -> Done:
    """Give it to a team mate, whose quota must allow it. Its owner so far loses access."""
    return await membership.transfer(name, body.to, caller, idempotency_key, life)
