"""Rows of lists from what Temporal's visibility says of runs: a run that has not changed keeps its row."""

from collections import OrderedDict
from contextlib import suppress

from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from contracts.environment.models import Outcome
from contracts.temporal import search_attributes, workflow_memo
from contracts.types.naming import life_id, name_from_workflow_id
from starter.environments.reader import EnvironmentReader
from starter.environments.run_description import attribute, memo_value, owner_left_at, phase_of, run_labels
from starter.environments.schemas import EnvironmentRow
from starter.temporal.run_messages import decode_listed_run
from worker.codec import DecodeError

#: Rows in the cache: a few kilobytes each, for the pages that callers read now.
MAX_ROWS = 2000


class ListedRows:
    """Makes rows, and keeps each for as long as Temporal says the same of its run.

    Lists are read again and again while few of their runs change, and to decode a run takes half a
    millisecond of processor: its memo is encrypted.
    """

    def __init__(self, client: Client, reader: EnvironmentReader) -> None:
        self._client = client
        self._reader = reader
        self._kept: OrderedDict[str, tuple[bytes, EnvironmentRow]] = OrderedDict()

    async def row(self, info: WorkflowExecutionInfo) -> EnvironmentRow:
        """Return the row of a run."""
        run_id = info.execution.run_id
        # The order of a message's maps is arbitrary without `deterministic`. The bytes are kept and not the
        # message, because that would keep its whole page in memory.
        described = info.SerializeToString(deterministic=True)
        kept = self._kept.get(run_id)
        if kept and kept[0] == described:
            self._kept.move_to_end(run_id)
            return kept[1]
        run = decode_listed_run(self._client, info)
        row = await self._make(run)
        # Without an outcome, its result could not be read: the next caller tries again.
        if row.life and (row.outcome or run.status is not WorkflowExecutionStatus.COMPLETED):
            self._kept[run_id] = described, row
            self._kept.move_to_end(run_id)
            if len(self._kept) > MAX_ROWS:
                self._kept.popitem(last=False)
        return row

    async def _make(self, run: WorkflowExecution) -> EnvironmentRow:
        ended = run.status is not WorkflowExecutionStatus.RUNNING
        outcome = Outcome.FAILED if run.status is WorkflowExecutionStatus.FAILED else None
        request_id = standby = ""
        # If the encryption key of a run is missing, list the run with its unencrypted fields: one run must
        # not make the whole list fail.
        left = None
        with suppress(DecodeError):
            left = None if ended else await owner_left_at(run)
            request_id = await memo_value(run, workflow_memo.REQUEST_ID, "")
            standby = await memo_value(run, workflow_memo.STANDBY, "")
            if run.status is WorkflowExecutionStatus.COMPLETED:
                status = await self._reader.end_of(run)
                outcome = status.outcome if status else None
        return EnvironmentRow(
            name=name_from_workflow_id(run.id),
            life=life_id(request_id) if request_id else "",
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
            labels=run_labels(run),
            owner_left_at=left,
            standby=standby,
            run_id=run.run_id,
        )
