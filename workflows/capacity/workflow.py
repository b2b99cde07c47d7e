"""The capacity workflow: only it knows who holds what, so only it promises places.

It runs for ever and handles one request after the other. Its decisions are in `contracts.capacity.admission`.
Every few minutes it compares its ledger with the open environments, so it may even be terminated and started
again.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from contracts.activities.fleet import CapacityActivities
    from contracts.activities.host import HostActivities
    from contracts.capacity import admission
    from contracts.capacity.admission import admit, decide, decide_reassignment, reassign
    from contracts.capacity.audit import AuditInput, ReservationList
    from contracts.capacity.ledger import CapacityLedger
    from contracts.capacity.models import (
        CAPACITY_WORKFLOW,
        CapacitySleepInput,
        CapacityState,
        HostCapacity,
        HostState,
        PlacementDecision,
        ReassignInput,
        ReleaseInput,
        ReservationRequest,
        ReserveInput,
        ReserveResult,
        ResizedInput,
        ResizeInput,
        StandbyReport,
        StateInput,
        WakeInput,
    )
    from contracts.capacity.reconciliation import MAX_LISTING_DELAY, apply_audit
    from contracts.capacity.warm_pools import PoolBook, PoolCounts, PoolsInput, ResumePoolInput
    from contracts.capacity.workflow_input import CapacityStart, CarriedCapacity
    from contracts.environment.models import System
    from contracts.environment_workflow import undo_queue
    from contracts.errors import ErrorType, Refusal, RefusalReason
    from contracts.temporal.task_queues import system_queue

from workflows.activity_failures import require_genuine
from workflows.capacity.booking_places import BookingPlaces
from workflows.capacity.current_details import render_capacity
from workflows.capacity.warm_pools import PoolKeeper
from workflows.update_decorator import described_update
from workflows.version_upgrade import is_to_move, next_version

#: One attempt of an audit: pages of a list, and a check of each environment that differs.
ATTEMPT_TIMEOUT = timedelta(minutes=5)
#: All attempts of one audit. The next audit starts from the beginning, with the reservations of that time.
AUDIT_TIMEOUT = timedelta(minutes=10)
#: A worker that sends no heartbeat for this long counts as lost, and another worker starts the audit again.
HEARTBEAT_TIMEOUT = timedelta(seconds=10)
FIRST_RETRY_INTERVAL = timedelta(milliseconds=500)
MAX_RETRY_INTERVAL = timedelta(seconds=20)
#: The worker beside a host answers in a second or two. An audit does not wait longer for one that is not
#: there, because callers wait for the first audit.
SURVEY_TIMEOUT = timedelta(seconds=10)
#: The time until the next audit after a failed one, or after one that could not learn what a host has.
INTERVAL_AFTER_FAILURE = timedelta(seconds=20)
#: How long a run with a long history still waits for an audit in progress.
FINAL_AUDIT_TIMEOUT = timedelta(seconds=15)


@workflow.defn(name=CAPACITY_WORKFLOW)
class CapacityWorkflow(BookingPlaces):
    """Promises places and takes them back. A new one promises nothing before its first audit."""

    @workflow.init
    def __init__(self, start: CapacityStart) -> None:
        # Create all state here, because an update may be handled before the first line of `run`.
        carried = start.carried
        self._ledger = (
            CapacityLedger(carried.hosts, carried.reservations, PoolBook(carried.pools), carried.bookings)
            if carried
            else CapacityLedger()
        )
        self._audited_at: datetime | None = carried.audited_at if carried else None
        self._next_audit = carried.next_audit if carried else workflow.now() + start.first_audit_delay
        self._ended: dict[str, datetime] = dict(carried.ended) if carried else {}
        self._is_renewal_requested = False
        self._keeper = PoolKeeper(self._ledger, self._ended)

    @workflow.run
    async def run(self, start: CapacityStart) -> None:  # noqa: ARG002  (`__init__` reads it)
        """Serve until the history is long, or key or version is a former one; then go on in a new run."""
        keeping = asyncio.create_task(self._keeper.keep(lambda: self._audited_at is not None))
        while not self._should_continue_as_new():
            await self._wait_for_next_audit()
            await self._run_audit()
            if keeping.done():
                keeping.result()
        await workflow.wait_condition(
            lambda: workflow.all_handlers_finished() and (self._keeper.is_settled or keeping.done())
        )
        keeping.cancel()
        assert self._audited_at  # noqa: S101  (a run without an audit is never long)
        workflow.continue_as_new(
            CapacityStart(
                carried=CarriedCapacity(
                    reservations=tuple(self._ledger),
                    hosts=tuple(self._ledger.hosts.values()),
                    audited_at=self._audited_at,
                    next_audit=self._next_audit,
                    ended=self._ended,
                    pools=self._ledger.pools.state if self._ledger.pools.is_in_use else None,
                    bookings=tuple(self._ledger.bookings.values()),
                )
            ),
            initial_versioning_behavior=next_version(),
        )

    def _should_continue_as_new(self) -> bool:
        # Before the first audit, callers wait in this run, and there is nothing to carry to the next one.
        is_long = workflow.info().is_continue_as_new_suggested() or self._is_renewal_requested
        return self._audited_at is not None and (is_long or is_to_move())

    async def _wait_for_next_audit(self) -> None:
        """Wait until the next audit is due."""
        left = self._next_audit - workflow.now()
        if left > timedelta(0) and not self._should_continue_as_new():
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    self._should_continue_as_new, timeout=left, timeout_summary="until the next audit"
                )

    async def _run_audit(self) -> None:
        """Audit; cancel the audit when the history is long.

        A run takes a limited number of updates, so it must not wait long for an audit.
        """
        if self._should_continue_as_new():
            return
        audit = asyncio.create_task(self._audit())
        await workflow.wait_condition(lambda: audit.done() or self._should_continue_as_new())
        if not audit.done():
            with suppress(TimeoutError):
                await workflow.wait_condition(audit.done, timeout=FINAL_AUDIT_TIMEOUT)
        if audit.done():
            audit.result()
        audit.cancel()

    async def _audit(self) -> None:
        started_at = workflow.now()
        # Until then, Temporal may list a closed run as open, and an audit must not adopt it.
        listed_late = started_at - MAX_LISTING_DELAY
        for life in [life for life, ended in self._ended.items() if ended <= listed_late]:
            del self._ended[life]
        try:
            found = require_genuine(
                await workflow.execute_activity_method(
                    CapacityActivities.audit,
                    AuditInput(now=started_at),
                    task_queue=undo_queue(workflow.info().task_queue),
                    start_to_close_timeout=ATTEMPT_TIMEOUT,
                    schedule_to_close_timeout=AUDIT_TIMEOUT,
                    heartbeat_timeout=HEARTBEAT_TIMEOUT,
                    retry_policy=RetryPolicy(
                        initial_interval=FIRST_RETRY_INTERVAL, maximum_interval=MAX_RETRY_INTERVAL
                    ),
                    summary="compare what is held with what is open",
                )
            )
        except ActivityError as error:
            workflow.logger.warning("the capacity could not be audited: %s", error.cause)
            self._next_audit = workflow.now() + INTERVAL_AFTER_FAILURE
            return
        hosts = await self._survey_elsewhere(found.hosts)
        found = found.model_copy(update={"hosts": hosts})
        apply_audit(self._ledger, found, self._ended.keys(), started_at)
        self._keeper.note_ended_claims(found.ended_claims)
        if not found.is_partial:
            self._audited_at = workflow.now()
            is_known = all(room.known for room in hosts)
            pause = found.next_audit_in if is_known else min(found.next_audit_in, INTERVAL_AFTER_FAILURE)
            self._next_audit = self._audited_at + pause
        # In a new run, everything that it carries is encrypted with the current key.
        self._is_renewal_requested = found.needs_renewal
        workflow.set_current_details(render_capacity(self._ledger, found.sentence))

    async def _survey_elsewhere(self, hosts: Sequence[HostCapacity]) -> tuple[HostCapacity, ...]:
        """Have the workers beside hosts say what these have; return all hosts.

        A host whose worker does not answer in time stays as the audit has it, like one that does not answer.
        """

        async def survey(room: HostCapacity) -> HostCapacity:
            if not room.is_elsewhere:
                return room
            queue = undo_queue(workflow.info().task_queue)
            try:
                return require_genuine(
                    await workflow.execute_activity_method(
                        HostActivities.survey,
                        room,
                        task_queue=system_queue(queue, System.HOST_CLUSTER, room.name),
                        schedule_to_close_timeout=SURVEY_TIMEOUT,
                        retry_policy=RetryPolicy(
                            initial_interval=FIRST_RETRY_INTERVAL, maximum_interval=MAX_RETRY_INTERVAL
                        ),
                        summary=f"what host {room.name} has",
                    )
                )
            except ActivityError as error:
                workflow.logger.warning("host %s was not surveyed: %s", room.name, error.cause)
                return room

        return tuple(await asyncio.gather(*map(survey, hosts)))

    # --- updates, signals and queries -----------------------------------------------------------------

    @described_update("Ask for places on hosts, for lives that will start")
    async def reserve(self, input: ReserveInput) -> ReserveResult:
        """Give a place to each life for which there is one; a life that asks again keeps its place."""
        if self._audited_at is None:
            await workflow.wait_condition(lambda: self._audited_at is not None)
        # Do not await after this line: the decisions must be in the ledger before another caller is served.
        decisions = tuple(admit(self._ledger, ask, workflow.now()) for ask in input.requests)
        self._keeper.note_decisions(tuple(ask.name for ask in input.requests), decisions)
        if not any(decision.host for decision in decisions):
            raise _refused(decisions)
        return ReserveResult(decisions=decisions)

    @reserve.validator
    def _check_reserve(self, input: ReserveInput) -> None:
        """Reject the update here when no life gets a place; this leaves nothing in the history.

        The SDK runs a validator and the first part of its handler as one task, without a switch between them
        (`_apply_do_update`). The handler still decides again and does not rely on this.
        """
        if self._audited_at is None:
            return
        decisions = []
        for ask in input.requests:
            decision = decide(self._ledger, ask, workflow.now())
            if decision.host:
                return
            decisions.append(decision)
        raise _refused(tuple(decisions))

    @described_update("Give the place of an open life to another owner")
    async def reassign(self, input: ReassignInput) -> ReserveResult:
        """Check the limits of the new owner, and record them as the owner of the place."""
        if self._audited_at is None:
            await workflow.wait_condition(lambda: self._audited_at is not None)
        decision = reassign(self._ledger, input.request, workflow.now())
        if decision.refusal:
            raise _refused((decision,))
        return ReserveResult(decisions=(decision,))

    @reassign.validator
    def _check_reassign(self, input: ReassignInput) -> None:
        """Reject the update here when the limits do not allow it; this leaves nothing in the history."""
        if self._audited_at is not None:
            decision = decide_reassignment(self._ledger, input.request, workflow.now())
            if decision.refusal:
                raise _refused((decision,))

    @described_update("Give an open life that sleeps its CPU and memory again")
    async def wake(self, input: WakeInput) -> ReserveResult:
        """Reserve CPU and memory on the life's host; a life that is awake keeps them."""
        if self._audited_at is None:
            await workflow.wait_condition(lambda: self._audited_at is not None)
        self._refuse_ended(input.request)
        decision = admission.wake(self._ledger, input.request, workflow.now())
        if decision.refusal:
            raise _refused((decision,))
        self._keeper.note_decisions((input.request.name,), (decision,))
        return ReserveResult(decisions=(decision,))

    @described_update("Give an open life another size at its place")
    async def resize(self, input: ResizeInput) -> ReserveResult:
        """Check the limits, and hold the larger of both sizes until the change is settled."""
        if self._audited_at is None:
            await workflow.wait_condition(lambda: self._audited_at is not None)
        decision = admission.resize(self._ledger, input, workflow.now())
        if decision.refusal:
            raise _refused((decision,))
        self._keeper.note_decisions((input.request.name,), (decision,))
        return ReserveResult(decisions=(decision,))

    @wake.validator
    def _check_wake(self, input: WakeInput) -> None:
        """Reject the update here when there is no room; this leaves nothing in the history."""
        if self._audited_at is not None:
            self._refuse_ended(input.request)
            decision = admission.decide_wake(self._ledger, input.request, workflow.now())
            if decision.refusal:
                raise _refused((decision,))

    def _refuse_ended(self, ask: ReservationRequest) -> None:
        """Raise if the life has given its place back: a place that it got now would have no owner."""
        if ask.life in self._ended:
            message = f"{ask.name} is gone: it cannot be woken any more."
            refusal = Refusal(reason=RefusalReason.BEING_TORN_DOWN, message=message)
            raise _refused((PlacementDecision(refusal=refusal),))

    @workflow.signal(description="A life sleeps and needs no CPU and no memory")
    def sleep(self, input: CapacitySleepInput | None = None) -> None:
        """Take CPU and memory of a life back. Does nothing without an argument, as `release`."""
        if input is not None:
            admission.sleep(self._ledger, input.name, input.life, workflow.now())

    @resize.validator
    def _check_resize(self, input: ResizeInput) -> None:
        """Reject the update here when there is no room; this leaves nothing in the history."""
        if self._audited_at is not None:
            decision = admission.decide_resize(self._ledger, input, workflow.now())
            if decision.refusal:
                raise _refused((decision,))

    @workflow.signal(description="What a life holds after a change of its template")
    def resized(self, input: ResizedInput | None = None) -> None:
        """Set the template and the size of an open life; do nothing if it holds nothing."""
        if input is not None:
            admission.settle(self._ledger, input)

    @workflow.signal(description="A life needs its place no more")
    def release(self, input: ReleaseInput | None = None) -> None:
        """Take the place of a life back. Does nothing if the life holds none.

        Moorage never sends this signal without its argument. A signal from another sender must not fail the
        workflow task for ever.
        """
        if input is None:
            return
        if input.was_open:
            self._ended[input.life] = workflow.now()
        self._keeper.note_end(input.name, input.life)
        admission.release(self._ledger, input, workflow.now())

    @workflow.signal(description="The warm pools that the catalogue wants")
    def want_pools(self, input: PoolsInput | None = None) -> None:
        """Keep these pools from now on. Does nothing without an argument, as `release`."""
        if input is not None:
            self._keeper.want(input)

    @workflow.signal(description="A pool that has stopped makes standbys again")
    def resume_pool(self, input: ResumePoolInput | None = None) -> None:
        """Forget its failures. Does nothing without an argument, as `release`."""
        if input is not None:
            self._keeper.resume(input.template)

    @workflow.signal(description="A standby is ready, or could not be made")
    def standby(self, report: StandbyReport | None = None) -> None:
        """Hand it out from now on, or count the failure. Does nothing without an argument, as `release`."""
        if report is not None:
            self._keeper.report(report.name, report.life, report.problem)

    @workflow.query(description="How the warm pools stand")
    def pools(self) -> PoolCounts:
        """Return how many standbys each pool has, and why it has stopped."""
        return self._ledger.pools.counts(self._audited_at or workflow.info().start_time)

    @workflow.query(description="What would be answered to those who ask; nothing before it knows")
    def preview(self, input: ReserveInput) -> ReserveResult:
        """Return the decision for each request, as if no other life asked.

        Returns no decisions before the first audit, when it is not known who holds what.
        """
        if self._audited_at is None:
            return ReserveResult(decisions=())
        return ReserveResult(
            decisions=tuple(decide(self._ledger, ask, self._audited_at) for ask in input.requests)
        )

    @workflow.query(description="All that is held")
    def reservations(self) -> ReservationList:
        """Return all reservations, and what bookings hold."""
        bookings = tuple(self._ledger.bookings.values())
        return ReservationList(reservations=tuple(self._ledger), bookings=bookings)

    @workflow.query(description="How the capacity stands")
    def state(self, ask: StateInput) -> CapacityState:
        """Return how much of each host is reserved, and how much a person and their teams hold."""
        ledger = self._ledger
        return CapacityState(
            audited_at=self._audited_at,
            hosts=tuple(
                HostState(capacity=room, reserved=ledger.reserved("host", name))
                for name, room in ledger.hosts.items()
            ),
            person=ledger.reserved("person", ask.person),
            teams={team: ledger.reserved("team", team) for team in ask.teams},
            reservations=len(ledger),
        )


def _refused(decisions: tuple[PlacementDecision, ...]) -> ApplicationError:
    message = decisions[0].refusal.message if decisions and decisions[0].refusal else "Nothing was asked for."
    return ApplicationError(
        message, ReserveResult(decisions=decisions), type=ErrorType.REQUEST_REFUSED, non_retryable=True
    )
