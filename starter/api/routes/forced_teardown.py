"""Route that tears down what a workflow left that was closed from outside. For the platform team."""

from http import HTTPStatus

import structlog
from fastapi import APIRouter

from contracts.environment import Phase
from starter.api.dependencies import Asking, TheParts
from starter.api.problem_details import ApiProblem
from starter.api.routes.environments import OnlyLife
from starter.auth.policy import Verb
from starter.environments.forced_teardown import force_teardown, forced_start, start_of
from starter.environments.schemas import Done, DoneKind

router = APIRouter(tags=["environments"])
_log = structlog.get_logger(__name__)


@router.post("/environments/{name}/force-teardown", status_code=HTTPStatus.ACCEPTED)
async def force_teardown_of(name: str, parts: TheParts, principal: Asking, life: OnlyLife = None) -> Done:
    """Tear down by names and marks what is left of an environment whose workflow was closed from outside."""
    standing = await parts.environment(name, principal, Verb.FORCE_TEARDOWN, life)
    view = standing.view
    if not standing.ended:
        raise _refused(f"{name} is {view.phase} and its own workflow runs: that takes it down. Use delete")
    if view.phase is not Phase.ORPHANED:
        raise _refused(f"{name} is gone, and its certificate says that nothing is left")
    before = await start_of(parts.client, standing.run_id, name)
    start = forced_start(
        before,
        standing.status,
        principal.email,
        pace=parts.house.pace,
        requested_at=view.requested_at,
    )
    answer = await force_teardown(parts.client, start)
    _log.info("teardown forced", environment=name, life=answer.life, who=principal.email, answer=answer.kind)
    now = await parts.reader.read(name)
    return Done(
        kind=DoneKind(answer.kind),
        message=answer.message,
        name=name,
        life=answer.life,
        environment=now.view if now else None,
    )


def _refused(detail: str) -> ApiProblem:
    return ApiProblem(HTTPStatus.CONFLICT, "refused", detail, reason="not_now")
