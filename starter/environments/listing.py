"""Lists of environments from Temporal's visibility: what the caller may see, by typed search attributes."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError

from contracts import search_attributes, workflow_memo
from contracts.environment import Outcome, Phase
from contracts.naming import life_of, name_of_workflow
from contracts.notifications import LifeRecord
from starter.auth.policy import Principal, Role
from starter.environments.archive import LifeArchive
from starter.environments.cursors import Cursors
from starter.environments.reader import EnvironmentReader, attribute, phase_of
from starter.environments.schemas import EnvironmentPage, EnvironmentRow
from starter.monitoring.stuck import UNDER_WAY, trouble_of
from starter.temporal.errors import CALL_PATIENCE, map_rpc_errors
from worker.codec import DecodeError

WORKFLOW_TYPE = "EnvironmentWorkflow"
#: Results of closed runs that one page reads in parallel: enough to be fast, too few to slow other callers.
ENDS_AT_ONCE = 10
#: How long a list waits for the problems of the environments on it.
TROUBLES_SECONDS = 3.0
#: Prefix of the page tokens for environments that Temporal has dropped.
_PAST = b"\x00past"


@dataclass(frozen=True)
class Filters:
    """Filters of a list; None does not filter. `ended` selects ended environments instead of running ones.

    `stuck`: list only environments that do not progress. `troubles`: add the problem to each row.
    """

    owner: str | None = None
    team: str | None = None
    template: str | None = None
    phase: Phase | None = None
    ended: bool = False
    stuck: bool = False
    troubles: bool = False

    def matches(self, account: LifeRecord) -> bool:
        """Return whether the life of an account passes the filters."""
        return all(
            wanted in (None, value)
            for wanted, value in (
                (self.owner, account.owner.lower()),
                (self.team, account.team),
                (self.template, account.template),
                (self.phase, Phase.GONE),
            )
        )


async def list_environments(
    client: Client,
    reader: EnvironmentReader,
    cursors: Cursors,
    principal: Principal,
    filters: Filters,
    *,
    limit: int,
    cursor: str | None,
    past: LifeArchive | None = None,
) -> EnvironmentPage:
    """Return one page of the environments that the principal may see and that pass the filters.

    A list of ended environments continues with those that Temporal has dropped, from `past`. A page may have
    fewer than `limit` rows although another page follows.

    Visibility is eventually consistent: an environment that was just requested may not be listed yet.

    Raises:
        BadCursor: This list has not issued the cursor.
        TemporalUnavailable: Temporal does not answer, or refuses the call.
    """
    query = visibility_query(principal, filters)
    token = cursors.read(cursor, query)

    async def past_page(past: LifeArchive, offset: int, limit: int) -> EnvironmentPage:
        found, following = await past.rows(principal, filters.matches, offset=offset, limit=limit)
        more = None if following is None else _PAST + str(following).encode()
        return EnvironmentPage(environments=tuple(found), next=cursors.write(more, query))

    if past and token and token.startswith(_PAST):
        return await past_page(past, int(token.removeprefix(_PAST)), limit)
    runs = client.list_workflows(query, page_size=limit, next_page_token=token, rpc_timeout=CALL_PATIENCE)
    with map_rpc_errors():
        await runs.fetch_next_page()
    gate = asyncio.Semaphore(ENDS_AT_ONCE)

    until = asyncio.get_running_loop().time() + TROUBLES_SECONDS

    async def row(run: WorkflowExecution) -> EnvironmentRow:
        async with gate:
            found = await _row(reader, run)
            asked = (filters.stuck or filters.troubles) and found.phase in UNDER_WAY
            return await _with_trouble(reader, found, until) if asked else found

    rows = list(await asyncio.gather(*(row(run) for run in runs.current_page or ())))
    if filters.stuck:
        rows = [row for row in rows if row.problem]
    if filters.ended and past and not runs.next_page_token:
        rest = await past_page(past, 0, limit - len(rows))
        return EnvironmentPage(environments=(*rows, *rest.environments), next=rest.next)
    return EnvironmentPage(environments=tuple(rows), next=cursors.write(runs.next_page_token, query))


async def _with_trouble(reader: EnvironmentReader, row: EnvironmentRow, until: float) -> EnvironmentRow:
    """Return the row with its problem, or unchanged if the read fails or would delay the list."""
    try:
        async with asyncio.timeout_at(until):
            standing = await reader.read(row.name)
    except (TimeoutError, DecodeError, RPCError):
        return row
    trouble = trouble_of(standing.view) if standing and standing.life == row.life else None
    if trouble is None:
        return row
    return row.model_copy(update={"problem": trouble.problem, "next_try_at": trouble.next_try_at})


def visibility_query(principal: Principal, filters: Filters) -> str:
    """Return the query for what the principal may see, with user input only as quoted values."""
    terms = [f"WorkflowType = {quoted(WORKFLOW_TYPE)}"]
    if filters.ended:
        ends: tuple[str, ...] = ("Completed", "Failed", "Canceled", "Terminated", "TimedOut")
        if filters.phase is Phase.ORPHANED:
            ends = ends[2:]
        terms.append(f"ExecutionStatus IN ({', '.join(map(quoted, ends))})")
    else:
        terms.append("ExecutionStatus = 'Running'")
    if principal.role is not Role.PLATFORM:
        person, teams = quoted(principal.email), ", ".join(map(quoted, principal.teams))
        terms.append(
            f"({search_attributes.OWNER.name} = {person} "
            f"OR {search_attributes.COLLABORATORS.name} = {person} "
            f"OR {search_attributes.TEAM.name} IN ({teams}))"
        )
    for key, value in (
        (search_attributes.OWNER, filters.owner),
        (search_attributes.TEAM, filters.team),
        (search_attributes.TEMPLATE, filters.template),
        (
            search_attributes.PHASE,
            None if filters.phase is Phase.ORPHANED and filters.ended else filters.phase,
        ),
    ):
        if value is not None:
            terms.append(f"{key.name} = {quoted(value)}")
    if filters.stuck:
        terms.append(f"{search_attributes.PHASE.name} IN ({', '.join(map(quoted, UNDER_WAY))})")
    return " AND ".join(terms)


def quoted(value: str) -> str:
    """Quote `value` as a string of a visibility query, so that it cannot change the query."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


async def _row(reader: EnvironmentReader, run: WorkflowExecution) -> EnvironmentRow:
    ended = run.status is not WorkflowExecutionStatus.RUNNING
    outcome = Outcome.FAILED if run.status is WorkflowExecutionStatus.FAILED else None
    request_id = ""
    # If the encryption key of a run is missing, list the run with its unencrypted fields: one run must not
    # make the whole list fail.
    with suppress(DecodeError):
        request_id = await run.memo_value(workflow_memo.REQUEST_ID, "", type_hint=str)
        if run.status is WorkflowExecutionStatus.COMPLETED:
            status = await reader.end_of(run)
            outcome = status.outcome if status else None
    return EnvironmentRow(
        name=name_of_workflow(run.id),
        life=life_of(request_id) if request_id else "",
        owner=attribute(run, search_attributes.OWNER),
        team=attribute(run, search_attributes.TEAM),
        template=attribute(run, search_attributes.TEMPLATE),
        host=attribute(run, search_attributes.HOST),
        phase=phase_of(run),
        outcome=outcome,
        ended=ended,
        requested_at=run.start_time,
        expires_at=run.typed_search_attributes.get(search_attributes.EXPIRES_AT),
        ended_at=run.close_time,
    )
