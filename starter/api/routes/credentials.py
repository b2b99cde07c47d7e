"""Route of the credentials of people."""

from fastapi import APIRouter, Response

from starter.api.dependencies import CallerDep, CredentialsDep, CredentialThrottleDep
from starter.api.problem_details import too_many
from starter.api.request_models import CredentialRequest
from starter.auth.policy import Principal
from starter.auth.rate_limit import Throttle
from starter.environments.schemas import CredentialView

router = APIRouter(tags=["environments"])

#: Burst and rate of credentials for one person: `kubectl` keeps one for an hour, and scripts may not.
CREDENTIALS_BURST, CREDENTIALS_PER_SECOND = 60, 1.0


@router.post("/environments/{name}/credential")
async def create_credential(
    name: str,
    asked: CredentialRequest,
    response: Response,
    issuer: CredentialsDep,
    throttle: CredentialThrottleDep,
    caller: CallerDep,
) -> CredentialView:
    """Issue a client certificate for the caller, of at most an hour, for owner and collaborators."""
    require_few_credentials(throttle, caller)
    response.headers["Cache-Control"] = "no-store"
    return await issuer.issue(name, caller, asked.request, asked.life)


def require_few_credentials(throttle: Throttle, caller: Principal) -> None:
    """Raise ApiProblem if the caller takes more credentials than a person needs."""
    if limited := throttle.record(caller.email):
        raise too_many("credentials", limited)
