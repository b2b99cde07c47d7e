"""Searches the trail of all environments, in the workflows of open ones and the records of ended ones."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from temporalio.service import RPCError

from starter.audit_trail.entries import TrailEntry, TrailFilters, cut_page, entries_of
from starter.audit_trail.record_search import search_records
from starter.auth.policy import GlobalVerb, Principal, ensure_allowed_globally
from starter.environments.lists.listing import EnvironmentList, Filters
from starter.environments.reader import EnvironmentReader
from starter.temporal.errors import TemporalUnavailable
from worker.codec import DecodeError

#: Environments whose trail is read from their workflows, at most. With a name, only that one is.
MAX_WORKFLOWS = 200
#: Trails that are read at the same time: enough to be fast, too few to slow people's requests.
_CONCURRENCY = 8
#: How long a search waits for the workflows.
WORKFLOWS_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class TrailPage:
    """Lines of the trail, the latest first.

    `next_before` is where the next page starts, if there is one. `remark` says what could not be searched.
    """

    entries: tuple[TrailEntry, ...]
    next_before: datetime | None = None
    remark: str = ""


class AuditTrail:
    """The trail of all environments, for the platform team."""

    def __init__(self, environments: EnvironmentList, reader: EnvironmentReader, file: Path | None) -> None:
        self._environments = environments
        self._reader = reader
        self._file = file

    async def search(self, principal: Principal, filters: TrailFilters, limit: int) -> TrailPage:
        """Return the latest lines that pass the filters.

        Raises:
            NotAllowed: The principal is not of the platform team.
        """
        ensure_allowed_globally(principal, GlobalVerb.AUDIT)
        remarks = []
        entries: list[TrailEntry] = []
        if self._file:
            # Twice the page, so that lines of one moment are not torn apart at its end.
            found = await asyncio.to_thread(search_records, self._file, filters, 2 * limit)
            entries += found.entries
            if not found.is_complete:
                remarks.append("Some records of ended environments could not be searched.")
        else:
            remarks.append(
                "No records are kept, so ended environments are missing that Temporal has dropped: "
                "set MOORAGE_AUDIT_LOG__FILE."
            )
        lines, is_complete = await self._of_workflows(principal, filters)
        entries += lines
        if not is_complete:
            remarks.append("Not all environments in Temporal were searched: filter by environment.")
        page, next_before = cut_page(entries, limit)
        return TrailPage(tuple(page), next_before, " ".join(remarks))

    async def _of_workflows(
        self, principal: Principal, filters: TrailFilters
    ) -> tuple[list[TrailEntry], bool]:
        try:
            names, is_complete = await self._names(principal, filters)
        except TemporalUnavailable:
            return [], False
        gate = asyncio.Semaphore(_CONCURRENCY)
        until = asyncio.get_running_loop().time() + WORKFLOWS_TIMEOUT_SECONDS

        async def read(name: str) -> list[TrailEntry] | None:
            try:
                async with gate, asyncio.timeout_at(until):
                    snapshot = await self._reader.read(name)
            except (TimeoutError, DecodeError, RPCError, TemporalUnavailable):
                return None
            if snapshot is None:
                return []
            lines = entries_of(snapshot.view, snapshot.view.audit_log)
            return [line for line in lines if filters.matches(line)]

        read_lines = await asyncio.gather(*map(read, names))
        return [line for lines in read_lines for line in lines or ()], is_complete and None not in read_lines

    async def _names(self, principal: Principal, filters: TrailFilters) -> tuple[Sequence[str], bool]:
        """Return the environments to read from Temporal, and whether these are all."""
        if filters.name:
            return [filters.name], True
        rows, is_complete = await self._environments.first(principal, Filters(), MAX_WORKFLOWS)
        if self._file is None:
            more, has_all = await self._environments.first(principal, Filters(ended=True), MAX_WORKFLOWS)
            rows, is_complete = rows + more, is_complete and has_all
        names = list(dict.fromkeys(row.name for row in rows))
        return names[:MAX_WORKFLOWS], is_complete and len(names) <= MAX_WORKFLOWS
