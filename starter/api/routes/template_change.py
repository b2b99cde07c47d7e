"""Routes that change the template of an environment in place."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from starter.api.dependencies import CallerDep, PreviewThrottleDep, TemplateChangesDep
from starter.api.request_models import ResizeRequest, UpgradeRequest
from starter.api.routes.environments import IdempotencyKey, OnlyLife, require_few_previews
from starter.auth.policy import Verb
from starter.environments.schemas import Done, DoneKind
from starter.environments.template_change import RequestedChange

router = APIRouter(tags=["environments"])

DryRun = Annotated[bool, Query(description="say what would be changed, and change nothing")]


@router.post("/environments/{name}/resize", status_code=HTTPStatus.ACCEPTED)
async def resize_environment(
    name: str,
    body: ResizeRequest,
    response: Response,
    changes: TemplateChangesDep,
    throttle: PreviewThrottleDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
    dry_run: DryRun = False,
) -> Done:
    """Change it to another template in place. It goes back to the template of before if that fails."""
    if dry_run:
        require_few_previews(throttle, caller)
    requested = RequestedChange(body.template, body.parameters)
    done = await changes.change(Verb.RESIZE, name, requested, caller, idempotency_key, life, dry_run=dry_run)
    response.status_code = _status_of(done)
    return done


@router.post("/environments/{name}/upgrade", status_code=HTTPStatus.ACCEPTED)
async def upgrade_environment(
    name: str,
    response: Response,
    changes: TemplateChangesDep,
    throttle: PreviewThrottleDep,
    caller: CallerDep,
    body: UpgradeRequest | None = None,
    idempotency_key: IdempotencyKey = None,
    life: OnlyLife = None,
    dry_run: DryRun = False,
) -> Done:
    """Change it to the newer version of its template, or to other parameters, as `resize` does."""
    if dry_run:
        require_few_previews(throttle, caller)
    requested = RequestedChange(parameters=body.parameters if body else {})
    done = await changes.change(Verb.UPGRADE, name, requested, caller, idempotency_key, life, dry_run=dry_run)
    response.status_code = _status_of(done)
    return done


def _status_of(done: Done) -> HTTPStatus:
    return HTTPStatus.ACCEPTED if done.kind is DoneKind.ACCEPTED else HTTPStatus.OK
