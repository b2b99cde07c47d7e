"""Lists of environments from Temporal's visibility: what the caller may see, by typed search attributes."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.client import Client
from temporalio.service import RPCError

from contracts.environment.models import Phase
from contracts.notifications import LifeRecord
from contracts.temporal import search_attributes
from contracts.temporal.search_attributes import quoted
from contracts.types.labels import are_selected
from contracts.types.naming import workflow_id
from starter.auth.policy import Principal, Role
from starter.environments.life_archive import LifeRecords
from starter.environments.lists.cursors import Cursors
from starter.environments.lists.retry_status import WORKING_PHASES, Trouble, trouble_of
from starter.environments.lists.rows import ListedRows
from starter.environments.reader import EnvironmentReader
from starter.environments.schemas import EnvironmentPage, EnvironmentRow
from starter.shared_reads import CachedReads
from starter.temporal.run_messages import list_runs
from worker.codec import DecodeError

WORKFLOW_TYPE = "EnvironmentWorkflow"
#: Results of closed runs that one page reads in parallel: enough to be fast, too few to slow other callers.
MAX_CONCURRENT_READS = 10
#: How long a page is kept for the same caller and filters. Visibility is about as late, and by default
#: Temporal allows ten such reads a second.
CACHED_SECONDS = 0.5
#: Up to this age a page is shown while Temporal is slow; a caller waits for it no longer than until so many
#: seconds after the start of the call.
USABLE_SECONDS, MAX_WAIT_SECONDS = 5.0, 0.03
#: How long a list waits for the problems of the environments on it.
PROBLEMS_TIMEOUT_SECONDS = 3.0
#: How old the problem of an environment may be, and how old while it is read again. To read one takes a call
#: to Temporal and often one to a worker; a page has fifty of them, at a time when both have most to do.
PROBLEM_FRESH_SECONDS, PROBLEM_USABLE_SECONDS = 2.0, 5.0
#: Problems in the cache: as many environments as are worked on at a time.
MAX_PROBLEMS = 1000
#: Rows of one page when several are read for one answer: few calls, each of them short.
PAGE_ROWS = 100
#: Prefix of the page tokens for environments that Temporal has dropped.
_DROPPED = b"\x00past"


@dataclass(frozen=True)
class Filters:
    """Filters of a list; None does not filter. `ended` selects ended environments instead of running ones.

    `name` is the start of names. `labels` are selectors, all of which must match.
    `stuck`: list only environments that do not progress. `troubles`: add the
    problem to each row.
    """

    name: str | None = None
    owner: str | None = None
    team: str | None = None
    template: str | None = None
    phase: Phase | None = None
    labels: tuple[str, ...] = ()
    ended: bool = False
    stuck: bool = False
    troubles: bool = False

    def matches(self, record: LifeRecord) -> bool:
        """Return whether the life of a record passes the filters."""
        if not are_selected(record.labels, self.labels):
            return False
        return record.name.startswith(self.name or "") and all(
            wanted in (None, value)
            for wanted, value in (
                (self.owner, record.owner.lower()),
                (self.team, record.team),
                (self.template, record.template),
                (self.phase, Phase.GONE),
            )
        )


@dataclass(frozen=True)
class _PageKey:
    query: str
    token: bytes | None
    limit: int
    with_problems: bool


class _Life(NamedTuple):
    name: str
    id: str


class EnvironmentList:
    """Lists environments for callers."""

    def __init__(
        self, client: Client, reader: EnvironmentReader, records: LifeRecords, cursors: Cursors
    ) -> None:
        self._client = client
        self._reader = reader
        self._records = records
        self._rows = ListedRows(client, reader)
        self._cursors = cursors
        self._pages = CachedReads(
            self._read_page,
            fresh_seconds=CACHED_SECONDS,
            usable_seconds=USABLE_SECONDS,
            max_wait_seconds=MAX_WAIT_SECONDS,
        )
        self._problems = CachedReads(
            self._read_problem,
            fresh_seconds=PROBLEM_FRESH_SECONDS,
            usable_seconds=PROBLEM_USABLE_SECONDS,
            max_wait_seconds=MAX_WAIT_SECONDS,
            max_kept=MAX_PROBLEMS,
        )

    async def page(
        self, principal: Principal, filters: Filters, *, limit: int, cursor: str | None
    ) -> EnvironmentPage:
        """Return one page of the environments that the principal may see and that pass the filters.

        A list of ended environments continues with those that Temporal has dropped. A page may have fewer
        than `limit` rows although another page follows.

        Visibility is eventually consistent: an environment that was just requested may not be listed yet.

        Raises:
            BadCursor: This list has not issued the cursor.
            TemporalUnavailable: Temporal does not answer, or refuses the call.
        """
        query = visibility_query(principal, filters)
        token = self._cursors.read(cursor, query)
        if token and token.startswith(_DROPPED):
            return await self._dropped_page(principal, filters, int(token.removeprefix(_DROPPED)), limit)
        with_problems = filters.stuck or filters.troubles
        rows, following = await self._pages.read(_PageKey(query, token, limit, with_problems))
        if filters.stuck:
            rows = [row for row in rows if row.problem]
        if filters.ended and not following:
            rest = await self._dropped_page(principal, filters, 0, limit - len(rows))
            return EnvironmentPage(environments=(*rows, *rest.environments), next=rest.next)
        return EnvironmentPage(environments=tuple(rows), next=self._cursors.write(following, query))

    async def first(
        self, principal: Principal, filters: Filters, most: int
    ) -> tuple[list[EnvironmentRow], bool]:
        """Return the rows of the first pages, about `most` of them, and whether these are all.

        Raises:
            TemporalUnavailable: Temporal does not answer, or refuses the call.
        """
        rows: list[EnvironmentRow] = []
        cursor: str | None = None
        for _ in range(-(-most // PAGE_ROWS)):
            found = await self.page(principal, filters, limit=PAGE_ROWS, cursor=cursor)
            rows += found.environments
            cursor = found.next
            if cursor is None:
                return rows, True
        return rows, False

    async def _read_page(self, key: "_PageKey") -> tuple[list[EnvironmentRow], bytes | None]:
        found = await list_runs(self._client, key.query, limit=key.limit, token=key.token or b"")
        rows = await self._read_rows(found.executions, with_problems=key.with_problems)
        return rows, found.next_page_token or None

    async def _dropped_page(
        self, principal: Principal, filters: Filters, offset: int, limit: int
    ) -> EnvironmentPage:
        rows, following = await self._records.dropped(principal, filters.matches, offset=offset, limit=limit)
        token = None if following is None else _DROPPED + str(following).encode()
        cursor = self._cursors.write(token, visibility_query(principal, filters))
        return EnvironmentPage(environments=tuple(rows), next=cursor)

    async def _read_rows(
        self, runs: Iterable[WorkflowExecutionInfo], *, with_problems: bool
    ) -> list[EnvironmentRow]:
        gate = asyncio.Semaphore(MAX_CONCURRENT_READS)
        until = asyncio.get_running_loop().time() + PROBLEMS_TIMEOUT_SECONDS

        async def read(run: WorkflowExecutionInfo) -> EnvironmentRow:
            async with gate:
                row = await self._rows.row(run)
                if with_problems and row.phase in WORKING_PHASES:
                    return await self._with_problem(row, until)
                return row

        return list(await asyncio.gather(*map(read, runs)))

    async def _with_problem(self, row: EnvironmentRow, until: float) -> EnvironmentRow:
        """Return the row with its problem, or unchanged if the read fails or would delay the list."""
        try:
            async with asyncio.timeout_at(until):
                trouble = await self._problems.read(_Life(row.name, row.life))
        except (TimeoutError, DecodeError, RPCError):
            return row
        if trouble is None:
            return row
        return row.model_copy(update={"problem": trouble.problem, "next_try_at": trouble.next_try_at})

    async def _read_problem(self, life: "_Life") -> Trouble | None:
        snapshot = await self._reader.read(life.name)
        return trouble_of(snapshot.view) if snapshot and snapshot.life == life.id else None


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
    terms += [f"{search_attributes.LABELS.name} = {quoted(selector)}" for selector in filters.labels]
    if filters.name is not None:
        terms.append(f"WorkflowId STARTS_WITH {quoted(workflow_id(filters.name))}")
    if filters.stuck:
        terms.append(f"{search_attributes.PHASE.name} IN ({', '.join(map(quoted, WORKING_PHASES))})")
    return " AND ".join(terms)
