"""Route that tears down what a workflow left that was closed from outside. For the platform team."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

import structlog
from fastapi import APIRouter, Query

from clients.jsonl_file import JsonLinesFile
from contracts.environment import EnvironmentStatus, Phase
from contracts.environment_workflow import EnvironmentStart
from contracts.naming import is_name
from contracts.notifications import LifeRecord
from starter.api.dependencies import Asking, Parts, TheParts
from starter.api.problem_details import ApiProblem, no_environment
from starter.auth.policy import Role, Verb
from starter.environments.forced_teardown import force_teardown, forced_start, start_of
from starter.environments.forgotten_life import CannotPlan, plan_without_run
from starter.environments.history import records_of
from starter.environments.reader import EnvironmentSnapshot
from starter.environments.schemas import Done, DoneKind

router = APIRouter(tags=["environments"])
_log = structlog.get_logger(__name__)

MeantLife = Annotated[
    str | None,
    Query(
        max_length=100,
        description="`life` that is meant; needed if several lives of the name have left something",
    ),
]
MeantHost = Annotated[
    str | None,
    Query(max_length=100, description="host of a life that Temporal has forgotten, if nothing says it"),
]
DryRun = Annotated[bool, Query(description="tell what would be torn down, and start nothing")]


@dataclass(frozen=True)
class _Remains:
    """A life without a run, as far as it is known."""

    before: EnvironmentStart
    status: EnvironmentStatus | None
    requested_at: datetime
    message: str


@router.post("/environments/{name}/force-teardown", status_code=HTTPStatus.ACCEPTED)
async def force_teardown_of(
    name: str,
    parts: TheParts,
    principal: Asking,
    life: MeantLife = None,
    host: MeantHost = None,
    dry_run: DryRun = False,
) -> Done:
    """Tear down by names and marks what is left of an environment whose workflow was closed from outside.

    Works also if Temporal has forgotten the run: the life is then found by the owner marks that it has left.
    """
    standing = await parts.reader.read(name) if is_name(name) else None
    if principal.role is not Role.PLATFORM:
        standing = await parts.environment(name, principal, Verb.FORCE_TEARDOWN, life)
    if standing and not standing.ended:
        raise _refused(
            f"{name} is {standing.view.phase} and its own workflow runs: that takes it down. Use delete"
        )
    if standing and standing.view.phase is Phase.ORPHANED and life in (None, standing.life):
        remains = await _of_run(parts, standing)
    else:
        remains = await _of_marks(parts, name, standing, life, host)
    environment = remains.before.environment
    if dry_run:
        return Done(
            kind=DoneKind.DRY_RUN,
            message=remains.message,
            name=name,
            life=environment.mark.life,
            environment=standing.view if standing and standing.life == environment.mark.life else None,
        )
    start = forced_start(
        remains.before,
        remains.status,
        principal.email,
        pace=parts.house.pace,
        requested_at=remains.requested_at,
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


async def _of_run(parts: Parts, standing: EnvironmentSnapshot) -> _Remains:
    before = await start_of(parts.client, standing.run_id, standing.name)
    message = (
        f"Removes all that bears the marks of {standing.name} (life {standing.life}) in every system, "
        f"on host {before.environment.host}."
    )
    return _Remains(before, standing.status, standing.view.requested_at, message)


async def _of_marks(
    parts: Parts, name: str, standing: EnvironmentSnapshot | None, life: str | None, host: str | None
) -> _Remains:
    if not is_name(name):
        raise no_environment(name)
    marks = await parts.marks.find(name)
    if standing and not marks.lives and life in (None, standing.life):
        raise _refused(f"{name} is gone, and its certificate says that nothing is left")
    if standing and life and life not in marks.lives and host is None:
        detail = (
            f"the last life of {name} is {standing.life}, and nothing was found that bears marks of the life "
            "that is meant: look at it, or name its host as well"
        )
        raise ApiProblem(HTTPStatus.CONFLICT, "refused", detail, reason="other_life")
    try:
        plan = plan_without_run(
            name, marks, await _records(parts, name), parts.house, life=life, host=host, now=datetime.now(UTC)
        )
    except CannotPlan as problem:
        raise _refused(str(problem)) from None
    return _Remains(plan.before, None, plan.requested_at, plan.message)


async def _records(parts: Parts, name: str) -> Sequence[LifeRecord]:
    return await records_of(JsonLinesFile(parts.trail_file) if parts.trail_file else None, name)


def _refused(detail: str) -> ApiProblem:
    return ApiProblem(HTTPStatus.CONFLICT, "refused", detail, reason="not_now")
