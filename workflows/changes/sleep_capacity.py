"""CPU and memory of an environment: given back when it sleeps, and reserved again before it is woken."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from contracts.activities.host import WakeAdmissionActivities
    from contracts.capacity.models import PlacementDecision, ReservationRequest
    from contracts.capacity.sizes import size_of
    from contracts.environment.chart_values import compose_values
    from contracts.environment.models import System
    from contracts.environment_workflow import LifecycleTimeouts, undo_queue
    from contracts.errors import Refusal, RefusalReason

from workflows.activity_failures import problem_of, require_genuine
from workflows.capacity.place_reports import release_while_asleep
from workflows.record.state import EnvironmentState
from workflows.steps import FEW_CALLS_ATTEMPT_TIMEOUT

#: All attempts to get room for waking: the caller waits for the answer.
ADMISSION_TIMEOUT = timedelta(seconds=18)
#: A person waits for what is being woken, so it goes before what is being made.
WAKE_PRIORITY = Priority(priority_key=1)
#: The step in problems of waking.
WAKE_STEP = "wake"


class SleepCapacity:
    """The CPU and memory of one environment.

    The two directions never cross: what is given back arrives before it is asked for again, and nothing is
    given back while a caller is promised it.
    """

    def __init__(self, state: EnvironmentState, timeouts: LifecycleTimeouts) -> None:
        self._state = state
        self._timeouts = timeouts
        self._admission: asyncio.Task[PlacementDecision] | None = None
        self._is_giving_back = False
        self._callers = 0

    @contextmanager
    def wanted(self) -> Iterator[None]:
        """Keep CPU and memory until the caller has used the decision of `reserve`."""
        self._callers += 1
        try:
            yield
        finally:
            self._callers -= 1

    async def reserve(self) -> PlacementDecision:
        """Ask for CPU and memory; all who ask at once get one answer."""
        if self._admission is None or self._admission.done():
            self._admission = asyncio.create_task(self._reserve())
        admission = self._admission
        await workflow.wait_condition(admission.done)
        return admission.result()

    async def give_back(self, is_to_sleep: Callable[[], bool]) -> bool:
        """Give CPU and memory back, unless it is not to sleep any more; return whether it still is."""
        await workflow.wait_condition(lambda: not (self._callers and is_to_sleep()))
        if not is_to_sleep():
            return False
        self._is_giving_back = True
        await release_while_asleep(self._state.status.environment.mark)
        self._is_giving_back = False
        return is_to_sleep()

    async def _reserve(self) -> PlacementDecision:
        await workflow.wait_condition(lambda: not self._is_giving_back)
        status = self._state.status
        environment = status.environment
        request = ReservationRequest(
            name=environment.name,
            life=environment.mark.life,
            owner=environment.owner,
            team=environment.spec.team,
            template=environment.template.name,
            size=size_of(environment.template.size, compose_values(environment)),
            hosts=(environment.host,),
            ends_at=status.expires_at,
        )
        try:
            return require_genuine(
                await workflow.execute_activity_method(
                    WakeAdmissionActivities.admit,
                    request,
                    task_queue=undo_queue(workflow.info().task_queue),
                    start_to_close_timeout=FEW_CALLS_ATTEMPT_TIMEOUT,
                    schedule_to_close_timeout=ADMISSION_TIMEOUT,
                    retry_policy=RetryPolicy(
                        initial_interval=self._timeouts.first_retry,
                        maximum_interval=self._timeouts.longest_retry,
                    ),
                    priority=WAKE_PRIORITY,
                    summary="CPU and memory to wake",
                )
            )
        except ActivityError as error:
            cause = problem_of(error, WAKE_STEP, System.HOST_CLUSTER).cause
            message = f"{environment.name} cannot be woken now: {cause.rstrip('.')}. Ask again in a while."
            return PlacementDecision(refusal=Refusal(reason=RefusalReason.NOT_KNOWN, message=message))
