"""Puts an environment to sleep and wakes it, while it is neither being made nor torn down.

The phase says what is wanted; a task makes it so, and begins again when another phase is wanted meanwhile.
CPU and memory are given back when all pods are gone, and reserved again before anything is started.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from contracts.activities.vcluster import SleepActivities, SleepInput
    from contracts.environment.models import MOORAGE_ACTOR, SLEEP_PHASES, Phase, Problem, SleepStatus, System
    from contracts.environment_workflow import AnswerKind, LifecycleTimeouts, SleepChangeInput
    from contracts.errors import ErrorType, Refusal, RefusalReason
    from contracts.notifications import NotificationKind
    from contracts.templates.sleep import SleepPolicy, SleepReason, sleep_due, wake_due

from workflows.activity_failures import problem_of, require_genuine
from workflows.changes.access import AccessUpdater
from workflows.changes.sleep_capacity import WAKE_PRIORITY, WAKE_STEP, SleepCapacity
from workflows.notifications import Notifier
from workflows.record.state import EnvironmentState
from workflows.steps import START_TIMEOUT
from workflows.task_queues import Placement, TaskQueues

#: One attempt to put it to sleep: a tenant's pods have ten minutes to end at most.
PAUSE_TIMEOUT = timedelta(minutes=12)
#: How far environments with the same hours are put to sleep and woken apart, so that their host is not asked
#: for all of them in one moment.
MAX_SPREAD = timedelta(minutes=2)
#: How long it waits to be woken by its schedule again when there was no room for it.
INTERVAL_WITHOUT_ROOM = timedelta(minutes=10)
#: How long it sleeps before its schedule wakes it again when it could not start.
INTERVAL_AFTER_FAILED_START = timedelta(hours=1)
#: When its policy is looked at again while its template is being changed, which takes minutes.
INTERVAL_OF_A_CHANGE = timedelta(minutes=5)
#: The step in problems of falling asleep, and the type of the problem that there is no room to wake it.
SLEEP_STEP = "sleep"
NO_ROOM = "NoRoom"


class SleepController:
    """The sleep of one environment.

    `is_repairing` returns whether a step is done again: a pause must not overtake that.
    """

    def __init__(
        self,
        state: EnvironmentState,
        notifier: Notifier,
        access: AccessUpdater,
        timeouts: LifecycleTimeouts,
        is_repairing: Callable[[], bool],
    ) -> None:
        self._state = state
        self._notifier = notifier
        self._access = access
        self._timeouts = timeouts
        self._is_repairing = is_repairing
        self._queues = TaskQueues(state, timeouts)
        self._capacity = SleepCapacity(state, timeouts)
        self._task: asyncio.Task[None] | None = None
        self._has_failed_again = False
        self._stopped = False
        self._policy_task: asyncio.Task[None] | None = None
        self._revision = 0

    def change_policy(self, ask: SleepChangeInput) -> tuple[AnswerKind, str]:
        """Change when it falls asleep by itself; return the answer."""
        name = self._state.status.environment.name
        self._state.set_sleep_policy(ask.actor, ask.policy)
        self._revision += 1
        self._go_on()
        policy = self._state.status.sleep_policy
        when = policy.sentence if policy else "only when a person puts it to sleep"
        return AnswerKind.ACCEPTED, f"{name} falls asleep {when}."

    def note_use(self) -> None:
        """Record that a person uses it: its idle time starts again."""
        self._state.note_use()

    def sleep(self, actor: str, reason: SleepReason = SleepReason.REQUESTED) -> tuple[AnswerKind, str]:
        """Put it to sleep; return the answer. Callers follow it in the status."""
        name = self._state.status.environment.name
        if self._state.phase is Phase.ASLEEP:
            return AnswerKind.NOTHING_TO_DO, f"{name} is asleep."
        if self._state.phase is Phase.FALLING_ASLEEP:
            return AnswerKind.NOTHING_TO_DO, f"{name} is falling asleep."
        policy = self._state.status.sleep_policy
        why = policy.sentence if policy and reason is not SleepReason.REQUESTED else ""
        self._state.add_log_entry(actor, "put it to sleep", why)
        self._state.set_sleep(SleepStatus(actor=actor, reason=reason))
        self._enter(Phase.FALLING_ASLEEP)
        return AnswerKind.ACCEPTED, f"{name} is falling asleep; its volumes and its end stay."

    async def wake(self, actor: str) -> tuple[AnswerKind, str]:
        """Wake it; return the answer. All who ask at once wait for one reservation.

        Raises:
            ApplicationError: There is no room for it, or it is being torn down meanwhile.
        """
        name = self._state.status.environment.name
        with self._capacity.wanted():
            if self._state.phase in (Phase.FALLING_ASLEEP, Phase.ASLEEP):
                decision = await self._capacity.reserve()
                if decision.refusal:
                    raise _refused(decision.refusal)
                if self._state.phase in (Phase.FALLING_ASLEEP, Phase.ASLEEP):
                    self._begin_waking(actor)
        if self._state.phase is Phase.READY:
            return AnswerKind.NOTHING_TO_DO, f"{name} is awake."
        if self._state.phase is not Phase.WAKING:
            message = f"{name} is being torn down: it cannot be woken any more."
            raise _refused(Refusal(reason=RefusalReason.BEING_TORN_DOWN, message=message))
        return AnswerKind.ACCEPTED, f"{name} is being woken."

    def _begin_waking(self, actor: str) -> None:
        self._state.add_log_entry(actor, "woke it")
        # The schedule tries again by itself, so the status says what stood in its way until it is awake.
        is_asked = actor != MOORAGE_ACTOR
        self._update_sleep(actor=actor, **({"problem": None} if is_asked else {}))
        # Who wakes it is about to use it.
        self._state.note_use()
        self._enter(Phase.WAKING)

    def start(self) -> None:
        """Go on with what the phase and the policy say, also after `stop`."""
        self._stopped = False
        self._go_on()

    def _go_on(self) -> None:
        if self._stopped:
            return  # the next run goes on
        if self._state.phase in SLEEP_PHASES and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run())
        if self._state.status.sleep_policy and (self._policy_task is None or self._policy_task.done()):
            self._policy_task = asyncio.create_task(self._follow_policy())

    async def stop(self) -> None:
        """Stop, and wait until nothing is in progress; the phase says how to go on."""
        self._stopped = True
        tasks = [task for task in (self._task, self._policy_task) if task]
        await workflow.wait_condition(lambda: all(task.done() for task in tasks))

    def _enter(self, phase: Phase) -> None:
        self._state.enter_phase(phase)
        self._revision += 1
        # Changes of access reach the virtual cluster only while it is awake.
        self._access.apply()
        self._go_on()

    async def _run(self) -> None:
        pause = self._timeouts.first_pause
        while not self._stopped:
            phase = self._state.phase
            if phase is Phase.FALLING_ASLEEP:
                problem = await self._fall_asleep()
            elif phase is Phase.WAKING:
                problem = await self._wake_up()
            else:
                return
            if self._state.phase is phase and problem:
                await self._wait(pause, phase)
                pause = min(2 * pause, self._timeouts.longest_pause)

    async def _follow_policy(self) -> None:
        """Put it to sleep and wake it when its policy says so."""
        while not self._stopped and (policy := self._state.status.sleep_policy):
            revision, due = self._revision, self._due(policy)
            left = due[0] - workflow.now() if due else None
            if due is None or (left and left > timedelta(0)):
                # A use while it waits moves the moment only for the next look.
                with suppress(TimeoutError):
                    await self._next_change(revision, left, "until its policy of sleep")
            elif self._state.phase is Phase.READY:
                self.sleep(MOORAGE_ACTOR, due[1])
            else:
                await self._wake_by_schedule(revision)

    def _due(self, policy: SleepPolicy) -> tuple[datetime, SleepReason] | None:
        """Return when the policy puts it to sleep or wakes it, and why; None if it does not."""
        status, now = self._state.status, workflow.now()
        if status.phase is Phase.READY and (status.change or status.restore):
            # A change of its template, or a restore, must end first.
            return now + INTERVAL_OF_A_CHANGE, SleepReason.IDLE
        if status.phase is Phase.READY:
            used_at = status.used_at or status.ready_at or now
            lifetime = status.environment.template.credentials.maximum
            due = sleep_due(policy, used_at, lifetime, now)
        elif status.phase is Phase.ASLEEP and status.sleep:
            moment = wake_due(policy, status.sleep.reason, now)
            if moment and self._has_failed_to_start and status.sleep.asleep_at:
                moment = max(moment, status.sleep.asleep_at + INTERVAL_AFTER_FAILED_START)
            due = (moment, SleepReason.SCHEDULE) if moment else None
        else:
            return None
        if due and due[0] > now and due[1] is SleepReason.SCHEDULE:
            # Not all at once; the same environment always at the same moment.
            share = int(status.environment.mark.life[:4], 16) / 0xFFFF
            return due[0] + MAX_SPREAD * share, due[1]
        return due

    @property
    def _has_failed_to_start(self) -> bool:
        """Whether the last attempt to wake it has failed, and not for want of room."""
        problem = self._state.status.sleep.problem if self._state.status.sleep else None
        return problem is not None and problem.step == WAKE_STEP and problem.type != NO_ROOM

    async def _wake_by_schedule(self, revision: int) -> None:
        try:
            await self.wake(MOORAGE_ACTOR)
        except ApplicationError as error:
            self._note_no_room(error.message)
            with suppress(TimeoutError):
                await self._next_change(revision, INTERVAL_WITHOUT_ROOM, "until it is woken again")

    def _note_no_room(self, cause: str) -> None:
        """Record that the schedule finds no room; only once, however often it tries."""
        sleep = self._state.status.sleep
        if self._state.phase is Phase.ASLEEP and sleep and sleep.problem is None:
            problem = Problem(
                step=WAKE_STEP, system=System.HOST_CLUSTER, cause=cause, remedy="", type=NO_ROOM
            )
            self._update_sleep(problem=problem)
            self._state.add_log_entry(MOORAGE_ACTOR, "could not wake it", cause)

    async def _next_change(self, revision: int, timeout: timedelta | None, summary: str) -> None:
        """Wait until the phase or the policy has changed since `revision`; raise TimeoutError after it."""
        await workflow.wait_condition(
            lambda: self._stopped or self._revision != revision, timeout=timeout, timeout_summary=summary
        )

    async def _fall_asleep(self) -> Problem | None:
        """Pause the vCluster, then give CPU and memory back; return why it failed, if it did."""
        await workflow.wait_condition(
            lambda: not (self._is_repairing() and self._is_still(Phase.FALLING_ASLEEP))
        )
        if not self._is_still(Phase.FALLING_ASLEEP):
            return None
        is_done, problem = await self._execute(Phase.FALLING_ASLEEP)
        if problem:
            self._update_sleep(problem=problem)
        elif is_done and await self._capacity.give_back(lambda: self._is_still(Phase.FALLING_ASLEEP)):
            self._update_sleep(asleep_at=workflow.now())
            if not self._has_failed_to_start:
                self._update_sleep(problem=None)
            self._enter(Phase.ASLEEP)
            self._state.add_log_entry(MOORAGE_ACTOR, "fell asleep", "CPU and memory are given back")
            if not self._has_failed_again:
                self._notifier.notify_of_sleep(NotificationKind.ASLEEP)
            self._has_failed_again = False
        return problem

    async def _wake_up(self) -> Problem | None:
        """Resume the vCluster; put it to sleep again if it cannot start."""
        is_done, problem = await self._execute(Phase.WAKING)
        if problem:
            self._has_failed_again = self._has_failed_to_start
            self._state.add_log_entry(MOORAGE_ACTOR, "could not wake it", problem.cause)
            self._update_sleep(problem=problem)
            self._enter(Phase.FALLING_ASLEEP)
        elif is_done:
            self._notifier.notify_of_sleep(NotificationKind.AWAKE)
            self._state.set_sleep(None)
            self._enter(Phase.READY)
            self._state.add_log_entry(MOORAGE_ACTOR, "awake")
        return None

    def _is_still(self, phase: Phase) -> bool:
        return self._state.phase is phase and not self._stopped

    async def _execute(self, phase: Phase) -> tuple[bool, Problem | None]:
        """Do what the phase needs; return whether it is done, and why it has failed.

        It is neither if something else was wanted meanwhile, even if the phase is wanted again now.

        What is in progress always ends first: a call to pause it must not overtake one to resume it.
        """
        if phase is Phase.FALLING_ASLEEP:
            # Until it succeeds: what has failed is shown, and tried again.
            method, limit, step, summary = SleepActivities.pause, PAUSE_TIMEOUT, SLEEP_STEP, "put to sleep"
            priority = Priority.default
        else:
            method, limit, step, summary = SleepActivities.resume, START_TIMEOUT, WAKE_STEP, "wake"
            priority = WAKE_PRIORITY

        async def schedule(placement: Placement) -> None:
            require_genuine(
                await workflow.execute_activity_method(  # type: ignore[func-returns-value]
                    method,
                    SleepInput(environment=self._state.status.environment.without_values),
                    task_queue=placement.task_queue,
                    start_to_close_timeout=limit,
                    schedule_to_close_timeout=placement.limit,
                    schedule_to_start_timeout=placement.wait,
                    heartbeat_timeout=self._timeouts.heartbeat_timeout,
                    retry_policy=self._retries(),
                    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                    priority=priority,
                    summary=summary,
                )
            )

        task = asyncio.create_task(
            self._queues.execute(
                System.HOST_CLUSTER,
                schedule,
                limit=min(limit, self._timeouts.step_timeout or limit),
                is_undo=phase is Phase.FALLING_ASLEEP,
            )
        )
        await workflow.wait_condition(lambda: task.done() or not self._is_still(phase))
        if not self._is_still(phase):
            task.cancel()
            with suppress(ActivityError, asyncio.CancelledError):
                await task
            return False, None
        try:
            task.result()
        except ActivityError as error:
            return False, problem_of(error, step, System.HOST_CLUSTER)
        return True, None

    def _update_sleep(self, **fields: object) -> None:
        if sleep := self._state.status.sleep:
            self._state.set_sleep(sleep.model_copy(update=fields))

    async def _wait(self, length: timedelta, phase: Phase) -> None:
        """Wait, or less if something else is wanted."""
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: not self._is_still(phase), timeout=length, timeout_summary="pause before sleep"
            )

    def _retries(self) -> RetryPolicy:
        return RetryPolicy(
            initial_interval=self._timeouts.first_retry, maximum_interval=self._timeouts.longest_retry
        )


def _refused(refusal: Refusal) -> ApplicationError:
    return ApplicationError(refusal.message, refusal, type=ErrorType.REQUEST_REFUSED, non_retryable=True)
