"""The part of the capacity workflow that keeps warm pools: starts standbys, and ends those not wanted.

Without a pool it does nothing: no command, no timer.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, FailureError

with workflow.unsafe.imports_passed_through():
    from contracts.activities.fleet import PoolActivities
    from contracts.capacity.admission import decide_standby_place
    from contracts.capacity.booking_admission import booked_pools, next_pools_at
    from contracts.capacity.ledger import CapacityLedger, to_epoch_seconds
    from contracts.capacity.models import (
        PlacementDecision,
        Reservation,
        ReservationRequest,
        Standby,
        StandbyName,
    )
    from contracts.capacity.warm_pools import QUIET_TIME, PoolsInput, WantedPool
    from contracts.environment_workflow import EnvironmentStart, undo_queue
    from contracts.standby import SIGNAL_WITHDRAW, StartStandbyInput, WithdrawInput
    from contracts.types.naming import STANDBY_NAME_START, OwnerMark, workflow_id

#: Between two looks at the pools while nothing happens: hours begin and end, and standbys age.
LOOK_INTERVAL = timedelta(minutes=1)
#: One start of a standby: a call to Temporal, which is repeated if it fails or its worker is killed in it.
START_TIMEOUT = timedelta(seconds=30)
#: One attempt of it: longer than the timeout of the call. A repeat that finds it started has started it.
START_ATTEMPT_TIMEOUT = timedelta(seconds=12)
#: How long an environment that was given a standby may take to come to it, before it makes its own: the steps
#: before that take seconds.
GIVEN_TIME = timedelta(minutes=5)
#: Runs that began before this give those places away at once, as their histories do.
_KEEP_PLACES_OF_ENDED_BOOKINGS = "keep-places-of-ended-bookings"
#: Runs that began before this give the place of a standby away whose start was not answered.
_KEEP_PLACES_OF_LOST_STARTS = "keep-places-of-lost-starts"
#: Runs that began before this let what a life was given that never started end by its time.
_END_GIFTS_OF_LOST_LIVES = "end-gifts-of-lost-lives"
#: The length of the random part of a standby's name.
_NAME_LENGTH = 12


class PoolKeeper:
    """Keeps the pools of a ledger as they are wanted. `ended` are lives that the audit must not adopt."""

    def __init__(self, ledger: CapacityLedger, ended: dict[str, datetime]) -> None:
        self._ledger = ledger
        self._ended = ended
        self._withdrawing: list[tuple[StandbyName, WithdrawInput]] = []
        self._last_request: datetime | None = None
        self._has_changed = False

    async def keep(self, is_audited: Callable[[], bool]) -> None:
        """Keep the pools until this task is cancelled, from the first audit on."""
        while True:
            await workflow.wait_condition(lambda: is_audited() and self._has_work())
            self._has_changed = False
            await self._withdraw()
            if not self._quiet_left():
                await self._look()
            if not self._has_changed and (pause := self._pause()):
                with suppress(TimeoutError):
                    await workflow.wait_condition(
                        lambda: self._has_changed,
                        timeout=pause,
                        timeout_summary="until the next look at the warm pools",
                    )

    @property
    def is_settled(self) -> bool:
        """Whether every standby knows that its offer has ended."""
        return not self._withdrawing

    def want(self, wanted: PoolsInput) -> None:
        """Take over what the catalogue wants."""
        before = self._ledger.pools.wanted
        self._ledger.pools.want(wanted, workflow.now())
        self._has_changed = self._has_changed or before != wanted

    def resume(self, template: str) -> None:
        """Let the pool of the template make standbys again, if it has stopped."""
        self._ledger.pools.resume(template)
        self._has_changed = True

    def report(self, name: str, life: str, problem: str) -> None:
        """Take over what a standby says of itself."""
        self._ledger.pools.report(name, life, problem)
        self._has_changed = True

    def note_decisions(self, names: tuple[str, ...], decisions: tuple[PlacementDecision, ...]) -> None:
        """Note that people have asked, and end the offers of what they were given or have displaced."""
        self._last_request = workflow.now()
        for name, decision in zip(names, decisions, strict=True):
            if decision.standby:
                # An environment that asks again gets the same answer, and then this changes nothing.
                given = WithdrawInput(reason=f"{name} was given it", after=GIVEN_TIME)
                self._end(decision.standby, given)
            for displaced in decision.displaced:
                self._end(displaced, WithdrawInput(reason=f"its room is needed by {name}"))

    def note_end(self, name: str, life: str) -> None:
        """End at once what the life was given and has not taken over: no environment comes to it any more."""
        if standby := self._ledger.pools.take_back(name, life):
            self._end(standby, WithdrawInput(reason=f"{name}, which was given it, has ended"))

    def note_ended_claims(self, claims: Iterable[tuple[str, str, int]]) -> None:
        """End at once what lives were given that are over or have never started, as an audit has found."""
        for name, life, _ in claims:
            held = self._ledger.get(name)
            has_ended = held is None or life not in held.lives
            is_given = self._ledger.pools.given_to(name, life) is not None
            if has_ended and is_given and workflow.patched(_END_GIFTS_OF_LOST_LIVES):
                self.note_end(name, life)

    def note_bookings(self) -> None:
        """Note that a booking holds room now, or has ended."""
        self._has_changed = True

    def _end(self, standby: StandbyName, input: WithdrawInput) -> None:
        self._ended[standby.life] = workflow.now()
        self._withdrawing.append((standby, input))
        self._has_changed = True

    def _has_work(self) -> bool:
        return self._ledger.pools.is_in_use or bool(self._withdrawing or self._ledger.bookings)

    def _pause(self) -> timedelta | None:
        """Return how long to wait before the next look if nothing happens; None without a pool."""
        if self._ledger.pools.is_in_use:
            return self._quiet_left() or LOOK_INTERVAL
        booked = next_pools_at(self._ledger, workflow.now())
        if booked is None:
            return LOOK_INTERVAL if self._ledger.bookings else None
        return max(booked - workflow.now(), self._quiet_left() or timedelta(0))

    def _quiet_left(self) -> timedelta | None:
        """Return how long no person may ask before standbys are made; None if that is over."""
        if self._last_request is None:
            return None
        left = self._last_request + QUIET_TIME - workflow.now()
        return left if left > timedelta(0) else None

    async def _withdraw(self) -> None:
        while self._withdrawing:
            standby, input = self._withdrawing[0]
            handle = workflow.get_external_workflow_handle(workflow_id(standby.name))
            # One that cannot be signalled is over.
            with suppress(FailureError):
                await handle.signal(SIGNAL_WITHDRAW, input)
            self._withdrawing.pop(0)

    async def _look(self) -> None:
        pools, ledger = self._ledger.pools, self._ledger
        pools.keep_only((held.name, held.lives) for held in ledger)
        pools.booked = booked_pools(ledger, workflow.now())
        for name in pools.surplus(workflow.now()):
            life = pools.standbys.pop(name).life
            if not self._is_of_ended_booking(name):
                ledger.retire(name)
            self._end(StandbyName(name=name, life=life), WithdrawInput(reason="its pool wants it no more"))
        await self._withdraw()
        for pool in pools.all_pools:
            for _ in range(pools.missing(pool, workflow.now())):
                if not await self._start(pool):
                    break

    def _is_of_ended_booking(self, name: str) -> bool:
        """Return whether it is a standby of a booking that has ended: it holds its place until it is gone.

        By what is held, the booking knows for which standbys it waits; a list of Temporal may be late.
        """
        place = self._ledger.get(name)
        is_left = place is not None and place.booking and place.booking not in self._ledger.bookings
        return bool(is_left) and workflow.patched(_KEEP_PLACES_OF_ENDED_BOOKINGS)

    async def _start(self, pool: WantedPool) -> bool:
        """Start a standby where there is room; return whether there was."""
        request_id = workflow.uuid4().hex
        name = STANDBY_NAME_START + workflow.uuid4().hex[:_NAME_LENGTH]
        mark = OwnerMark.for_request(pool.environment.mark.installation, name, request_id)
        environment = pool.environment.model_copy(update={"mark": mark})
        booking = environment.booking.life if environment.booking else ""
        now = workflow.now()
        place = Reservation(
            name=name,
            owner=environment.owner,
            team=environment.spec.team,
            template=pool.template,
            host="",
            size=pool.size,
            ends=to_epoch_seconds(now + environment.ttl),
            claims=((mark.life, to_epoch_seconds(now)),),
            booking=booking,
        )
        host = decide_standby_place(self._ledger, _request_of(pool, place, now + environment.ttl), now)
        if not host:
            return False
        # Before the call: no other request may get the same room meanwhile.
        self._ledger.put(replace(place, host=host))
        self._ledger.pools.add(name, Standby(life=mark.life, pool=pool.key))
        start = EnvironmentStart(
            environment=environment.model_copy(update={"host": host}),
            request_id=request_id,
            people_are_checked=True,
        )
        queue = workflow.info().task_queue
        try:
            await workflow.execute_activity_method(
                PoolActivities.start,
                StartStandbyInput(start=start, pool=pool.key, task_queue=queue),
                task_queue=undo_queue(queue),
                start_to_close_timeout=START_ATTEMPT_TIMEOUT,
                schedule_to_close_timeout=START_TIMEOUT,
                retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1)),
                summary=f"start {name}",
            )
        except ActivityError as error:
            # It may have started all the same. Then the audit finds it; a booking waits for it, so there it
            # keeps its place until the audit finds that it has not.
            workflow.logger.warning("standby %s was not started: %s", name, error.cause)
            if not (booking and workflow.patched(_KEEP_PLACES_OF_LOST_STARTS)):
                self._ledger.retire(name)
                self._ledger.pools.standbys.pop(name, None)
            return False
        return True


def _request_of(pool: WantedPool, place: Reservation, ends_at: datetime) -> ReservationRequest:
    return ReservationRequest(
        name=place.name,
        life=next(iter(place.lives)),
        owner=place.owner,
        team=place.team,
        template=place.template,
        size=place.size,
        hosts=pool.hosts,
        ends_at=ends_at,
        booking=place.booking,
    )
