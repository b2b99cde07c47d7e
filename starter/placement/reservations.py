"""Places on hosts, asked for before anything is started: of the one workflow that knows who holds what.

Those who ask while an answer is under way ask together with the next update: a run takes ten updates at once
and two thousand in all, and one update for fifty requests costs hardly more than one for one.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WithStartWorkflowOperation, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from contracts.capacity.models import (
    CAPACITY_ID,
    CapacityStart,
    CapacityState,
    Holdings,
    PlacementDecision,
    ReleaseInput,
    ReservationRequest,
    ReserveInput,
    ReserveResult,
    StateInput,
)
from contracts.environment_workflow import TASK_QUEUE
from contracts.errors import ErrorType
from starter.monitoring.encryption_keys import ensure_key_for
from starter.temporal.errors import (
    CALL_PATIENCE,
    QUERY_PATIENCE,
    NothingStarted,
    NoWorker,
    TemporalUnavailable,
    told,
)
from starter.temporal.updates import WorkflowClosed, answered, update_with_start
from workflows.capacity import CapacityWorkflow

#: For an answer of the capacity's workflow. Longer than the 10 s after which the server hands a task that a
#: worker has lost to the next one, so that a worker that starts anew is not felt as an outage.
PATIENCE = timedelta(seconds=15)
#: Asked for with one update: a few hundred bytes each, and its history is read again with every take-over.
MOST_AT_ONCE = 100
#: A run that goes on in a new one is met again at most so often.
_TRIES = 3
#: The SDK's types of an update do not admit an `async def` with a validator to mypy.
_RESERVE: Any = CapacityWorkflow.reserve


class Reservations:
    """Asks for places, gives them back, and tells how the capacity stands."""

    def __init__(
        self, client: Client, *, task_queue: str = TASK_QUEUE, start: CapacityStart | None = None
    ) -> None:
        self._client = client
        self._task_queue = task_queue
        self._start = start or CapacityStart()
        self._waiting: list[tuple[ReservationRequest, asyncio.Future[PlacementDecision]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def reserve(self, ask: ReservationRequest) -> PlacementDecision:
        """A place, or why there is none. Asked again by the same life: the same place.

        Raises NothingStarted when no worker answers, and TemporalUnavailable.
        """
        future: asyncio.Future[PlacementDecision] = asyncio.get_running_loop().create_future()
        self._waiting.append((ask, future))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())
        return await future

    async def would(self, asks: Sequence[ReservationRequest]) -> Sequence[PlacementDecision]:
        """What each would be answered now, nothing reserved; nothing at all when that cannot be told.

        Raises TemporalUnavailable.
        """
        try:
            result: ReserveResult = await self._handle.query(
                CapacityWorkflow.would, ReserveInput(asks=tuple(asks)), rpc_timeout=QUERY_PATIENCE
            )
        except RPCError:
            return ()
        return result.verdicts

    async def withdraw(self, name: str, life: str) -> None:
        """Give back the place of a life that has not begun and will not. If that fails, the audit does it."""
        try:
            await self._handle.signal(
                CapacityWorkflow.release,
                ReleaseInput(name=name, life=life, ran=False),
                rpc_timeout=CALL_PATIENCE,
            )
        except RPCError:
            return

    async def state(self, ask: StateInput) -> CapacityState:
        """How the capacity stands. Raises NoWorker and TemporalUnavailable."""
        with told():
            try:
                state: CapacityState = await self._handle.query(
                    CapacityWorkflow.state, ask, rpc_timeout=QUERY_PATIENCE
                )
            except RPCError as error:
                await self._ensure_key()
                raise _no_worker(error) from error
        return state

    async def holdings(self) -> Holdings:
        """All that is held. Raises NoWorker and TemporalUnavailable."""
        with told():
            try:
                held: Holdings = await self._handle.query(
                    CapacityWorkflow.holdings, rpc_timeout=QUERY_PATIENCE
                )
            except RPCError as error:
                await self._ensure_key()
                raise _no_worker(error) from error
        return held

    async def begin(self) -> None:
        """Have the workflow there, so that it knows who holds what when the first one asks."""
        await self._client.start_workflow(
            CapacityWorkflow.run, self._start, **self._options, rpc_timeout=CALL_PATIENCE
        )

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            try:
                verdicts = await self._ask(tuple(ask for ask, _ in batch))
            except Exception as error:  # each who waits is told, and the next are served
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), verdict in zip(batch, verdicts, strict=True):
                if not future.done():
                    future.set_result(verdict)

    async def _ask(self, asks: tuple[ReservationRequest, ...]) -> Sequence[PlacementDecision]:
        for attempt in range(_TRIES):
            try:
                async with answered(PATIENCE):
                    return await self._update(ReserveInput(asks=asks))
            except NoWorker as error:
                await self._ensure_key()
                # It may be taken yet; a place whose life does not begin is free again after minutes.
                raise NothingStarted from error
            except TemporalUnavailable:
                await self._ensure_key()
                raise
            except WorkflowClosed:
                if attempt + 1 == _TRIES:
                    raise NothingStarted from None
        raise AssertionError("unreachable")

    async def _update(self, input: ReserveInput) -> Sequence[PlacementDecision]:
        operation = WithStartWorkflowOperation(CapacityWorkflow.run, self._start, **self._options)
        try:
            result: ReserveResult = await update_with_start(self._client, _RESERVE, input, operation)
        except WorkflowUpdateFailedError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError) and cause.type == ErrorType.REQUEST_REFUSED:
                return ReserveResult.model_validate(cause.details[0]).verdicts
            raise
        return result.verdicts

    async def _ensure_key(self) -> None:
        """Raise LacksKey if its key is gone: no worker can take it up then, and none is to blame."""
        with suppress(RPCError):
            await ensure_key_for(self._client, CAPACITY_ID)

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "id": CAPACITY_ID,
            "task_queue": self._task_queue,
            "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
            "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            "static_summary": "who holds which place on which host",
        }

    @property
    def _handle(self) -> Any:
        return self._client.get_workflow_handle_for(CapacityWorkflow.run, CAPACITY_ID)


def _no_worker(error: RPCError) -> Exception:
    """Nobody answers: no such workflow yet, or no worker. Temporal's own trouble stays what it is."""
    if error.status is RPCStatusCode.UNAVAILABLE:
        return error
    return NoWorker()
