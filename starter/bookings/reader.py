"""Reads bookings from their runs in Temporal: the list without a worker, one by its workflow."""

from dataclasses import dataclass
from typing import Any

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from contracts.booking_workflow import BOOKING_WORKFLOW, BookingPhase, BookingStatus
from contracts.bookings import booking_id, event_of
from contracts.temporal import booking_start, search_attributes, workflow_memo
from starter.bookings.schemas import BookingRow, BookingView, booking_view
from starter.environments.run_description import memo_value
from starter.temporal.errors import CALL_TIMEOUT, QUERY_TIMEOUT, NoWorker, map_rpc_errors
from worker.codec import DecodeError
from workflows.booking import BookingWorkflow

#: Bookings that a list shows.
MAX_LISTED = 200
_LISTED = f"WorkflowType = '{BOOKING_WORKFLOW}' AND ExecutionStatus != 'ContinuedAsNew'"
_OPEN = f"WorkflowType = '{BOOKING_WORKFLOW}' AND ExecutionStatus = 'Running'"
CLOSED_FROM_OUTSIDE = (
    "Its workflow was closed from outside: its room is free again, and its environments end by themselves."
)


class BookingNotFound(Exception):
    """There is no booking of the event, and Temporal has kept none."""

    def __init__(self, event: str) -> None:
        super().__init__(f'There is no booking "{event[:80]}": `moorage bookings` lists them.')


@dataclass(frozen=True)
class LatestBooking:
    """The last run of an event's latest booking, the request that it came from, and whether it is open."""

    run_id: str
    request_id: str
    is_open: bool


class BookingReader:
    """Reads bookings."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def list(self) -> tuple[BookingRow, ...]:
        """Return the bookings that are open, and those that Temporal has kept; the latest end first."""
        with map_rpc_errors():
            runs = self._client.list_workflows(_LISTED, limit=MAX_LISTED, rpc_timeout=CALL_TIMEOUT)
            rows = [row async for run in runs if (row := await _row_of(run))]
        return tuple(sorted(rows, key=lambda row: row.ends_at, reverse=True))

    async def list_open(self) -> tuple[BookingRow, ...]:
        """Return the bookings that are not over, also those that are ending."""
        with map_rpc_errors():
            runs = self._client.list_workflows(_OPEN, limit=MAX_LISTED, rpc_timeout=CALL_TIMEOUT)
            return tuple([row async for run in runs if (row := await _row_of(run))])

    async def latest(self, event: str) -> LatestBooking | None:
        """Return the latest booking of the event without a query to a worker; None if Temporal has none."""
        run = await self._describe(event)
        if run is None:
            return None
        request_id = await memo_value(run, workflow_memo.REQUEST_ID, "")
        return LatestBooking(run.run_id, request_id, is_open=run.status is WorkflowExecutionStatus.RUNNING)

    async def read(self, event: str) -> BookingView:
        """Return the latest booking of the event; raise BookingNotFound or NoWorker."""
        run = await self._describe(event)
        if run is None:
            raise BookingNotFound(event)
        handle: WorkflowHandle[BookingWorkflow, BookingStatus] = self._client.get_workflow_handle_for(
            BookingWorkflow.run, run.id, run_id=run.run_id
        )
        if run.status is WorkflowExecutionStatus.COMPLETED:
            with map_rpc_errors():
                return booking_view(await handle.result(follow_runs=False, rpc_timeout=CALL_TIMEOUT))
        is_open = run.status is WorkflowExecutionStatus.RUNNING
        # A closed workflow still answers, if a worker is running.
        with map_rpc_errors():
            try:
                status: BookingStatus = await handle.query(BookingWorkflow.status, rpc_timeout=QUERY_TIMEOUT)
            except RPCError as error:
                if error.status is RPCStatusCode.UNAVAILABLE:
                    raise
                raise NoWorker from error
        return booking_view(status, "" if is_open else CLOSED_FROM_OUTSIDE)

    async def _describe(self, event: str) -> Any:
        with map_rpc_errors():
            try:
                return await self._client.get_workflow_handle(booking_id(event)).describe(
                    rpc_timeout=CALL_TIMEOUT
                )
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return None
                raise


async def _row_of(run: WorkflowExecution) -> BookingRow | None:
    """Return the row of a run; None if its memo cannot be read, as when its key is gone."""
    try:
        memo: dict[str, Any] = dict(await run.memo())
    except (DecodeError, RuntimeError):
        return None
    ends_at = run.typed_search_attributes.get(search_attributes.EXPIRES_AT)
    starts_at = memo.get(booking_start.STARTS_AT)
    if ends_at is None or starts_at is None:
        return None
    is_open = run.status is WorkflowExecutionStatus.RUNNING
    phase = run.typed_search_attributes.get(search_attributes.PHASE)
    is_whole = is_open or run.status is WorkflowExecutionStatus.COMPLETED
    return BookingRow(
        event=event_of(run.id),
        owner=run.typed_search_attributes.get(search_attributes.OWNER) or "",
        template=run.typed_search_attributes.get(search_attributes.TEMPLATE) or "",
        seats=memo.get(booking_start.SEATS, 0),
        taken=memo.get(booking_start.TAKEN, 0),
        starts_at=starts_at,
        ends_at=ends_at,
        phase=BookingPhase(phase) if is_open and phase in set(BookingPhase) else BookingPhase.ENDED,
        remark="" if is_whole else CLOSED_FROM_OUTSIDE,
    )
