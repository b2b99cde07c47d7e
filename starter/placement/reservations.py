"""Reservations of host capacity, which the API requests from the capacity workflow before it starts a life.

Requests that arrive while an update is running share the next update: a run accepts ten updates at once and
two thousand in total, and one update for fifty requests costs hardly more than an update for one request.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WithStartWorkflowOperation, WorkflowUpdateFailedError
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from contracts.capacity.audit import ReservationList
from contracts.capacity.bookings import (
    BookingDecision,
    BookingList,
    BookingRequest,
    BookInput,
    EndBookingInput,
)
from contracts.capacity.models import (
    CAPACITY_ID,
    CAPACITY_WORKFLOW,
    CapacityState,
    PlacementDecision,
    ReassignInput,
    ReleaseInput,
    Reservation,
    ReservationRequest,
    ReserveInput,
    ReserveResult,
    StateInput,
)
from contracts.capacity.warm_pools import (
    SIGNAL_RESUME_POOL,
    SIGNAL_WANT_POOLS,
    PoolCount,
    PoolCounts,
    PoolsInput,
    ResumePoolInput,
)
from contracts.capacity.workflow_input import CapacityStart
from contracts.environment_workflow import TASK_QUEUE
from contracts.errors import ErrorType
from contracts.types.models import Frozen
from starter.monitoring.encryption_keys import ensure_key_for
from starter.shared_reads import CachedReads
from starter.temporal.errors import (
    CALL_TIMEOUT,
    QUERY_TIMEOUT,
    NothingStarted,
    NoWorker,
    TemporalUnavailable,
    map_rpc_errors,
)
from starter.temporal.updates import WorkflowClosed, map_update_errors, send_until_taken, update_with_start
from workflows.capacity.workflow import CapacityWorkflow

#: Timeout for an answer of the capacity workflow. It is longer than the 10 s after which the server gives a
#: task that a worker has lost to the next worker, so that the restart of a worker is not an outage for
#: callers.
RESERVATION_TIMEOUT = timedelta(seconds=15)
#: Requests in one update: each has a few hundred bytes, and a worker that takes over the run reads its whole
#: history again.
MAX_REQUESTS_PER_UPDATE = 100
#: How old the shown state of the capacity may be, and how old while a new one is read: the answer of a busy
#: worker takes a while.
STATE_FRESH_SECONDS, STATE_USABLE_SECONDS = 0.5, 10.0
#: Attempts when the run continues as new during the call.
_ATTEMPTS = 3
#: The workflow's tasks are dispatched before those of all environments (3 by default, 1 is first), because
#: every request waits for it.
PRIORITY = Priority(priority_key=1)
#: Typed as Any because mypy rejects an `async def` update with a validator against the SDK's types.
_RESERVE: Any = CapacityWorkflow.reserve
_REASSIGN: Any = CapacityWorkflow.reassign
_BOOK: Any = CapacityWorkflow.book


class Reservations:
    """Client of the capacity workflow: reserves and releases capacity, and reads its state."""

    def __init__(
        self, client: Client, *, task_queue: str = TASK_QUEUE, start: CapacityStart | None = None
    ) -> None:
        self._client = client
        self._task_queue = task_queue
        self._start = start or CapacityStart()
        self._waiting: list[tuple[ReservationRequest, asyncio.Future[PlacementDecision]]] = []
        self._sending: asyncio.Task[None] | None = None
        self._states = CachedReads(
            self.state, fresh_seconds=STATE_FRESH_SECONDS, usable_seconds=STATE_USABLE_SECONDS
        )

    async def reserve(self, request: ReservationRequest) -> PlacementDecision:
        """Reserve capacity on a host, or return the refusal.

        A repeat by the same life gets the same host.

        Raises:
            NothingStarted: No worker answers.
            TemporalUnavailable: Temporal does not answer, or refuses the call.
        """
        future: asyncio.Future[PlacementDecision] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())
        return await future

    async def reassign(self, request: ReservationRequest) -> PlacementDecision:
        """Give the place of an open life to the owner of the request, or return the refusal.

        Raises:
            NothingStarted: No worker answers.
            TemporalUnavailable: Temporal does not answer, or refuses the call.
        """
        result: ReserveResult = await self._ask(_REASSIGN, ReassignInput(request=request), ReserveResult)
        [decision] = result.decisions
        return decision

    async def book(self, request: BookingRequest) -> BookingDecision:
        """Hold room for a booking, or return the refusal; a repeat by the same life holds the same.

        Raises:
            NothingStarted: No worker answers.
            TemporalUnavailable: Temporal does not answer, or refuses the call.
        """
        decision: BookingDecision = await self._ask(_BOOK, BookInput(request=request), BookingDecision)
        return decision

    async def end_booking(self, life: str) -> None:
        """Give back what is held for a booking that was not started; if the call fails, the audit does it."""
        with suppress(RPCError):
            await self._handle.signal(
                CapacityWorkflow.end_booking, EndBookingInput(life=life), rpc_timeout=CALL_TIMEOUT
            )

    async def list_bookings(self) -> BookingList:
        """Return what is held for bookings; raise NoWorker or TemporalUnavailable."""
        held: BookingList = await self._query(
            CapacityWorkflow.bookings, if_missing=BookingList(bookings=(), is_known=False)
        )
        return held

    async def preview(self, requests: Sequence[ReservationRequest]) -> Sequence[PlacementDecision]:
        """Return the decision that each request would get now, without a reservation.

        The result is empty before the first audit, when the workflow does not know yet who holds what.

        Raises:
            NothingStarted: Temporal or the workflow does not answer.
        """
        try:
            result: ReserveResult = await self._handle.query(
                CapacityWorkflow.preview, ReserveInput(requests=tuple(requests)), rpc_timeout=QUERY_TIMEOUT
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return ()
            raise NothingStarted from error
        return result.decisions

    async def withdraw(self, name: str, life: str) -> None:
        """Release the reservation of a life that was not started and will not be.

        If the call fails, the audit releases the reservation.
        """
        try:
            await self._handle.signal(
                CapacityWorkflow.release,
                ReleaseInput(name=name, life=life, was_open=False),
                rpc_timeout=CALL_TIMEOUT,
            )
        except RPCError:
            return

    async def cached_state(self, request: StateInput) -> CapacityState:
        """Return the state for people who look at it; it may be STATE_USABLE_SECONDS old.

        It contains every reservation of this API. Raises as `state` does.
        """
        return await self._states.read(request)

    async def state(self, request: StateInput) -> CapacityState:
        """Return the state of the capacity; raise NoWorker or TemporalUnavailable."""
        state: CapacityState = await self._query(CapacityWorkflow.state, request)
        return state

    async def list_reservations(self) -> tuple[Reservation, ...]:
        """Return all reservations, without standbys that leave; raise NoWorker or TemporalUnavailable."""
        held: ReservationList = await self._query(CapacityWorkflow.reservations)
        return tuple(one for one in held.reservations if one.held.environments)

    async def want_pools(self, wanted: PoolsInput) -> None:
        """Tell the workflow which warm pools to keep, and start it if it is not there."""
        with map_rpc_errors():
            await self._client.start_workflow(
                CAPACITY_WORKFLOW,
                self._start,
                **self._options,
                start_signal=SIGNAL_WANT_POOLS,
                start_signal_args=[wanted],
                rpc_timeout=CALL_TIMEOUT,
            )

    async def resume_pool(self, template: str) -> None:
        """Let the pool of a template make standbys again if it has stopped; a repeat changes nothing."""
        with map_rpc_errors():
            await self._handle.signal(
                SIGNAL_RESUME_POOL, ResumePoolInput(template=template), rpc_timeout=CALL_TIMEOUT
            )

    async def list_pools(self) -> tuple[PoolCount, ...]:
        """Return how the warm pools stand; raise NoWorker or TemporalUnavailable."""
        found: PoolCounts = await self._query(CapacityWorkflow.pools, if_missing=PoolCounts(pools=()))
        return found.pools

    async def ensure_started(self) -> None:
        """Start the capacity workflow, so that it knows all reservations before the first request."""
        await self._client.start_workflow(
            CapacityWorkflow.run, self._start, **self._options, rpc_timeout=CALL_TIMEOUT
        )

    async def _query(self, query: Any, *args: Any, if_missing: Any = None) -> Any:
        """Return the workflow's answer, or `if_missing` if that is given and there is no workflow."""
        with map_rpc_errors():
            try:
                return await self._handle.query(query, *args, rpc_timeout=QUERY_TIMEOUT)
            except RPCError as error:
                if if_missing is not None and error.status is RPCStatusCode.NOT_FOUND:
                    return if_missing
                await self._ensure_key()
                raise _no_worker(error) from error

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = (
                self._waiting[:MAX_REQUESTS_PER_UPDATE],
                self._waiting[MAX_REQUESTS_PER_UPDATE:],
            )
            try:
                asked = ReserveInput(requests=tuple(request for request, _ in batch))
                result: ReserveResult = await self._ask(_RESERVE, asked, ReserveResult)
                decisions = result.decisions
                self._states.invalidate()
            except Exception as error:
                # Every waiting caller gets the error, and the loop serves the next batch.
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), decision in zip(batch, decisions, strict=True):
                if not future.done():
                    future.set_result(decision)

    async def _ask(self, update: Any, input: Frozen, answer: type[Frozen]) -> Any:
        """Return the answer to the update, which a refusal has in its details."""
        for attempt in range(_ATTEMPTS):
            try:
                async with map_update_errors(RESERVATION_TIMEOUT):
                    return await send_until_taken(lambda: self._update(update, input, answer))
            except NoWorker as error:
                await self._ensure_key()
                # A worker may still accept the update; a reservation whose life does not start expires after
                # minutes.
                raise NothingStarted from error
            except TemporalUnavailable:
                await self._ensure_key()
                raise
            except WorkflowClosed:
                if attempt + 1 == _ATTEMPTS:
                    raise NothingStarted from None
        raise AssertionError("unreachable")

    async def _update(self, update: Any, input: Frozen, answer: type[Frozen]) -> Any:
        operation: Any = WithStartWorkflowOperation(CapacityWorkflow.run, self._start, **self._options)
        try:
            return await update_with_start(self._client, update, input, operation)
        except WorkflowUpdateFailedError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError) and cause.type == ErrorType.REQUEST_REFUSED:
                return answer.model_validate(cause.details[0])
            raise

    async def _ensure_key(self) -> None:
        """Raise KeyMissing if the workflow's encryption key is missing.

        Then no worker can execute the workflow, and the missing worker is not the cause.
        """
        with suppress(RPCError):
            await ensure_key_for(self._client, CAPACITY_ID)

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "id": CAPACITY_ID,
            "task_queue": self._task_queue,
            "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
            "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            "priority": PRIORITY,
            "static_summary": "who holds which place on which host",
        }

    @property
    def _handle(self) -> Any:
        return self._client.get_workflow_handle_for(CapacityWorkflow.run, CAPACITY_ID)


def _no_worker(error: RPCError) -> Exception:
    """Return NoWorker, as the workflow or a worker is missing; return UNAVAILABLE unchanged."""
    if error.status is RPCStatusCode.UNAVAILABLE:
        return error
    return NoWorker()
