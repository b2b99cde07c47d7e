"""Where lives that have ended are read from: the file of their records, or Temporal's closed runs."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from temporalio.client import Client, WorkflowExecution

from starter.environments.lists.listing import WORKFLOW_TYPE
from starter.environments.reader import EnvironmentReader
from starter.shared_reads import CachedReads
from starter.statistics.life_times import Implausible, LifeTimes, times_of_status
from starter.statistics.record_file import RecordFile
from starter.statistics.stored_lives import parse_lines
from starter.temporal.errors import CALL_TIMEOUT, TemporalUnavailable, map_rpc_errors
from worker.codec import DecodeError

#: Records that are parsed in one go in a thread. Python runs one thread at a time, so between two batches the
#: requests have their turn.
BATCH_SIZE = 200
#: Closed runs that are read from Temporal at most: enough for the usual times.
MAX_RUNS = 500
#: Pause between two results of runs, because people's requests share Temporal's limits.
RUN_PAUSE_SECONDS = 0.1
#: How late visibility may list a run that has closed.
VISIBILITY_DELAY = timedelta(minutes=1)


#: Open environments that are counted, and for how many seconds: each look is a read of visibility.
MAX_OPEN, OPEN_FRESH_SECONDS = 10_000, 10.0


class OpenEnvironments:
    """When the open environments were requested, or when their run was continued as a new one."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._cached: CachedReads[str, tuple[datetime, ...]] = CachedReads(
            self._read, fresh_seconds=OPEN_FRESH_SECONDS
        )

    async def requested_at(self) -> tuple[datetime, ...]:
        """Return a time for each open environment; raise TemporalUnavailable."""
        return await self._cached.read(f"WorkflowType = '{WORKFLOW_TYPE}' AND ExecutionStatus = 'Running'")

    async def _read(self, query: str) -> tuple[datetime, ...]:
        with map_rpc_errors():
            runs = self._client.list_workflows(query, limit=MAX_OPEN, rpc_timeout=CALL_TIMEOUT)
            return tuple([run.start_time async for run in runs])


@dataclass(frozen=True)
class LifeBatch:
    """Lives in the order of their end. `skipped` were not readable; `is_last`: there is nothing more now."""

    lives: tuple[LifeTimes, ...] = ()
    skipped: int = 0
    is_last: bool = True


class LifeSource(Protocol):
    """Gives each life that has ended, at least once."""

    @property
    def remark(self) -> str:
        """What the reader of the figures has to know about the source, as a sentence; empty if nothing."""
        ...

    async def read(self) -> LifeBatch:
        """Return the next lives that were not returned before."""
        ...


class RecordSource:
    """Lives from the file of their records."""

    remark = ""

    def __init__(self, path: Path) -> None:
        self._file = RecordFile(path)

    async def read(self) -> LifeBatch:
        """Return the lives of the next lines; skip lines that are no record, or contradict themselves."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> LifeBatch:
        batch = self._file.read(BATCH_SIZE)
        lives, skipped = parse_lines(batch.lines, datetime.now(UTC))
        return LifeBatch(tuple(lives), skipped + batch.skipped, batch.is_last)


class ClosedRunSource:
    """Lives from the runs that Temporal still has, when no records are kept."""

    def __init__(self, client: Client, reader: EnvironmentReader) -> None:
        self._client = client
        self._reader = reader
        self._waiting: list[WorkflowExecution] = []
        self._known_up_to: datetime | None = None
        self._known: frozenset[str] = frozenset()

    @property
    def remark(self) -> str:
        """The limits of this source."""
        return (
            f"No records of lives are kept, so these figures are of the last {MAX_RUNS} that Temporal still "
            "has: set MOORAGE_AUDIT_LOG__FILE."
        )

    async def read(self) -> LifeBatch:
        """Return the life of the next run; raise TemporalUnavailable."""
        if not self._waiting:
            self._waiting = await self._closed_runs()
            if not self._waiting:
                return LifeBatch()
        run = self._waiting.pop()
        lives: tuple[LifeTimes, ...] = ()
        try:
            status = await self._reader.end_of(run)
            lives = (times_of_status(status, datetime.now(UTC)),) if status else ()
        except TemporalUnavailable:
            # No later list has the run, so keep it for the next read.
            self._waiting.append(run)
            raise
        except (Implausible, DecodeError):
            return LifeBatch(skipped=1, is_last=not self._waiting)
        await asyncio.sleep(RUN_PAUSE_SECONDS)
        return LifeBatch(lives, is_last=not self._waiting)

    async def _closed_runs(self) -> list[WorkflowExecution]:
        """Return the runs that closed since the last call, the latest first.

        The query overlaps with the one before, because visibility may list a run late.
        """
        query = f"WorkflowType = '{WORKFLOW_TYPE}' AND ExecutionStatus IN ('Completed', 'Failed')"
        if self._known_up_to:
            query += f" AND CloseTime > '{(self._known_up_to - VISIBILITY_DELAY).isoformat()}'"
        with map_rpc_errors():
            runs = self._client.list_workflows(query, limit=MAX_RUNS, rpc_timeout=CALL_TIMEOUT)
            found = [run async for run in runs]
        closed = [run.close_time for run in found if run.close_time]
        self._known_up_to = max([*closed, *filter(None, [self._known_up_to])], default=None)
        known, self._known = self._known, frozenset(run.run_id for run in found)
        return [run for run in found if run.run_id not in known]
