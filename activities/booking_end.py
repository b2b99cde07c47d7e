"""Ends a booking: its environments and standbys, each by its own workflow, and reads their certificates.

Visibility and the capacity only say which there may be; the run of each says whether it is of the booking.
"""

from contextlib import suppress
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import activity
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities import activity_context
from activities.environment_runs import (
    CALL_TIMEOUT,
    CLOSED_FROM_OUTSIDE,
    LEFT_PLACES,
    UNREADABLE_ERRORS,
    describe_latest,
    life_of,
)
from activities.sweeps.environment_updates import FAILURES, UPDATE_TIMEOUT, describe_failure
from activities.sweeps.expiry_freeze import freeze_reason
from contracts.activities.fleet import BookingActivities
from contracts.booking_workflow import EndedPlace, EndPlacesInput, EndPlacesResult, PlaceLeft
from contracts.bookings import BOOKING_LABEL
from contracts.capacity.audit import ReservationList
from contracts.capacity.models import CAPACITY_ID, QUERY_RESERVATIONS
from contracts.environment.models import EnvironmentStatus, Outcome, Phase
from contracts.environment_workflow import UPDATE_DELETE, ActorInput, Answer
from contracts.errors import ErrorType
from contracts.standby import SIGNAL_WITHDRAW, STANDBY_WORKFLOW, StandbyEnd, StandbyResult, WithdrawInput
from contracts.temporal import search_attributes, workflow_memo
from contracts.types.naming import name_from_workflow_id

#: Seats that are looked at concurrently: each is a few calls to Temporal, and an update of its environment.
CONCURRENCY = 20
#: The query for what the capacity workflow holds.
QUERY_TIMEOUT = timedelta(seconds=20)
NO_RECORD = "no environment was made, or Temporal has forgotten it"
OTHER_LIFE = "another environment has its name now"


