"""Lists of environments, from visibility: of what somebody may see, by typed search attributes."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from contracts import memo, search
from contracts.environment import Outcome, Phase
from contracts.naming import life_of, name_of_workflow
from starter.access import Principal, Role
from starter.cursors import Cursors
from starter.reading import Reader, attribute, phase_of
from starter.temporal import CALL_PATIENCE, told
from starter.views import EnvironmentPage, EnvironmentRow
from worker.codec import CannotDecode

WORKFLOW_TYPE = "EnvironmentWorkflow"
#: Ends that are read at once for a page of the past: enough to be quick, too few to be felt by others.
ENDS_AT_ONCE = 10


@dataclass(frozen=True)
class Filters:
    """What a list is narrowed to; None does not narrow. `ended` chooses between the past and the present."""

    owner: str | None = None
    team: str | None = None
    template: str | None = None
    phase: Phase | None = None
    ended: bool = False


async def list_environments(
    client: Client,
    reader: Reader,
    cursors: Cursors,
    principal: Principal,
    filters: Filters,
    *,
    limit: int,
    cursor: str | None,
) -> EnvironmentPage:
    """One page of the environments that the principal may see and the filters let through.

    Visibility lags behind by moments: an environment that was just asked for may not be listed yet.
    """
    query = visibility_query(principal, filters)
    runs = client.list_workflows(
        query, page_size=limit, next_page_token=cursors.read(cursor, query), rpc_timeout=CALL_PATIENCE
    )
    with told():
        await runs.fetch_next_page()
    gate = asyncio.Semaphore(ENDS_AT_ONCE)

    async def row(run: WorkflowExecution) -> EnvironmentRow:
        async with gate:
            return await _row(reader, run)

    rows = await asyncio.gather(*(row(run) for run in runs.current_page or ()))
    return EnvironmentPage(environments=tuple(rows), next=cursors.write(runs.next_page_token, query))


def visibility_query(principal: Principal, filters: Filters) -> str:
    """The query for what the principal may see. All that people wrote is in it as quoted values only."""
    terms = [f"WorkflowType = {quoted(WORKFLOW_TYPE)}"]
    if filters.ended:
        ends = ("Completed", "Failed", "Canceled", "Terminated", "TimedOut")
        terms.append(f"ExecutionStatus IN ({', '.join(map(quoted, ends))})")
    else:
        terms.append("ExecutionStatus = 'Running'")
    if principal.role is not Role.PLATFORM:
        person, teams = quoted(principal.email), ", ".join(map(quoted, principal.teams))
        terms.append(
            f"({search.OWNER.name} = {person} OR {search.COLLABORATORS.name} = {person} "
            f"OR {search.TEAM.name} IN ({teams}))"
        )
    for key, value in (
        (search.OWNER, filters.owner),
        (search.TEAM, filters.team),
        (search.TEMPLATE, filters.template),
        (search.PHASE, filters.phase),
    ):
        if value is not None:
            terms.append(f"{key.name} = {quoted(value)}")
    return " AND ".join(terms)


def quoted(value: str) -> str:
    """`value` as a string of a visibility query: it stays one value, whatever is in it."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


async def _row(reader: Reader, run: WorkflowExecution) -> EnvironmentRow:
    ended = run.status is not WorkflowExecutionStatus.RUNNING
    outcome = Outcome.FAILED if run.status is WorkflowExecutionStatus.FAILED else None
    request_id = ""
    # One whose key is gone is listed with what is in clear: it must not take the whole list with it.
    with suppress(CannotDecode):
        request_id = await run.memo_value(memo.REQUEST_ID, "", type_hint=str)
        if run.status is WorkflowExecutionStatus.COMPLETED:
            status = await reader.end_of(run)
            outcome = status.outcome if status else None
    return EnvironmentRow(
        name=name_of_workflow(run.id),
        life=life_of(request_id) if request_id else "",
        owner=attribute(run, search.OWNER),
        team=attribute(run, search.TEAM),
        template=attribute(run, search.TEMPLATE),
        host=attribute(run, search.HOST),
        phase=phase_of(run),
        outcome=outcome,
        ended=ended,
        requested_at=run.start_time,
        expires_at=run.typed_search_attributes.get(search.EXPIRES_AT),
        ended_at=run.close_time,
    )
