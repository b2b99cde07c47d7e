"""Route of the kubeconfig, which the API reads from the host cluster; it never passes through Temporal."""

from http import HTTPStatus

import structlog
from fastapi import APIRouter, Response

from contracts.environment import Environment, Phase, StepState
from starter.api.dependencies import Asking, TheParts
from starter.api.problem_details import ApiProblem
from starter.auth.policy import Verb
from starter.environments.reader import EnvironmentSnapshot
from starter.environments.schemas import USABLE_PHASES

MEDIA_TYPE = "application/yaml"

router = APIRouter(tags=["environments"])
_log = structlog.get_logger(__name__)


@router.get(
    "/environments/{name}/kubeconfig",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {}}, "description": "the kubeconfig: keep it to yourself"}},
)
async def read_kubeconfig(name: str, parts: TheParts, principal: Asking) -> Response:
    """The kubeconfig of an environment that can be used, for its owner and collaborators."""
    standing = await parts.environment(name, principal, Verb.KUBECONFIG)
    if standing.ended or standing.view.phase not in USABLE_PHASES:
        raise _not_usable(_why_not(standing))
    if standing.status is None:
        raise _not_usable(standing.view.remark)
    environment = standing.status.environment
    host = parts.hosts.get(environment.host)
    if host is None:
        raise _not_usable(f'it is on the host "{environment.host}", which this API does not have')
    # Check the namespace first, because that name may now belong to another life or another owner.
    namespace = await host.get_namespace(environment.derived_name)
    if namespace is None or not environment.mark.is_in(namespace.labels):
        raise _not_usable(_missing(environment))
    kubeconfig = await host.kubeconfig(environment.derived_name, environment.derived_name)
    if kubeconfig is None:
        raise _not_usable(_missing(environment))
    _log.info(
        "kubeconfig handed out",
        environment=name,
        life=standing.life,
        who=principal.email,
        fingerprint=kubeconfig.fingerprint,
    )
    return Response(kubeconfig.text(), media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})


def _not_usable(detail: str) -> ApiProblem:
    return ApiProblem(HTTPStatus.CONFLICT, "not-usable-yet", detail)


def _missing(environment: Environment) -> str:
    return (
        f"its kubeconfig is not on the host {environment.host} any more: "
        f"delete {environment.name} and ask for it again, or tell the platform team"
    )


def _why_not(standing: EnvironmentSnapshot) -> str:
    name, view = standing.name, standing.view
    if view.phase is Phase.ORPHANED:
        return view.remark
    if standing.ended:
        return f"{name} is gone: ask for a new one"
    if view.phase is Phase.PROVISIONING and view.outcome is None:
        running = next((step for step in view.steps if step.state is StepState.RUNNING), None)
        at = f" It is at the step {running.step}." if running else ""
        return f"{name} is still being made.{at} Follow it with: moorage watch {name}"
    return f"{name} is being torn down"