class Bookings(BookingActivities):
    """Ends bookings through a Temporal client."""

    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal

    @activity.defn(name="bookings.freeze")
    async def freeze(self) -> str:
        """Return who has frozen all ends and why, or ""."""
        return await freeze_reason(self._temporal)

    @activity.defn(name="bookings.end_places")
    async def end_places(self, input: EndPlacesInput) -> EndPlacesResult:
        """Have each environment and standby of the booking end, and return what has ended."""
        held = await self._held(input)
        listed = await self._list_left(input)
        names = list(dict.fromkeys((*input.names, *held, *listed)))
        activity_context.report_progress(f"{len(names)} environments and standbys of {input.event}")

        async def look(name: str) -> EndedPlace | PlaceLeft | None:
            return await self._look(name, input, is_held=name in held)

        places = await activity_context.call_each(
            look, names, concurrency=CONCURRENCY, progress=lambda done: f"{done} of {len(names)} looked at"
        )
        return EndPlacesResult(
            ended=tuple(place for place in places if isinstance(place, EndedPlace)),
            left=tuple(place for place in places if isinstance(place, PlaceLeft)),
        )

    async def _held(self, input: EndPlacesInput) -> frozenset[str]:
        """Return the names of the booking that hold a place.

        One that holds a place and has no run may still start. Without a capacity workflow no record says
        that, so then the time must have passed in which it can.
        """
        try:
            answer: ReservationList = await self._temporal.get_workflow_handle(CAPACITY_ID).query(
                QUERY_RESERVATIONS, result_type=ReservationList, rpc_timeout=QUERY_TIMEOUT
            )
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND or not input.is_settled:
                raise
            return frozenset()
        return frozenset(one.name for one in answer.reservations if one.booking == input.life)

    async def _list_left(self, input: EndPlacesInput) -> list[str]:
        query = f"{LEFT_PLACES} AND {search_attributes.LABELS.name} = '{BOOKING_LABEL}={input.event}'"
        runs = self._temporal.list_workflows(query, rpc_timeout=CALL_TIMEOUT)
        return [name_from_workflow_id(run.id) async for run in runs if await _booking_of(run) == input.life]

    async def _look(
        self, name: str, input: EndPlacesInput, *, is_held: bool
    ) -> EndedPlace | PlaceLeft | None:
        """Return how one of them has ended, or why it has not; None for a standby that was taken over."""
        run = await describe_latest(self._temporal, name)
        is_of_booking = run is not None and await _booking_of(run) == input.life
        if run and is_of_booking and run.status is WorkflowExecutionStatus.RUNNING:
            return PlaceLeft(name=name, why=await self._end(run, input))
        if run and is_of_booking and run.status in CLOSED_FROM_OUTSIDE:
            why = "its workflow was closed from outside: the platform team removes what it has left with: "
            return PlaceLeft(name=name, why=f"{why}moorage teardown {name} --force")
        # The name of a standby is never used again, so one that has closed cannot start.
        is_over = run is not None and is_of_booking and run.workflow_type == STANDBY_WORKFLOW
        if is_held and not is_over:
            return PlaceLeft(name=name, why="it has a place, and may still start")
        if run is None or not is_of_booking:
            return EndedPlace(name=name, remark=OTHER_LIFE if run else NO_RECORD)
        return await self._read_end(name, run)

    async def _end(self, run: WorkflowExecutionDescription, input: EndPlacesInput) -> str:
        """Have an open one end; return what it is doing."""
        phase = run.typed_search_attributes.get(search_attributes.PHASE)
        if phase == Phase.TEARDOWN_INCOMPLETE:
            return "its teardown has given up, and needs the platform team"
        is_standby = run.workflow_type == STANDBY_WORKFLOW
        # A standby that was given to an environment is shown as tearing down, and waits for it for minutes.
        if phase == Phase.TEARING_DOWN and not is_standby:
            return Phase.TEARING_DOWN.words
        handle = self._temporal.get_workflow_handle(run.id)
        try:
            if is_standby:
                withdraw = WithdrawInput(reason=f"the booking {input.event} is over")
                await handle.signal(SIGNAL_WITHDRAW, withdraw, rpc_timeout=CALL_TIMEOUT)
            else:
                # One id for all passes: a repeat is answered, and not done again.
                await handle.execute_update(
                    UPDATE_DELETE,
                    ActorInput(life=await life_of(run), actor=input.actor),
                    id=f"booking/{input.life}",
                    result_type=Answer,
                    rpc_timeout=UPDATE_TIMEOUT,
                )
        except FAILURES as error:
            return describe_failure(error).reason
        return Phase.TEARING_DOWN.words

    async def _read_end(self, name: str, run: WorkflowExecutionDescription) -> EndedPlace | None:
        if run.workflow_type == STANDBY_WORKFLOW:
            end: StandbyResult | None = await self._result_of(run, StandbyResult)
            if end and end.end is StandbyEnd.CLAIMED:
                return None
            outcome = Outcome.FAILED if end and end.end is StandbyEnd.FAILED else Outcome.EXPIRED
            certificate = end.certificate if end else None
            return _ended(name, outcome if end else None, certificate)
        status: EnvironmentStatus | None = await self._result_of(run, EnvironmentStatus)
        return _ended(name, status.outcome if status else None, status.certificate if status else None)

    async def _result_of(self, run: WorkflowExecution, type: Any) -> Any:
        """Return the result of a closed run, or the status in its failure; None if it cannot be read."""
        handle = self._temporal.get_workflow_handle(run.id, run_id=run.run_id, result_type=type)
        try:
            return await handle.result(follow_runs=False, rpc_timeout=CALL_TIMEOUT)
        except WorkflowFailureError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError) and cause.type == ErrorType.PROVISIONING_FAILED:
                with suppress(ValidationError, IndexError):
                    return type.model_validate(cause.details[0])
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        except UNREADABLE_ERRORS:
            return None
        return None


def _ended(name: str, outcome: Outcome | None, certificate: Any) -> EndedPlace:
    remark = "" if certificate else "its certificate cannot be read any more"
    return EndedPlace(
        name=name, outcome=outcome, certificate=certificate, remark=remark, is_unproven=certificate is None
    )


async def _booking_of(run: WorkflowExecution) -> str:
    """Return the life of the booking that a run belongs to; "" for none, or if that cannot be read."""
    with suppress(*UNREADABLE_ERRORS):
        return await run.memo_value(workflow_memo.BOOKING, "", type_hint=str)
    return ""
