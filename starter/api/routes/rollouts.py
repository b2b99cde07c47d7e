"""Routes of rollouts, which upgrade all environments of a template, for the platform team."""

from http import HTTPStatus

import structlog
from fastapi import APIRouter, Response

from starter.api.dependencies import CallerDep, RolloutsDep
from starter.api.request_models import RolloutRequest
from starter.auth.policy import GlobalVerb, ensure_allowed_globally
from starter.environments.rollout import RequestedRollout, RolloutView

router = APIRouter(tags=["environments"])
_log = structlog.get_logger(__name__)


@router.post("/rollouts", responses={202: {"model": RolloutView}})
async def roll_out(
    body: RolloutRequest, rollouts: RolloutsDep, caller: CallerDep, response: Response
) -> RolloutView:
    """Upgrade all environments of a template in waves. For the platform team. 202: it is running.

    While one of the template runs, it is joined.
    """
    ensure_allowed_globally(caller, GlobalVerb.ROLLOUT)
    requested = RequestedRollout(body.template, body.wave, body.stop_after, body.version)
    return _with_status(response, await rollouts.start(requested, caller, dry_run=body.dry_run))


@router.get("/rollouts/{template}", responses={202: {"model": RolloutView}})
async def rollout_status(
    template: str, rollouts: RolloutsDep, caller: CallerDep, response: Response
) -> RolloutView:
    """Show the running upgrade of all environments of a template, or the last one. 202: it is running."""
    ensure_allowed_globally(caller, GlobalVerb.ROLLOUT)
    return _with_status(response, await rollouts.read(template))


@router.post("/rollouts/{template}/stop", responses={202: {"model": RolloutView}})
async def stop_rollout(
    template: str, rollouts: RolloutsDep, caller: CallerDep, response: Response
) -> RolloutView:
    """Begin no further wave; the environments of the present wave go on. 202: they are being upgraded."""
    ensure_allowed_globally(caller, GlobalVerb.ROLLOUT)
    view = await rollouts.stop(template, caller)
    _log.info("rollout stopped", actor=caller.email, template=template)
    return _with_status(response, view)


def _with_status(response: Response, view: RolloutView) -> RolloutView:
    response.status_code = HTTPStatus.OK if view.over else HTTPStatus.ACCEPTED
    return view
