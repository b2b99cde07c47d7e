"""Asks the capacity workflow for the CPU and memory of an environment that is to be woken."""

from collections.abc import Mapping
from datetime import timedelta

from temporalio import activity
from temporalio.client import Client, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from activities.capacity.audit import CapacitySettings
from activities.errors import NotYet
from contracts.activities.host import WakeAdmissionActivities
from contracts.capacity.models import (
    CAPACITY_ID,
    UPDATE_WAKE,
    Limits,
    PlacementDecision,
    Quotas,
    ReservationRequest,
    ReserveResult,
    WakeInput,
)
from contracts.environment.models import System
from contracts.errors import ErrorType
from contracts.expiry import format_utc

#: Timeout of the update: longer than the 10 s after which the server gives a task that a worker has lost to
#: the next worker.
UPDATE_TIMEOUT = timedelta(seconds=15)


class WakeAdmission(WakeAdmissionActivities):
    """Asks through a Temporal client, with the quotas of the settings."""

    def __init__(self, temporal: Client, settings: CapacitySettings) -> None:
        self._temporal = temporal
        self._person_quota = settings.person_quota
        self._team_quotas: Mapping[str, Limits] = settings.team_quotas

    @activity.defn(name="capacity.wake")
    async def admit(self, input: ReservationRequest) -> PlacementDecision:
        """Reserve CPU and memory again, or return the refusal with what would help."""
        quotas = Quotas(person=self._person_quota, team=self._team_quotas.get(input.team, Limits()))
        request = input.model_copy(update={"quotas": quotas})
        try:
            result: ReserveResult = await self._temporal.get_workflow_handle(CAPACITY_ID).execute_update(
                UPDATE_WAKE,
                WakeInput(request=request),
                result_type=ReserveResult,
                rpc_timeout=UPDATE_TIMEOUT,
            )
            [decision] = result.decisions
        except WorkflowUpdateFailedError as error:
            cause = error.cause
            if not (isinstance(cause, ApplicationError) and cause.type == ErrorType.REQUEST_REFUSED):
                raise
            [decision] = ReserveResult.model_validate(cause.details[0]).decisions
        except (RPCError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
            raise NotYet(
                System.HOST_CLUSTER,
                f"The capacity workflow does not answer ({type(error).__name__})",
                "See whether an API and a worker run; the API starts that workflow",
            ) from None
        return _with_advice(decision)


def _with_advice(decision: PlacementDecision) -> PlacementDecision:
    if decision.refusal is None:
        return decision
    advice = "Put another environment to sleep, or delete one."
    if decision.next_end:
        advice = f"The next one that is in the way ends {format_utc(decision.next_end)}. {advice}"
    message = f"{decision.refusal.message} {advice}"
    return decision.model_copy(update={"refusal": decision.refusal.model_copy(update={"message": message})})
